//! What the operator of one run wants of routing.

use pgconvoy_core::mutations::Rules;
use pgconvoy_core::policy::{
    CheckTemporary, FunctionList, OnWrite, Pattern, Policy, Preference, Relationships, preferences,
};
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::Duration;

/// Statements of the workloads that are kept on the primary, where there is a list of patterns.
const PATTERN: &str = "SELECT 'c[0-9]+r[0-9]*[13579]', .*";
/// What else a write to `kv` is said to touch.
const RELATIONSHIPS: &str = "kv:account,account:item,writes():kv";

/// The knobs.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// `disable_load_balance_on_write`.
    pub on_write: OnWrite,
    /// `check_temp_table`.
    pub check_temporary: CheckTemporary,
    /// `check_unlogged_table`.
    pub check_unlogged: bool,
    /// `relcache_query_target = load_balance_node`.
    pub ask_balance_node: bool,
    /// `allow_sql_comments`.
    pub allow_sql_comments: bool,
    /// There is a `primary_routing_query_pattern_list`.
    pub pattern: bool,
    /// `prefer_lower_delay_standby`.
    pub prefer_lower_delay: bool,
    /// `user_redirect_preference_list`.
    pub by_user: &'static str,
    /// `database_redirect_preference_list`.
    pub by_database: &'static str,
    /// `statement_level_load_balance`.
    pub each_statement: bool,
    /// `track_table_mutation_cold_start_duration`, in milliseconds.
    pub cold_start_ms: u64,
    /// `backend_weight` of each node, in thousandths.
    pub weights: Vec<u64>,
}

impl Wishes {
    /// Draws every knob but `each_statement`, or leaves all as they are by default.
    pub fn draw(rng: &mut Rng, nodes: u8) -> Self {
        if rng.chance(1, 4) {
            return Self::default();
        }
        use OnWrite::{Adaptive, AdaptiveGlobal, Always, Off, TransTransaction, Transaction};
        let words = [Transaction, Transaction, Off, TransTransaction, Always, Adaptive, AdaptiveGlobal, AdaptiveGlobal];
        let on_write = words[rng.below(8) as usize];
        use CheckTemporary::{Catalog, Never, Trace};
        let preferences = ["", "", "", ".*:standby", "alice:1(0.5)", "bob:primary", "alice:2,bob:1"];
        Self {
            on_write,
            check_temporary: [Catalog, Catalog, Trace, Never][rng.below(4) as usize],
            check_unlogged: rng.chance(1, 2),
            ask_balance_node: rng.chance(1, 2),
            allow_sql_comments: rng.chance(1, 2),
            pattern: rng.chance(1, 3),
            prefer_lower_delay: rng.chance(1, 3),
            by_user: preferences[rng.below(7) as usize],
            by_database: preferences[rng.below(7) as usize],
            each_statement: false,
            cold_start_ms: [0, 0, 50, 2_000][rng.below(4) as usize],
            weights: (0..nodes).map(|_| [0, 300, 1000, 1000][rng.below(4) as usize]).collect(),
        }
    }

    /// `backend_weight` of a node, in thousandths.
    pub fn weight_milli(&self, node: u8) -> u64 {
        self.weights.get(usize::from(node)).copied().unwrap_or(1000)
    }

    /// The policy that they come to.
    pub fn policy(&self, functions: FunctionList) -> Policy {
        let list = |text: &str| -> Vec<Preference> {
            preferences(text).unwrap_or_else(|why| panic!("a preference of the simulator is wrong: {why}"))
        };
        let pattern = || Pattern::new(PATTERN).expect("the pattern of the simulator is one");
        Policy {
            on_write: self.on_write,
            check_temporary: self.check_temporary,
            relationships: Relationships::parse(RELATIONSHIPS).expect("the relationships of the simulator are right"),
            functions,
            primary_queries: self.pattern.then(pattern).into_iter().collect(),
            by_database: list(self.by_database),
            by_user: list(self.by_user),
            prefer_lower_delay: self.prefer_lower_delay,
            each_statement: self.each_statement,
            mutations: Rules { cold_start: Duration::from_millis(self.cold_start_ms), ..Rules::default() },
            ..Policy::default()
        }
    }
}

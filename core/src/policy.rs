//! What the operator wants of routing: patterns, preferences, and what a write means for the reads after it.
//!
//! Patterns are regular expressions that must match as a whole and in any case of letters, as pgpool's lists are
//! (manual, chapter "Load Balancing").

use crate::mutations::Rules;
use crate::node::{NodeId, NodeView, View};
use crate::rng::Rng;
use crate::sql::Reason;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use regex::bytes::{Regex, RegexBuilder};

/// What a write means for the reads after it (`disable_load_balance_on_write`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnWrite {
    /// Nothing.
    Off,
    /// The rest of its transaction reads from the primary.
    #[default]
    Transaction,
    /// So do later explicit transactions of the session, once one has written.
    TransTransaction,
    /// The rest of the session reads from the primary.
    Always,
    /// Reads of what was written, and of what hangs on it, go to the primary until the transaction is over.
    Adaptive,
    /// The same, and so do everybody's until the standbys have it.
    AdaptiveGlobal,
}

/// How temporary tables are recognised (`check_temp_table`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckTemporary {
    /// The catalogue is asked after everything that may have created or dropped one.
    #[default]
    Catalog,
    /// The same, but only after statements that say that they do.
    Trace,
    /// Not at all.
    Never,
}

/// One regular expression of a list.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern. The error says why it cannot be.
    pub fn new(text: &str) -> Result<Self, String> {
        let whole = format!("^(?:{})$", text.trim_start_matches('^').trim_end_matches('$'));
        let regex = RegexBuilder::new(&whole).case_insensitive(true).unicode(false).dot_matches_new_line(true).build();
        regex.map(Self).map_err(|error| format!("{text:?} is not a regular expression: {error}"))
    }

    /// Whether the whole of `text` is matched.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

/// Compiles a list of patterns.
pub fn patterns(list: &[String]) -> Result<Vec<Pattern>, String> {
    list.iter().map(|text| Pattern::new(text)).collect()
}

/// Which functions write, by their names.
#[derive(Clone, Debug, Default)]
pub enum FunctionList {
    /// Those that the catalogue says are volatile.
    #[default]
    Catalog,
    /// All but these (`read_only_function_list`).
    ReadOnly(Vec<Pattern>),
    /// These (`write_function_list`).
    Writing(Vec<Pattern>),
}

impl FunctionList {
    /// Whether the list decides, not the catalogue.
    pub const fn decides(&self) -> bool {
        !matches!(self, Self::Catalog)
    }

    /// Whether a function writes; `None` where the catalogue decides. The name is matched alone and behind its schema.
    pub fn writes(&self, schema: Option<&[u8]>, name: &[u8]) -> Option<bool> {
        let listed = |patterns: &[Pattern]| {
            let qualified = schema.map(|schema| [schema, b".", name].concat());
            patterns.iter().any(|pattern| {
                pattern.matches(name) || qualified.as_ref().is_some_and(|qualified| pattern.matches(qualified))
            })
        };
        match self {
            Self::Catalog => None,
            Self::ReadOnly(patterns) => Some(!listed(patterns)),
            Self::Writing(patterns) => Some(listed(patterns)),
        }
    }
}

/// Where a session's reads should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preferred {
    /// To the primary.
    Primary,
    /// To one of the standbys, by their weights.
    Standby,
    /// To this node.
    Node(NodeId),
}

/// One entry of `app_name_redirect_preference_list` and its kin.
#[derive(Clone, Debug)]
pub struct Preference {
    pattern: Pattern,
    preferred: Preferred,
    /// How many of a thousand sessions go there; the others are drawn by weight.
    ratio_milli: u64,
}

impl Preference {
    /// The node that it names by its number.
    pub const fn node(&self) -> Option<NodeId> {
        match self.preferred {
            Preferred::Node(node) => Some(node),
            Preferred::Primary | Preferred::Standby => None,
        }
    }
}

/// Reads `pattern:node(ratio),...`: a node is `primary`, `standby` or a number, and the ratio may be missing. A pattern
/// may hold colons, and commas within brackets.
pub fn preferences(text: &str) -> Result<Vec<Preference>, String> {
    split_outside_brackets(text).into_iter().map(str::trim).filter(|item| !item.is_empty()).map(preference).collect()
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, character) in text.char_indices() {
        match character {
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn preference(item: &str) -> Result<Preference, String> {
    let wrong = |why: &str| format!("{item:?} {why}; an entry is pattern:node or pattern:node(ratio)");
    let (pattern, target) = item.rsplit_once(':').ok_or_else(|| wrong("has no colon"))?;
    let (node, ratio_milli) = match target.split_once('(') {
        None => (target.trim(), 1000),
        Some((node, ratio)) => {
            let digits = ratio.trim_end().strip_suffix(')').ok_or_else(|| wrong("has a ratio without its end"))?;
            let ratio = milli(digits.trim()).ok_or_else(|| wrong("has a ratio that is not between 0 and 1"))?;
            (node.trim(), ratio)
        }
    };
    let preferred = match node {
        _ if node.eq_ignore_ascii_case("primary") => Preferred::Primary,
        _ if node.eq_ignore_ascii_case("standby") => Preferred::Standby,
        digits => {
            let number = digits.parse::<u8>().ok().filter(|number| usize::from(*number) < crate::node::MAX_NODES);
            Preferred::Node(NodeId(number.ok_or_else(|| wrong("names no node"))?))
        }
    };
    Ok(Preference { pattern: Pattern::new(pattern.trim())?, preferred, ratio_milli })
}

/// A ratio from 0 to 1 in thousandths.
fn milli(digits: &str) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(*b"000").take(3).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some(whole.checked_mul(1000)?.checked_add(thousandths)?).filter(|milli| *milli <= 1000)
}

/// Who a session is, for the preferences.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// `application_name` of the start-up packet.
    pub application: &'a [u8],
    /// The database.
    pub database: &'a [u8],
    /// The user.
    pub user: &'a [u8],
}

/// What else a write to an object touches (`dml_adaptive_object_relationship_list`).
#[derive(Clone, Debug, Default)]
pub struct Relationships(Vec<(Vec<u8>, Vec<u8>)>);

impl Relationships {
    /// Reads `object:dependent,...`; a function is written with parentheses behind its name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let pair = |item: &str| {
            let (object, dependent) =
                item.split_once(':').ok_or_else(|| format!("{item:?} has no colon; an entry is object:dependent"))?;
            let name = |text: &str| text.trim().to_lowercase().into_bytes();
            Ok((name(object), name(dependent)))
        };
        items.map(pair).collect::<Result<_, _>>().map(Self)
    }

    /// What depends on an object, as the list has it.
    pub fn dependents<'r>(&'r self, object: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
        self.0.iter().filter(move |(known, _)| known == object).map(|(_, dependent)| dependent.as_slice())
    }

    /// Whether the list has this object.
    pub fn has(&self, object: &[u8]) -> bool {
        self.0.iter().any(|(known, _)| known == object)
    }
}

/// The operator's wishes.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `disable_load_balance_on_write`.
    pub on_write: OnWrite,
    /// For how long a write matters to other sessions.
    pub mutations: Rules,
    /// `check_temp_table`.
    pub check_temporary: CheckTemporary,
    /// `dml_adaptive_object_relationship_list`.
    pub relationships: Relationships,
    /// `read_only_function_list` or `write_function_list`.
    pub functions: FunctionList,
    /// `primary_routing_query_pattern_list`.
    pub primary_queries: Vec<Pattern>,
    /// A blank in front keeps a statement on the primary (`ignore_leading_white_space = off`).
    pub blanks_count: bool,
    /// `app_name_redirect_preference_list`.
    pub by_application: Vec<Preference>,
    /// `database_redirect_preference_list`.
    pub by_database: Vec<Preference>,
    /// `user_redirect_preference_list`.
    pub by_user: Vec<Preference>,
    /// `prefer_lower_delay_standby`.
    pub prefer_lower_delay: bool,
    /// `statement_level_load_balance`: a node is drawn for each transaction outside of blocks, and for each block.
    pub each_statement: bool,
}

impl Policy {
    /// Why a text is for the primary by the way it is written, if it is.
    pub fn pins(&self, text: &[u8]) -> Option<Reason> {
        // What C's isspace() calls a blank.
        let is_blank = |first: &u8| matches!(first, b' ' | b'\t'..=b'\r');
        if self.blanks_count && text.first().is_some_and(is_blank) {
            return Some(Reason::LeadingBlank);
        }
        self.primary_queries.iter().any(|pattern| pattern.matches(text)).then_some(Reason::Pattern)
    }

    /// The load-balance node of a session: the one preferred for its application, its database or its user, in this order,
    /// or else one by weight. In the place of a standby that lags, it may be the least delayed one that does not. `lot` is
    /// drawn for the session, or for one of its turns; standbys that are not `attached` are out of the draw.
    pub fn balance_node(
        &self,
        who: &Who<'_>,
        view: &View,
        lot: u64,
        attached: &dyn Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        let drawn = self.draw(who, view, lot, attached)?;
        let lags = self.prefer_lower_delay && view.is_lagging(drawn);
        Some(if lags { view.least_delayed(lot, attached).unwrap_or(drawn) } else { drawn })
    }

    /// Whether one session's reads may go to one standby now and to another then.
    pub fn may_turn(&self) -> bool {
        self.each_statement || !self.by_application.is_empty()
    }

    /// Whether any session's reads may go to that standby.
    pub fn may_prefer(&self, node: &NodeView) -> bool {
        let lists = [&self.by_application, &self.by_database, &self.by_user];
        node.weight_milli > 0 || lists.iter().any(|list| !list.is_empty())
    }

    fn draw(&self, who: &Who<'_>, view: &View, lot: u64, attached: &dyn Fn(NodeId) -> bool) -> Option<NodeId> {
        let find = |list: &[Preference], name: &[u8]| {
            list.iter().find(|entry| entry.pattern.matches(name)).map(|entry| (entry.preferred, entry.ratio_milli))
        };
        let preferred = find(&self.by_application, who.application)
            .or_else(|| find(&self.by_database, who.database))
            .or_else(|| find(&self.by_user, who.user));
        if let Some((preferred, ratio_milli)) = preferred
            && Rng::new(lot).below(1000) < ratio_milli
            && let Some(node) = view.preferred(preferred, lot, attached)
        {
            return Some(node);
        }
        view.draw_balance_node(lot, attached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Delay, Health, Mode, NodeView, Replication, Role};

    #[test]
    fn patterns_match_whole_texts_in_any_case() {
        let pattern = Pattern::new("f_.*").unwrap();
        assert!(pattern.matches(b"F_x") && !pattern.matches(b"my_f_x"));
        let anchored = Pattern::new("^SELECT .* FROM t$").unwrap();
        assert!(anchored.matches(b"select 1,\n2 from T") && !anchored.matches(b"select 1 from t2"));
        let either = Pattern::new("a|b").unwrap();
        assert!(either.matches(b"b") && !either.matches(b"ab"));
        assert!(Pattern::new("(").unwrap_err().contains("not a regular expression"));
    }

    #[test]
    fn functions_are_judged_by_one_list() {
        let list = patterns(&["get_.*".into(), "public\\.g".into()]).unwrap();
        let read_only = FunctionList::ReadOnly(list.clone());
        assert_eq!(read_only.writes(None, b"get_a"), Some(false));
        assert_eq!(read_only.writes(None, b"set_a"), Some(true));
        assert_eq!(read_only.writes(Some(b"public"), b"g"), Some(false));
        assert_eq!(read_only.writes(Some(b"other"), b"g"), Some(true));
        assert_eq!(FunctionList::Writing(list).writes(None, b"set_a"), Some(false));
        assert_eq!(FunctionList::Catalog.writes(None, b"set_a"), None);
    }

    #[test]
    fn a_text_is_pinned_by_a_pattern_or_by_blanks_in_front() {
        let policy = Policy { primary_queries: patterns(&["SELECT 7".into()]).unwrap(), ..Policy::default() };
        assert_eq!(policy.pins(b"select 7"), Some(Reason::Pattern));
        assert_eq!(policy.pins(b" select 8"), None);
        let policy = Policy { blanks_count: true, ..Policy::default() };
        for text in [" select 8", "\tselect 8", "\n\nselect 8", "\x0bselect 8", "\r\nselect 8"] {
            assert_eq!(policy.pins(text.as_bytes()), Some(Reason::LeadingBlank), "{text:?}");
        }
        assert_eq!((policy.pins(b"select 8"), policy.pins(b"")), (None, None));
    }

    #[test]
    fn dependents_of_an_object_are_those_listed() {
        let list = Relationships::parse("t:u, t:v,fill():w").unwrap();
        assert_eq!(list.dependents(b"t").collect::<Vec<_>>(), [b"u", b"v"]);
        assert_eq!(list.dependents(b"fill()").collect::<Vec<_>>(), [b"w"]);
        assert!(list.has(b"fill()") && !list.has(b"u"));
        assert!(Relationships::parse("t").unwrap_err().contains("has no colon"));
    }

    fn view() -> View {
        let node = |id, role| {
            let replication = Replication::default();
            NodeView { id: NodeId(id), weight_milli: 1000, role, health: Health::Up, replication }
        };
        let nodes = [(0, Role::Primary), (1, Role::Standby), (2, Role::Standby)];
        View { epoch: 1, mode: Mode::Streaming, nodes: nodes.map(|(id, role)| node(id, role)).to_vec() }
    }

    #[test]
    fn preferences_are_taken_in_pgpools_order() {
        let policy = Policy {
            by_application: preferences("psql:primary, report[a,b]:standby").unwrap(),
            by_database: preferences("shop:2(0.5)").unwrap(),
            by_user: preferences("alice:1,.*:primary(0)").unwrap(),
            ..Policy::default()
        };
        let draw = |application: &str, database: &str, user: &str| {
            let who = Who { application: application.as_bytes(), database: database.as_bytes(), user: user.as_bytes() };
            let mut drawn = [0; 3];
            for number in 0..1000 {
                let node = policy.balance_node(&who, &view(), crate::rng::lot(7, number), &|_| true).unwrap();
                drawn[usize::from(node.0)] += 1;
            }
            drawn
        };
        assert_eq!(draw("psql", "shop", "alice"), [1000, 0, 0]);
        let reports = draw("reporta", "", "");
        assert!(reports[0] == 0 && reports[1] > 400 && reports[2] > 400, "{reports:?}");
        let half = draw("", "shop", "alice");
        assert!(half[2] > 600 && half[0] > 100 && half[1] > 100, "{half:?}");
        assert_eq!(draw("", "", "alice"), [0, 1000, 0]);
        assert!(draw("", "", "bob").iter().all(|drawn| *drawn > 250));
    }

    #[test]
    fn a_session_whose_standby_lags_may_prefer_the_least_delayed_one() {
        let mut view = view();
        view.nodes[1].replication = Replication { delay: Delay::Bytes(900), lagging: true, ..Replication::default() };
        view.nodes[2].replication.delay = Delay::Bytes(5);
        let draw = |view: &View, prefer_lower_delay, to: &str| {
            let policy = Policy { by_user: preferences(to).unwrap(), prefer_lower_delay, ..Policy::default() };
            policy.balance_node(&Who { application: b"", database: b"", user: b"" }, view, 1, &|_| true).unwrap().0
        };
        assert_eq!((draw(&view, false, ".*:1"), draw(&view, true, ".*:1")), (1, 2));
        assert_eq!((draw(&view, true, ".*:2"), draw(&view, true, ".*:primary")), (2, 0));
        view.nodes[2].replication.lagging = true;
        assert_eq!(draw(&view, true, ".*:1"), 1, "where all lag, it keeps its own");
    }

    #[test]
    fn a_wrong_preference_says_what_is_wrong() {
        for (text, why) in [
            ("psql", "has no colon"),
            ("psql:master", "names no node"),
            ("psql:128", "names no node"),
            ("psql:1(2)", "ratio that is not between 0 and 1"),
            ("psql:1(0.5", "ratio without its end"),
            ("(:primary", "not a regular expression"),
        ] {
            let error = preferences(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(preferences(" , ").unwrap().is_empty());
    }
}

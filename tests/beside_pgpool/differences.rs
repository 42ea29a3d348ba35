//! The committed list of differences between pgconvoy's routing and pgpool's, and what it explains.
//!
//! Entries of `differences.txt` stand in paragraphs of `name: value` lines, in the order in which they are asked:
//!
//! - `class`: its name;
//! - `pgpool`, `pgconvoy`: where each sends the statement, or several such places;
//! - `when`: facts that must all hold, with `-` in front of those that must not, and `|` between alternatives;
//! - `reason`: `safer` (ours), or `spreads more` (ours);
//! - `proof`: the SQLSTATE that pgpool's way has for some of these statements, and ours for none;
//! - `why`: the reason in full.

use crate::facts::Facts;

/// The list itself.
const LIST: &str = include_str!("differences.txt");

/// Why ours is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What pgpool does may fail or answer wrongly.
    Safer,
    /// pgpool keeps on the primary what a standby can do.
    SpreadsMore,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub class: &'static str,
    /// Why ours is better.
    pub reason: Reason,
    /// The SQLSTATE that only pgpool's way has.
    pub proof: Option<&'static str>,
    pgpool: &'static str,
    pgconvoy: &'static str,
    /// Alternatives; of each, facts that must and facts that must not hold.
    when: Vec<(Vec<&'static str>, Vec<&'static str>)>,
}

impl Entry {
    /// Whether it explains that a statement of which these facts hold goes to these places.
    pub fn explains(&self, pgpool: &str, pgconvoy: &str, facts: &Facts) -> bool {
        let holds = |fact: &&str| facts.contains(*fact);
        let among = |places: &str, place: &str| places.split_whitespace().any(|listed| listed == place);
        among(self.pgpool, pgpool)
            && among(self.pgconvoy, pgconvoy)
            && self.when.iter().any(|(must, must_not)| must.iter().all(holds) && !must_not.iter().any(holds))
    }
}

/// All entries in order.
pub fn list() -> Vec<Entry> {
    let text = LIST.split("\n\n").map(str::trim).filter(|text| !text.is_empty() && !text.starts_with('#'));
    text.map(entry).collect()
}

fn entry(text: &'static str) -> Entry {
    let field = |name: &str| {
        let of_name = |line: &&'static str| line.split_once(':').is_some_and(|(found, _)| found == name);
        text.lines().find(of_name).map(|line| line[name.len() + 1..].trim()).filter(|value| !value.is_empty())
    };
    let needed = |name: &str| field(name).unwrap_or_else(|| panic!("no {name} in the entry:\n{text}"));
    let reason = match needed("reason") {
        "safer" => Reason::Safer,
        "spreads more" => Reason::SpreadsMore,
        other => panic!("{other:?} is no reason, in the entry:\n{text}"),
    };
    needed("why");
    let alternatives = needed("when").split('|').map(|facts| {
        let (not, yes): (Vec<_>, Vec<_>) = facts.split_whitespace().partition(|fact| fact.starts_with('-'));
        (yes, not.into_iter().map(|fact| &fact[1..]).collect())
    });
    Entry {
        class: needed("class"),
        reason,
        proof: field("proof"),
        pgpool: needed("pgpool"),
        pgconvoy: needed("pgconvoy"),
        when: alternatives.collect(),
    }
}

//! Many generated statements, judged.

use crate::{complaint, grammar, is_balanced, rewriting_complaint, with_calls};
use pgconvoy_statements::{Generator, Statement};

/// Scripts drawn from one seed.
const SCRIPTS: usize = 100;
/// Questions asked to make a failure short.
const QUESTIONS: usize = 20_000;

/// What was seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// Statements that PostgreSQL's grammar takes.
    pub read: u64,
    /// Statements that it refuses.
    pub refused: u64,
    /// Statements that may write.
    pub writing: u64,
    /// Queries that only read plain tables.
    pub plain: u64,
    /// Those of them that may go anywhere.
    pub balanced: u64,
    /// Some of those that may not.
    pub kept: Vec<String>,
}

/// A statement that the classifier is wrong about.
#[derive(Debug)]
pub struct Failure {
    /// The seed that it came from.
    pub seed: u64,
    /// Its number among those of the seed.
    pub number: usize,
    /// What is wrong.
    pub complaint: String,
    /// A short text with which something is wrong.
    pub short: String,
    /// What is wrong with that.
    pub short_complaint: String,
    /// Whether it is for `standard_conforming_strings = on`.
    pub standard_strings: bool,
}

impl Tally {
    /// Statements seen.
    pub fn statements(&self) -> u64 {
        self.read + self.refused
    }

    /// The sums of both.
    pub fn add(&mut self, other: Tally) {
        self.read += other.read;
        self.refused += other.refused;
        self.writing += other.writing;
        self.plain += other.plain;
        self.balanced += other.balanced;
        self.kept.extend(other.kept);
    }
}

/// Judges the statements of one seed.
///
/// # Errors
/// The first that the classifier is wrong about.
pub fn run(seed: u64) -> Result<Tally, Box<Failure>> {
    let mut tally = Tally::default();
    let mut generator = Generator::new(seed, true);
    let mut number = 0;
    for script in 0..SCRIPTS {
        for statement in generator.script(script % 8 != 7) {
            judge(&statement, &mut tally).map_err(|complaint| failure(seed, number, complaint, &statement))?;
            number += 1;
        }
    }
    Ok(tally)
}

fn judge(statement: &Statement, tally: &mut Tally) -> Result<(), String> {
    let text = statement.text();
    let Some(found) = grammar::read(&statement.standard_text()) else {
        tally.refused += 1;
        return Ok(());
    };
    tally.read += 1;
    tally.writing += u64::from(found.writes.is_some());
    if found.plain {
        tally.plain += 1;
        if is_balanced(text.as_bytes(), statement.standard_strings) {
            tally.balanced += 1;
        } else if tally.kept.len() < 2 {
            tally.kept.push(text.clone());
        }
    }
    let calling = with_calls(&statement.standard_text());
    if let Some(complaint) = grammar::read(&calling).and_then(|found| rewriting_complaint(calling.as_bytes(), &found)) {
        return Err(complaint);
    }
    complaint(text.as_bytes(), statement.standard_strings, &found).map_or(Ok(()), Err)
}

fn failure(seed: u64, number: usize, complaint: String, statement: &Statement) -> Box<Failure> {
    let wrong = |statement: &Statement| judge(statement, &mut Tally::default()).err();
    let short = statement.shrink(QUESTIONS, |candidate| wrong(candidate).is_some());
    Box::new(Failure {
        seed,
        number,
        complaint,
        short_complaint: wrong(&short).unwrap_or_default(),
        short: short.text(),
        standard_strings: statement.standard_strings,
    })
}

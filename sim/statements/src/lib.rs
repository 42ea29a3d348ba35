//! Statements to try pgconvoy's SQL classifier with, from a seed: a grammar of PostgreSQL's SQL that knows the types of
//! [`SCHEMA`], so that most of what it writes runs there, and that likes what is easily misread.
//!
//! Where to read: [`Generator`] makes a [`Script`] of [`Statement`]s; `query`, `expression`, `value` and `call` are the grammar of what
//! reads, `command` of the rest; `writer` makes texts of tokens, `names` lists what there is; `shrink` makes a failure short.
//! Nothing here knows the classifier.

mod call;
mod command;
mod expression;
mod mutate;
mod names;
mod query;
mod shrink;
mod value;
mod writer;

pub use names::{HARMLESS, PLAIN_TABLES};

use pgconvoy_core::rng::Rng;
use writer::Writer;

/// Makes what the statements are about, for a superuser, in an empty database.
pub const SCHEMA: &str = include_str!("schema.sql");
/// The role of [`SCHEMA`] that the statements are written for.
pub const READER: &str = "reader";

/// One token, and what stands in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    gap: String,
    text: String,
    /// A plain string whose backslashes escape, because `standard_conforming_strings` is off.
    escapes: bool,
}

/// What one message of a client holds: a statement, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    tokens: Vec<Token>,
    /// The session's `standard_conforming_strings` that it is written for.
    pub standard_strings: bool,
}

/// Statements that belong together, to be sent one after the other.
pub type Script = Vec<Statement>;

/// How dangerous a statement may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Plain tables and PostgreSQL's own harmless functions.
    Clean,
    /// What the schema offers, if it only reads.
    Calm,
    /// Anything.
    Wild,
}

/// A type that expressions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Text,
    Bool,
    Num,
    Time,
    Json,
    Ints,
}

/// What a `FROM` list offers.
#[derive(Debug, Clone)]
struct Source {
    /// As it is written.
    alias: String,
    columns: Vec<(String, Type)>,
    /// Its rows are rows of `account`.
    account: bool,
}

/// An endless series of scripts from one seed.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    writer: Writer,
    mood: Mood,
    sources: Vec<Source>,
    /// `WITH` queries in sight: their names and columns.
    withs: Vec<Source>,
    aliases: u32,
    /// Aggregates may stand here.
    mutations: bool,
}

impl Generator {
    /// A generator whose whole series follows from `seed`. With `mutations`, some texts are cut and patched at random.
    pub fn new(seed: u64, mutations: bool) -> Self {
        Self {
            rng: Rng::new(seed),
            writer: Writer::new(),
            mood: Mood::Clean,
            sources: Vec::new(),
            withs: Vec::new(),
            aliases: 0,
            mutations,
        }
    }

    /// The next script, for a session with this setting of `standard_conforming_strings`.
    pub fn script(&mut self, standard_strings: bool) -> Script {
        self.mood = match self.rng.below(20) {
            0..8 => Mood::Clean,
            8..12 => Mood::Calm,
            _ => Mood::Wild,
        };
        self.sources.clear();
        self.withs.clear();
        self.aliases = 0;
        self.writer.begin(&mut self.rng, standard_strings);
        let mut script = self.commands();
        if self.mutations && self.rng.chance(1, 6) {
            for statement in &mut script {
                mutate::mutate(statement, &mut self.rng);
            }
        }
        script
    }

    fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.rng.chance(numerator, denominator)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.rng.below(from.len() as u64);
        from[at as usize]
    }

    /// Whether to do something dangerous here.
    fn dares(&mut self) -> bool {
        self.mood == Mood::Wild && self.chance(1, 8)
    }

    /// Whether to use what the schema offers.
    fn local(&mut self) -> bool {
        self.mood != Mood::Clean && self.chance(1, 4)
    }

    fn say(&mut self, words: &str) {
        self.writer.words(words, &mut self.rng);
    }

    fn raw(&mut self, token: &str) {
        self.writer.token(token, &mut self.rng);
    }

    /// An identifier, given as PostgreSQL stores it.
    fn name(&mut self, name: &str) {
        self.writer.name(name, &mut self.rng);
    }

    /// A name with dots.
    fn dotted(&mut self, name: &str) {
        for (at, part) in name.split('.').enumerate() {
            if at > 0 {
                self.writer.dot(&mut self.rng);
            }
            self.name(part);
        }
    }

    fn fresh(&mut self) -> String {
        self.aliases += 1;
        let base = self.pick(names::ALIASES);
        format!("{base}{}", self.aliases)
    }
}

impl Statement {
    /// The text as a client sends it.
    pub fn text(&self) -> String {
        self.tokens.iter().flat_map(|token| [token.gap.as_str(), token.text.as_str()]).collect()
    }

    /// A text that means the same where `standard_conforming_strings` is on.
    pub fn standard_text(&self) -> String {
        let mark = |token: &Token| if token.escapes && !self.standard_strings { "E" } else { "" };
        self.tokens.iter().flat_map(|token| [token.gap.as_str(), mark(token), token.text.as_str()]).collect()
    }
}

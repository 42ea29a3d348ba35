//! One server, and a session on it that does what pgconvoy does with a write.

use std::collections::BTreeMap;

use pgconvoy_core::sql::Dialect;
use pgconvoy_core::sql::determinism::extended::{bind, parameter_description};
use pgconvoy_core::sql::determinism::table::{Answer, Table, question};
use pgconvoy_core::sql::determinism::{Class, Constants, Plan, Refusal, inspect};
use pgconvoy_io::testbed::{Options, Testbed};

use super::support::postgres::{start, superuser};
use super::support::wire::frontend::{Frontend, Target};
use super::support::wire::{Connection, Message};

/// Rows in text.
type Rows = Vec<Vec<Option<String>>>;

/// What the other server is to do.
pub enum Step {
    /// A text that changes the session.
    Set(String),
    /// A question that advances sequences.
    Ask(String),
    /// A text, and the SQLSTATE that it ended with, empty for none.
    Query(String, String),
    /// Messages, likewise.
    Messages(Vec<u8>, String),
}

/// What became of a statement.
pub enum Outcome {
    /// It was refused, for this reason.
    Refused(String),
    /// The server refused it with this SQLSTATE.
    Failed(String),
    /// It has run.
    Done {
        /// With constants in it.
        changed: bool,
    },
}

/// A server with a session.
pub struct Server {
    session: Connection,
    dialect: Dialect,
    /// What has been prepared by SQL: plans of which `EXECUTE` needs the constants.
    prepared: BTreeMap<String, Plan>,
    _testbed: Testbed,
}

impl Server {
    /// A server of its own with the tables of `schema`.
    pub fn start(schema: &str) -> Self {
        let testbed = start(Options::default());
        let mut session = superuser(&testbed);
        session.rows(schema);
        Server { session, dialect: Dialect::default(), prepared: BTreeMap::new(), _testbed: testbed }
    }

    /// Makes it unlike any other.
    pub fn disturb(&mut self) {
        for _ in 0..20 {
            self.session.rows("CREATE TABLE wasted (a int); DROP TABLE wasted; SELECT txid_current(), random()");
        }
        // Its rows stand elsewhere than where they were written.
        self.session.rows("UPDATE plain SET k = k");
        self.session.rows("VACUUM plain");
        self.session.rows("SELECT setseed(0.5), pg_sleep(1.1)");
    }

    /// Runs a text that must succeed.
    pub fn set(&mut self, text: &str) {
        self.session.rows(text);
        self.dialect.standard_conforming_strings =
            self.session.parameters.get("standard_conforming_strings").is_none_or(|value| value == "on");
    }

    /// Runs `text` as pgconvoy would, and notes what another server has to do.
    pub fn run(&mut self, text: &str, extended: bool, steps: &mut Vec<Step>) -> Outcome {
        let findings = inspect(text.as_bytes(), self.dialect);
        let plan = match self.plan(text) {
            Ok(plan) => plan,
            Err(refusal) => return Outcome::Refused(format!("{:?}", refusal.reason)),
        };
        let plan = match findings.executes() {
            Some(name) => plan.running(&self.prepared[&text[name]]),
            None => plan,
        };
        if findings.prepares() {
            let parametrized = plan.parametrize(text.as_bytes(), 0).expect("parameters");
            let out = String::from_utf8(parametrized.text.into_owned()).expect("UTF-8");
            let name = text.split_whitespace().nth(1).expect("a name");
            let state = self.query(&out);
            steps.push(Step::Query(out, state.clone()));
            self.prepared.insert(name.into(), plan);
            return if state.is_empty() { Outcome::Done { changed: true } } else { Outcome::Failed(state) };
        }
        let stands_still = plan.constants().iter().all(|constant| constant.class == Class::Transaction);
        if findings.executes().is_none() && stands_still && plan.locks().is_empty() {
            self.compare_with_original(text, &plan);
        }
        let changed = !plan.is_empty();
        let constants = self.ask(&plan, Some(steps));
        let state = if extended && findings.executes().is_none() && !text.starts_with("COPY") {
            let bytes = self.messages(text, &plan, &constants);
            let state = self.send(&bytes);
            steps.push(Step::Messages(bytes, state.clone()));
            state
        } else {
            let out = plan.rewrite(text.as_bytes(), &constants, self.dialect).expect("a text");
            let out = String::from_utf8(out.into_owned()).expect("UTF-8");
            let state = self.query(&out);
            steps.push(Step::Query(out, state.clone()));
            state
        };
        if state.is_empty() { Outcome::Done { changed } } else { Outcome::Failed(state) }
    }

    /// Does what another server has done.
    pub fn replay(&mut self, steps: &[Step]) {
        for step in steps {
            let (text, state, expected) = match step {
                Step::Set(text) => {
                    self.set(text);
                    continue;
                }
                Step::Ask(text) => {
                    self.session.rows(text);
                    continue;
                }
                Step::Query(text, expected) => (text.clone(), self.query(text), expected),
                Step::Messages(bytes, expected) => {
                    (String::from_utf8_lossy(bytes).into_owned(), self.send(bytes), expected)
                }
            };
            assert_eq!(state, *expected, "{text}");
        }
    }

    fn plan(&mut self, text: &str) -> Result<Plan, Refusal> {
        let findings = inspect(text.as_bytes(), self.dialect);
        let names: Vec<&str> = findings.tables().map(|range| &text[range]).collect();
        let tables = self.tables(&names);
        let known: BTreeMap<&[u8], &Option<Table>> = names.iter().map(|name| name.as_bytes()).zip(&tables).collect();
        findings.plan(text.as_bytes(), |name| known.get(name).and_then(|table| table.as_ref()))
    }

    fn tables(&mut self, names: &[&str]) -> Vec<Option<Table>> {
        if names.is_empty() {
            return Vec::new();
        }
        let sql = String::from_utf8(question(names.iter().map(|name| name.as_bytes()))).expect("UTF-8");
        let mut answer = Answer::new(names.len(), self.dialect);
        for row in self.session.rows(&sql) {
            let fields: Vec<Option<&[u8]>> = row.iter().map(|field| field.as_deref().map(str::as_bytes)).collect();
            answer.row(&fields).unwrap_or_else(|_| panic!("{row:?}"));
        }
        answer.finish()
    }

    fn ask(&mut self, plan: &Plan, steps: Option<&mut Vec<Step>>) -> Constants {
        let mut constants = Constants::new();
        if let Some(question) = plan.question() {
            let question = String::from_utf8(question).expect("UTF-8");
            for row in self.session.rows(&question) {
                constants.push(row[0].as_deref().map(str::as_bytes));
            }
            if let Some(steps) = steps.filter(|_| plan.asks_all_nodes()) {
                steps.push(Step::Ask(question));
            }
        }
        constants
    }

    /// Parse, Bind, Describe, Execute and Sync, with the constants as parameters.
    fn messages(&self, text: &str, plan: &Plan, constants: &Constants) -> Vec<u8> {
        let parametrized = plan.parametrize(text.as_bytes(), 0).expect("parameters");
        let body = |message: &Frontend| message.bytes()[5..].to_vec();
        let mut out = Vec::new();
        parametrized.parse(&body(&Frontend::parse("", text)), &mut out).expect("a message");
        parametrized.bind(&body(&Frontend::bind("", "")), constants, &mut out).expect("a message");
        for message in [Frontend::Describe(Target::Portal, String::new()), Frontend::execute(""), Frontend::Sync] {
            message.encode(&mut out);
        }
        out
    }

    /// Prepares `text` under the name `p`, with parameters for constants, and returns what its parameters are.
    pub fn prepare(&mut self, text: &str) -> (Plan, Vec<u8>) {
        let plan = self.plan(text).unwrap_or_else(|refusal| panic!("{refusal:?}: {text}"));
        let parametrized = plan.parametrize(text.as_bytes(), 1).expect("parameters");
        let original = Frontend::Parse { name: "p".into(), sql: text.into(), types: vec![23] };
        let mut out = Vec::new();
        parametrized.parse(&original.bytes()[5..], &mut out).expect("a message");
        Frontend::Describe(Target::Statement, "p".into()).encode(&mut out);
        Frontend::Sync.encode(&mut out);
        self.session.send_bytes(&out).expect("a write");
        let answer = self.session.read_to_ready().expect("an answer");
        assert_eq!(state(&answer), "", "{text}");
        let description = answer.iter().find(|message| message.kind == b't').expect("parameters");
        let mut seen = Vec::new();
        parameter_description(&description.body, parametrized.added, &mut seen).expect("a message");
        (plan, seen)
    }

    /// What a Bind of `p` with `value` in binary needs, for this server and any other.
    pub fn bind(&mut self, plan: &Plan, value: u32) -> Vec<u8> {
        let constants = self.ask(plan, None);
        let mut body = b"\0p\0\0\x01\0\x01\0\x01\0\0\0\x04".to_vec();
        body.extend_from_slice(&value.to_be_bytes());
        body.extend_from_slice(b"\0\0");
        let mut out = Vec::new();
        bind(&body, plan.constants().len(), &constants, &mut out).expect("a message");
        Frontend::execute("").encode(&mut out);
        Frontend::Sync.encode(&mut out);
        out
    }

    /// Sends messages that must succeed.
    pub fn succeed(&mut self, bytes: &[u8]) {
        assert_eq!(self.send(bytes), "");
    }

    /// The values of a query.
    pub fn rows(&mut self, sql: &str) -> Rows {
        self.session.rows(sql)
    }

    /// How much the planner thinks that the question about tables costs.
    pub fn cost_of_question(&mut self) -> f64 {
        let sql = String::from_utf8(question([&b"dated"[..], b"seen", b"token"])).expect("UTF-8");
        let plan = self.session.value(&format!("EXPLAIN {sql}"));
        let cost = plan.split_once("cost=").and_then(|(_, rest)| rest.split_once(".."));
        let total = cost.and_then(|(_, rest)| rest.split_once(' ')).expect("a cost").0;
        total.parse().expect("a number")
    }

    fn query(&mut self, text: &str) -> String {
        state(&self.session.query(text).expect("an answer"))
    }

    fn send(&mut self, bytes: &[u8]) -> String {
        self.session.send_bytes(bytes).expect("a write");
        state(&self.session.read_to_ready().expect("an answer"))
    }

    /// Runs the client's own text and the one with constants in one transaction: there `now()` stands still, so that both
    /// must leave the same, and answer the same.
    fn compare_with_original(&mut self, text: &str, plan: &Plan) {
        let text = text.trim_end_matches(';');
        self.session.rows("BEGIN; SAVEPOINT s");
        let original = self.session.query(text).expect("an answer");
        let after = if state(&original).is_empty() { Some(self.contents()) } else { None };
        self.session.rows("ROLLBACK TO s");
        let constants = self.ask(plan, None);
        let out = plan.rewrite(text.as_bytes(), &constants, self.dialect).expect("a text");
        let out = String::from_utf8(out.into_owned()).expect("UTF-8");
        let rewritten = self.session.query(&out).expect("an answer");
        if let Some(after) = after {
            assert_eq!(answer(&original), answer(&rewritten), "{text}\n{out}");
            let contents = self.contents();
            for (table, rows) in &after {
                assert_eq!(rows, &contents[table], "{table} after\n{text}\n{out}");
            }
        } else {
            assert_eq!(state(&original), state(&rewritten), "{text}\n{out}");
        }
        self.session.rows("ROLLBACK");
    }

    /// The rows of all tables, sorted.
    pub fn contents(&mut self) -> BTreeMap<String, Vec<String>> {
        let tables = self.names(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'stock'::regnamespace)",
        );
        tables
            .into_iter()
            .map(|table| {
                let rows = self.session.rows(&format!("SELECT the_row::text FROM {table} the_row ORDER BY 1"));
                (table, rows.into_iter().map(|mut row| row.remove(0).unwrap_or_default()).collect())
            })
            .collect()
    }

    /// Where all sequences stand.
    pub fn sequences(&mut self) -> Rows {
        self.session
            .rows("SELECT schemaname::text, sequencename::text, last_value::text FROM pg_sequences ORDER BY 1, 2")
    }

    fn names(&mut self, sql: &str) -> Vec<String> {
        self.session.rows(sql).into_iter().filter_map(|mut row| row.remove(0)).collect()
    }

    /// Names and types of the columns of the table `made`, which `text` makes.
    pub fn columns_of(&mut self, text: &str, rewritten: bool) -> Rows {
        let mut out = text.to_owned();
        if rewritten {
            let plan = self.plan(text).unwrap_or_else(|refusal| panic!("{refusal:?}: {text}"));
            let constants = self.ask(&plan, None);
            out = String::from_utf8(
                plan.rewrite(text.as_bytes(), &constants, self.dialect).expect("a text").into_owned(),
            )
            .expect("UTF-8");
        }
        self.session.rows(&out);
        let columns = self.session.rows(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = 'made'::regclass AND attnum > 0",
        );
        self.session.rows("DROP TABLE made");
        columns
    }
}

/// The SQLSTATE of an answer's first error; empty without one.
fn state(answer: &[Message]) -> String {
    answer.iter().find(|message| message.kind == b'E').map(Message::sqlstate).unwrap_or_default()
}

/// What an answer says: the columns with their types, rows, and how many were changed.
fn answer(messages: &[Message]) -> Vec<String> {
    let said = |message: &&Message| matches!(message.kind, b'D' | b'C' | b'T');
    messages
        .iter()
        .filter(said)
        .map(|message| format!("{}{:?}", message.kind as char, String::from_utf8_lossy(&message.body)))
        .collect()
}

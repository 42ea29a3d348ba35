//! pgconvoy beside Debian's pgpool-II in front of the same servers: generated sequences of statements go through both, and
//! the servers' logs tell to which of them each statement went. Every difference must be in `differences.txt`.
//!
//! - `sequences`: what a session says.
//! - `facts`: what is in a statement, without asking either proxy.
//! - `differences`: the list, and what it explains.
//! - `servers`: the cluster, both proxies, and the logs.
//!
//! `PGCONVOY_SEED` sets the first seed, `PGCONVOY_SEQUENCES` the number of sequences; each has the next seed.

mod differences;
mod facts;
mod sequences;
mod servers;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use differences::{Entry, Reason};
use facts::{Facts, Names, words};
use sequences::{How, Step, Unit, scripted, sequence};
use servers::{DATABASES, Log, Servers, Side};
use support::environment::{long_run, number_from, seed_of_now};
use support::wire::{Connection, Frontend};

/// What the data of a COPY are.
const COPIED: &[u8] = b"10\tcopied\n";
/// The seed of the long run in which every entry of the list must have a part; another sample may lack the rarest.
const SAMPLE: u64 = 1;
/// Differences without an explanation that are told in full.
const TOLD: usize = 12;

/// One statement, sent through both, and what came of it; of pairs, pgpool's is the first.
struct Sent {
    step: Step,
    /// The number that it bears in the servers' logs.
    mark: usize,
    /// Its place among the statements before one Sync.
    place: usize,
    /// The transaction status before it and after it.
    before: [u8; 2],
    after: [u8; 2],
    /// The first SQLSTATE of the answer; empty without an error.
    errors: [String; 2],
    /// What pgconvoy says of its decision, if it made one.
    decision: String,
}

impl Sent {
    /// What came of it, for people.
    fn line(&self, went: [&str; 2]) -> String {
        let Self { step: Step { text, how, .. }, errors, decision, .. } = self;
        let states = [self.before, self.after].map(|pair| pair.map(char::from));
        format!("{text}\n      {how:?} {states:?} -> {went:?} {errors:?} {decision}")
    }
}

/// One session's statements.
struct Run {
    /// The sequence's name.
    name: String,
    sent: Vec<Sent>,
    /// pgpool gave up the session.
    broken: bool,
}

/// A difference that no entry explains.
struct Unexplained {
    name: String,
    went: [&'static str; 2],
    facts: Facts,
    /// The sequence up to there.
    story: Vec<String>,
}

#[test]
fn every_difference_in_routing_is_explained() {
    let count = number_from("PGCONVOY_SEQUENCES").unwrap_or(if long_run() { 1_000 } else { 100 });
    let first = number_from("PGCONVOY_SEED").unwrap_or_else(seed_of_now);
    println!("seeds {first} to {}", first + count - 1);
    let mut servers = Servers::start();
    let names = Names::load(&mut servers.owner());
    let mut mark = 0;
    let scripted = (1..).zip(scripted()).map(|(number, units)| (format!("script {number}"), units));
    let random = (first..first + count).map(|seed| (format!("seed {seed}"), sequence(seed)));
    let runs: Vec<Run> =
        scripted.chain(random).map(|(name, units)| run(&mut servers, name, units, &mut mark)).collect();
    servers.pgconvoy.assert_healthy();
    let log = servers.read_logs();
    let list = differences::list();
    let mut tally = Tally::default();
    runs.iter().for_each(|run| tally.compare(run, &list, &names, &log));

    let broken = runs.iter().filter(|run| run.broken).count();
    println!("{} sequences, of which pgpool gave up {broken}", runs.len());
    tally.print(&list);
    let refused = log.refused(Side::Pgconvoy);
    assert!(refused.is_empty(), "pgconvoy had a standby write:\n{}", refused.join("\n"));
    // What finds that is seen to find it.
    assert!(!log.refused(Side::Pgpool).is_empty(), "pgpool has become harmless");
    let unexplained = tally.unexplained.len();
    assert!(unexplained == 0, "{unexplained} differences have no explanation");
    let (statements, balanced) = (tally.count(|_| true), tally.count(|[_, ours]| *ours == "standby"));
    assert!(balanced * 6 > statements, "only {balanced} of {statements} statements went to a standby");
    if long_run() && first == SAMPLE {
        let idle = list.iter().filter(|entry| !tally.explained.contains_key(entry.class)).map(|entry| entry.class);
        assert_eq!(idle.collect::<Vec<_>>(), Vec::<&str>::new(), "these explain nothing");
        let unproven = list.iter().filter(|entry| entry.proof.is_some() && !tally.proven.contains(entry.class));
        assert_eq!(unproven.map(|entry| entry.class).collect::<Vec<_>>(), Vec::<&str>::new(), "these are not proven");
    }
}

/// What all sequences have shown.
#[derive(Default)]
struct Tally {
    /// How many statements went to each pair of places, pgpool's first.
    went: BTreeMap<[&'static str; 2], usize>,
    /// How many differences each class explains.
    explained: BTreeMap<&'static str, usize>,
    /// The classes whose proof was seen.
    proven: BTreeSet<&'static str>,
    unexplained: Vec<Unexplained>,
}

impl Tally {
    /// Takes in one sequence.
    fn compare(&mut self, run: &Run, list: &[Entry], names: &Names, log: &Log) {
        let mut session = Session::new(names);
        let mut story = Vec::new();
        for sent in &run.sent {
            let facts = session.facts_of(sent);
            let went = [Side::Pgpool, Side::Pgconvoy].map(|side| log.place(side, sent.mark));
            session.learn(sent, went[1]);
            story.push(sent.line(went));
            // The servers do not log what is prepared and closed.
            if matches!(sent.step.how, How::Parse(_) | How::Close(_)) {
                continue;
            }
            *self.went.entry(went).or_default() += 1;
            if went[0] == went[1] {
                continue;
            }
            match list.iter().find(|entry| entry.explains(went[0], went[1], &facts)) {
                Some(entry) => {
                    *self.explained.entry(entry.class).or_default() += 1;
                    if proves(entry, sent) {
                        self.proven.insert(entry.class);
                    }
                }
                None => {
                    self.unexplained.push(Unexplained { name: run.name.clone(), went, facts, story: story.clone() })
                }
            }
        }
    }

    /// How many statements went to such places.
    fn count(&self, such: impl Fn(&[&str; 2]) -> bool) -> usize {
        self.went.iter().filter(|(places, _)| such(places)).map(|(_, count)| count).sum()
    }

    fn print(&self, list: &[Entry]) {
        let (statements, same) = (self.count(|_| true), self.count(|[theirs, ours]| theirs == ours));
        println!("{statements} statements, {same} routed alike");
        println!("{:>7}  {:10} {:10}", "", "pgpool", "pgconvoy");
        self.went.iter().for_each(|([theirs, ours], count)| println!("{count:>7}  {theirs:10} {ours:10}"));
        println!("differences by class:");
        for entry in list {
            let reason = if entry.reason == Reason::Safer { "safer" } else { "spreads more" };
            println!("{:>7}  {:12} {}", self.explained.get(entry.class).unwrap_or(&0), reason, entry.class);
        }
        for Unexplained { name, went, facts, story } in self.unexplained.iter().take(TOLD) {
            println!("\nunexplained: {name}, pgpool {}, pgconvoy {}\n{facts:?}\nat the end of", went[0], went[1]);
            story.iter().for_each(|line| println!("  {line}"));
        }
    }
}

/// Whether pgpool's answer was the error that tells what is wrong with its way, and ours was not.
fn proves(entry: &Entry, sent: &Sent) -> bool {
    entry.proof.is_some_and(|proof| sent.errors[0] == proof && sent.errors[1] != proof)
}

/// What the statements of a session so far mean for the facts of the next one.
struct Session<'n> {
    names: &'n Names,
    block: Facts,
    all: Facts,
    /// Of the statements before the same Sync.
    batch: Facts,
    /// What stood in reads outside transactions since the catalogue last changed.
    familiar: BTreeSet<String>,
}

impl<'n> Session<'n> {
    fn new(names: &'n Names) -> Self {
        let none = Facts::new();
        Self { names, block: none.clone(), all: none.clone(), batch: none, familiar: BTreeSet::new() }
    }

    /// What is said by the statement itself.
    fn own_facts(&self, step: &Step) -> Facts {
        let mut facts = self.names.facts(&step.text);
        facts.extend(step.says.iter().map(ToString::to_string));
        let protocol = match step.how {
            How::Query => "simple",
            How::Extended(_) => "extended",
            How::Parse(_) | How::Execute(..) | How::Close(_) => "named",
        };
        facts.insert(protocol.into());
        facts
    }

    /// All facts of the next statement.
    fn facts_of(&mut self, sent: &Sent) -> Facts {
        let mut facts = self.own_facts(&sent.step);
        let state = match sent.before[1] {
            b'I' => "idle",
            b'T' => "in_block",
            _ => "failed",
        };
        facts.insert(state.into());
        if sent.place == 0 {
            self.batch.clear();
        } else {
            facts.insert("in_batch".into());
        }
        let earlier = [("block", &self.block), ("session", &self.all), ("batch", &self.batch)];
        for (scope, earlier) in earlier {
            facts.extend(earlier.iter().map(|fact| format!("{scope}:{fact}")));
        }
        if !sent.errors[Side::Pgconvoy as usize].is_empty() {
            facts.insert("batch_fails".into());
        }
        for (side, error) in ["pgpool", "pgconvoy"].iter().zip(&sent.errors) {
            facts.extend((!error.is_empty()).then(|| format!("{side}:{error}")));
        }
        if !words(&sent.step.text).is_subset(&self.familiar) {
            facts.insert("unfamiliar".into());
        }
        facts
    }

    /// The statement has been sent, and this is where pgconvoy has sent it.
    fn learn(&mut self, sent: &Sent, went: &str) {
        let mut facts = self.own_facts(&sent.step);
        let text = &sent.step.text;
        if went == "primary" && !words(text).is_subset(&self.familiar) {
            facts.insert("not_looked_up".into());
        }
        if sent.place > 0 {
            facts.insert("in_batch".into());
        }
        let reshapes = ["create", "alter", "drop", "do", "call", "comment", "refresh"];
        if reshapes.iter().any(|verb| facts.contains(&format!("verb:{verb}"))) || facts.contains("into") {
            self.familiar.clear();
        } else if went == "standby" && sent.before[1] == b'I' {
            self.familiar.extend(words(text));
        }
        if sent.after[1] == b'I' {
            self.block.clear();
        } else {
            self.block.extend(facts.iter().cloned());
        }
        self.batch.extend(facts.iter().cloned());
        if facts.contains("several_with_control") && sent.before[1] != b'I' {
            self.all.insert("transaction_replaced".into());
        }
        if facts.contains("verb:deallocate") && facts.contains("word:all") && sent.before[1] != b'I' {
            self.all.insert("names_forgotten_in_a_transaction".into());
        }
        self.all.extend(facts);
    }
}

/// Sends one sequence through both, unit by unit.
fn run(servers: &mut Servers, name: String, units: Vec<Unit>, mark: &mut usize) -> Run {
    let mut run = Run { name, sent: Vec::new(), broken: false };
    let mut clients = [Side::Pgpool, Side::Pgconvoy].map(|side| Client::open(servers, side));
    for unit in units {
        let before = clients.each_ref().map(|client| client.status);
        let first = *mark;
        *mark += unit.len();
        let answers = clients.each_mut().map(|client| client.ask(&unit, first));
        let [Ok(theirs), Ok(ours)] = answers else {
            let [theirs, ours] = answers;
            assert!(ours.is_ok(), "{}: pgconvoy ended the session at {unit:?}: {ours:?}", run.name);
            run.broken = theirs.is_err();
            break;
        };
        let after = clients.each_ref().map(|client| client.status);
        let errors = [theirs, ours];
        let steps = unit.into_iter().enumerate();
        run.sent.extend(steps.map(|(place, step)| {
            let (mark, errors, decision) = (first + place, errors.clone(), String::new());
            Sent { step, mark, place, before, after, errors, decision }
        }));
        if after[0] != after[1] {
            // From here on the two would be asked different things.
            let [theirs, ours] = clients.each_mut().map(|client| client.connection.query("ROLLBACK"));
            assert!(ours.is_ok(), "{}: pgconvoy ended the session: {ours:?}", run.name);
            run.broken = theirs.is_err();
            if run.broken {
                break;
            }
            clients.iter_mut().for_each(|client| client.status = b'I');
        }
        if clients.iter().all(|client| client.status == b'I') {
            servers.wait_standbys_caught_up();
        }
    }
    clients[Side::Pgconvoy as usize].tell_decisions(&mut run.sent);
    clients.into_iter().for_each(|client| client.leave());
    run
}

/// A session through one of the proxies.
struct Client {
    connection: Connection,
    database: &'static str,
    status: u8,
}

impl Client {
    fn open(servers: &Servers, side: Side) -> Self {
        Self { connection: servers.session(side), database: DATABASES[side as usize], status: b'I' }
    }

    /// Sends a unit and reads its answer: the first SQLSTATE in it.
    fn ask(&mut self, unit: &Unit, first_mark: usize) -> io::Result<String> {
        let mut messages = Vec::new();
        for (place, step) in unit.iter().enumerate() {
            self.add_messages(step, first_mark + place, &mut messages);
        }
        if !matches!(messages[..], [Frontend::Query(_)]) {
            messages.push(Frontend::Sync);
        }
        self.connection.send_all(&messages)?;
        let mut error = String::new();
        loop {
            let message = self.connection.read()?;
            match message.kind {
                b'E' if error.is_empty() => error = message.sqlstate(),
                b'G' => self.connection.send_all(&[Frontend::CopyData(COPIED.to_vec()), Frontend::CopyDone])?,
                b'Z' => {
                    self.status = message.transaction_status();
                    return Ok(error);
                }
                _ => {}
            }
        }
    }

    /// The text of a step as it is sent here.
    fn spoken(&self, step: &Step) -> String {
        step.text.replace("{side}", self.database)
    }

    fn add_messages(&self, step: &Step, mark: usize, messages: &mut Vec<Frontend>) {
        let text = self.spoken(step);
        // Behind a comment to the end of the line.
        let gap = if text.contains("--") { "\n" } else { " " };
        let marked = format!("{text}{gap}/*#{mark}*/");
        let bind = |portal: &str, name: &str, parameters: &[String]| Frontend::Bind {
            portal: portal.into(),
            statement: name.into(),
            parameters: parameters.iter().cloned().map(Some).collect(),
            formats: Vec::new(),
        };
        match &step.how {
            How::Query => messages.push(Frontend::query(marked)),
            How::Extended(parameters) => {
                messages.extend([Frontend::parse("", &marked), bind("", "", parameters), Frontend::execute("")]);
            }
            How::Parse(name) => messages.push(Frontend::parse(name, &marked)),
            How::Execute(name, parameters) => {
                // One text is executed more than once: the portal bears the mark.
                let portal = format!("m{mark}");
                messages.extend([bind(&portal, name, parameters), Frontend::execute(&portal)]);
            }
            How::Close(name) => {
                messages.push(Frontend::Close(support::wire::frontend::Target::Statement, name.clone()));
            }
        }
    }

    /// Asks pgconvoy why it sent each statement where it did.
    fn tell_decisions(&mut self, sent: &mut [Sent]) {
        let rows = self.connection.rows("SHOW pool_decisions");
        let column = |row: &[Option<String>], at: usize| row[at].clone().unwrap_or_default();
        let session = rows.last().map(|row| column(row, 1));
        let mut next = 0;
        for row in rows.iter().filter(|row| session == Some(column(row, 1))) {
            // Parse and Close, and what is not understood, make no decision, or show no text.
            let text = column(row, 8);
            let text = text.split("/*#").next().unwrap_or_default().trim_end();
            if let Some(at) = sent[next..].iter().position(|sent| self.spoken(&sent.step).starts_with(text)) {
                sent[next + at].decision = format!("{}: {}", column(row, 6), column(row, 7));
                next += at + 1;
            }
        }
    }

    /// Says good-bye, with the last statement behind all that the load-balance node was sent.
    fn leave(mut self) {
        // Whatever has become of the session, it is over.
        let _ = self.connection.query("ROLLBACK").and_then(|_| self.connection.query("SELECT 1"));
        let _ = self.connection.leave();
    }
}

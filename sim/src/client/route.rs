//! `EXPLAIN ROUTE`: a statement is asked about, in either protocol, and then sent, in either protocol.
//!
//! What is asked about is of all kinds that the other requests have, and a generated statement now and then, which the
//! model servers refuse to run; but they tell that it arrived.

use super::automaton::{Answer, End, Expect, Outcome, UNREADABLE};
use super::request::{Kind, one_of_two, one_row, rows};
use super::{Client, ClientEvent};
use crate::fakepg;
use pgconvoy_core::sql::{Count, Dialect, Hazards, analyze};
use pgconvoy_statements::{Generator, Script};

/// What a client remembers of routes.
#[derive(Debug)]
pub struct Routes {
    /// The statement that is asked about.
    planned: Option<(String, Answer)>,
    /// The request that was sent when it had been answered.
    sent: Option<u32>,
    generator: Generator,
    script: Script,
    /// Generated statements that may change the session unseen.
    ends: u32,
}

impl Routes {
    /// Nothing has been asked.
    pub fn new(generator: Generator) -> Self {
        Self { planned: None, sent: None, generator, script: Script::new(), ends: 0 }
    }

    /// The next generated statement that servers refuse, and that is one.
    fn generated(&mut self) -> String {
        loop {
            let Some(statement) = self.script.pop() else {
                self.script = self.generator.script(true);
                continue;
            };
            let text = statement.text();
            let analysis = analyze(text.as_bytes(), Dialect::default());
            // What may change the session unseen ends its balancing: that is tried, but not at every turn.
            let ends = analysis.hazards.contains(Hazards::CHANGES_STATE_UNSEEN);
            self.ends += u32::from(ends);
            let tried = !ends || self.ends.is_multiple_of(16);
            if analysis.count == Count::One && tried && fakepg::refuses(text.as_bytes()) {
                return text;
            }
        }
    }
}

impl Client {
    /// Asks where a statement would go.
    pub(super) fn explain(&mut self, request: u32) {
        let next = request + 1;
        let (text, answer) = self.draw_subject(next);
        let blank = ["EXPLAIN ROUTE ", "explain route\n ", "EXPLAIN /* how */ ROUTE "][self.rng.below(3) as usize];
        let asked = format!("{blank}{text}");
        self.memory.routes.planned = Some((text, answer));
        self.memory.exclusive = true;
        self.events.push_back(ClientEvent::Asked(self.tag(next)));
        // No server gets to see it, but for the Sync.
        let seen = self.sent.len();
        let answer = Answer::new(request, Outcome::Explained);
        if self.rng.chance(1, 2) {
            self.query(next, &asked);
            self.automaton.owe(Expect::Statement(Answer { simple: true, ..answer }));
            self.automaton.owe(Expect::Ready(End::Query, Some(request)));
            return self.sent.truncate(seen);
        }
        self.parse(next, "", &asked, None);
        if self.rng.chance(1, 3) {
            self.describe(b'S', "", 0, Some(6), None);
        }
        self.bind(next, "", "", false, None);
        if self.rng.chance(1, 2) {
            self.describe(b'P', "", 0, Some(6), None);
        }
        self.execute("", 0, answer);
        self.sent.truncate(seen);
        self.sync(request);
    }

    /// A request is answered: if it asked about a route, the statement follows; if it was that, it has arrived.
    pub(super) fn go_on_after_explanation(&mut self, request: u32, failed: bool) {
        let routes = &mut self.memory.routes;
        if routes.sent.take_if(|sent| *sent == request).is_some() && !failed {
            self.events.push_back(ClientEvent::Followed(self.tag(request)));
        }
        let Some((text, answer)) = self.memory.routes.planned.take() else { return };
        let next = self.next_request();
        assert_eq!(next, answer.request, "something was asked for behind the question");
        self.memory.exclusive = true;
        if let Some(explanation) = self.automaton.explained.take() {
            self.events.push_back(ClientEvent::Explained(self.tag(next), explanation));
            self.memory.routes.sent = Some(next);
        }
        self.either_statement(&text, answer);
    }

    fn draw_subject(&mut self, request: u32) -> (String, Answer) {
        let tag = self.tag(request);
        let done = |command| Answer::new(request, Outcome::Done(command, None));
        match self.rng.below(24) {
            0 => (format!("SELECT '{tag}'"), Answer::new(request, one_row())),
            1 => (format!("/* in front */ SELECT '{tag}'"), Answer::new(request, one_row())),
            2 => (format!("SELECT '{tag}', generate_series(1, 3)"), Answer::new(request, rows(1, 3, 0))),
            3 | 4 => self.draw_read(request),
            5 | 6 => self.draw_write(request),
            7..=9 => {
                let (text, answer) = self.draw_block(request);
                (text.to_owned(), answer)
            }
            10 => self.draw_failure(request),
            11 | 12 => self.draw_named(request),
            13 => self.draw_various(Kind::Mess, request),
            14 => self.draw_various(Kind::Notify, request),
            15 => (String::new(), Answer::new(request, Outcome::Empty)),
            16 => ("SET LOCAL lock_timeout = '5'".to_owned(), done("SET")),
            17 => {
                // Of a temporary table perhaps; the model servers cannot read it, and say so.
                let made = self.rng.below(1 + u64::from(request));
                let text = format!("SELECT '{tag}', a FROM t{made}");
                (text, Answer::new(request, one_of_two()).fails(*b"42601"))
            }
            _ => (self.memory.routes.generated(), Answer::new(request, one_of_two()).fails(UNREADABLE)),
        }
    }
}

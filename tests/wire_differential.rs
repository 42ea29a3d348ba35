//! The same message scripts to PostgreSQL and through pgconvoy: the answers must be equal, message by message.
//!
//! `PGCONVOY_SEED` sets the seed of the first random script.

mod support;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use support::environment::{number_from, seed_of_now};
use support::postgres::{address, shared, superuser_login};
use support::relay::{Action, Choose, Relay, Sender};
use support::script::Script;
use support::transcript::{Side, Transcript, describe};
use support::wire::Login;

/// Threads that run scripts, each with one session on either side.
const WORKERS: u64 = 4;
/// After this many differences the rest is not run.
const ENOUGH: usize = 5;

#[test]
fn a_proxy_that_loses_or_doubles_an_answer_is_found_out() {
    let direct = address(shared().node(0));
    for change in [Vec::new(), b"1\0\0\0\x041\0\0\0\x04".to_vec()] {
        let choose: Choose = Box::new(move |_| {
            let (change, mut parsed) = (change.clone(), 0);
            Some(Box::new(move |sender, message| {
                parsed += u32::from(sender == Sender::Server && message.kind == b'1');
                if parsed == 20 && message.kind == b'1' { Action::Replace(change.clone()) } else { Action::Pass }
            }))
        });
        let relay = Relay::start(direct, choose);
        let run = Run { direct, proxied: relay.address(), login: login(), count: 200 };
        assert!(!run.differences().is_empty(), "a changed answer went unnoticed");
    }
}

/// Scripts to run on two sides.
struct Run {
    direct: SocketAddr,
    proxied: SocketAddr,
    login: Login,
    count: u64,
}

impl Run {
    /// Runs the scripts from the first seed on; gives a report for each that differs, of a few at most.
    fn differences(&self) -> Vec<String> {
        let first = number_from("PGCONVOY_SEED").unwrap_or_else(seed_of_now);
        eprintln!("PGCONVOY_SEED={first} PGCONVOY_SCRIPTS={}", self.count);
        let next = AtomicU64::new(0);
        let found = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..WORKERS.min(self.count) {
                scope.spawn(|| {
                    let mut sides = self.sides();
                    while found.lock().expect("no worker panics with the lock").len() < ENOUGH {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.count {
                            return;
                        }
                        let script = Script::generate(first.wrapping_add(number));
                        if let Some((expected, seen)) = difference(&mut sides, &script) {
                            let report = self.report(&script, &expected, &seen);
                            found.lock().expect("no worker panics with the lock").push(report);
                            sides = self.sides();
                        }
                    }
                });
            }
        });
        found.into_inner().expect("no worker panics with the lock")
    }

    fn sides(&self) -> (Side, Side) {
        (Side::new(self.direct, &self.login), Side::new(self.proxied, &self.login))
    }

    /// The transcripts of the smallest script that still shows a difference, and the command that replays the whole one.
    fn report(&self, script: &Script, expected: &Transcript, seen: &Transcript) -> String {
        let replay = format!(
            "replay: PGCONVOY_SEED={} PGCONVOY_SCRIPTS=1 cargo test --test wire_differential -- --nocapture",
            script.seed
        );
        let Some(transcripts) = difference(&mut self.sides(), script) else {
            let difference = describe(expected, seen);
            return format!("{script:#?}\n{difference}\nFresh sessions agree: it takes an earlier script.\n{replay}");
        };
        let (mut smallest, mut transcripts) = (script.clone(), transcripts);
        let mut at = 0;
        while at < smallest.messages.len() {
            let mut shorter = smallest.clone();
            shorter.messages.remove(at);
            match difference(&mut self.sides(), &shorter) {
                Some(still) => (smallest, transcripts) = (shorter, still),
                None => at += 1,
            }
        }
        format!("{smallest:#?}\n{}\n{replay}", describe(&transcripts.0, &transcripts.1))
    }
}

fn difference(sides: &mut (Side, Side), script: &Script) -> Option<(Transcript, Transcript)> {
    let (expected, seen) = (sides.0.run(script), sides.1.run(script));
    // Some sessions end here, so that pooled connections change hands.
    if script.seed.is_multiple_of(16) {
        sides.0.leave();
        sides.1.leave();
    }
    (expected != seen).then_some((expected, seen))
}

fn login() -> Login {
    superuser_login().parameter("application_name", "scripts")
}

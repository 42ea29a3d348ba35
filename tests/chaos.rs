//! Sixty-four clients under cancels, timeouts, disconnects and terminated servers: every row carries its request's tag,
//! so a row that reaches the wrong client is seen, and so is a cancel that hits the wrong one and a client that waits.
//!
//! `PGCONVOY_SEED` repeats a run's choices (not its timing), `PGCONVOY_CHAOS_SECONDS` sets how long it takes,
//! `PGCONVOY_LONG=1` makes that five minutes.

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgconvoy_core::rng::Rng;
use pgconvoy_io::testbed::{Options, Testbed};
use support::environment::{long_run, number_from, seed_of_now};
use support::postgres::{address, role, shared, start, superuser, superuser_login, wait_until};
use support::proxy::{Backend, Proxy};
use support::relay::{Action, Choose, Relay, Sender};
use support::wire::{Connection, Frontend, Login, LoginError, Message, cancel, is_closed};

/// Clients at a time.
const CLIENTS: u64 = 64;
/// No client waits longer for an answer.
const WAIT_LIMIT: Duration = Duration::from_secs(5);
/// Keys of sessions that are over, kept for cancels that must hit nobody.
const STALE_KEYS: usize = 256;

#[test]
fn no_row_or_cancel_reaches_the_wrong_client() {
    survive(shared(), "chaos");
}

#[test]
fn no_row_or_cancel_reaches_the_wrong_client_over_three_nodes() {
    survive(&start(Options { standbys: 2, max_connections: 200, ..Options::default() }), "chaos_balanced");
}

/// Runs the whole crowd through pgconvoy over all nodes of `testbed`, with a role called `name`.
fn survive(testbed: &Testbed, name: &str) {
    let login = role(testbed, name);
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let backends: Vec<Backend> = testbed.nodes().iter().map(|node| Backend::from(address(node))).collect();
    let mut proxy = Proxy::over(&backends).set("num_init_children", CLIENTS + 16).set("max_pool", 1).start();
    let seconds = number_from("PGCONVOY_CHAOS_SECONDS").unwrap_or(if long_run() { 300 } else { 12 });
    let chaos = Chaos::new(testbed, proxy.address(), &login, CLIENTS, Duration::from_secs(seconds));
    chaos.run();
    proxy.assert_healthy();
    let totals = chaos.verdict().unwrap_or_else(|violation| panic!("{violation}"));
    eprintln!("{totals:?}");
    assert!(
        totals.rows > 10_000 && totals.canceled > 10 && totals.terminated > 10 && totals.vanished > 10,
        "{totals:?}"
    );
    let mut root = superuser(testbed);
    let busy = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{name}' AND state <> 'idle'");
    wait_until(Duration::from_secs(3), "nothing of the clients goes on", || root.value(&busy) == "0");
}

#[test]
fn a_foreign_row_and_a_foreign_cancel_are_found_out() {
    let testbed = shared();
    let replacements = [
        Frontend::Other(b'D', b"\0\x01\0\0\0\x04c0r0".to_vec()).bytes(),
        Frontend::Other(b'E', b"SERROR\0VERROR\0C57014\0Mcanceling statement due to user request\0\0".to_vec()).bytes(),
    ];
    for (number, replacement) in replacements.into_iter().enumerate() {
        let login = role(testbed, &format!("chaos_planted_{number}"));
        let choose: Choose = Box::new(move |_| {
            let (replacement, mut rows) = (replacement.clone(), 0);
            Some(Box::new(move |sender, message: &Message| {
                rows += u32::from(sender == Sender::Server && message.kind == b'D');
                if rows == 50 && message.kind == b'D' { Action::Replace(replacement.clone()) } else { Action::Pass }
            }))
        });
        let relay = Relay::start(address(testbed.node(0)), choose);
        let chaos = Chaos::new(testbed, relay.address(), &login, 4, Duration::from_secs(2));
        chaos.run();
        assert!(chaos.verdict().is_err(), "a planted fault went unnoticed");
    }
}

/// What has been seen.
#[derive(Clone, Debug, Default)]
struct Totals {
    logins: u64,
    requests: u64,
    rows: u64,
    canceled: u64,
    stale_cancels: u64,
    terminated: u64,
    vanished: u64,
    longest_wait: Duration,
}

/// One run: its clients, and what they found.
struct Chaos<'a> {
    testbed: &'a Testbed,
    server: SocketAddr,
    login: Login,
    clients: u64,
    duration: Duration,
    seed: u64,
    over: AtomicBool,
    totals: Mutex<Totals>,
    stale: Mutex<Vec<(u32, Vec<u8>)>>,
    violation: Mutex<Option<String>>,
}

impl<'a> Chaos<'a> {
    fn new(testbed: &'a Testbed, server: SocketAddr, login: &Login, clients: u64, duration: Duration) -> Self {
        let seed = number_from("PGCONVOY_SEED").unwrap_or_else(seed_of_now);
        eprintln!("PGCONVOY_SEED={seed}, {clients} clients for {duration:?}");
        Self {
            testbed,
            server,
            login: login.clone(),
            clients,
            duration,
            seed,
            over: AtomicBool::new(false),
            totals: Mutex::default(),
            stale: Mutex::default(),
            violation: Mutex::default(),
        }
    }

    fn run(&self) {
        std::thread::scope(|scope| {
            for number in 0..self.clients {
                scope.spawn(move || Client::new(self, number).run());
            }
            scope.spawn(|| self.terminate_at_random());
            let begun = Instant::now();
            while begun.elapsed() < self.duration && !self.over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
            }
            self.over.store(true, Ordering::Relaxed);
        });
    }

    fn verdict(&self) -> Result<Totals, String> {
        match self.violation.lock().expect("no client panics with the lock").take() {
            Some(violation) => Err(format!("PGCONVOY_SEED={}: {violation}", self.seed)),
            None => Ok(self.totals.lock().expect("no client panics with the lock").clone()),
        }
    }

    /// Ends server processes, past the proxy.
    fn terminate_at_random(&self) {
        let mut rng = Rng::new(self.seed).fork(u64::MAX);
        let enter = |node| Connection::login(address(node), &superuser_login()).expect("a session past the proxy");
        let mut nodes: Vec<Connection> = self.testbed.nodes().iter().map(enter).collect();
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE usename = '{}' ORDER BY random() LIMIT 1) victim",
            self.login.user
        );
        while !self.over.load(Ordering::Relaxed) {
            let node = usize::try_from(rng.below(nodes.len() as u64)).expect("a short list");
            nodes[node].rows(&sql);
            std::thread::sleep(Duration::from_millis(20 + rng.below(100)));
        }
    }

    fn count(&self, count: impl FnOnce(&mut Totals)) {
        count(&mut self.totals.lock().expect("no client panics with the lock"));
    }

    fn report(&self, violation: String) {
        self.violation.lock().expect("no client panics with the lock").get_or_insert(violation);
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Why a session is of no more use.
enum Over {
    /// Its server was ended, or it ended itself.
    Session,
    /// Something happened that must not.
    Violation(String),
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        if is_closed(&error) { Self::Session } else { Self::Violation(error.to_string()) }
    }
}

/// What a request may be answered with.
#[derive(Clone, Copy, Default)]
struct Allowed {
    /// It may have been cancelled, by its timeout or its own client.
    cancel: bool,
    /// It divides by zero.
    division: bool,
}

/// One client: a session at a time, a request at a time.
struct Client<'a> {
    chaos: &'a Chaos<'a>,
    number: u64,
    requests: u64,
    rng: Rng,
    /// A cancel was sent for the request before this one, and PostgreSQL may take it for this one.
    cancel_pending: bool,
}

impl<'a> Client<'a> {
    fn new(chaos: &'a Chaos<'a>, number: u64) -> Self {
        Self { chaos, number, requests: 0, rng: Rng::new(chaos.seed).fork(number), cancel_pending: false }
    }

    fn run(mut self) {
        while !self.chaos.over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            match Connection::login(self.chaos.server, &self.chaos.login) {
                Ok(mut session) => {
                    self.waited(begun);
                    self.chaos.count(|totals| totals.logins += 1);
                    session.set_patience(WAIT_LIMIT);
                    self.cancel_pending = false;
                    let key = (session.process_id, session.secret.clone());
                    let over = self.live(session);
                    self.chaos.retire(key);
                    if let Over::Violation(what) = over {
                        let client = self.number;
                        return self.chaos.report(format!("client {client}, request {}: {what}", self.requests));
                    }
                }
                Err(LoginError::Refused(error)) if error.sqlstate() == "57P01" => {}
                Err(LoginError::Broken(error)) if is_closed(&error) => {}
                Err(error) => return self.chaos.report(format!("client {}: login: {error:?}", self.number)),
            }
        }
    }

    /// Sends requests until the session is over.
    fn live(&mut self, mut session: Connection) -> Over {
        while !self.chaos.over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            self.requests += 1;
            let done = match self.rng.below(24) {
                0..=3 => self.simple(&mut session),
                4..=7 => self.prepared(&mut session),
                8 | 9 => self.pipeline(&mut session),
                10 | 11 => self.copy_out(&mut session),
                12 | 13 => self.copy_in(&mut session),
                14 => self.notify(&mut session),
                15 => self.division(&mut session),
                16 => self.timeout(&mut session),
                17 | 18 => self.cancel_own(&mut session),
                19 => self.cancel_stale(),
                20 => {
                    self.chaos.count(|totals| totals.vanished += 1);
                    return self.vanish(session);
                }
                21 => return session.leave().map_or_else(Over::from, |()| Over::Session),
                _ => self.transaction(&mut session),
            };
            self.waited(begun);
            if let Err(over) = done {
                return over;
            }
        }
        Over::Session
    }

    fn waited(&self, begun: Instant) {
        let wait = begun.elapsed();
        if wait > WAIT_LIMIT {
            self.chaos.report(format!("client {} waited {wait:?}", self.number));
        }
        self.chaos.count(|totals| totals.longest_wait = totals.longest_wait.max(wait));
    }

    fn tag(&self) -> String {
        format!("c{}r{}", self.number, self.requests)
    }

    /// Reads `wanted` answers; every row of the n-th must begin with the n-th of `tags`.
    fn answers(&mut self, session: &mut Connection, tags: &[&str], allowed: Allowed) -> Result<(), Over> {
        let allowed = Allowed { cancel: allowed.cancel || self.cancel_pending, ..allowed };
        for tag in tags {
            loop {
                let message = session.read()?;
                self.check(&message, tag, allowed)?;
                if message.kind == b'Z' {
                    break;
                }
            }
        }
        self.chaos.count(|totals| totals.requests += tags.len() as u64);
        self.cancel_pending = false;
        Ok(())
    }

    fn check(&self, message: &Message, tag: &str, allowed: Allowed) -> Result<(), Over> {
        let carried = match message.kind {
            b'D' => message.row().first().cloned().flatten().unwrap_or_default(),
            b'd' => String::from_utf8_lossy(&message.body).split(['\t', '\n']).next().unwrap_or_default().to_string(),
            b'A' => message
                .line()
                .rsplit_once(' ')
                .map(|(_, payload)| payload.trim_matches('"').to_string())
                .unwrap_or_default(),
            b'E' => return self.check_error(message, tag, allowed),
            _ => return Ok(()),
        };
        self.chaos.count(|totals| totals.rows += 1);
        if carried == tag { Ok(()) } else { Err(Over::Violation(format!("{message:?} is no answer to {tag}"))) }
    }

    fn check_error(&self, error: &Message, tag: &str, allowed: Allowed) -> Result<(), Over> {
        let state = error.sqlstate();
        match state.as_str() {
            "57014" if allowed.cancel => self.chaos.count(|totals| totals.canceled += 1),
            "22012" if allowed.division => {}
            // Its server was ended.
            "57P01" | "08006" | "08000" | "08003" => {
                self.chaos.count(|totals| totals.terminated += 1);
                return Err(Over::Session);
            }
            _ => return Err(Over::Violation(format!("{tag} was answered with {error:?}"))),
        }
        Ok(())
    }

    fn simple(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        let rows = 1 + self.rng.below(200);
        session
            .send(&Frontend::query(format!("SELECT '{tag}', g, repeat('x', 50) FROM generate_series(1, {rows}) g")))?;
        self.answers(session, &[&tag], Allowed::default())
    }

    /// The same statement name as everybody else.
    fn prepared(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        let statement = "SELECT $1::text, g FROM generate_series(1, 20) g";
        let bind = Frontend::Bind {
            portal: String::new(),
            statement: "s1".into(),
            parameters: vec![Some(tag.clone())],
            formats: Vec::new(),
        };
        let portion = Frontend::Execute { portal: String::new(), rows: 7 };
        let close = Frontend::Close(support::wire::frontend::Target::Statement, "s1".into());
        session.send_all(&[
            close,
            Frontend::parse("s1", statement),
            bind.clone(),
            portion.clone(),
            portion,
            Frontend::Sync,
        ])?;
        self.answers(session, &[&tag], Allowed::default())?;
        session.send_all(&[bind, Frontend::execute(""), Frontend::Sync])?;
        self.answers(session, &[&tag], Allowed::default())
    }

    fn pipeline(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tags: Vec<String> = (0..3).map(|part| format!("{}p{part}", self.tag())).collect();
        let messages: Vec<Frontend> = tags
            .iter()
            .flat_map(|tag| {
                [
                    Frontend::parse("", &format!("SELECT '{tag}'")),
                    Frontend::bind("", ""),
                    Frontend::execute(""),
                    Frontend::Sync,
                ]
            })
            .collect();
        session.send_all(&messages)?;
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        self.answers(session, &tags, Allowed::default())
    }

    fn copy_out(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        session.send(&Frontend::query(format!("COPY (SELECT '{tag}', g FROM generate_series(1, 100) g) TO STDOUT")))?;
        self.answers(session, &[&tag], Allowed::default())
    }

    fn copy_in(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        session.send_all(&[
            Frontend::query("CREATE TEMP TABLE IF NOT EXISTS t (tag text); TRUNCATE t"),
            Frontend::query("COPY t FROM STDIN"),
            Frontend::CopyData(format!("{tag}\n").repeat(50).into_bytes()),
            Frontend::CopyDone,
            Frontend::query("SELECT tag FROM t"),
        ])?;
        self.answers(session, &[&tag, &tag, &tag], Allowed::default())
    }

    fn notify(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        // A channel of its own: what arrives here was sent here.
        let channel = format!("channel{}", self.number);
        session.send(&Frontend::query(format!("LISTEN {channel}; NOTIFY {channel}, '{tag}'; SELECT '{tag}'")))?;
        self.answers(session, &[&tag], Allowed::default())?;
        session.send(&Frontend::query("UNLISTEN *"))?;
        self.answers(session, &[&tag], Allowed::default())
    }

    fn division(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        session.send(&Frontend::query(format!("SELECT '{tag}', 10 / (5 - g) FROM generate_series(1, 8) g")))?;
        self.answers(session, &[&tag], Allowed { division: true, ..Allowed::default() })
    }

    fn transaction(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        let end = if self.rng.chance(1, 2) { "COMMIT" } else { "ROLLBACK" };
        for sql in [
            "BEGIN".to_string(),
            format!("CREATE TEMP TABLE IF NOT EXISTS t (tag text); TRUNCATE t; INSERT INTO t VALUES ('{tag}')"),
            "SELECT tag FROM t".to_string(),
            end.to_string(),
        ] {
            session.send(&Frontend::query(sql))?;
            self.answers(session, &[&tag], Allowed::default())?;
        }
        Ok(())
    }

    fn timeout(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        session.send_all(&[
            Frontend::query("SET statement_timeout = '20ms'"),
            Frontend::query(format!("SELECT '{tag}' FROM pg_sleep(0.05)")),
            Frontend::query("SET statement_timeout = 0"),
        ])?;
        self.answers(session, &[&tag, &tag, &tag], Allowed { cancel: true, ..Allowed::default() })
    }

    /// Cancels its own request, early, in time or too late.
    fn cancel_own(&mut self, session: &mut Connection) -> Result<(), Over> {
        let tag = self.tag();
        session.send(&Frontend::query(format!("SELECT '{tag}', g FROM generate_series(1, 50) g, pg_sleep(0.02)")))?;
        std::thread::sleep(Duration::from_micros(self.rng.below(30_000)));
        cancel(self.chaos.server, session.process_id, &session.secret)?;
        self.answers(session, &[&tag], Allowed { cancel: true, ..Allowed::default() })?;
        self.cancel_pending = true;
        Ok(())
    }

    /// Cancels with the key of a session that is over, while others may have its connection.
    fn cancel_stale(&mut self) -> Result<(), Over> {
        let Some((process_id, secret)) = self.chaos.stale_key(&mut self.rng) else { return Ok(()) };
        cancel(self.chaos.server, process_id, &secret)?;
        self.chaos.count(|totals| totals.stale_cancels += 1);
        Ok(())
    }

    /// Leaves without a word in the middle of something.
    fn vanish(&mut self, mut session: Connection) -> Over {
        let tag = self.tag();
        let batch = support::wire::encode_all(&[
            Frontend::parse("s1", &format!("SELECT '{tag}' FROM generate_series(1, 100000)")),
            Frontend::bind("", "s1"),
            Frontend::execute(""),
            Frontend::Sync,
        ]);
        let copy = support::wire::encode_all(&[
            Frontend::query("CREATE TEMP TABLE IF NOT EXISTS t (tag text)"),
            Frontend::query("COPY t FROM STDIN"),
            Frontend::CopyData(format!("{tag}\n").repeat(20).into_bytes()),
        ]);
        let query = Frontend::query(format!("BEGIN; SELECT '{tag}', pg_sleep(0.2)")).bytes();
        let words = match self.rng.below(3) {
            0 => batch,
            1 => copy,
            _ => query,
        };
        let length = usize::try_from(1 + self.rng.below(words.len() as u64)).expect("a short text");
        let heard = session.send_bytes(&words[..length]);
        std::thread::sleep(Duration::from_micros(self.rng.below(3_000)));
        heard.map_or_else(Over::from, |()| Over::Session)
    }
}

impl Chaos<'_> {
    fn retire(&self, key: (u32, Vec<u8>)) {
        let mut stale = self.stale.lock().expect("no client panics with the lock");
        if stale.len() == STALE_KEYS {
            stale.remove(0);
        }
        stale.push(key);
    }

    fn stale_key(&self, rng: &mut Rng) -> Option<(u32, Vec<u8>)> {
        let stale = self.stale.lock().expect("no client panics with the lock");
        (!stale.is_empty())
            .then(|| stale[usize::try_from(rng.below(stale.len() as u64)).expect("a short list")].clone())
    }
}

//! What runs on each simulated host: pgconvoy, a model server, a client.

use super::env::Turmoil;
use super::stream::ChopStream;
use super::{ROWS, SESSIONS, slot_rng};
use crate::client::{Client, ClientEvent};
use crate::fakepg::{ConnId, FakePg, Observation};
use crate::plan::{Concern, Plan, Topology};
use crate::tag::Tag;
use crate::world::Failure;
use crate::world::mark::Mark;
use crate::world::trace::Trace;
use bytes::BytesMut;
use pgconvoy_core::auth::passwd::PasswordFile;
use pgconvoy_core::node::{Mode, NodeId};
use pgconvoy_core::policy::Policy;
use pgconvoy_core::pool::PoolSettings;
use pgconvoy_core::rng::Rng;
use pgconvoy_core::session::Setup;
use pgconvoy_core::time::Instant;
use pgconvoy_core::wire::build;
use pgconvoy_io::config::Config;
use pgconvoy_io::env::Address;
use pgconvoy_io::server::settings::{BackendSettings, ProbeSettings, Settings};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use turmoil::net::{TcpListener, TcpStream};

/// The port that pgconvoy and the servers listen on.
const PORT: u16 = 5432;
/// One read, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// What all hosts tell, and what is judged.
pub struct Bench {
    pub now: Instant,
    pub failure: Option<Failure>,
    pub trace: Trace,
    pub events: u64,
    pub answered: u64,
    pub marks: BTreeMap<Mark, u64>,
    pub healed: bool,
    pub disrupted: bool,
    /// pgconvoy may put a block round a client's first statement.
    replicated: bool,
    next_client: u32,
    /// Cancel requests that were sent with the key of a session; and sessions that are over.
    cancels: BTreeMap<u32, u32>,
    over: BTreeSet<u32>,
}

/// How a link looks when its client's first statement comes within a block of pgconvoy's own.
const WRAPPED: &str = "a transaction is open (Inside); ";

impl Bench {
    pub fn new(replicated: bool) -> Self {
        Self {
            replicated,
            now: Instant::ZERO,
            failure: None,
            trace: Trace::new(false),
            events: 0,
            answered: 0,
            marks: BTreeMap::new(),
            healed: false,
            disrupted: false,
            next_client: 0,
            cancels: BTreeMap::new(),
            over: BTreeSet::new(),
        }
    }

    fn read(&mut self, who: u64, bytes: &[u8]) {
        self.events += 1;
        let now = self.now;
        self.trace.note(now, [who, bytes.len() as u64]);
        self.trace.bytes(bytes);
    }

    fn observe(&mut self, observation: &Observation) {
        match observation {
            Observation::HandOut(hand_out) if self.replicated && hand_out.unclean == WRAPPED => {}
            Observation::HandOut(hand_out) if !hand_out.unclean.is_empty() => {
                self.fail(format!("I03: a link came to c{} unclean: {}", hand_out.client, hand_out.unclean));
            }
            Observation::Interrupted { owner: Some(owner), request, .. }
                if !self.cancels.contains_key(owner) && !self.over.contains(owner) =>
            {
                self.fail(format!("I05: {request:?} was cancelled by nobody"));
            }
            _ => {}
        }
    }

    /// A client was told of a failure that it had not asked for.
    fn explain(&mut self, client: u32, code: [u8; 5], fatal: bool) {
        let codes: &[&[u8; 5]] = &[b"57P01", b"57P02", b"57P03", b"08006", b"08007", b"53300"];
        if self.disrupted && codes.contains(&&code) {
            return;
        }
        let code = String::from_utf8_lossy(&code).into_owned();
        self.fail(format!("I02: c{client} was told {code} (fatal {fatal}), and no fault explains it"));
    }
}

/// A model server with its connections.
pub struct ServerHost {
    pub pg: RefCell<FakePg>,
    bench: Rc<RefCell<Bench>>,
    wake: RefCell<BTreeMap<ConnId, Rc<Notify>>>,
    timer: Notify,
    next: RefCell<ConnId>,
}

impl ServerHost {
    pub fn new(pg: FakePg, bench: Rc<RefCell<Bench>>) -> Rc<Self> {
        Rc::new(Self {
            pg: RefCell::new(pg),
            bench,
            wake: RefCell::default(),
            timer: Notify::new(),
            next: RefCell::new(0),
        })
    }

    /// Does something to the server, and tells whoever has to know of it.
    pub fn change<R>(&self, act: impl FnOnce(&mut FakePg) -> R) -> R {
        let mut pg = self.pg.borrow_mut();
        let result = act(&mut pg);
        while let Some(conn) = pg.poll_output() {
            if let Some(wake) = self.wake.borrow().get(&conn) {
                wake.notify_one();
            }
        }
        let mut bench = self.bench.borrow_mut();
        pg.observed().drain(..).for_each(|observation| bench.observe(&observation));
        self.timer.notify_one();
        result
    }

    /// Nothing may be half-done on a connection that waits in the pool (I03, I14).
    pub fn check_idle(&self) -> Result<(), String> {
        let pg = self.pg.borrow();
        let mut unclean = pg.connections().filter_map(|conn| pg.unclean(conn)).filter(|text| !text.is_empty());
        unclean.next().map_or(Ok(()), |text| Err(format!("I14: a connection waits in the pool unclean: {text}")))
    }

    fn now(&self) -> Instant {
        Instant(turmoil::sim_elapsed().unwrap_or_default().as_nanos() as u64)
    }

    pub async fn serve(self: Rc<Self>) -> turmoil::Result {
        let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await?;
        spawn_local(Rc::clone(&self).keep_time());
        loop {
            let (stream, _) = listener.accept().await?;
            let conn = {
                let mut next = self.next.borrow_mut();
                *next += 1;
                *next
            };
            if self.change(|pg| pg.handle_connect(conn)) {
                let wake = Rc::new(Notify::new());
                self.wake.borrow_mut().insert(conn, Rc::clone(&wake));
                spawn_local(Rc::clone(&self).talk(conn, stream, wake));
            }
        }
    }

    async fn keep_time(self: Rc<Self>) {
        loop {
            let now = self.now();
            let next = self.pg.borrow().poll_timeout();
            match next {
                Some(at) if at <= now => self.change(|pg| pg.handle_timeout(now)),
                Some(at) => drop(tokio::time::timeout(at.since(now), self.timer.notified()).await),
                None => self.timer.notified().await,
            }
        }
    }

    /// Carries bytes for one connection.
    async fn talk(self: Rc<Self>, conn: ConnId, stream: TcpStream, wake: Rc<Notify>) {
        let (mut reader, mut writer) = stream.into_split();
        let listening = Rc::clone(&self);
        let reading = spawn_local(async move {
            let mut buffer = BytesMut::new();
            while matches!(reader.read_buf(&mut buffer).await, Ok(read) if read > 0) {
                listening.bench.borrow_mut().read(u64::from(conn) << 1, &buffer);
                let now = listening.now();
                listening.change(|pg| pg.handle_read(conn, &mut buffer, now));
            }
            let now = listening.now();
            listening.change(|pg| pg.handle_closed(conn, now));
            if let Some(wake) = listening.wake.borrow_mut().remove(&conn) {
                wake.notify_one();
            }
        });
        loop {
            let out = self.pg.borrow_mut().output(conn).map(|out| out.split().freeze());
            match out {
                Some(out) if !out.is_empty() => {
                    if writer.write_all(&out).await.is_err() {
                        break;
                    }
                    let now = self.now();
                    self.change(|pg| pg.handle_drained(conn, now));
                }
                Some(_) if !self.pg.borrow().is_closed(conn) => wake.notified().await,
                _ => break,
            }
        }
        reading.abort();
        let now = self.now();
        self.change(|pg| pg.handle_closed(conn, now));
        self.wake.borrow_mut().remove(&conn);
    }
}

/// Runs pgconvoy.
pub async fn proxy(plan: Plan) -> turmoil::Result {
    let env = Turmoil::new(plan.rng(Concern::Proxy), plan.weather.chop.max(2));
    // Nobody sends commands: the program runs until the simulation ends.
    let (_commands, received) = tokio::sync::mpsc::unbounded_channel();
    pgconvoy_io::server::serve(env, settings(&plan), received).await?;
    Ok(())
}

/// Shortest time between two checks: each is a login, in steps of the simulated network.
const SHORTEST_PERIOD: Duration = Duration::from_millis(50);

fn settings(plan: &Plan) -> Settings {
    let threshold = plan.delay_threshold;
    let text = format!("backend_hostname0 = 'pg0'\nbackend_port0 = 5432\ndelay_threshold = {threshold}\n");
    let read = Config::parse(Path::new("simulated.conf"), text);
    let config = read.unwrap_or_else(|errors| panic!("the simulated configuration is wrong: {errors:?}")).config;
    let password = String::from_utf8_lossy(plan.password.expose()).into_owned();
    let (passwords, _) = PasswordFile::parse(format!("alice:TEXT{password}\nbob:TEXT{password}\n"));
    let mode = match plan.topology {
        Topology::Replicated => Mode::Native,
        _ if plan.nodes == 1 => Mode::Raw,
        _ => Mode::Streaming,
    };
    let backend = |node: u8| BackendSettings {
        id: NodeId(node),
        hostname: format!("pg{node}"),
        port: PORT,
        address: Address::Tcp(format!("pg{node}"), PORT),
        weight_milli: 1000,
        application_name: String::new(),
    };
    Settings {
        session: Arc::new(Setup {
            passwords: passwords.into(),
            authentication_timeout: Some(Duration::from_secs(60)),
            load_balance: plan.load_balance,
            policy: Arc::new(Policy { each_statement: plan.wishes.each_statement, ..Policy::default() }),
            salt_seed: [7; 32],
            ..Setup::default()
        }),
        listen: vec![Address::Tcp("0.0.0.0".to_owned(), PORT)],
        backends: (0..plan.nodes).map(backend).collect(),
        mode,
        pool: PoolSettings { keep: true, life_time: plan.life_time, max_uses: plan.max_uses },
        links_per_node: plan.links,
        clients: plan.places,
        reserved: 0,
        queue_timeout: Duration::from_secs(60),
        reset_queries: vec!["ABORT".to_owned(), "DISCARD ALL".to_owned()].into(),
        connect_timeout: Duration::from_secs(10),
        probe: ProbeSettings {
            user: "probe".to_owned(),
            database: "postgres".to_owned(),
            password: Some(plan.password.clone()),
            period: plan.check_period.max(SHORTEST_PERIOD),
        },
        workers: 1,
        written_tables: 64,
        catalog: (256, std::time::Duration::ZERO),
        log_connections: false,
        log_disconnections: false,
        config: Arc::new(config),
    }
}

/// The sessions of one client, one after the other.
pub async fn client(slot: u32, plan: Plan, bench: Rc<RefCell<Bench>>, written: Vec<Rc<ServerHost>>) -> turmoil::Result {
    let mut rng = slot_rng(&plan, slot);
    let mut stale_key = None;
    for _ in 0..plan.sessions.min(SESSIONS) {
        if bench.borrow().healed || bench.borrow().failure.is_some() {
            break;
        }
        let number = {
            let mut bench = bench.borrow_mut();
            bench.next_client += 1;
            bench.next_client
        };
        let mut workload = plan.draw_workload(&mut rng);
        workload.large_rows = workload.large_rows.min(ROWS);
        let mut client = Client::new(number, workload, stale_key.take(), rng.fork(u64::from(number)));
        let chop = plan.weather.chop.max(2);
        match TcpStream::connect(("proxy", PORT)).await {
            Ok(stream) => {
                let stream = ChopStream::new(stream, chop, rng.fork(1));
                session(&mut client, stream, &bench, &mut rng, &written).await;
            }
            Err(_) => bench.borrow_mut().explain(number, *b"08006", true),
        }
        let mut bench = bench.borrow_mut();
        bench.answered += u64::from(client.answered());
        bench.over.insert(number);
        stale_key = client.key().cloned();
    }
    Ok(())
}

fn now() -> Instant {
    Instant(turmoil::sim_elapsed().unwrap_or_default().as_nanos() as u64)
}

/// One session, to its end.
async fn session(
    client: &mut Client,
    mut stream: ChopStream,
    bench: &Rc<RefCell<Bench>>,
    rng: &mut Rng,
    written: &[Rc<ServerHost>],
) {
    client.handle_connected(now());
    let mut buffer = BytesMut::new();
    let mut finished = false;
    loop {
        if !std::mem::replace(&mut finished, bench.borrow().healed) && bench.borrow().healed {
            client.finish(now());
        }
        let out = client.output().split();
        if !out.is_empty() && stream.write_all(&out).await.is_err() {
            client.handle_closed(now());
        }
        let mut close = client.is_over();
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Close => close = true,
                ClientEvent::Cancel(key) => {
                    if client.key() == Some(&key) {
                        *bench.borrow_mut().cancels.entry(client.number).or_default() += 1;
                    }
                    spawn_local(cancel(key));
                }
                // Checkers and faults come and go here at any time: whether it is true is for L1 to tell.
                ClientEvent::Asked(_) | ClientEvent::Explained(..) | ClientEvent::Followed(_) => {}
                // The real server is run with its defaults.
                ClientEvent::Settled(_) | ClientEvent::Reads(_) => {}
                ClientEvent::Violation(what) => bench.borrow_mut().fail(format!("I01/I02: {what}")),
                ClientEvent::Failed { code, fatal, .. } => bench.borrow_mut().explain(client.number, code, fatal),
                ClientEvent::Mark(mark) => *bench.borrow_mut().marks.entry(mark).or_default() += 1,
                ClientEvent::Wrote { key, value } => {
                    if let Err(what) = check_row(written, key, value, bench.borrow().disrupted) {
                        bench.borrow_mut().fail(what);
                    }
                }
            }
        }
        if close && client.output().is_empty() {
            return;
        }
        let pause = Duration::from_millis(100 + rng.below(10));
        let wake = client.poll_timeout().map_or(pause, |at| at.since(now()).min(pause));
        if !client.wants_read(now()) {
            tokio::time::sleep(wake.max(Duration::from_millis(1))).await;
            client.handle_timeout(now());
            continue;
        }
        buffer.reserve(READ_BYTES);
        match tokio::time::timeout(wake, stream.read_buf(&mut buffer)).await {
            Err(_) => client.handle_timeout(now()),
            Ok(Ok(read)) if read > 0 => {
                bench.borrow_mut().read(u64::from(client.number) << 1 | 1, &buffer);
                client.handle_read(&mut buffer, now());
            }
            Ok(_) => client.handle_closed(now()),
        }
    }
}

async fn cancel(key: crate::client::CancelKey) {
    let Ok(mut stream) = TcpStream::connect(("proxy", PORT)).await else { return };
    let mut packet = Vec::new();
    build::cancel_request(&mut packet, key.0, &key.1);
    if stream.write_all(&packet).await.is_ok() {
        let _answer = stream.read(&mut [0; 16]).await;
    }
}

/// A client has been told what a row is: so it is on every server that it was written to, and after a fault on one at
/// least, for others may not count any more.
fn check_row(servers: &[Rc<ServerHost>], key: u32, value: Option<Tag>, disrupted: bool) -> Result<(), String> {
    let mut found = servers.iter().map(|server| server.pg.borrow().check_row(key, value));
    if !disrupted {
        return found.collect();
    }
    let failures: Vec<_> = found.by_ref().filter_map(Result::err).collect();
    if failures.len() == servers.len() { failures.into_iter().map(Err).next().unwrap_or(Ok(())) } else { Ok(()) }
}

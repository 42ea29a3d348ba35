//! A worker in a world of its own: what it holds for sessions comes back, whatever happens to them.

use super::line::{Line, Right};
use super::mailbox::{Mail, Mailbox};
use super::settings::Settings;
use super::shared::Shared;
use super::worker::{Orders, Worker};
use super::worker_count;
use crate::command::CommandError;
use crate::config::Config;
use crate::env::{Address, Env, Origin};
use pgconvoy_core::cluster::Cluster;
use pgconvoy_core::link::{Link, Login};
use pgconvoy_core::node::NodeId;
use pgconvoy_core::pool::Answer;
use pgconvoy_core::time::Instant;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, yield_now};

const N0: NodeId = NodeId(0);

#[test]
fn a_panic_while_a_link_is_opened_gives_its_place_back() {
    run(async {
        let worker = worker(&World { panics: true, ..World::default() });
        let mailbox = Mailbox::new(1);
        for _ in 0..2 * worker.shared.settings().links_per_node {
            worker.acquire(N0, login(), &mailbox);
            settle().await;
        }
        assert_eq!(free_places(&worker), worker.shared.settings().links_per_node);
    });
}

#[test]
fn whoever_waits_for_a_link_hears_of_a_panic() {
    run(async {
        let worker = worker(&World { panics: true, ..World::default() });
        let mailbox = Mailbox::new(1);
        worker.acquire(N0, login(), &mailbox);
        settle().await;
        assert!(matches!(mailbox.take(), Some(Mail::Grant(N0, grant)) if grant.is_err()));
    });
}

#[test]
fn a_panic_in_a_session_ends_that_session_alone() {
    run(async {
        let worker = worker(&World::default());
        let local = || Origin { host: "[local]".to_owned(), port: String::new() };
        worker.welcome(Socket { panics: false, speaks: false }, local());
        for _ in 0..8 {
            worker.welcome(Socket { panics: true, speaks: true }, local());
            settle().await;
        }
        assert_eq!(worker.session_count(), 1, "the one that had no part in it");
    });
}

#[test]
fn a_link_that_is_dropped_with_its_session_gives_its_place_back() {
    run(async {
        let worker = worker(&World::default());
        for _ in 0..2 * worker.shared.settings().links_per_node {
            drop(line(&worker));
        }
        assert_eq!(free_places(&worker), worker.shared.settings().links_per_node);
    });
}

#[test]
fn a_link_that_comes_back_costs_no_look_at_the_idle_ones() {
    run(async {
        let world = World::default();
        let worker = worker(&world);
        let lines: Vec<_> = (0..worker.shared.settings().links_per_node).map(|_| line(&worker)).collect();
        for line in lines {
            worker.give_back(Link::new(N0, login(), "nonce".to_owned(), Instant::ZERO), line, true);
            worker.expire_links();
            settle().await;
        }
        assert_eq!(world.looks.get(), 0);
        assert_eq!(free_places(&worker), 0);
        worker.close_idle();
        assert_eq!(free_places(&worker), worker.shared.settings().links_per_node);
    });
}

#[test]
fn few_places_for_clients_are_not_spread_over_many_workers() {
    for (clients, workers, cores, expected) in
        [(1, 0, 8, 1), (7, 0, 8, 1), (8, 0, 8, 2), (32, 0, 2, 2), (1000, 0, 8, 8), (1000, 3, 8, 3), (4, 3, 8, 1)]
    {
        let settings = Settings { clients, workers, ..settings() };
        assert_eq!(worker_count(&settings, cores), expected, "{clients} clients, {workers} workers, {cores} cores");
    }
}

#[test]
fn a_reload_takes_new_weights_and_leaves_the_servers_as_they_are() {
    let of = |text: &str| {
        let read = Config::parse(Path::new("test.conf"), format!("pool_passwd = ''\n{text}"));
        Settings::from_config(&read.expect("a good file").config).expect("settings")
    };
    let running = of("backend_hostname0 = 'a'\nbackend_port0 = 5432\nbackend_weight0 = 1\n\
                      backend_hostname1 = 'b'\nbackend_port1 = 5432\nbackend_weight1 = 1\n");
    let (now, remarks) = running.reloaded(of("backend_hostname0 = 'z'\nbackend_port0 = 5433\nbackend_weight0 = 4\n\
                                              backend_hostname2 = 'c'\nbackend_port2 = 5432\nlog_connections = on\n"));
    assert_eq!(
        remarks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "test.conf:6:17: backend_port2: backend 2 (c:5432) takes part only after a restart",
            "test.conf:3:17: backend_port0: backend 0 (a:5432) becomes z:5433 only after a restart",
            "test.conf: backend_port1: backend 1 (b:5432) leaves only after a restart",
        ]
    );
    let weights: Vec<_> = now.cluster().nodes.iter().map(|node| (node.id, node.weight_milli)).collect();
    assert_eq!(weights, [(N0, 4000), (NodeId(1), 1000)]);
    assert!(now.backends.iter().zip(&running.backends).all(|(now, then)| now.address == then.address));
    assert!(now.log_connections);
    let shown = |item: &str| now.config.status_rows(&[]).into_iter().find(|row| row.item == item).map(|row| row.value);
    assert_eq!(shown("backend_hostname0").as_deref(), Some("a"));
    assert_eq!(shown("backend_weight0").as_deref(), Some("0.800000"));
    assert_eq!(shown("backend_hostname2"), None, "what is shown is what runs");
}

#[test]
fn a_reload_may_allow_more_links_or_fewer() {
    run(async {
        let worker = worker(&World::default());
        assert_eq!(free_places(&worker), 5);
        let mut lines: Vec<_> = (0..4).map(|_| line(&worker)).collect();
        worker.shared.set_settings(Settings { links_per_node: 7, ..settings() });
        assert_eq!(free_places(&worker), 3);
        worker.shared.set_settings(Settings { links_per_node: 2, ..settings() });
        assert_eq!(free_places(&worker), 0);
        for free in [0, 0, 1, 2] {
            lines.pop();
            assert_eq!(free_places(&worker), free, "what is open beyond the new number makes no room");
        }
    });
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(LocalSet::new().run_until(test));
}

/// Lets the tasks that were started come to an end: nothing here waits for the world.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

fn settings() -> Settings {
    let text = "backend_hostname0 = 'db0'\nbackend_port0 = 5432\nnum_init_children = 5\nmax_pool = 1\n\
                connect_timeout = 0\npool_passwd = ''\n";
    let read = Config::parse(Path::new("test.conf"), text.to_owned());
    let config = read.unwrap_or_else(|errors| panic!("the configuration is wrong: {errors:?}")).config;
    Settings::from_config(&config).expect("settings")
}

fn worker(world: &World) -> Rc<Worker<World>> {
    let settings = settings();
    let cluster = Cluster::new(settings.mode, settings.cluster(), Instant::ZERO);
    let orders = Orders { view: Arc::clone(cluster.view()), shutdown: None };
    let shared = Shared::new(settings, vec![mpsc::unbounded_channel().0]);
    Worker::new(world.clone(), 0, shared, watch::channel(orders).1, mpsc::unbounded_channel().0)
}

fn login() -> Arc<Login> {
    Arc::new(Login { user: b"u".to_vec(), database: b"d".to_vec(), parameters: Vec::new(), password: None })
}

/// A connection as a session has one.
fn line(worker: &Rc<Worker<World>>) -> Line<World> {
    let answer = worker.pool.borrow_mut().ask(0, N0, &login(), Instant::ZERO, || worker.shared.take_token(N0));
    assert_eq!(answer, Answer::Connect);
    Line::new(Socket { panics: false, speaks: false }, Right::granted(worker, N0))
}

/// How many links may still be opened.
fn free_places(worker: &Rc<Worker<World>>) -> u32 {
    let free = (0..).take_while(|_| worker.shared.take_token(N0)).count();
    (0..free).for_each(|_| worker.shared.return_token(N0));
    free as u32
}

/// A world without anybody in it.
#[derive(Clone, Default)]
struct World {
    /// How often an idle connection was looked at.
    looks: Rc<Cell<u32>>,
    /// Whoever writes to a connection panics.
    panics: bool,
}

struct Socket {
    /// Whoever writes to it panics.
    panics: bool,
    /// It asks for encryption, and thereby for an answer.
    speaks: bool,
}

impl Env for World {
    type Stream = Socket;
    type Bound = ();
    type Listener = ();
    type Parcel = Infallible;

    fn bind(&self, _: &Address) -> io::Result<()> {
        Ok(())
    }

    async fn adopt(&self, (): &()) -> io::Result<()> {
        Ok(())
    }

    async fn accept(&self, (): &()) -> io::Result<(Socket, Origin)> {
        std::future::pending().await
    }

    async fn connect(&self, _: &Address) -> io::Result<Socket> {
        Ok(Socket { panics: self.panics, speaks: false })
    }

    fn is_broken(&self, _: &Socket) -> bool {
        false
    }

    fn is_silent(&self, _: &mut Socket) -> bool {
        self.looks.set(self.looks.get() + 1);
        true
    }

    fn pack(&self, _: Socket) -> io::Result<Infallible> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unpack(&self, parcel: Infallible) -> io::Result<Socket> {
        match parcel {}
    }

    async fn exec(&self, _: &str, _: &[String], _: Duration) -> Result<String, CommandError> {
        Err(CommandError::Failed(1))
    }

    fn entropy(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn now(&self) -> Instant {
        Instant::ZERO
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !std::mem::take(&mut self.speaks) {
            return Poll::Pending;
        }
        into.put_slice(&[0, 0, 0, 8, 4, 210, 22, 47]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!self.panics, "a defect in the way of a login");
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

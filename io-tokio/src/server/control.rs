//! The control task: it keeps the cluster's state, probes nodes, and gives workers their orders.

use super::links::{connect_and_log_in, converse};
use super::settings::{ProbeSettings, Settings};
use super::shared::{Shared, WorkerMail};
use super::worker::{News, Orders};
use crate::config::{Level, LogStandbyDelay, Severity};
use crate::env::Env;
use crate::log::{Log, Speaker};
use pgconvoy_core::auth::scram::KeyCache;
use pgconvoy_core::cluster::{Cluster, ClusterEvent, Probe};
use pgconvoy_core::delay::{self, Reported};
use pgconvoy_core::link::{Link, Login, Outcome};
use pgconvoy_core::node::{Delay, Health, NodeId, NodeView, Role};
use pgconvoy_core::session::Shutdown;
use pgconvoy_core::time::Instant;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

/// How often the queue for places is looked at for those who have waited for too long.
const GATE_PERIOD: Duration = Duration::from_millis(250);

/// How often idle links are looked at for those whose connection has ended.
const SWEEP_PERIOD: Duration = Duration::from_millis(1_000);

/// The control task's state.
pub(super) struct Control<E: Env> {
    env: E,
    shared: Arc<Shared<E::Parcel>>,
    cluster: RefCell<Cluster>,
    orders: watch::Sender<Orders>,
    changed: Notify,
    keys: RefCell<KeyCache>,
}

impl<E: Env> Control<E> {
    pub(super) fn new(
        env: E,
        shared: Arc<Shared<E::Parcel>>,
        cluster: Cluster,
        orders: watch::Sender<Orders>,
    ) -> Rc<Self> {
        Rc::new(Self {
            env,
            shared,
            cluster: RefCell::new(cluster),
            orders,
            changed: Notify::new(),
            keys: RefCell::new(KeyCache::new()),
        })
    }

    /// Starts what runs for the life of the process.
    pub(super) fn start(self: &Rc<Self>, news: mpsc::UnboundedReceiver<News>) {
        spawn_local(Rc::clone(self).hear(news));
        spawn_local(Rc::clone(self).watch());
        spawn_local(Rc::clone(self).watch_gate());
        spawn_local(Rc::clone(self).pace_sweeps());
    }

    async fn hear(self: Rc<Self>, mut news: mpsc::UnboundedReceiver<News>) {
        while let Some(news) = news.recv().await {
            let now = self.env.now();
            match news {
                News::Role(node, standby) => self.cluster.borrow_mut().handle_role(node, standby, now),
                News::Suspicion(node) => self.cluster.borrow_mut().handle_suspicion(node, now),
                News::Detach(node) => self.cluster.borrow_mut().handle_detach(node),
            }
            self.drain();
            self.changed.notify_one();
        }
    }

    async fn watch(self: Rc<Self>) {
        loop {
            let now = self.env.now();
            self.cluster.borrow_mut().handle_timeout(now);
            self.drain();
            let next = self.cluster.borrow().poll_timeout().unwrap_or(Instant::FAR);
            let pause = next.since(now).min(Duration::from_secs(3600));
            // Either the time comes or something changes: both lead to another look.
            let _either = timeout(pause, self.changed.notified()).await;
        }
    }

    async fn watch_gate(self: Rc<Self>) {
        loop {
            sleep(GATE_PERIOD).await;
            self.shared.expire_waiters(self.env.now());
        }
    }

    /// Workers have no timer of their own for it: each would cost at every turn of their runtimes.
    async fn pace_sweeps(self: Rc<Self>) {
        loop {
            sleep(SWEEP_PERIOD).await;
            self.shared.tell_all(|| WorkerMail::Sweep);
        }
    }

    /// Reads the configuration again: what begins from now on, a session, a link or a check, does so as it says. One with
    /// errors changes nothing.
    pub(super) fn reload(self: &Rc<Self>, log: Option<&Log>) {
        let (settings, remarks) = match self.shared.settings().read_again() {
            Ok(read) => read,
            Err(findings) => {
                // What else is to be said of it concerns a file that is taken.
                for error in findings.iter().filter(|finding| finding.severity == Severity::Error) {
                    tracing::error!("{error}");
                }
                return tracing::error!("the configuration has errors, and the one before it stays in force");
            }
        };
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        if let Some(log) = log {
            log.set(&settings.config.logging);
        }
        self.cluster.borrow_mut().handle_settings(settings.cluster(), self.env.now());
        self.shared.set_settings(settings);
        self.drain();
        self.changed.notify_one();
        tracing::info!("the configuration has been read again");
    }

    /// Tells every worker to stop accepting clients, and what becomes of those that are there.
    pub(super) fn order_shutdown(&self, how: Shutdown) {
        self.orders.send_modify(|orders| orders.shutdown = Some(how));
    }

    /// Sessions of all workers.
    pub(super) fn sessions(&self) -> usize {
        self.shared.with_sessions(|sessions| sessions.len())
    }

    fn drain(self: &Rc<Self>) {
        loop {
            let event = self.cluster.borrow_mut().poll_event();
            match event {
                None => return,
                Some(ClusterEvent::Probe(node)) => {
                    let control = Rc::clone(self);
                    spawn_local(async move {
                        let found = control.probe(node).await;
                        let now = control.env.now();
                        control.cluster.borrow_mut().handle_probe(node, found, now);
                        control.drain();
                        control.changed.notify_one();
                    });
                }
                Some(ClusterEvent::Command(standbys)) => {
                    let control = Rc::clone(self);
                    spawn_local(async move {
                        let delays = control.ask_command(&standbys).await;
                        control.cluster.borrow_mut().handle_reported(&delays);
                        control.drain();
                    });
                }
                Some(ClusterEvent::Measured { standby, primary }) => self.log_delay(&standby, primary),
                Some(ClusterEvent::View(view) | ClusterEvent::Figures(view)) => {
                    self.orders.send_modify(|orders| orders.view = view);
                }
                Some(ClusterEvent::Changed(node)) => {
                    self.shared.note_change(node.id);
                    self.log_change(&node);
                }
            }
        }
    }

    fn log_change(&self, node: &NodeView) {
        let settings = self.shared.settings();
        let Some(backend) = settings.backend(node.id) else { return };
        let role = match node.role {
            Role::Primary => "primary",
            Role::Standby => "standby",
            Role::Unknown => "unknown",
        };
        let (id, host, port) = (node.id, &backend.hostname, backend.port);
        match node.health {
            Health::Down if settings.mode.is_replicated() => {
                // What pgpool says when it detaches a node; it is done by now.
                speaker().say(Level::Log, format_args!("starting degeneration. shutdown host {host}({port})"));
                speaker().say(Level::Log, format_args!("failover done. shutdown host {host}({port})"));
                tracing::warn!("backend {id} ({host}:{port}) is detached, and misses what is written from now on");
            }
            Health::Down => tracing::warn!("backend {id} ({host}:{port}, {role}) cannot be reached"),
            _ => tracing::info!("backend {id} ({host}:{port}) is up, role {role}"),
        }
    }

    /// Logs how far a standby is behind, in pgpool's words, if the operator wants to know (`log_standby_delay`).
    fn log_delay(&self, standby: &NodeView, primary: NodeId) {
        let settings = self.shared.settings();
        let (delay, lagging) = (standby.replication.delay, standby.replication.lagging);
        let wanted = match settings.config.logging.log_standby_delay {
            LogStandbyDelay::Always => !matches!(delay, Delay::Bytes(0) | Delay::Time(Duration::ZERO)),
            LogStandbyDelay::IfOverThreshold => lagging,
            LogStandbyDelay::None => false,
        };
        if !wanted {
            return;
        }
        let node = standby.id;
        match delay {
            Delay::Bytes(bytes) => speaker().say(
                Level::Log,
                format_args!(
                    "Replication of node:{node} is behind {bytes} bytes from the primary server (node:{primary})"
                ),
            ),
            Delay::Time(time) => {
                let by_command = !settings.config.streaming_check.replication_delay_source_cmd.is_empty();
                let (seconds, micros) = (time.as_secs(), time.subsec_micros());
                let source = if by_command { " [external command]" } else { "" };
                speaker().say(
                    Level::Log,
                    format_args!(
                        "Replication of node: {node} is behind {seconds}.{micros:06} second(s) from the primary server \
                         (node: {primary}){source}"
                    ),
                );
            }
        }
    }

    /// Runs `replication_delay_source_cmd` and reads what it says of these standbys.
    async fn ask_command(&self, standbys: &[NodeId]) -> Vec<(NodeId, Duration)> {
        let settings = self.shared.settings();
        let check = &settings.config.streaming_check;
        let line = &check.replication_delay_source_cmd;
        if line.is_empty() {
            // The configuration has been read again meanwhile.
            return Vec::new();
        }
        let name =
            |node: &NodeId| settings.backend(*node).map(|backend| format!("{}:{}", backend.hostname, backend.port));
        let names: Vec<String> = standbys.iter().filter_map(name).collect();
        let speaker = speaker();
        let whole = format!("{line} {}", names.join(" "));
        speaker.say(Level::Debug1, format_args!("executing replication delay command: {whole}"));
        let output = match self.env.exec(line, &names, check.replication_delay_source_timeout).await {
            Ok(output) => output,
            Err(error) => {
                speaker.say(Level::Error, format_args!("replication delay command {error}: {whole}"));
                return Vec::new();
            }
        };
        let (reported, remark) = delay::parse_command(&output, names.len());
        if let Some(remark) = remark {
            speaker.say(Level::Warning, format_args!("{remark}"));
        }
        let mut delays = Vec::new();
        for (node, reported) in standbys.iter().zip(reported) {
            match reported {
                Reported::Delay(delay) => delays.push((*node, delay)),
                Reported::Down => speaker.say(
                    Level::Log,
                    format_args!(
                        "node {node} reported as down by external command (delay -1), relying on health check for \
                         failover decision"
                    ),
                ),
                Reported::Wrong(word) => {
                    speaker.say(
                        Level::Warning,
                        format_args!("invalid delay value '{word}' for node {node}, keeping the last"),
                    );
                }
            }
        }
        delays
    }

    async fn probe(&self, node: NodeId) -> Probe {
        let settings = self.shared.settings();
        match timeout(settings.connect_timeout, self.ask(node, &settings)).await {
            Ok(found) => found,
            Err(_) => Probe::Unreachable,
        }
    }

    async fn ask(&self, node: NodeId, settings: &Settings) -> Probe {
        let Some(backend) = settings.backend(node) else { return Probe::Unreachable };
        let Some(login) = login(&settings.probe) else {
            return match self.env.connect(&backend.address).await {
                Ok(_) => Probe::Alive,
                Err(_) => Probe::Unreachable,
            };
        };
        let mut random = [0; 24];
        self.env.entropy(&mut random);
        let nonce = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        match connect_and_log_in(&self.env, backend, login, nonce, &self.keys).await {
            Err(refused) if refused.unreachable => Probe::Unreachable,
            Err(refused) => {
                tracing::debug!("backend {node} does not let the probe in: {}", refused.fault.message);
                Probe::Alive
            }
            Ok((mut link, mut stream)) => {
                for question in [delay::QUESTION, delay::PLAIN_QUESTION] {
                    link.ask(question);
                    converse(&mut link, &mut stream, &self.keys).await;
                    if !matches!(link.outcome(), Outcome::Ready) || link.answer().is_some() {
                        break;
                    }
                    tracing::debug!("backend {node} does not answer: {question}");
                }
                verdict(&link)
            }
        }
    }
}

/// Who speaks of delays, as in pgpool-II.
fn speaker() -> Speaker {
    Speaker::worker("sr_check_worker", std::process::id())
}

/// As whom nodes are asked; `None` if nobody is named for it.
fn login(probe: &ProbeSettings) -> Option<Arc<Login>> {
    let login = || Login {
        user: probe.user.clone().into_bytes(),
        database: probe.database.clone().into_bytes(),
        parameters: b"application_name\0pgconvoy\0".to_vec(),
        password: probe.password.clone(),
    };
    (!probe.user.is_empty()).then(|| Arc::new(login()))
}

fn verdict(link: &Link) -> Probe {
    match link.outcome() {
        Outcome::Ready => Probe::of(link.answer()),
        _ => Probe::Unreachable,
    }
}

//! The rows of the `SHOW pool_*` tables, in pgpool 4.3's columns.

use super::shared::{DecisionInfo, LinkInfo, SessionId, SessionInfo, Shared, WorkerMail};
use pgconvoy_core::link::Login;
use pgconvoy_core::node::{Delay, Health, Mode, NodeId, Role, View};
use pgconvoy_core::session::decisions::{Decision, Decisions};
use pgconvoy_core::session::explain;
use pgconvoy_core::session::{Activity, Session};
use pgconvoy_core::sql::{PoolReport, Verb};
use pgconvoy_core::time::Instant;
use pgconvoy_core::wire::Gravity;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// The release of pgpool-II whose tables and tools pgconvoy answers.
pub const PGPOOL_VERSION: &str = "4.3.5";

/// Instead of a statement that is none of the asker's business; PostgreSQL's words in `pg_stat_activity`.
pub(super) const HIDDEN: &str = "<insufficient privilege>";

type Rows = Vec<Vec<String>>;

/// Who asks for a table.
pub(super) struct Asker {
    /// The node that its reads go to.
    balance: Option<NodeId>,
    user: Vec<u8>,
    superuser: bool,
}

impl Asker {
    pub(super) fn of(session: &Session) -> Self {
        let user = session.login().map_or_else(Vec::new, |login| login.user.clone());
        let mut roles = session.links().map(|link| link.parameters.get(b"is_superuser"));
        Self { balance: session.balance_node(), user, superuser: roles.any(|is| is == Some(b"on")) }
    }

    /// Whether a statement of this role is to be shown.
    pub(super) fn may_read(&self, of: &[u8]) -> bool {
        self.superuser || self.user == of
    }
}

/// The rows of a table.
pub(super) async fn rows<P>(kind: PoolReport, shared: &Shared<P>, view: &View, asker: &Asker) -> Rows {
    match kind {
        PoolReport::Nodes => nodes(shared, view, asker.balance),
        PoolReport::Status => status(shared, view),
        PoolReport::Version => vec![vec![format!("{PGPOOL_VERSION} (pgconvoy {})", env!("CARGO_PKG_VERSION"))]],
        PoolReport::Processes => processes(shared).await,
        PoolReport::Pools => pools(shared).await,
        PoolReport::BackendStats => backend_stats(shared, view),
        PoolReport::Decisions => all_decisions(shared, asker).await,
        PoolReport::Mismatches => shared.mismatches().rows(asker),
        // The session answers it itself.
        PoolReport::Route => Vec::new(),
        // What these count does not exist yet: the query cache, health checks.
        PoolReport::Cache | PoolReport::HealthCheckStats => Vec::new(),
    }
}

fn backend_stats<P>(shared: &Shared<P>, view: &View) -> Rows {
    let settings = shared.settings();
    let row = |backend: &super::settings::BackendSettings| {
        let (status, role, _) = words(view, backend.id);
        let mut row = vec![backend.id.to_string(), backend.hostname.clone(), backend.port.to_string()];
        row.extend([status, role].map(String::from));
        let sent = [Verb::Select, Verb::Insert, Verb::Update, Verb::Delete, Verb::Ddl, Verb::Other];
        row.extend(sent.map(|verb| shared.sent(backend.id, verb).to_string()));
        let errors = [Gravity::Panic, Gravity::Fatal, Gravity::Error];
        row.extend(errors.map(|gravity| shared.errors(backend.id, gravity).to_string()));
        row
    };
    settings.backends.iter().map(row).collect()
}

/// The decisions of all workers in the order of time. As in `pg_stat_activity`, statements of others are a superuser's to
/// read.
async fn all_decisions<P>(shared: &Shared<P>, asker: &Asker) -> Rows {
    let mut all = Vec::new();
    for worker in 0..shared.workers.len() {
        let (reply, answer) = oneshot::channel();
        shared.tell(worker, WorkerMail::ListDecisions(reply));
        all.extend(answer.await.unwrap_or_default());
    }
    all.sort_by_key(|decision| decision.at);
    let visible = |DecisionInfo { user, mut row, .. }: DecisionInfo| {
        if !asker.may_read(&user) {
            row.pop();
            row.push(HIDDEN.to_owned());
        }
        row
    };
    all.into_iter().map(visible).collect()
}

/// What a worker's sessions have decided.
pub(super) fn decisions(decisions: &Decisions, now: Instant) -> Vec<DecisionInfo> {
    let wall = SystemTime::now();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let info = |decision: Decision<'_>| {
        let time = wall.checked_sub(now.since(decision.at)).unwrap_or(wall);
        let nodes: Vec<String> = decision.nodes.iter().map(|node| node.to_string()).collect();
        let [class, rule, mut reason, ..] = explain::words(&decision.statement, decision.rule);
        if decision.follows {
            reason.push_str(explain::FOLLOWS);
        }
        let row = vec![
            crate::clock::local_ms(time),
            decision.session.to_string(),
            text(decision.database),
            text(decision.user),
            nodes.join(", "),
            class,
            rule,
            reason,
            text(decision.text),
        ];
        DecisionInfo { at: decision.at, user: decision.user.to_vec(), row }
    };
    decisions.iter().map(info).collect()
}

fn words(view: &View, id: NodeId) -> (&'static str, &'static str, &'static str) {
    let Some(node) = view.node(id) else { return ("unused", "standby", "unknown") };
    let status = match node.health {
        Health::Up => "up",
        Health::Unknown => "waiting",
        Health::Down => "down",
    };
    let (main, other) = if view.mode == Mode::Streaming { ("primary", "standby") } else { ("main", "replica") };
    let role = match node.role {
        _ if view.mode != Mode::Streaming => {
            if view.main() == Some(id) {
                main
            } else {
                other
            }
        }
        Role::Primary => main,
        Role::Standby | Role::Unknown => other,
    };
    let pg_role = match node.role {
        Role::Primary => "primary",
        Role::Standby => "standby",
        Role::Unknown => "unknown",
    };
    (status, role, pg_role)
}

/// A delay, as `SHOW pool_nodes` shows it.
fn delay(delay: Delay) -> String {
    match delay {
        Delay::Bytes(bytes) => bytes.to_string(),
        Delay::Time(time) => {
            let unit = if time < Duration::from_secs(2) { "second" } else { "seconds" };
            format!("{}.{:06} {unit}", time.as_secs(), time.subsec_micros())
        }
    }
}

/// Database and role, as they are shown.
fn names(login: &Login) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&login.database), text(&login.user))
}

fn nodes<P>(shared: &Shared<P>, view: &View, balance: Option<NodeId>) -> Rows {
    let settings = shared.settings();
    let total: u64 = settings.backends.iter().map(|backend| backend.weight_milli).sum();
    let changed = shared.status_changes();
    let unasked = settings.probe.period.is_zero();
    let row = |backend: &super::settings::BackendSettings| {
        let (status, role, pg_role) = words(view, backend.id);
        let replication = view.node(backend.id).map(|node| node.replication.clone()).unwrap_or_default();
        let weight = if total == 0 { 0.0 } else { backend.weight_milli as f64 / total as f64 };
        let pg_status = if status == "waiting" { "unknown" } else { status };
        vec![
            backend.id.to_string(),
            backend.hostname.clone(),
            backend.port.to_string(),
            status.into(),
            pg_status.into(),
            format!("{weight:.6}"),
            role.into(),
            if unasked { "unknown" } else { pg_role }.into(),
            shared.sent(backend.id, Verb::Select).to_string(),
            (balance == Some(backend.id)).to_string(),
            delay(replication.delay),
            replication.state,
            replication.sync_state,
            crate::clock::local(changed.get(&backend.id).copied().unwrap_or(shared.started)),
        ]
    };
    settings.backends.iter().map(row).collect()
}

fn status<P>(shared: &Shared<P>, view: &View) -> Rows {
    let state = |backend: &super::settings::BackendSettings| crate::config::NodeState {
        id: backend.id.0.into(),
        status: words(view, backend.id).0.into(),
        standby_delay: view.node(backend.id).map_or(0, |node| match node.replication.delay {
            Delay::Bytes(bytes) => bytes,
            Delay::Time(time) => u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
        }),
    };
    let settings = shared.settings();
    let states: Vec<_> = settings.backends.iter().map(state).collect();
    let rows = settings.config.status_rows(&states);
    rows.into_iter().map(|row| vec![row.item, row.value, row.description]).collect()
}

async fn processes<P>(shared: &Shared<P>) -> Rows {
    let mut activities = BTreeMap::new();
    for worker in 0..shared.workers.len() {
        let (reply, answer) = oneshot::channel();
        shared.tell(worker, WorkerMail::ListActivities(reply));
        activities.extend(answer.await.unwrap_or_default());
    }
    let row = |(id, info): (&SessionId, &SessionInfo)| {
        let (database, user) = info.login.as_deref().map(names).unwrap_or_default();
        let backend_since = if info.login.is_none() { String::new() } else { crate::clock::local(info.since) };
        let uses = info.links.first().map_or(0, |link| link.uses);
        let status = match activities.get(id).copied().unwrap_or_default() {
            Activity::Connecting => "Connecting",
            Activity::Executing => "Execute command",
            Activity::InTransaction => "Idle in transaction",
            Activity::Idle => "Idle",
        };
        vec![
            format!("{}", std::process::id()),
            crate::clock::local(info.since),
            id.to_string(),
            database,
            user,
            backend_since,
            uses.to_string(),
            status.into(),
        ]
    };
    shared.with_sessions(|sessions| sessions.iter().map(row).collect())
}

async fn pools<P>(shared: &Shared<P>) -> Rows {
    let mut links: Vec<(LinkInfo, Option<SystemTime>)> = shared.with_sessions(|sessions: &mut BTreeMap<_, _>| {
        let in_use = sessions
            .values()
            .flat_map(|info: &SessionInfo| info.links.iter().map(|link| (link.clone(), Some(info.since))));
        in_use.collect()
    });
    for worker in 0..shared.workers.len() {
        let (reply, answer) = oneshot::channel();
        shared.tell(worker, WorkerMail::ListIdle(reply));
        if let Ok(idle) = answer.await {
            links.extend(idle.into_iter().map(|link| (link, None)));
        }
    }
    let row = |(position, (link, since)): (usize, &(LinkInfo, Option<SystemTime>))| {
        let since = since.map(crate::clock::local).unwrap_or_default();
        let used = link.session.is_some();
        let (database, user) = names(&link.login);
        vec![
            format!("{}", std::process::id()),
            crate::clock::local(shared.started),
            link.session.map(|session| session.to_string()).unwrap_or_default(),
            position.to_string(),
            link.node.to_string(),
            database,
            user,
            since.clone(),
            since,
            String::new(),
            "0".into(),
            "3".into(),
            "0".into(),
            link.uses.to_string(),
            link.process_id.to_string(),
            u8::from(used).to_string(),
            (if used { "Idle" } else { "Wait for connection" }).into(),
            "0".into(),
        ]
    };
    links.iter().enumerate().map(row).collect()
}

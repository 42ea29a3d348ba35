//! `pgconvoy route`: where a statement would go under a configuration, and why, without a server.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use pgconvoy_core::node::{Health, Mode, NodeId, NodeView, Replication, Role, View};
use pgconvoy_core::policy::Who;
use pgconvoy_core::route::{Destination, Standing, Statement, decide};
use pgconvoy_core::session::explain::words;
use pgconvoy_core::sql::Dialect;
use pgconvoy_io::config::{Config, Severity};

/// Prints where `sql` goes in a new session outside a transaction; the exit code is 1 if the configuration has errors.
pub fn main(file: &Path, sql: &str) -> ExitCode {
    let config = match Config::load(file) {
        Ok(loaded) => loaded.config,
        Err(findings) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            let report: String = errors.map(|error| error.render() + "\n\n").collect();
            // stderr may be gone.
            drop(std::io::stderr().write_all(report.as_bytes()));
            return ExitCode::FAILURE;
        }
    };
    // Who reads the answer may stop reading.
    drop(std::io::stdout().write_all(answer(&config, sql).as_bytes()));
    ExitCode::SUCCESS
}

fn answer(config: &Config, sql: &str) -> String {
    let policy = config.policy().unwrap_or_default();
    let statement = Statement::of(sql.as_bytes(), Dialect::default(), &policy);
    let view = view(config);
    let who = Who { application: b"", database: b"", user: b"" };
    let drawn = policy.balance_node(&who, &view, 0, &|_| true).filter(|_| config.load_balance.load_balance_mode);
    let rules = &config.replication;
    let replicated = is_replicated(config);
    let standing = Standing {
        replicated,
        reads_everywhere: replicated && (rules.replicate_select || config.own.compare_rows),
        reads_apart: config.load_balance.load_balance_mode,
        balanced: if replicated {
            config.backends.len() > 1
        } else {
            drawn.is_some_and(|node| node != NodeId(0)) || has_weighted_standby(config)
        },
        on_write: policy.on_write,
        comments_allowed: config.load_balance.allow_sql_comments,
        ..Standing::default()
    };
    let decision = decide(&statement, &standing);
    let node = match decision.to {
        Destination::Primary if replicated => "the main node",
        Destination::All => "every node",
        Destination::Primary => "the primary",
        Destination::Balance => "the session's load-balance node",
        Destination::Both => "the primary and the session's load-balance node",
    };
    let [class, rule, reason, passed, remedy] = words(&statement, decision.rule);
    let mut answer = format!(
        "node:            {node}\nclass:           {class}\nrule:            {rule}\nreason:          {reason}\n"
    );
    for (name, value) in [("passed:         ", passed), ("would change it:", remedy)] {
        if !value.is_empty() {
            answer.push_str(&format!("{name} {value}\n"));
        }
    }
    answer.push_str("No server was asked what the names mean: EXPLAIN ROUTE does, through a connection.\n");
    answer
}

fn has_weighted_standby(config: &Config) -> bool {
    config.load_balance.load_balance_mode && config.backends.iter().skip(1).any(|backend| backend.settings.weight > 0.0)
}

fn is_replicated(config: &Config) -> bool {
    use pgconvoy_io::config::ClusteringMode::{NativeReplication, SnapshotIsolation};
    matches!(config.clustering.backend_clustering_mode, NativeReplication | SnapshotIsolation)
}

/// The cluster as configured, with the first backend as the primary and all of them up.
fn view(config: &Config) -> View {
    let node = |(at, backend): (usize, &pgconvoy_io::config::Backend)| NodeView {
        id: NodeId(backend.id as u8),
        weight_milli: (backend.settings.weight * 1000.0) as u64,
        role: if at == 0 { Role::Primary } else { Role::Standby },
        health: Health::Up,
        replication: Replication::default(),
    };
    let mode = if is_replicated(config) { Mode::Native } else { Mode::Streaming };
    View { epoch: 1, mode, nodes: config.backends.iter().enumerate().map(node).collect() }
}

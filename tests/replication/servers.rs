//! PostgreSQL servers that know nothing of each other.

use pgconvoy_io::testbed::{Options, Testbed};

use crate::support::postgres::{self, address};
use crate::support::proxy::{self, Proxy};
use crate::support::wire::{Connection, Login};

/// Some servers.
pub struct Servers {
    beds: Vec<Testbed>,
}

/// The rows of a table in one value.
pub fn digest(table: &str) -> String {
    format!("SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ' ' ORDER BY t::text)), '') FROM {table} t")
}

impl Servers {
    /// So many, all empty.
    pub fn start(count: usize) -> Self {
        let options = || Options { max_connections: 200, ..Options::default() };
        Self { beds: (0..count).map(|_| postgres::start(options())).collect() }
    }

    /// A pgconvoy that replicates to them.
    pub fn proxy(&self) -> proxy::Options {
        let backends: Vec<_> = self.beds.iter().map(|bed| address(bed.node(0)).into()).collect();
        Proxy::over(&backends).set("backend_clustering_mode", "native_replication")
    }

    /// A session with one of them, past pgconvoy.
    pub fn direct(&self, node: usize, database: &str) -> Connection {
        Connection::login(address(self.beds[node].node(0)), &Login::new("postgres", database))
            .expect("a server of its own")
    }

    /// The answer of each to a question of one value.
    pub fn ask(&self, database: &str, question: &str) -> Vec<String> {
        (0..self.beds.len()).map(|node| self.direct(node, database).value(question)).collect()
    }

    /// Fails unless all have the same tables with the same rows.
    pub fn assert_alike(&self) {
        let tables = "SELECT coalesce(string_agg(c.oid::regclass::text, ' ' ORDER BY relname), '') FROM pg_class c \
                      WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        let listed = self.ask("postgres", tables);
        assert!(listed.iter().all(|tables| *tables == listed[0]), "{listed:?}");
        for table in listed[0].split_whitespace() {
            let digests = self.ask("postgres", &digest(table));
            assert!(digests.iter().all(|digest| *digest == digests[0]), "{table}: {digests:?}");
        }
        let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
        assert!(self.ask("postgres", open).iter().all(|count| count == "0"), "a transaction was left open");
    }

    /// Kills one as `kill -9` of its postmaster does.
    pub fn kill(&mut self, node: usize) {
        self.beds[node].kill_node(0).expect("killing a server");
    }

    /// Starts it again.
    pub fn revive(&mut self, node: usize) {
        self.beds[node].start_node(0).expect("starting a server");
    }
}

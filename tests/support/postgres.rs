//! PostgreSQL for the tests, on top of the testbed.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgconvoy_io::testbed::{Hba, Node, Options, SUPERUSER, SUPERUSER_PASSWORD, Testbed};

use super::wire::{Connection, Login};

/// One server without passwords that all tests of a program share; it goes away with the program.
///
/// A test that stops, kills or fills it makes a testbed of its own.
pub fn shared() -> &'static Testbed {
    static TESTBED: OnceLock<Testbed> = OnceLock::new();
    TESTBED.get_or_init(|| start(Options { max_connections: 400, ..Options::default() }))
}

/// One server that asks for a password by SCRAM, shared likewise.
pub fn shared_with_scram() -> &'static Testbed {
    static TESTBED: OnceLock<Testbed> = OnceLock::new();
    TESTBED.get_or_init(|| start(Options { max_connections: 400, hba: Hba::Scram, ..Options::default() }))
}

/// A testbed of the test's own.
pub fn start(options: Options) -> Testbed {
    Testbed::start(options).unwrap_or_else(|error| panic!("no PostgreSQL: {error}"))
}

/// Where `node` listens.
pub fn address(node: &Node) -> SocketAddr {
    ([127, 0, 0, 1], node.port()).into()
}

/// How the superuser logs in.
pub fn superuser_login() -> Login {
    Login::new(SUPERUSER, SUPERUSER).password(SUPERUSER_PASSWORD)
}

/// A session of the superuser on the testbed's first node, past every proxy.
pub fn superuser(testbed: &Testbed) -> Connection {
    let address = address(testbed.node(0));
    Connection::login(address, &superuser_login())
        .unwrap_or_else(|error| panic!("the superuser at {address}: {error:?}"))
}

/// A new ordinary role called `name` and how it logs in; a test's own role tells its sessions from those of other tests.
pub fn role(testbed: &Testbed, name: &str) -> Login {
    superuser(testbed).rows(&format!("CREATE ROLE {name} LOGIN PASSWORD '{name}-secret'"));
    Login::new(name, SUPERUSER).password(&format!("{name}-secret"))
}

/// Waits until `holds`, and fails the test when that takes longer than `limit`.
pub fn wait_until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "after {limit:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

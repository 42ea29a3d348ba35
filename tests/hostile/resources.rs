//! Descriptors that run out, and clients that do not read.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::postgres::{address, role, shared, superuser, superuser_login, wait_until};
use crate::support::proxy::{Backend, Proxy};
use crate::support::wire::{Connection, Frontend};

#[test]
fn a_program_without_descriptors_serves_its_sessions_and_recovers() {
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]);
    let mut proxy = proxy.under(&["prlimit", "--nofile=96:96"]).start();
    let mut session = Connection::login(proxy.address(), &superuser_login()).expect("login");
    for _ in 0..3 {
        // The queue of the kernel takes what the program cannot.
        let crowd: Vec<TcpStream> =
            (0..150).map(|_| TcpStream::connect(proxy.address()).expect("connecting")).collect();
        let (before, begun) = (proxy.cpu_time(), Instant::now());
        while begun.elapsed() < Duration::from_secs(1) {
            let asked = Instant::now();
            assert_eq!(session.value("SELECT 'here'"), "here");
            assert!(asked.elapsed() < Duration::from_secs(1), "a session waited {:?}", asked.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        let busy = proxy.cpu_time() - before;
        assert!(busy < Duration::from_millis(500), "without descriptors the program took {busy:?} of a second");
        drop(crowd);
        wait_until(Duration::from_secs(5), "logins work again", || {
            Connection::login(proxy.address(), &superuser_login())
                .is_ok_and(|mut session| session.query("SELECT 1").is_ok())
        });
        proxy.assert_healthy();
    }
}

#[test]
fn a_slow_reader_of_a_gigabyte_costs_no_memory_and_nobody_else() {
    /// How much the program may grow, in bytes.
    const GROWTH_LIMIT: u64 = 2 << 20;
    let testbed = shared();
    let login = role(testbed, "slow_reader");
    let mut proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).start();
    let mut bystander = Connection::login(proxy.address(), &superuser_login()).expect("login");
    let mut reader = Connection::login(proxy.address(), &login).expect("login");
    // Warm: what one large answer needs at all is there before the measurement.
    reader.rows("SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
    let before = proxy.resident_bytes();
    reader.send(&Frontend::query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")).expect("sending");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        reader.stream().read_exact(&mut [0; 1024]).expect("a part of the answer");
        let asked = Instant::now();
        assert_eq!(bystander.value("SELECT 'here'"), "here");
        assert!(asked.elapsed() < Duration::from_millis(500), "a bystander waited {:?}", asked.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    let growth = proxy.resident_bytes().saturating_sub(before);
    assert!(growth <= GROWTH_LIMIT, "the program grew by {growth} bytes");
    let mut root = superuser(testbed);
    let waiting = "SELECT wait_event FROM pg_stat_activity WHERE usename = 'slow_reader'";
    assert_eq!(root.value(waiting), "ClientWrite", "the server runs ahead of the reader");
    drop(reader);
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'slow_reader' AND state <> 'idle'";
    wait_until(Duration::from_secs(2), "the server is told that nobody reads", || root.value(busy) == "0");
    proxy.assert_healthy();
}

//! Debian's pgpool-II, beside the pgconvoy whose configuration it shares.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgconvoy_io::testbed::Port;

use super::postgres::wait_until;
use super::proxy::Proxy;
use super::wire::{Connection, Login};

/// pgpool-II is up, or gone, within this time.
const LIMIT: Duration = Duration::from_secs(30);

/// A pgpool-II with the configuration of a pgconvoy, except where only one of them can have a thing.
#[derive(Debug)]
pub struct Pgpool {
    child: Child,
    port: Port,
    _pcp_port: Port,
}

impl Pgpool {
    /// Starts it and waits until it serves; then it knows its primary. It lives in the folder of `proxy`.
    pub fn beside(proxy: &Proxy) -> Self {
        let folder = proxy.folder().display();
        let [port, pcp_port] = [(); 2].map(|()| Port::claim().expect("a free port"));
        let same = fs::read_to_string(proxy.folder().join("pgpool.conf")).expect("pgconvoy's configuration");
        let own = format!(
            "port = {}\npcp_port = {}\npid_file_name = '{folder}/other.pid'\nsocket_dir = '{folder}'\n",
            port.number(),
            pcp_port.number()
        );
        let file = proxy.folder().join("other.conf");
        fs::write(&file, same + &own).expect("a configuration for pgpool-II");
        let log = File::create(proxy.folder().join("other.log")).expect("a log");
        let child = Command::new("/usr/sbin/pgpool")
            .args(["-n", "-D", "-a", "/dev/null", "-F", "/dev/null", "-f"])
            .arg(file)
            .current_dir(proxy.folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("tests/packages installs pgpool2");
        let pgpool = Self { child, port, _pcp_port: pcp_port };
        let login = Login::new("postgres", "postgres");
        wait_until(LIMIT, "pgpool-II answers", || Connection::login(pgpool.address(), &login).is_ok());
        pgpool
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port.number()).into()
    }
}

impl Drop for Pgpool {
    fn drop(&mut self) {
        // It ends its children before it ends itself.
        let asked = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status();
        if asked.is_ok_and(|status| status.success()) {
            wait_until(LIMIT, "pgpool-II ends", || self.child.try_wait().is_ok_and(|ended| ended.is_some()));
        }
    }
}

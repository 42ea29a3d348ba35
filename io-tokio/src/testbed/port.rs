//! Ports for servers that stop and start again on the same number.
//!
//! A port handed out by the system for "any" lies where outgoing connections take theirs too: while the server is down,
//! a client's own connection may sit on its port, or even connect to itself there. So these come from below that range,
//! and an abstract socket of a well-known name keeps other testbeds away from a port whose server is down.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::net;

use super::TestbedError;

/// The lowest port handed out.
const FIRST: u16 = 15_000;
/// Where outgoing connections begin when the system does not tell.
const OUTGOING_BY_DEFAULT: u16 = 32_768;

/// A TCP port on 127.0.0.1 that no other testbed takes while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UnixListener,
}

impl Port {
    /// A port that nobody listens on now.
    ///
    /// # Errors
    /// If there is none.
    pub fn claim() -> Result<Self, TestbedError> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let end = outgoing_ports_begin();
        if end <= FIRST {
            return Err(TestbedError::Refused(format!(
                "outgoing connections start at port {end}: none is left above {FIRST}"
            )));
        }
        let span = end - FIRST;
        let start = (std::process::id() % u32::from(span)) as u16;
        for _ in 0..span {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % span;
            let number = FIRST + ((u32::from(start) + u32::from(step)) % u32::from(span)) as u16;
            if let Some(claim) = claimed(number) {
                return Ok(Self { number, _claim: claim });
            }
        }
        Err(TestbedError::Refused(format!("every port from {FIRST} to {end} on 127.0.0.1 is taken")))
    }

    /// Its number.
    pub const fn number(&self) -> u16 {
        self.number
    }
}

/// Takes the name that stands for port `number`, if neither the name nor the port is taken.
fn claimed(number: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("pgconvoy-testbed-port-{number}")).ok()?;
    let claim = UnixListener::bind_addr(&name).ok()?;
    is_free(number).ok()?;
    Some(claim)
}

/// Fails if somebody listens on a port.
///
/// It does not listen there itself: a process that another thread forks just then has the listener too until it becomes
/// another program, and nobody else could listen for so long.
fn is_free(number: u16) -> rustix::io::Result<()> {
    let socket = net::socket_with(net::AddressFamily::INET, net::SocketType::STREAM, net::SocketFlags::CLOEXEC, None)?;
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, number))
}

/// The first port that the system gives to outgoing connections.
fn outgoing_ports_begin() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(OUTGOING_BY_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn a_claimed_port_is_claimed_once_and_is_free_to_listen_on() {
        let ports: Vec<Port> = (0..20).map(|_| Port::claim().unwrap()).collect();
        for port in &ports {
            assert!(super::claimed(port.number()).is_none(), "port {} was given twice", port.number());
            let _listener = std::net::TcpListener::bind(("127.0.0.1", port.number())).unwrap();
            assert_eq!(super::is_free(port.number()), Err(rustix::io::Errno::ADDRINUSE));
        }
    }
}

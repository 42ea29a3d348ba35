//! The one seam between the program and the world: sockets, commands, entropy and the clock. `Os` is production; the simulator
//! has its own. What is simulated is what is shipped.

use crate::command::CommandError;
use pgconvoy_core::time::Instant;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where a client comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its address, or `[local]` for a Unix socket.
    pub host: String,
    /// Its port; empty for a Unix socket.
    pub port: String,
}

/// The world as the program sees it. Everything runs on one thread per value; only `Bound` and `Parcel` change threads.
pub trait Env: Clone + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// A socket that has been bound, before any worker listens on it.
    type Bound: Send + Sync + 'static;
    /// A socket that accepts connections.
    type Listener: 'static;
    /// A connection on its way to another worker.
    type Parcel: Send + 'static;

    /// Binds a listening socket.
    fn bind(&self, address: &Address) -> io::Result<Self::Bound>;
    /// Lets this worker listen on a bound socket.
    fn adopt(&self, bound: &Self::Bound) -> impl Future<Output = io::Result<Self::Listener>>;
    /// Waits for the next client.
    fn accept(&self, listener: &Self::Listener) -> impl Future<Output = io::Result<(Self::Stream, Origin)>>;
    /// Opens a connection.
    fn connect(&self, address: &Address) -> impl Future<Output = io::Result<Self::Stream>>;
    /// True when an idle connection is open and has nothing to say.
    fn is_silent(&self, stream: &mut Self::Stream) -> bool;
    /// True when a connection can carry nothing any more in either direction, whatever has arrived on it before.
    fn is_broken(&self, stream: &Self::Stream) -> bool;
    /// Packs a connection for another worker.
    fn pack(&self, stream: Self::Stream) -> io::Result<Self::Parcel>;
    /// Unpacks a connection from another worker.
    fn unpack(&self, parcel: Self::Parcel) -> io::Result<Self::Stream>;
    /// Runs a line of the shell with some arguments, for what it prints.
    fn exec(
        &self,
        line: &str,
        arguments: &[String],
        limit: Duration,
    ) -> impl Future<Output = Result<String, CommandError>>;
    /// Fills `bytes` with what nobody can guess.
    fn entropy(&self, bytes: &mut [u8]);
    /// The time on the monotonic clock.
    fn now(&self) -> Instant;
}

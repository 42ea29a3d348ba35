//! Production's [`Env`]: the operating system's sockets, entropy and clock.

use crate::command::{self, CommandError};
use crate::env::{Address, Env, Origin};
use pgconvoy_core::time::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// First pause before a full queue of a Unix socket is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The operating system.
#[derive(Clone, Debug)]
pub struct Os {
    start: tokio::time::Instant,
    backlog: i32,
    socket_mode: u32,
}

/// A connection of the operating system.
#[derive(Debug)]
pub enum OsStream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// A bound socket of the operating system.
#[derive(Debug)]
pub enum OsBound {
    /// A TCP port.
    Tcp(Vec<std::net::TcpListener>),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket of the operating system.
#[derive(Debug)]
pub enum OsListener {
    /// TCP ports: one for each address that a name stands for.
    Tcp(Vec<TcpListener>),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A connection between two workers.
#[derive(Debug)]
pub enum OsParcel {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Os {
    /// The system, with the length of the queue of connections that are not accepted yet, and the mode of Unix sockets
    /// (`unix_socket_permissions`).
    pub fn new(backlog: u32, socket_mode: u32) -> Self {
        Self { start: tokio::time::Instant::now(), backlog: i32::try_from(backlog).unwrap_or(i32::MAX), socket_mode }
    }

    fn bind_tcp(&self, host: &str, port: u16) -> io::Result<OsBound> {
        use std::net::ToSocketAddrs;
        // pgpool's `*` stands for every address; one IPv6 socket serves both families where there is IPv6.
        let addresses: Vec<_> = if host == "*" {
            vec![(std::net::Ipv6Addr::UNSPECIFIED, port).into(), (std::net::Ipv4Addr::UNSPECIFIED, port).into()]
        } else {
            (host, port).to_socket_addrs()?.collect()
        };
        let mut bound = Vec::new();
        let mut failure = None;
        for address in addresses {
            match self.bind_socket(address) {
                Ok(listener) => bound.push(listener),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            // A machine without IPv6 is none without a network; a port in use is never overlooked.
            Some(error) if bound.is_empty() || error.kind() == io::ErrorKind::AddrInUse => Err(error),
            _ if bound.is_empty() => Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address")),
            _ => Ok(OsBound::Tcp(bound)),
        }
    }

    fn bind_socket(&self, address: std::net::SocketAddr) -> io::Result<std::net::TcpListener> {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(self.backlog)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    /// Binds a Unix socket. One that a crash left behind is recognised by nobody answering there, and replaced.
    fn bind_unix(&self, path: &Path) -> io::Result<OsBound> {
        use socket2::{Domain, SockAddr, Socket, Type};
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is no socket"));
            }
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens on the socket")),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
                Err(error) => return Err(error),
            }
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(self.socket_mode))?;
        socket.listen(self.backlog)?;
        socket.set_nonblocking(true)?;
        Ok(OsBound::Unix(socket.into()))
    }
}

impl Env for Os {
    type Stream = OsStream;
    type Bound = OsBound;
    type Listener = OsListener;
    type Parcel = OsParcel;

    fn bind(&self, address: &Address) -> io::Result<OsBound> {
        match address {
            Address::Tcp(host, port) => self.bind_tcp(host, *port),
            Address::Unix(path) => self.bind_unix(path),
        }
    }

    async fn adopt(&self, bound: &OsBound) -> io::Result<OsListener> {
        Ok(match bound {
            OsBound::Tcp(listeners) => {
                let adopt = |listener: &std::net::TcpListener| TcpListener::from_std(listener.try_clone()?);
                OsListener::Tcp(listeners.iter().map(adopt).collect::<io::Result<_>>()?)
            }
            OsBound::Unix(listener) => OsListener::Unix(UnixListener::from_std(listener.try_clone()?)?),
        })
    }

    async fn accept(&self, listener: &OsListener) -> io::Result<(OsStream, Origin)> {
        match listener {
            OsListener::Tcp(listeners) => {
                let (stream, peer) = std::future::poll_fn(|cx| {
                    listeners
                        .iter()
                        .find_map(|listener| match listener.poll_accept(cx) {
                            Poll::Ready(ready) => Some(Poll::Ready(ready)),
                            Poll::Pending => None,
                        })
                        .unwrap_or(Poll::Pending)
                })
                .await?;
                prepare(&stream)?;
                let origin = Origin { host: peer.ip().to_string(), port: peer.port().to_string() };
                Ok((OsStream::Tcp(stream), origin))
            }
            OsListener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((OsStream::Unix(stream), Origin { host: "[local]".into(), port: String::new() }))
            }
        }
    }

    async fn connect(&self, address: &Address) -> io::Result<OsStream> {
        match address {
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                prepare(&stream)?;
                Ok(OsStream::Tcp(stream))
            }
            Address::Unix(path) => connect_unix(path).await.map(OsStream::Unix),
        }
    }

    fn is_silent(&self, stream: &mut OsStream) -> bool {
        // The runtime's own readiness may lag behind: the kernel is asked.
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0u8; 1];
        let peeked = match stream {
            OsStream::Tcp(stream) => recv(stream.as_fd(), &mut byte, flags),
            OsStream::Unix(stream) => recv(stream.as_fd(), &mut byte, flags),
        };
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    fn is_broken(&self, stream: &OsStream) -> bool {
        let stream = match stream {
            OsStream::Tcp(stream) => stream.as_fd(),
            OsStream::Unix(stream) => stream.as_fd(),
        };
        // Errors and the end of both directions are told unasked.
        let mut asked = [PollFd::from_borrowed_fd(stream, PollFlags::empty())];
        let told = poll(&mut asked, Some(&Timespec::default()));
        told.is_ok() && asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }

    fn pack(&self, stream: OsStream) -> io::Result<OsParcel> {
        Ok(match stream {
            OsStream::Tcp(stream) => OsParcel::Tcp(stream.into_std()?),
            OsStream::Unix(stream) => OsParcel::Unix(stream.into_std()?),
        })
    }

    fn unpack(&self, parcel: OsParcel) -> io::Result<OsStream> {
        Ok(match parcel {
            OsParcel::Tcp(stream) => OsStream::Tcp(TcpStream::from_std(stream)?),
            OsParcel::Unix(stream) => OsStream::Unix(UnixStream::from_std(stream)?),
        })
    }

    async fn exec(&self, line: &str, arguments: &[String], limit: Duration) -> Result<String, CommandError> {
        command::run(line, arguments, limit).await
    }

    fn entropy(&self, bytes: &mut [u8]) {
        // The system's generator cannot fail once it is up, and without it no secret is worth anything.
        getrandom::fill(bytes).expect("the system's random numbers cannot be read");
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Connects to a Unix socket. Where a TCP connection would wait in the kernel for its place in the server's queue, this
/// one is told to come again (`EAGAIN`): a server with much to do is not one that cannot be reached. Whoever calls
/// decides how long that goes on.
/// A connection that sends what it has at once, and that notices in the end when its peer's host is gone.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_keepalive(true)
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(2 * pause);
            }
            connected => return connected,
        }
    }
}

/// Gives the Unix sockets among `addresses` to a group (`unix_socket_group`), if one is named.
pub fn set_socket_group(addresses: &[Address], group: &str) -> io::Result<()> {
    if group.is_empty() {
        return Ok(());
    }
    let gid = group_id(group)?;
    for address in addresses {
        if let Address::Unix(path) = address {
            std::os::unix::fs::chown(path, None, Some(gid))?;
        }
    }
    Ok(())
}

fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let lines = std::fs::read_to_string("/etc/group")?;
    let of = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    lines.lines().find_map(of).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("unix_socket_group names no group of this system: {group}"))
    })
}

impl AsyncRead for OsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for OsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, SockAddr, Socket, Type};

    #[test]
    fn a_full_queue_of_a_unix_socket_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let address = SockAddr::unix(&path).expect("an address");
        let server = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        server.bind(&address).expect("a name for it");
        server.listen(0).expect("a queue");
        // The queue is full once a connection is refused for the time being.
        let mut early = Vec::new();
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).expect("a socket");
            match client.connect(&address) {
                Ok(()) => early.push(client),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let os = Os::new(1, 0o700);
            let address = Address::Unix(path);
            let mut connecting = Box::pin(os.connect(&address));
            // Nobody makes room: it goes on waiting.
            let waits = tokio::time::timeout(2 * SHORTEST_PAUSE, &mut connecting).await;
            assert!(waits.is_err(), "connected to a full queue, or gave up: {waits:?}");
            server.accept().expect("the first of those that wait");
            connecting.await.expect("a place has become free");
        });
    }
}

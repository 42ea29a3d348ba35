//! The program's seam to the simulated world.

use super::stream::ChopStream;
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::{Duration, Instant};
use pgconvoy_io::command::CommandError;
use pgconvoy_io::env::{Address, Env, Origin};
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use turmoil::net::{TcpListener, TcpStream};

/// The simulated world as pgconvoy sees it.
#[derive(Clone)]
pub struct Turmoil {
    rng: Rc<RefCell<Rng>>,
    chop: usize,
    start: tokio::time::Instant,
}

impl Turmoil {
    /// A world whose secrets come from `rng`, and whose connections carry at most `chop` bytes at a time. Made within
    /// the simulated host.
    pub fn new(rng: Rng, chop: usize) -> Self {
        Self { rng: Rc::new(RefCell::new(rng)), chop, start: tokio::time::Instant::now() }
    }

    fn stream(&self, inner: TcpStream) -> ChopStream {
        let seed = self.rng.borrow_mut().next_u64();
        ChopStream::new(inner, self.chop, Rng::new(seed))
    }
}

fn elsewhere() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the simulated world has one worker, no Unix sockets and no shell")
}

impl Env for Turmoil {
    type Stream = ChopStream;
    type Bound = u16;
    type Listener = TcpListener;
    type Parcel = std::convert::Infallible;

    fn bind(&self, address: &Address) -> io::Result<u16> {
        match address {
            Address::Tcp(_, port) => Ok(*port),
            Address::Unix(_) => Err(elsewhere()),
        }
    }

    async fn adopt(&self, port: &u16) -> io::Result<TcpListener> {
        TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port)).await
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(ChopStream, Origin)> {
        let (stream, from) = listener.accept().await?;
        Ok((self.stream(stream), Origin { host: from.ip().to_string(), port: from.port().to_string() }))
    }

    async fn connect(&self, address: &Address) -> io::Result<ChopStream> {
        match address {
            Address::Tcp(host, port) => Ok(self.stream(TcpStream::connect((host.as_str(), *port)).await?)),
            Address::Unix(_) => Err(elsewhere()),
        }
    }

    fn is_silent(&self, stream: &mut ChopStream) -> bool {
        stream.is_silent()
    }

    fn is_broken(&self, _: &ChopStream) -> bool {
        // turmoil tells it only to who reads.
        false
    }

    fn pack(&self, _stream: ChopStream) -> io::Result<Self::Parcel> {
        Err(elsewhere())
    }

    fn unpack(&self, parcel: Self::Parcel) -> io::Result<ChopStream> {
        match parcel {}
    }

    async fn exec(&self, _: &str, _: &[String], _: Duration) -> Result<String, CommandError> {
        Err(elsewhere().into())
    }

    fn entropy(&self, bytes: &mut [u8]) {
        let mut rng = self.rng.borrow_mut();
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&rng.next_u64().to_be_bytes()[..chunk.len()]);
        }
    }

    fn now(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64)
    }
}

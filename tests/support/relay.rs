//! A relay between the proxy and a server that sees every frame, and may keep, change, add, hold or cut.
//!
//! It deframes by itself, so it is also the independent record of what the proxy sends to a server, and with a filter
//! that answers for the server it is a hostile server.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::wire::{Fields, Message, cancel_request, cut};

/// The request codes of a first packet that is no start-up.
const CANCEL: u32 = 80_877_102;
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

/// Who sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The side that connected: the proxy.
    Client,
    /// PostgreSQL.
    Server,
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on as it is.
    Pass,
    /// These bytes go on in its place.
    Replace(Vec<u8>),
    /// These bytes go on in its place, then both connections are closed.
    Cut(Vec<u8>),
    /// These bytes go on again and again until the receiver has closed.
    Flood(Vec<u8>),
    /// Nothing more of this sender goes on, while the connections stay open.
    Hold,
}

/// Decides on every frame of one connection after its start-up packet.
pub type Filter = Box<dyn FnMut(Sender, &Message) -> Action + Send>;

/// Gives a new connection its filter by its start-up parameters; `None` passes everything.
pub type Choose = Box<dyn Fn(&BTreeMap<String, String>) -> Option<Filter> + Send + Sync>;

/// A running relay; dropped, it closes all its connections.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    choose: Choose,
    stopping: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Starts a relay in front of `server`.
    pub fn start(server: SocketAddr, choose: Choose) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared =
            Arc::new(Shared { server, choose, stopping: AtomicBool::new(false), streams: Mutex::new(Vec::new()) });
        let accepting = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&accepting);
                // A connection that breaks is the ordinary end of a connection.
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where the proxy connects.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every open connection.
    pub fn cut_all(&self) {
        for stream in self.shared.streams.lock().expect("no holder panics").drain(..) {
            // It may have closed by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; when that fails, the listener is gone already.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.cut_all();
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let Some(packet) = self.startup(&mut client)? else { return Ok(()) };
        let mut fields = Fields(&packet[8..]);
        let mut parameters = BTreeMap::new();
        while fields.0.first().is_some_and(|byte| *byte != 0) {
            parameters.insert(fields.text(), fields.text());
        }
        let mut server = TcpStream::connect(self.server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        self.streams.lock().expect("no holder panics").extend([client.try_clone()?, server.try_clone()?]);
        server.write_all(&packet)?;
        let filter = Mutex::new((self.choose)(&parameters).unwrap_or_else(|| Box::new(|_, _| Action::Pass)));
        std::thread::scope(|scope| {
            scope.spawn(|| pump(Sender::Client, &client, &server, &filter));
            pump(Sender::Server, &server, &client, &filter);
        });
        Ok(())
    }

    /// The start-up packet with its length; declines encryption on the way, forwards a cancel request for good.
    fn startup(&self, client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
        loop {
            let mut packet = vec![0; 4];
            client.read_exact(&mut packet)?;
            let length = Fields(&packet).long() as usize;
            packet.resize(length.clamp(8, 10_000), 0);
            client.read_exact(&mut packet[4..])?;
            let mut fields = Fields(&packet[4..]);
            match fields.long() {
                code if ENCRYPTION.contains(&code) => client.write_all(b"N")?,
                CANCEL => {
                    let mut server = TcpStream::connect(self.server)?;
                    server.write_all(&cancel_request(fields.long(), fields.0))?;
                    server.read_to_end(&mut Vec::new())?;
                    return Ok(None);
                }
                _ => return Ok(Some(packet)),
            }
        }
    }
}

/// Carries frames one way until either side closes, then closes both.
fn pump(sender: Sender, mut from: &TcpStream, mut to: &TcpStream, filter: &Mutex<Filter>) {
    let mut inbox = Vec::new();
    let mut chunk = vec![0; 65_536];
    'reading: while let Ok(count @ 1..) = from.read(&mut chunk) {
        inbox.extend_from_slice(&chunk[..count]);
        let mut out = Vec::new();
        let mut consumed = 0;
        while let Ok(Some((message, length))) = cut(&inbox[consumed..]) {
            consumed += length;
            match (filter.lock().expect("no filter panics"))(sender, &message) {
                Action::Pass => out.extend_from_slice(&message.bytes()),
                Action::Replace(bytes) => out.extend_from_slice(&bytes),
                Action::Cut(bytes) => {
                    out.extend_from_slice(&bytes);
                    // Whether the receiver takes it or not, the connection ends here.
                    let _ = to.write_all(&out);
                    break 'reading;
                }
                Action::Flood(bytes) => {
                    let many = bytes.repeat(1 + 65_536 / bytes.len());
                    while to.write_all(&many).is_ok() {}
                    break 'reading;
                }
                Action::Hold => {
                    let _ = to.write_all(&out);
                    drain(from);
                    break 'reading;
                }
            }
        }
        inbox.drain(..consumed);
        if to.write_all(&out).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Reads until the other side closes.
fn drain(mut from: &TcpStream) {
    let mut chunk = vec![0; 65_536];
    while matches!(from.read(&mut chunk), Ok(1..)) {}
}

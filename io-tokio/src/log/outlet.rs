//! Writes lines to a slow or broken place without holding up who sends them.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Lines that wait to be written take at most so much memory; one line alone may exceed it.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// How long to wait before a non-blocking stderr that is full is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// The thread that writes, and the way to it.
#[derive(Debug)]
pub(super) struct Outlet {
    lines: Lines,
}

/// The sending side.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: Sender<Message>,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    lost_lines: AtomicUsize,
}

#[derive(Debug)]
enum Message {
    Lines(String),
    /// Everything before it has been written once this is received.
    Flush(Sender<()>),
}

impl Outlet {
    /// Starts the thread. It ends when all senders are gone; `describe` is the line that tells of lost lines.
    pub(super) fn new(sink: impl Write + Send + 'static, describe: impl Fn(usize) -> String + Send + 'static) -> Self {
        let (queue, messages) = channel();
        let waiting = Arc::<Waiting>::default();
        let thread = std::thread::Builder::new().name("log".to_owned());
        let thread_waiting = Arc::clone(&waiting);
        if let Err(error) = thread.spawn(move || write_all(messages, sink, &thread_waiting, describe)) {
            // Without the thread every line is dropped: the log is no reason not to serve.
            let _unheard = writeln!(std::io::stderr(), "no thread for the log: {error}");
        }
        Self { lines: Lines { queue, waiting } }
    }

    pub(super) fn sender(&self) -> Lines {
        self.lines.clone()
    }

    /// Waits until all lines so far are written, but not longer than `timeout`; tells whether they are.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let (done, flushed) = channel();
        self.lines.queue.send(Message::Flush(done)).is_ok() && flushed.recv_timeout(timeout).is_ok()
    }
}

impl Lines {
    /// Sends whole lines, or counts them as lost if too many are waiting.
    pub(super) fn send(&self, lines: String) {
        let size = lines.len();
        let before = self.waiting.bytes.fetch_add(size, Ordering::Relaxed);
        let accepted = before == 0 || before + size <= MAX_WAITING_BYTES;
        if !accepted || self.queue.send(Message::Lines(lines)).is_err() {
            self.waiting.bytes.fetch_sub(size, Ordering::Relaxed);
            self.waiting.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(messages: Receiver<Message>, mut sink: impl Write, waiting: &Waiting, describe: impl Fn(usize) -> String) {
    for message in messages {
        match message {
            Message::Lines(lines) => {
                write(&mut sink, lines.as_bytes());
                waiting.bytes.fetch_sub(lines.len(), Ordering::Relaxed);
            }
            // Who waits may have given up.
            Message::Flush(done) => drop(done.send(())),
        }
        let lost = waiting.lost_lines.swap(0, Ordering::Relaxed);
        if lost > 0 {
            write(&mut sink, describe(lost).as_bytes());
        }
    }
}

/// Writes as much as can be written: a line that stderr does not take is nobody's fault here.
fn write(sink: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(_) => return,
        }
    }
}

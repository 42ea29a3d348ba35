//! Connections of the simulated network, whose reads and writes are cut at random.

use bytes::{Buf, BytesMut};
use pgconvoy_core::rng::Rng;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

/// Longest peek at an idle connection, in bytes.
const PEEK_BYTES: usize = 16;

/// A connection whose reads and writes carry at most `chop` bytes at a time, often fewer.
pub struct ChopStream {
    inner: TcpStream,
    /// Read ahead, by a look whether there was anything.
    ahead: BytesMut,
    chop: usize,
    rng: Rng,
}

impl ChopStream {
    /// Cuts what goes over `inner`.
    pub fn new(inner: TcpStream, chop: usize, rng: Rng) -> Self {
        Self { inner, ahead: BytesMut::new(), chop, rng }
    }

    /// True when the connection is open and has nothing to say.
    pub fn is_silent(&mut self) -> bool {
        let mut bytes = [0; PEEK_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.inner).poll_read(&mut context, &mut buffer) {
            Poll::Pending => self.ahead.is_empty(),
            Poll::Ready(_) => {
                self.ahead.extend_from_slice(buffer.filled());
                false
            }
        }
    }

    fn part(&mut self, whole: usize) -> usize {
        if whole == 0 { 0 } else { 1 + self.rng.below(whole.min(self.chop) as u64) as usize }
    }
}

impl AsyncRead for ChopStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let part = this.part(out.remaining());
        if !this.ahead.is_empty() {
            let part = part.min(this.ahead.len());
            out.put_slice(&this.ahead[..part]);
            this.ahead.advance(part);
            return Poll::Ready(Ok(()));
        }
        let mut limited = out.take(part);
        let read = Pin::new(&mut this.inner).poll_read(cx, &mut limited);
        let filled = limited.filled().to_vec();
        if read.is_ready() {
            out.put_slice(&filled);
        }
        read
    }
}

impl AsyncWrite for ChopStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let part = this.part(bytes.len());
        Pin::new(&mut this.inner).poll_write(cx, &bytes[..part])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

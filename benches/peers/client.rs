//! A small blocking client of the protocol: it logs in where no password is asked, and moves results and COPY data
//! faster than a server makes them. It knows nothing of who is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pgconvoy_core::wire::tag::{backend, frontend};
use pgconvoy_core::wire::{build, startup};

use crate::world::{DATABASE, USER};

/// How long a peer may stay silent in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// What is read at once, bytes.
const READ_BYTES: usize = 256 * 1024;
/// What an idle client holds until its first result, bytes: 2,000 of them live in this process.
const LOGIN_BYTES: usize = 1024;
/// Longest message believed, bytes: everything that is asked for here has short rows.
const LONGEST_MESSAGE: usize = 1 << 20;
/// COPY data per message, bytes: what psql sends.
const COPY_CHUNK: usize = 8 * 1024;

/// A session that is logged in.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Client {
    /// Connects to `address` and logs in; returns when the server is ready for queries.
    pub fn login(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut client = Self { stream, buffer: vec![0; LOGIN_BYTES], start: 0, end: 0 };
        let mut hello = Vec::new();
        startup::build(&mut hello, USER.as_bytes(), DATABASE.as_bytes(), b"");
        client.stream.write_all(&hello)?;
        client.finish(|tag, body| {
            let asks = tag == backend::AUTHENTICATION && body != [0; 4];
            if asks { bail!("a password is asked for, but logins are by trust here") } else { Ok(()) }
        })?;
        Ok(client)
    }

    /// Runs `sql`; the first column of its first row, if it has one.
    pub fn ask(&mut self, sql: &str) -> Result<Option<String>> {
        self.send_query(sql)?;
        let mut first = None;
        self.finish(|tag, body| {
            if tag == backend::DATA_ROW && first.is_none() {
                first = Some(first_column(body)?);
            }
            Ok(())
        })?;
        Ok(first)
    }

    /// Runs `sql` and throws its rows or COPY data away; how many bytes of them there were, without headers.
    pub fn drain(&mut self, sql: &str) -> Result<u64> {
        self.send_query(sql)?;
        self.drain_answer()
    }

    /// Sends `sql` and reads nothing.
    pub fn send_query(&mut self, sql: &str) -> Result<()> {
        let mut message = Vec::new();
        build::message(&mut message, frontend::QUERY, |out| build::cstr(out, sql.as_bytes()));
        Ok(self.stream.write_all(&message)?)
    }

    /// Reads the answer to what was sent and throws it away; how many bytes of rows or COPY data there were.
    pub fn drain_answer(&mut self) -> Result<u64> {
        self.buffer.resize(READ_BYTES.max(self.buffer.len()), 0);
        let mut bytes = 0;
        self.finish(|tag, body| {
            if tag == backend::DATA_ROW || tag == backend::COPY_DATA {
                bytes += body.len() as u64;
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads a little of an answer and throws it away.
    pub fn sip(&mut self) -> Result<()> {
        (self.start, self.end) = (0, 0);
        self.fill()
    }

    /// Runs `sql`, which must be a COPY from the client, on `data`, `times` over.
    pub fn copy_in(&mut self, sql: &str, data: &[u8], times: usize) -> Result<()> {
        self.send_query(sql)?;
        loop {
            match self.next()? {
                (backend::COPY_IN_RESPONSE, _) => break,
                (tag, _) => ensure!(tag == backend::NOTICE_RESPONSE, "{:?} came instead of CopyIn", char::from(tag)),
            }
        }
        let mut message = Vec::new();
        for chunk in data.chunks(COPY_CHUNK) {
            build::message(&mut message, frontend::COPY_DATA, |out| out.extend_from_slice(chunk));
        }
        for _ in 0..times {
            self.stream.write_all(&message)?;
        }
        message.clear();
        build::message(&mut message, frontend::COPY_DONE, |_| {});
        self.stream.write_all(&message)?;
        self.finish(|_, _| Ok(()))
    }

    /// Gives every message up to ReadyForQuery to `each`.
    fn finish(&mut self, mut each: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
        loop {
            match self.next()? {
                (backend::READY_FOR_QUERY, _) => return Ok(()),
                (tag, body) => each(tag, body)?,
            }
        }
    }

    /// The next message; an ErrorResponse is an error.
    fn next(&mut self) -> Result<(u8, &[u8])> {
        let length = loop {
            let read = &self.buffer[self.start..self.end];
            if let Some((&[_, a, b, c, d], _)) = read.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([a, b, c, d]) as usize + 1;
                ensure!((5..=LONGEST_MESSAGE).contains(&length), "a message of {length} bytes");
                if read.len() >= length {
                    break length;
                }
                self.buffer.resize(self.buffer.len().max(length), 0);
            }
            self.fill()?;
        };
        let message = &self.buffer[self.start..self.start + length];
        self.start += length;
        let (tag, body) = (message[0], &message[5..]);
        ensure!(tag != backend::ERROR_RESPONSE, "the server says: {}", error_text(body));
        Ok((tag, body))
    }

    /// Reads more behind what is there.
    fn fill(&mut self) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let got = self.stream.read(&mut self.buffer[self.end..]).context("waiting for an answer")?;
        ensure!(got > 0, "the connection was closed in the middle of an answer");
        self.end += got;
        Ok(())
    }
}

/// The text of the first column of a DataRow.
fn first_column(row: &[u8]) -> Result<String> {
    let Some((&[_, _, a, b, c, d], values)) = row.split_first_chunk::<6>() else { bail!("a row without columns") };
    let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).context("the first column is NULL")?;
    let value = values.get(..length).context("a row that is cut short")?;
    Ok(String::from_utf8_lossy(value).into_owned())
}

/// Severity, code and message of an ErrorResponse.
fn error_text(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter(|field| matches!(field.first(), Some(b'V' | b'C' | b'M')));
    fields.map(|field| String::from_utf8_lossy(&field[1..])).collect::<Vec<_>>().join(" ")
}

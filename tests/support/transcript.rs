//! What a server answers to a script, in lines that two servers of the same kind must have in common.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use super::script::Script;
use super::wire::{Connection, Frontend, Login, Message, is_closed};

/// A script without its last answer after this long hangs.
const HANG: Duration = Duration::from_secs(5);

/// The last line of a session that ended for a breach of the protocol.
const BREACH: &str = "ErrorResponse FATAL 08P01";

/// What one side answered, one line a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// The answers in order.
    pub lines: Vec<String>,
    /// How they ended.
    pub end: End,
}

impl Transcript {
    /// Whether this is what `direct` is.
    ///
    /// Where a client ends its session, or PostgreSQL does for a breach of the protocol, a proxy may do so as soon as it
    /// sees that: then the answers to what was sent before may be missing. PostgreSQL itself leaves out those that it has
    /// not flushed when the client leaves.
    pub fn agrees_with(&self, direct: &Self) -> bool {
        let answers = |transcript: &Self| {
            let breach = transcript.lines.last().is_some_and(|line| line == BREACH);
            (breach, transcript.lines[..transcript.lines.len() - usize::from(breach)].to_vec())
        };
        let ((breach, told), (expected_breach, expected)) = (answers(self), answers(direct));
        let both_closed = self.end == End::Closed && direct.end == End::Closed;
        let left_out = expected.starts_with(&told) || !breach && told.starts_with(&expected);
        // A server that closes with input unread resets the connection: what it said last may not arrive.
        let cut_short = !expected_breach && told.starts_with(&expected);
        self == direct || both_closed && (breach == expected_breach && left_out || cut_short)
    }

    /// Leaves of an error or an empty answer in a failed block only that nothing came of it, and nothing of
    /// ParameterStatus, which has no place of its own.
    pub fn loosen(&mut self) {
        let mut failed = false;
        for line in &mut self.lines {
            if line.starts_with("ReadyForQuery") {
                failed = line.ends_with('E');
            } else if failed && (line.starts_with("ErrorResponse S") || line.starts_with("EmptyQueryResponse")) {
                *line = "nothing in a failed block".into();
            }
        }
        self.lines.retain(|line| !line.starts_with("ParameterStatus"));
    }

    /// The first answer of `direct` that is not among these in its place.
    pub fn parts_at<'a>(&self, direct: &'a Self) -> Option<&'a str> {
        let different = |(at, line): &(usize, &'a String)| self.lines.get(*at) != Some(line);
        direct.lines.iter().enumerate().find(different).map(|(_, line)| line.as_str())
    }
}

/// How a script's answers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the last answer.
    Ready,
    /// With the server's close.
    Closed,
    /// Not at all.
    Hang,
}

/// One side of a comparison, with a session that is reused while it lives.
#[derive(Debug)]
pub struct Side {
    address: SocketAddr,
    login: Login,
    session: Option<Connection>,
}

impl Side {
    /// A side at `address` without a session yet.
    pub fn new(address: SocketAddr, login: &Login) -> Self {
        Self { address, login: login.clone(), session: None }
    }

    /// Sends `script` and what brings the session back from wherever it leads; reads all answers meanwhile.
    pub fn run(&mut self, script: &Script) -> Transcript {
        let mut session = match self.session.take().map_or_else(|| self.connect(), Ok) {
            Ok(session) => session,
            Err(refused) => return Transcript { lines: vec![refused], end: End::Closed },
        };
        let end_mark = format!("end of {}", script.seed);
        let writes = script.writes(&tail(&end_mark));
        let stream = session.stream().try_clone().expect("a second handle of a socket");
        let transcript = std::thread::scope(|scope| {
            // A side that closes early makes later writes fail: what it answered is all that counts.
            scope.spawn(move || writes.iter().try_for_each(|bytes| (&stream).write_all(bytes)));
            let transcript = read_answers(&mut session, &end_mark);
            if transcript.end != End::Ready {
                // Lets the writer go; the session is of no more use.
                let _ = session.stream().shutdown(Shutdown::Both);
            }
            transcript
        });
        if transcript.end == End::Ready {
            self.session = Some(session);
        }
        transcript
    }

    /// Leaves, so that the next script gets a new session.
    pub fn leave(&mut self) {
        if let Some(session) = self.session.take() {
            // However the good-bye goes, the session is over.
            let _ = session.leave();
        }
    }

    fn connect(&self) -> Result<Connection, String> {
        let mut session =
            Connection::login(self.address, &self.login).map_err(|error| format!("no session: {error:?}"))?;
        session.set_patience(HANG);
        Ok(session)
    }
}

/// Brings a session back from wherever a script left it, and ends with a row that tells so.
pub fn tail(end_mark: &str) -> Vec<Frontend> {
    vec![
        Frontend::CopyFail("the script is over".into()),
        Frontend::Sync,
        Frontend::query("ROLLBACK"),
        Frontend::query("DISCARD ALL"),
        Frontend::query(format!("SELECT '{end_mark}'")),
    ]
}

fn read_answers(session: &mut Connection, end_mark: &str) -> Transcript {
    let mut lines = Vec::new();
    let mut marked = false;
    let end = loop {
        match session.read() {
            Ok(message) => {
                marked |= message.kind == b'D' && message.row() == [Some(end_mark.to_string())];
                lines.push(stable_line(&message));
                if marked && message.kind == b'Z' {
                    break End::Ready;
                }
            }
            Err(error) if is_closed(&error) => break End::Closed,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => break End::Hang,
            Err(error) => {
                lines.push(format!("broken stream: {error}"));
                break End::Closed;
            }
        }
    };
    Transcript { lines, end }
}

/// The message in one line without the number of the session's temporary schema.
///
/// A session that ends for a breach of the protocol may be told so in the proxy's own words.
fn stable_line(message: &Message) -> String {
    if message.kind == b'E' && message.field(b'S').as_deref() == Some("FATAL") {
        return format!("ErrorResponse FATAL {}", message.sqlstate());
    }
    let line = message.line();
    let Some((before, after)) = line.split_once("pg_temp_") else { return line };
    format!("{before}pg_temp_N{}", after.trim_start_matches(|character: char| character.is_ascii_digit()))
}

/// Both transcripts under each other, with the place where they part.
pub fn describe(expected: &Transcript, seen: &Transcript) -> String {
    let same = expected.lines.iter().zip(&seen.lines).take_while(|(left, right)| left == right).count();
    let side = |transcript: &Transcript| {
        let lines: Vec<String> = transcript.lines.iter().map(|line| line.chars().take(300).collect()).collect();
        format!("  {}\n  {:?}", lines.join("\n  "), transcript.end)
    };
    format!("first difference at answer {same}\ndirect:\n{}\nthrough the proxy:\n{}", side(expected), side(seen))
}

//! Questions of pgconvoy's own where it replicates, asked in the client's session and transaction, with answers that nobody
//! else sees.
//!
//! They go in the extended protocol and under a name that no client gives, so that the unnamed statement, and a batch
//! that is under way, stay as they are. The main backend is asked first, so that locks meet there; the others follow, if they
//! are asked at all. Nothing else is owed meanwhile.

use super::port::{Ask, Target};
use super::{MAIN, Session};
use crate::limits::{ANSWER_BYTES, LOGIN_ERROR_BYTES};
use crate::wire::tag::{backend, frontend};
use crate::wire::{HEADER_BYTES, Header, build};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// The name of a question's statement and portal. Each is closed behind its answer.
const NAME: &[u8] = b"pgconvoy asks";
/// The replies to a statement of a question: to Parse, Bind, Execute, and Close of both.
const REPLIES: usize = 5;

/// What is asked.
#[derive(Debug)]
pub(super) enum Question<'a> {
    /// Statements that are executed in this order; the rows of the last one are the answer.
    Run(&'a [Vec<u8>]),
    /// Whether PostgreSQL would prepare a statement.
    Prepare(&'a [u8]),
    /// What the parameters of a prepared statement are.
    Describe(&'a [u8]),
}

/// A row of an answer.
pub(super) type Row = Vec<Option<Box<[u8]>>>;

/// What has come of a question.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The main backend's rows.
    pub rows: Vec<Row>,
    /// The types of a prepared statement's parameters.
    pub types: Vec<u32>,
    /// An ErrorResponse in place of an answer.
    pub error: Option<Bytes>,
}

/// A question whose answer is outstanding.
#[derive(Debug)]
pub(super) struct Consultation {
    messages: Bytes,
    replies: usize,
    /// A Sync stands behind the messages, not a Flush.
    syncs: bool,
    /// These are asked once the main backend has answered.
    later: Target,
    answer: Answer,
    bytes: usize,
}

impl Session {
    /// True while an answer is outstanding.
    pub(super) fn is_consulting(&self) -> bool {
        self.replicas.as_ref().is_some_and(|replicas| replicas.consultation.is_some())
    }

    /// Whether a question may be asked now.
    pub(super) fn may_consult(&self) -> bool {
        self.owes_nothing() && !self.in_round() && !self.is_consulting() && self.client_not_inside(MAIN)
    }

    /// Asks the main backend, and then the rest of `to`. With `syncs`, the question is a batch of its own; without, it is
    /// the beginning of one, or a part of the one that is under way.
    pub(super) fn consult(&mut self, question: &Question<'_>, to: Target, syncs: bool) {
        assert!(self.may_consult(), "a question was asked out of turn");
        let mut out = Vec::new();
        let mut replies = 0;
        match question {
            Question::Run(statements) => {
                for statement in *statements {
                    run(&mut out, statement);
                    replies += REPLIES;
                }
            }
            Question::Prepare(statement) => {
                parse(&mut out, statement);
                named(&mut out, frontend::CLOSE, b'S', NAME);
                replies += 2;
            }
            Question::Describe(name) => {
                named(&mut out, frontend::DESCRIBE, b'S', name);
                replies += 1;
            }
        }
        build::bare(&mut out, if syncs { frontend::SYNC } else { frontend::FLUSH });
        let (messages, later) = (Bytes::from(out), to.without(Target::MAIN));
        let consultation =
            Consultation { messages, replies, syncs, later: Target::NONE, answer: Answer::default(), bytes: 0 };
        if let Some(replicas) = &mut self.replicas {
            replicas.consultation = Some(Box::new(consultation));
        }
        self.put_consultation(Target::MAIN);
        if let Some(consultation) = self.consultation() {
            consultation.later = later;
        }
    }

    fn consultation(&mut self) -> Option<&mut Consultation> {
        self.replicas.as_mut()?.consultation.as_deref_mut()
    }

    fn put_consultation(&mut self, to: Target) {
        let Some(consultation) = self.consultation() else { return };
        let (messages, replies, syncs) = (consultation.messages.clone(), consultation.replies, consultation.syncs);
        for position in to.positions() {
            let Some(port) = &mut self.ports[position] else { continue };
            port.queue.push(messages.clone());
            (0..replies).for_each(|_| port.asked(Ask::Consult, false));
            if syncs {
                port.asked(Ask::Sync, false);
            } else {
                port.flushed = true;
            }
        }
    }

    /// Everybody who was asked has answered: the others are asked, or the answer is complete. True in the first case.
    pub(super) fn go_on_consulting(&mut self) -> bool {
        let Some(consultation) = self.consultation() else { return false };
        let later = core::mem::replace(&mut consultation.later, Target::NONE);
        let there = later.positions().filter(|position| self.ports[*position].is_some());
        let later = there.fold(Target::NONE, |all, position| all.with(Target::only(position)));
        let Some(consultation) = self.consultation() else { return false };
        if consultation.answer.error.is_none() && !later.is_empty() {
            self.put_consultation(later);
            return true;
        }
        if let Some(replicas) = &mut self.replicas
            && let Some(consultation) = replicas.consultation.take()
        {
            replicas.answer = Some(Box::new(consultation.answer));
        }
        false
    }

    /// Reads a row of an answer. False if more of it must be there first.
    pub(super) fn read_consulted(&mut self, position: usize, header: Header, front: &[u8]) -> bool {
        let whole = front.len() >= header.total;
        let Some(consultation) = self.consultation().filter(|_| position == MAIN) else { return true };
        if header.total > ANSWER_BYTES || consultation.bytes + header.total > ANSWER_BYTES {
            consultation.fail_for_length();
            return true;
        }
        if whole {
            consultation.bytes += header.total;
            match fields(&front[HEADER_BYTES..header.total]) {
                Some(row) => consultation.answer.rows.push(row),
                None => consultation.fail_for_length(),
            }
        }
        whole
    }

    /// A reply to a part of a question has come. False if more of it must be there first.
    pub(super) fn consulted(&mut self, position: usize, header: Header, front: &[u8]) -> bool {
        let Some(consultation) = self.consultation().filter(|_| position == MAIN) else { return true };
        match header.tag {
            // The next statement: only the rows of the last one count.
            backend::PARSE_COMPLETE => {
                consultation.answer.rows.clear();
                consultation.bytes = 0;
            }
            backend::PARAMETER_DESCRIPTION if header.total <= ANSWER_BYTES => {
                if front.len() < header.total {
                    return false;
                }
                let types = front[HEADER_BYTES..header.total].get(2..).unwrap_or_default().chunks_exact(4);
                consultation.answer.types =
                    types.map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]])).collect();
            }
            _ => {}
        }
        true
    }

    /// A question has been refused. False if more of the error must be there first.
    pub(super) fn consultation_failed(&mut self, header: Header, front: &[u8]) -> bool {
        if front.len() < header.total.min(LOGIN_ERROR_BYTES) {
            return false;
        }
        if let Some(consultation) = self.consultation() {
            match front.get(..header.total) {
                Some(error) => {
                    consultation.answer.error.get_or_insert_with(|| Bytes::copy_from_slice(error));
                }
                None => consultation.fail_for_length(),
            }
        }
        true
    }
}

impl Consultation {
    fn fail_for_length(&mut self) {
        let fault = crate::fault::Fault::new(
            crate::fault::Culprit::Proxy,
            b"54000",
            "a value is too long to be written as a constant",
        );
        let mut out = Vec::new();
        build::error(&mut out, build::Severity::Error, &fault);
        self.answer.error.get_or_insert(out.into());
    }
}

fn parse(out: &mut Vec<u8>, statement: &[u8]) {
    build::message(out, frontend::PARSE, |out| {
        build::cstr(out, NAME);
        build::cstr(out, statement);
        out.extend_from_slice(&[0, 0]);
    });
}

fn named(out: &mut Vec<u8>, tag: u8, kind: u8, name: &[u8]) {
    build::message(out, tag, |out| {
        out.push(kind);
        build::cstr(out, name);
    });
}

fn run(out: &mut Vec<u8>, statement: &[u8]) {
    parse(out, statement);
    build::message(out, frontend::BIND, |out| {
        build::cstr(out, NAME);
        build::cstr(out, NAME);
        out.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
    });
    build::message(out, frontend::EXECUTE, |out| {
        build::cstr(out, NAME);
        out.extend_from_slice(&[0; 4]);
    });
    named(out, frontend::CLOSE, b'P', NAME);
    named(out, frontend::CLOSE, b'S', NAME);
}

/// The fields of a DataRow.
fn fields(body: &[u8]) -> Option<Row> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length);
        if length == u32::MAX {
            row.push(None);
            rest = behind;
        } else {
            let (value, behind) = behind.split_at_checked(length as usize)?;
            row.push(Some(value.into()));
            rest = behind;
        }
    }
    rest.is_empty().then_some(row)
}

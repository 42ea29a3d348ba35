//! What backends answer: each reply is matched with what was asked, and goes on to the client untouched, or nowhere.

use super::port::{Ask, Rest, Target};
use super::repeat::is_refusal;
use super::round::needed_for_vote;
use super::shape;
use super::{Closed, MAIN, Report, Session, SessionEvent};
use crate::fault::{Culprit, Fault};
use crate::limits::{BACKEND_CONTROL_BYTES, ERROR_PREFIX_BYTES, SMALL_CHUNK_BYTES};
use crate::sql::determinism::extended::parameter_description;
use crate::wire::build::{self, Severity};
use crate::wire::tag::backend;
use crate::wire::{ErrorHead, HEADER_BYTES, Header, TransactionStatus};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use bytes::BytesMut;

/// What becomes of the message at the front.
enum Verdict {
    /// It goes on to the client.
    Relay,
    /// It goes nowhere.
    Drop,
    /// Another goes to the client in its place.
    Replace(Vec<u8>),
    /// More of it must be there first.
    More,
}

impl Session {
    /// Reads a backend's input. Rows and COPY data go by without being opened.
    pub(super) fn read_node(&mut self, position: usize, input: &mut BytesMut) {
        let Some(port) = &mut self.ports[position] else { return input.clear() };
        let mut held = core::mem::take(&mut port.held);
        while !held.is_empty() && !input.is_empty() {
            // Only what the message that was cut needs moves behind its first part; the rest goes by where it is.
            let missing = match Header::parse(&held) {
                Ok(Some(header)) => header.total.saturating_sub(held.len()).max(1),
                _ => HEADER_BYTES.saturating_sub(held.len()).max(1),
            };
            held.extend_from_slice(&input.split_to(missing.min(input.len())));
            self.scan(position, &mut held);
            if self.is_over() {
                return input.clear();
            }
        }
        if held.is_empty() {
            self.scan(position, input);
            held.extend_from_slice(input);
        }
        if let (false, Some(port)) = (held.is_empty(), &mut self.ports[position]) {
            port.held = held;
        }
        input.clear();
    }

    fn scan(&mut self, position: usize, input: &mut BytesMut) {
        // Bytes at the front that go on to the client together.
        let mut run = 0;
        while let Some(port) = &mut self.ports[position] {
            let front = &input[run..];
            if port.rest.bytes > 0 {
                let part = port.rest.bytes.min(front.len());
                if part == 0 {
                    break;
                }
                port.rest.bytes -= part;
                let (relay, ends) = (port.rest.relay, port.rest.bytes == 0);
                if self.is_tallied(position) {
                    self.tally_rest(position, &input[run..run + part], ends);
                }
                self.take(input, &mut run, part, relay);
                if ends && self.mid_client == Some(position) && !self.notices.is_empty() {
                    // What has been waiting for the end of this message comes before the next one.
                    self.relay(input, &mut run);
                    self.mid_client = None;
                    self.flush_notices();
                }
                continue;
            }
            let header = match Header::parse(front) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(bad) => {
                    self.relay(input, &mut run);
                    let what = format!("a message of kind {:?} declares {} bytes", bad.tag as char, bad.declared);
                    self.hostile(position, what);
                    break;
                }
            };
            let here = header.total.min(front.len());
            let tallied = self.is_tallied(position);
            if tallied && here < header.total && here < needed_for_vote(header) {
                break;
            }
            let Some(port) = &mut self.ports[position] else { break };
            let asked = port.owed.front().map(|owed| owed.ask);
            let verdict = match header.tag {
                _ if port.transparent => self.judge_transparent(position, header, &front[..here]),
                backend::DATA_ROW if port.owed.front().is_some_and(|owed| owed.ask == Ask::Question) => {
                    match self.read_answer(header, &front[..here]) {
                        true => Ok(Verdict::Drop),
                        false => Ok(Verdict::More),
                    }
                }
                backend::DATA_ROW if asked == Some(Ask::Consult) => {
                    match self.read_consulted(position, header, &front[..here]) {
                        true => Ok(Verdict::Drop),
                        false => Ok(Verdict::More),
                    }
                }
                backend::DATA_ROW | backend::COPY_DATA => Self::judge_row(port),
                backend::ROW_DESCRIPTION => self.judge_description(position, header, front),
                _ => self.judge(position, header, &front[..here]),
            };
            let relay = match verdict {
                Ok(Verdict::Relay) => true,
                Ok(Verdict::Drop) => false,
                Ok(Verdict::Replace(message)) => {
                    if tallied {
                        self.hold_back(header, &input[run..run + here]);
                    }
                    self.relay(input, &mut run);
                    if !self.client.gone {
                        self.client.queue.push(message.into());
                    }
                    false
                }
                Ok(Verdict::More) => break,
                Err(what) => {
                    self.relay(input, &mut run);
                    self.hostile(position, what);
                    break;
                }
            };
            if tallied {
                self.tally(position, asked, header, &input[run..run + here]);
            }
            let relay = relay && !(tallied && self.hold_back(header, &input[run..run + here]));
            self.take(input, &mut run, here, relay);
            if let Some(port) = &mut self.ports[position] {
                port.rest = Rest { bytes: header.total - here, relay };
            }
        }
        self.relay(input, &mut run);
        let inside = self.ports[position].as_ref().is_some_and(|port| port.rest.bytes > 0 && port.rest.relay);
        if inside {
            self.mid_client = Some(position);
        } else if self.mid_client == Some(position) {
            self.mid_client = None;
        }
        if self.is_over() {
            input.clear();
        }
    }

    fn take(&mut self, input: &mut BytesMut, run: &mut usize, bytes: usize, relay: bool) {
        if relay {
            *run += bytes;
        } else {
            self.relay(input, run);
            bytes::Buf::advance(input, bytes);
        }
    }

    fn relay(&mut self, input: &mut BytesMut, run: &mut usize) {
        if *run > 0 {
            let bytes = input.split_to(*run).freeze();
            *run = 0;
            if self.client.gone {
                return;
            }
            if self.client.queue.is_empty() || bytes.len() >= SMALL_CHUNK_BYTES {
                self.client.queue.push(bytes);
            } else {
                // A small part would keep the whole read buffer behind it for as long as the client is slow.
                self.client.queue.push_copy(&bytes);
            }
        }
    }

    #[inline]
    fn judge_row(port: &mut super::Port) -> Result<Verdict, &'static str> {
        match port.owed.front() {
            Some(owed) if matches!(owed.ask, Ask::Query | Ask::Execute) => {
                port.begun |= owed.relay;
                Ok(if owed.relay { Verdict::Relay } else { Verdict::Drop })
            }
            Some(owed) if owed.ask == Ask::Abort => Ok(Verdict::Drop),
            _ => Err("a row that nobody asked for"),
        }
    }

    /// Judges a description of rows; `front` goes on behind it.
    fn judge_description(&mut self, position: usize, header: Header, front: &[u8]) -> Result<Verdict, &'static str> {
        match self.is_refused_behind(position, header, front) {
            None => Ok(Verdict::More),
            Some(true) => Ok(Verdict::Drop),
            Some(false) => self.judge(position, header, &front[..header.total.min(front.len())]),
        }
    }

    /// Judges a message that is no row. `front` is as much of it as is there.
    fn judge(&mut self, position: usize, header: Header, front: &[u8]) -> Result<Verdict, &'static str> {
        use Ask::{Abort, Bind, Close, ClosePortal, Describe, Execute, FunctionCall, Parse};
        use Ask::{Consult, Prepare, Probe, Query, Question, Shape, Unwrap, Wrap};
        let whole = front.len() == header.total;
        match header.tag {
            backend::ERROR_RESPONSE => return Ok(self.judge_error(position, header, front)),
            backend::READY_FOR_QUERY => return self.judge_ready(position, header, front),
            backend::PARAMETER_STATUS => return self.judge_parameter(position, header, front),
            // The client hears from the backend that serves it, and of what the main backend has to tell.
            backend::NOTICE_RESPONSE => return Ok(self.judge_notice(position)),
            backend::NOTIFICATION_RESPONSE => {
                return Ok(if position == MAIN { Verdict::Relay } else { Verdict::Drop });
            }
            _ => {}
        }
        let Some(port) = &mut self.ports[position] else { return Ok(Verdict::Drop) };
        let Some(owed) = port.owed.front().copied() else { return Err("a reply that nobody asked for") };
        if matches!(header.tag, backend::COPY_BOTH_RESPONSE) || (header.total > BACKEND_CONTROL_BYTES && !whole) {
            // Only descriptions of very wide rows are long; they pass like rows do.
            if !matches!(
                header.tag,
                backend::ROW_DESCRIPTION | backend::PARAMETER_DESCRIPTION | backend::FUNCTION_CALL_RESPONSE
            ) {
                return Err("a message that is out of place");
            }
        }
        if header.tag == backend::PARAMETER_DESCRIPTION && owed.hides > 0 && owed.relay {
            if !whole {
                return Ok(Verdict::More);
            }
            let mut seen = Vec::new();
            parameter_description(&front[HEADER_BYTES..], owed.hides, &mut seen)
                .map_err(|_| "a description of fewer parameters than there are")?;
            return Ok(Verdict::Replace(seen));
        }
        if owed.ask == Consult && !self.consulted(position, header, front) {
            return Ok(Verdict::More);
        }
        let short = header.total <= BACKEND_CONTROL_BYTES;
        if owed.ask == Shape && header.tag == backend::ROW_DESCRIPTION && short && !whole {
            return Ok(Verdict::More);
        }
        if header.tag == backend::COMMAND_COMPLETE && owed.ask == Ask::Query && !owed.single && position == MAIN {
            if !whole {
                return Ok(Verdict::More);
            }
            // One of several statements: the session did not look into them.
            let on = self.unknown();
            self.statements.told_of(&front[HEADER_BYTES..], on);
        }
        let Some(port) = &mut self.ports[position] else { return Ok(Verdict::Drop) };
        let done = match (header.tag, owed.ask) {
            (backend::PARSE_COMPLETE, Parse | Prepare | Consult)
            | (backend::BIND_COMPLETE, Bind | Consult)
            | (backend::CLOSE_COMPLETE, Close | ClosePortal | Probe | Consult)
            | (backend::ROW_DESCRIPTION | backend::NO_DATA, Describe | Shape | Consult)
            | (backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE, Consult)
            | (backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE | backend::PORTAL_SUSPENDED, Execute) => true,
            (backend::PARAMETER_DESCRIPTION, Describe | Shape | Consult)
            | (backend::FUNCTION_CALL_RESPONSE, FunctionCall)
            | (
                backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE | backend::ROW_DESCRIPTION,
                Query | Abort | Wrap | Unwrap | Question,
            )
            | (backend::COPY_OUT_RESPONSE | backend::COPY_DONE, Query | Execute) => false,
            (backend::COPY_IN_RESPONSE, Query | Execute) => {
                port.enter_copy_in();
                false
            }
            _ => return Err("a reply to something else than what was asked"),
        };
        port.completed |= matches!(header.tag, backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE);
        port.begun |= owed.relay && !owed.heard;
        if done {
            port.answered();
            // A copy that has succeeded has read all that was sent into it.
            port.swallowed_sync &= owed.ask != Execute;
        }
        if owed.ask == Shape && done {
            self.statements.described(position, whole.then(|| shape::digest(header.tag, &front[HEADER_BYTES..])));
        } else if owed.names() && owed.ask != Shape {
            self.statements.confirmed(position, owed.ask);
        }
        Ok(if owed.relay && !owed.heard { Verdict::Relay } else { Verdict::Drop })
    }

    /// Everything passes; only what the session's end depends on is looked at.
    fn judge_transparent(&mut self, position: usize, header: Header, front: &[u8]) -> Result<Verdict, &'static str> {
        match header.tag {
            backend::PARAMETER_STATUS => return self.judge_parameter(position, header, front),
            backend::ERROR_RESPONSE if front.len() < header.total.min(ERROR_PREFIX_BYTES) => return Ok(Verdict::More),
            backend::READY_FOR_QUERY if front.len() < header.total.min(HEADER_BYTES + 1) => return Ok(Verdict::More),
            _ => {}
        }
        if let Some(port) = &mut self.ports[position] {
            if header.tag == backend::ERROR_RESPONSE {
                let head = ErrorHead::parse(&front[HEADER_BYTES..]);
                port.dying |= head.is_fatal();
                let node = port.node;
                self.report(Report::Erred { node, gravity: head.gravity });
            } else if header.tag == backend::READY_FOR_QUERY {
                let status = front.get(HEADER_BYTES).copied().and_then(TransactionStatus::from_byte);
                port.link.status = status.ok_or("an unknown transaction status")?;
            }
        }
        Ok(Verdict::Relay)
    }

    fn judge_notice(&mut self, position: usize) -> Verdict {
        let Some(port) = &mut self.ports[position] else { return Verdict::Drop };
        let speaks = port.owed.front().map_or(position == MAIN, |owed| owed.relay);
        port.begun |= speaks;
        if speaks { Verdict::Relay } else { Verdict::Drop }
    }

    /// An error ends what was asked; in the extended protocol, everything up to the next Sync with it.
    fn judge_error(&mut self, position: usize, header: Header, front: &[u8]) -> Verdict {
        if front.len() < header.total.min(ERROR_PREFIX_BYTES) {
            return Verdict::More;
        }
        let head = ErrorHead::parse(&front[HEADER_BYTES..]);
        let Some(repeats) = self.is_repeatable(position, &head, header, front) else { return Verdict::More };
        let Some(port) = &self.ports[position] else { return Verdict::Drop };
        let asked = port.owed.front().map(|owed| owed.ask);
        if asked == Some(Ask::Consult) && !head.is_fatal() && !self.consultation_failed(header, front) {
            return Verdict::More;
        }
        let Some(port) = &mut self.ports[position] else { return Verdict::Drop };
        port.copy_in = false;
        // Those that pgconvoy itself has provoked are nobody's concern.
        if head.is_fatal() || !matches!(asked, Some(Ask::Abort | Ask::Fail | Ask::Question)) {
            let report = Report::Erred { node: port.node, gravity: head.gravity };
            self.events.push_back(SessionEvent::Report(report));
        }
        if head.is_fatal() {
            port.dying = true;
            // What the main backend says last is what the client hears last; a standby's end is not the session's.
            return if position == MAIN { Verdict::Relay } else { Verdict::Drop };
        }
        let Some(owed) = port.owed.front().copied() else {
            return if position == MAIN { Verdict::Relay } else { Verdict::Drop };
        };
        if owed.ask == Ask::Question {
            self.inquiry.fails();
            return Verdict::Drop;
        }
        if owed.ask == Ask::Consult {
            port.skip_to_sync();
            return Verdict::Drop;
        }
        port.erred = true;
        // What a standby cannot do though it looked like a read, such as a read of a view that writes, or any in a
        // session whose default is serializable, will be asked for again.
        port.leaving |= position != MAIN && is_refusal(&head);
        // What was known of its names is not true any more, at least of one.
        self.reshaped |= position != MAIN && head.sqlstate == *b"25006";
        if port.swallowed_sync && !port.doubt() {
            port.turn_transparent();
            self.statements.port_gone(position);
            return Verdict::Relay;
        }
        if owed.ask == Ask::Abort {
            return Verdict::Drop;
        }
        let unanswered = port.owed.iter().filter(|owed| owed.relay).count();
        let mut relay = owed.relay;
        if owed.ask.is_extended() {
            relay |= port.owed.iter().take_while(|owed| owed.ask != Ask::Sync).any(|owed| owed.relay);
            // A Bind waits for it, and cannot do better.
            relay |= self.statements.is_comparing(position);
            if owed.names() {
                self.statements.failed(position, owed.ask);
            }
            port.owed.pop_front();
            let skipped = port.skip_to_sync();
            self.statements.skipped(position, &skipped);
            self.skipping |= relay && port.failed;
        }
        if repeats {
            self.repeat_later(position, unanswered);
            return Verdict::Drop;
        }
        if relay {
            self.loud_error = true;
            return Verdict::Relay;
        }
        port.silent_error |= owed.ask != Ask::Fail;
        Verdict::Drop
    }

    fn judge_ready(&mut self, position: usize, header: Header, front: &[u8]) -> Result<Verdict, &'static str> {
        if front.len() < header.total && header.total == HEADER_BYTES + 1 {
            return Ok(Verdict::More);
        }
        let Some(port) = &mut self.ports[position] else { return Ok(Verdict::Drop) };
        let status = match front.get(HEADER_BYTES..) {
            Some(&[byte]) => TransactionStatus::from_byte(byte).ok_or("an unknown transaction status")?,
            _ => return Err("a ReadyForQuery of the wrong length"),
        };
        port.link.status = status;
        if position == MAIN && status == TransactionStatus::Idle {
            self.publish_written();
        }
        let Some(port) = &mut self.ports[position] else { return Ok(Verdict::Drop) };
        match port.owed.front().copied() {
            Some(owed) if owed.ask.ends_ready() => {
                port.copy_in = false;
                port.swallowed_sync = false;
                port.answered();
                if port.in_doubt && owed.relay {
                    port.plan_probe();
                }
                port.in_doubt &= owed.relay;
                if owed.relay && status == TransactionStatus::Idle {
                    self.statements.transaction_over();
                }
                Ok(if owed.relay { Verdict::Relay } else { Verdict::Drop })
            }
            front if port.in_doubt && front.is_none_or(|owed| owed.ask == Ask::Probe) => {
                // The Sync that went into the copy was not part of it.
                if front.is_none() {
                    port.unsynced = false;
                    port.failed = false;
                    self.skipping = false;
                    port.plan_probe();
                }
                Ok(Verdict::Relay)
            }
            _ => Err("a ReadyForQuery that nobody asked for"),
        }
    }

    fn judge_parameter(&mut self, position: usize, header: Header, front: &[u8]) -> Result<Verdict, &'static str> {
        if header.total > BACKEND_CONTROL_BYTES {
            return Err("a ParameterStatus of absurd length");
        }
        if front.len() < header.total {
            return Ok(Verdict::More);
        }
        let Some(port) = &mut self.ports[position] else { return Ok(Verdict::Drop) };
        let node = port.node;
        let Ok(told) = port.link.note_parameter(&front[HEADER_BYTES..]) else {
            return Err("more parameters than can be kept");
        };
        let role = match told {
            Some((b"in_hot_standby", value)) => Some(Report::Role { node, standby: value == b"on" }),
            Some((b"application_name", _)) => {
                // Another application's reads may belong elsewhere.
                self.turn_over |= position == MAIN;
                None
            }
            _ => None,
        };
        port.dialect = port.link.parameters.dialect();
        if let Some(role) = role {
            self.report(role);
        }
        Ok(if position == MAIN { Verdict::Relay } else { Verdict::Drop })
    }

    /// A backend broke the protocol: nothing it says is believed any more, and only its own session suffers.
    fn hostile(&mut self, position: usize, what: impl core::fmt::Display) {
        let Some(port) = &mut self.ports[position] else { return };
        port.dying = true;
        let fault = Fault::hostile(format!("backend {} broke the protocol: {what}", port.node));
        self.end(Some(fault));
    }

    /// A backend's connection is gone.
    pub(super) fn node_gone(&mut self, position: usize, why: &Closed) {
        let Some(port) = self.ports[position].take() else { return };
        self.report(Report::Unreachable { node: port.node });
        if self.is_over() {
            return;
        }
        if position == MAIN {
            return self.main_gone(&port, why);
        }
        self.replica_gone(position, &port);
        self.partner_gone(position);
        let inside = self.client.rest.bytes > 0 && self.client.rest_to == Target::only(position);
        if self.mid_client == Some(position) || inside {
            // Half a message is with the client or with the standby: neither can be brought back into step.
            self.mid_client = self.mid_client.filter(|speaker| *speaker != position);
            return if port.rest.bytes > 0 { self.end(None) } else { self.end(Some(standby_gone(&port, why))) };
        }
        self.answer_for(&port, why);
    }

    fn main_gone(&mut self, port: &super::Port, why: &Closed) {
        if self.must_finish() {
            self.main_lost_in_commit(port.node);
            return self.end(Some(unknown_outcome(port.node)));
        }
        if port.dying || self.mid_client == Some(MAIN) {
            // The client has the backend's own last words, or half of a row: there is nothing to add.
            return self.end(None);
        }
        let fault = if self.committing && !port.owed.is_empty() {
            unknown_outcome(port.node)
        } else {
            Fault::new(Culprit::Backend, b"08006", format!("the connection to backend {} was lost", port.node))
                .detail(words(why))
        };
        self.end(Some(fault));
    }

    /// Gives the client an honest error for each request that a lost standby still owed an answer.
    fn answer_for(&mut self, port: &super::Port, why: &Closed) {
        let mut out = Vec::new();
        let mut failed = false;
        // The client has been told of an error, but not what that did to its block.
        self.lost_reply |= port.erred && port.owed.front().is_some_and(|owed| owed.relay);
        let completed = port.completed && port.owed.front().is_some_and(|owed| owed.single);
        for (at, owed) in port.owed.iter().enumerate().filter(|(_, owed)| owed.relay && owed.ask != Ask::CopyEnd) {
            if !failed && owed.ask != Ask::Sync && !(at == 0 && completed) {
                build::error(&mut out, Severity::Error, &standby_gone(port, why));
                failed = true;
                self.lost_reply = true;
            }
            if owed.ask.ends_ready() {
                let status = match self.transaction_status() {
                    TransactionStatus::InBlock if !self.lost_reply => TransactionStatus::InBlock,
                    TransactionStatus::Idle => TransactionStatus::Idle,
                    // The main backend's block is aborted before anything else is sent to it.
                    _ => TransactionStatus::Failed,
                };
                build::ready_for_query(&mut out, status);
                failed = false;
            }
        }
        self.skipping |= failed;
        if port.unsynced && !self.skipping {
            // Portals and the snapshot of the open batch are gone, though no answer is owed.
            self.broken_batch = Some(Box::new(standby_gone(port, why)));
        }
        self.tell(&out);
    }
}

fn unknown_outcome(node: crate::node::NodeId) -> Fault {
    Fault::new(Culprit::Backend, b"08007", format!("the connection to backend {node} was lost during COMMIT"))
        .detail("It is not known whether the transaction was committed.")
        .hint("Look for its effects before you repeat it.")
}

fn standby_gone(port: &super::Port, why: &Closed) -> Fault {
    Fault::new(Culprit::Backend, b"08006", format!("standby {} was lost while it answered", port.node))
        .detail(words(why))
        .hint("Nothing was changed by the statement; it can be repeated.")
}

fn words(why: &Closed) -> alloc::string::String {
    match why {
        Closed::End => "The server closed the connection.".into(),
        Closed::Broken(words) => words.clone(),
    }
}

//! What the client sends: each message is understood as far as routing needs, and sent on untouched.

use super::port::{Ask, Target};
use super::settle::Afterwards;
use super::statements::{Portal, Summary};
use super::{BALANCE, MAIN, Report, Session};
use crate::fault::Fault;
use crate::limits::{BIND_PREFIX_BYTES, INSPECT_BYTES, SMALL_MESSAGE_BYTES};
use crate::sql::{self, Effect};
use crate::wire::build;
use crate::wire::tag::{backend, frontend};
use crate::wire::{HEADER_BYTES, Header, TransactionStatus, split_cstr};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// What is to be done with the message at the front.
pub(super) enum Step {
    /// More of it must be there first.
    More,
    /// Replies must come first.
    Wait,
    /// It goes to these ports; `before` goes in front of it, to its own ports.
    Forward { to: Target, before: Option<(Target, Bytes)> },
    /// It goes nowhere.
    Drop,
}

impl Step {
    const fn to(to: Target) -> Self {
        Self::Forward { to, before: None }
    }
}

/// Whole messages, or parts of one, that go the same way: cut off the buffer once.
#[derive(Default)]
struct Run {
    bytes: usize,
    to: Target,
}

impl Session {
    /// Reads the client's input; what cannot be dealt with yet is held.
    pub(super) fn read_client(&mut self, input: &mut BytesMut) {
        if self.client.held.is_empty() {
            self.deal_with(input);
            if !input.is_empty() {
                self.client.held = BytesMut::from(&input[..]);
                input.clear();
            }
            return;
        }
        self.client.held.extend_from_slice(input);
        input.clear();
        self.read_held();
    }

    /// Reads what was held.
    pub(super) fn read_held(&mut self) {
        let mut held = core::mem::take(&mut self.client.held);
        self.deal_with(&mut held);
        if !held.is_empty() {
            self.client.held = held;
        }
    }

    fn deal_with(&mut self, input: &mut BytesMut) {
        if !self.phase.is_serving() {
            self.read_login(input);
        }
        if self.phase.is_serving() {
            self.pump(input);
        }
        if self.is_over() {
            input.clear();
        }
    }

    /// Sends on what the client sent, as far as it may go now.
    fn pump(&mut self, input: &mut BytesMut) {
        let mut run = Run::default();
        self.client.blocked = false;
        while !self.is_over() {
            if self.client.rest.bytes > 0 {
                let part = self.client.rest.bytes.min(input.len() - run.bytes);
                if part == 0 {
                    break;
                }
                self.client.rest.bytes -= part;
                let to = if self.client.rest.relay { self.client.rest_to } else { Target::NONE };
                self.extend(&mut run, input, part, to);
                continue;
            }
            let front = &input[run.bytes..];
            let header = match self.next_header(front) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(fault) => {
                    self.cut(&mut run, input);
                    self.end(Some(fault));
                    break;
                }
            };
            let step = self.consider(header, front);
            if matches!(step, Ok(Step::Forward { .. } | Step::Drop)) {
                self.report_client_message(header, front);
            }
            match step {
                Ok(Step::More) => break,
                Ok(Step::Wait) => {
                    self.cut(&mut run, input);
                    self.flush_ports();
                    self.client.blocked = true;
                    break;
                }
                Ok(Step::Forward { to, before }) => {
                    if let Some((ports, message)) = before {
                        self.cut(&mut run, input);
                        self.send(ports, &message);
                    }
                    self.pass(&mut run, input, header.total, to);
                }
                Ok(Step::Drop) => self.pass(&mut run, input, header.total, Target::NONE),
                Err(fault) => {
                    self.cut(&mut run, input);
                    self.end(Some(fault));
                }
            }
        }
        self.cut(&mut run, input);
    }

    /// Passes the message at the front, as much of it as is there.
    fn pass(&mut self, run: &mut Run, input: &mut BytesMut, total: usize, to: Target) {
        let here = total.min(input.len() - run.bytes);
        self.extend(run, input, here, to);
        self.client.rest.bytes = total - here;
        self.client.rest.relay = !to.is_empty();
        self.client.rest_to = to;
    }

    fn extend(&mut self, run: &mut Run, input: &mut BytesMut, bytes: usize, to: Target) {
        if run.to != to {
            self.cut(run, input);
            run.to = to;
        }
        run.bytes += bytes;
    }

    fn cut(&mut self, run: &mut Run, input: &mut BytesMut) {
        if run.bytes > 0 {
            let bytes = input.split_to(run.bytes);
            if !run.to.is_empty() {
                self.send(run.to, &bytes.freeze());
            }
            run.bytes = 0;
        }
    }

    pub(super) fn send(&mut self, to: Target, bytes: &Bytes) {
        for position in to.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.queue.push(bytes.clone());
            }
        }
    }

    /// Asks the backends for the replies to what was sent without a Sync, because the client's next message needs
    /// them.
    fn flush_ports(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            if port.unsynced && !port.flushed && !port.owed.is_empty() {
                port.flushed = true;
                port.queue.push(Bytes::from_static(&[frontend::FLUSH, 0, 0, 0, 4]));
            }
        }
    }

    fn next_header(&self, front: &[u8]) -> Result<Option<Header>, Fault> {
        let Some(&tag) = front.first() else { return Ok(None) };
        let small = match tag {
            frontend::QUERY | frontend::PARSE | frontend::BIND | frontend::FUNCTION_CALL | frontend::COPY_DATA => false,
            frontend::CLOSE
            | frontend::COPY_DONE
            | frontend::COPY_FAIL
            | frontend::DESCRIBE
            | frontend::EXECUTE
            | frontend::FLUSH
            | frontend::SYNC
            | frontend::TERMINATE => true,
            _ => return Err(Fault::protocol(format!("invalid frontend message type {tag}"))),
        };
        let header = Header::parse(front).map_err(|_| Fault::protocol("invalid message length"))?;
        match header {
            Some(header) if small && header.total > SMALL_MESSAGE_BYTES as usize + 1 => {
                Err(Fault::protocol("invalid message length"))
            }
            header => Ok(header),
        }
    }

    fn consider(&mut self, header: Header, front: &[u8]) -> Result<Step, Fault> {
        if self.ports[MAIN].as_ref().is_some_and(|port| port.transparent) {
            return Ok(self.consider_transparent(header.tag));
        }
        let skipped = self.skipping && !matches!(header.tag, frontend::SYNC | frontend::TERMINATE);
        if skipped {
            return Ok(Step::Drop);
        }
        if let Some(fault) = self.lost_batch.take()
            && !matches!(header.tag, frontend::SYNC | frontend::TERMINATE)
        {
            let mut out = Vec::new();
            build::error(&mut out, build::Severity::Error, &fault);
            self.tell(&out);
            self.skipping = true;
            return Ok(Step::Drop);
        }
        if self.showing.is_some() || self.cancels > 0 || self.ports.iter().flatten().any(|port| port.is_full()) {
            return Ok(Step::Wait);
        }
        if self.in_copy() && header.tag != frontend::TERMINATE {
            return Ok(self.consider_in_copy(header.tag));
        }
        if matches!(header.tag, frontend::SYNC | frontend::QUERY | frontend::FUNCTION_CALL) {
            self.broken_batch = None;
        }
        if !matches!(header.tag, frontend::FLUSH | frontend::TERMINATE) && self.broken_batch.is_some() {
            if !self.is_quiet() {
                return Ok(Step::Wait);
            }
            if let Some(fault) = self.broken_batch.take() {
                self.break_batch(&fault);
            }
            return Ok(Step::Drop);
        }
        let whole = front.get(HEADER_BYTES..header.total);
        match header.tag {
            frontend::QUERY => self.consider_query(header, front),
            frontend::PARSE => self.consider_parse(header, front),
            frontend::BIND => self.consider_bind(header, front),
            frontend::FUNCTION_CALL => Ok(self.consider_function_call()),
            frontend::COPY_DATA => Ok(Step::to(Target(1 << self.last.speaker()))),
            frontend::SYNC => Ok(self.consider_sync()),
            frontend::FLUSH => Ok(self.consider_flush(header)),
            // The rest is short and looked at whole.
            _ => match (header.tag, whole) {
                (_, None) => Ok(Step::More),
                (frontend::DESCRIBE | frontend::CLOSE, Some(body)) => Ok(self.consider_named(header.tag, body)),
                (frontend::EXECUTE, Some(body)) => Ok(self.consider_execute(body)),
                (frontend::COPY_DONE | frontend::COPY_FAIL, Some(_)) => {
                    let to = Target(1 << self.last.speaker());
                    self.note_asked(to, Ask::CopyEnd);
                    Ok(Step::to(to))
                }
                (_, Some(_)) => Ok(self.consider_terminate()),
            },
        }
    }

    fn in_copy(&self) -> bool {
        self.ports.iter().flatten().any(|port| port.copy_in)
    }

    /// While a backend reads COPY data, everything goes to it: data and its end; Sync and Flush, which it ignores; and
    /// anything else, which it takes for an error that ends the copy.
    fn consider_in_copy(&mut self, tag: u8) -> Step {
        let Some(position) = self.ports.iter().position(|port| port.as_ref().is_some_and(|port| port.copy_in)) else {
            unreachable!("somebody reads COPY data");
        };
        if let Some(port) = &mut self.ports[position] {
            match tag {
                frontend::COPY_DATA | frontend::FLUSH => {}
                frontend::SYNC => port.sync_swallowed(),
                frontend::COPY_DONE | frontend::COPY_FAIL => port.copy_in = false,
                _ => port.turn_transparent(),
            }
        }
        Step::to(Target(1 << position))
    }

    /// Nothing is matched any more: everything goes to the main port.
    fn consider_transparent(&mut self, tag: u8) -> Step {
        if tag == frontend::TERMINATE {
            self.end(None);
            return Step::Drop;
        }
        if self.cancels > 0 { Step::Wait } else { Step::to(Target::MAIN) }
    }

    /// Notes that `ask` goes to `to`; the client sees the reply of the first of them.
    pub(super) fn note_asked(&mut self, to: Target, ask: Ask) {
        for position in to.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.asked(ask, position == to.speaker());
            }
        }
    }

    fn consider_query(&mut self, header: Header, front: &[u8]) -> Result<Step, Fault> {
        let long = header.total > INSPECT_BYTES;
        if !long && front.len() < header.total {
            return Ok(Step::More);
        }
        let text = if long { None } else { split_cstr(&front[HEADER_BYTES..header.total]).map(|(text, _)| text) };
        let analysis = text.map(|text| sql::analyze(text, self.dialect()));
        let summary = analysis.as_ref().map_or(Summary::UNKNOWN, Summary::of);
        if let Some(kind) = summary.local {
            if !self.is_quiet() {
                return Ok(Step::Wait);
            }
            self.report_statement("", text);
            self.show(kind, super::local::Mode::Query);
            return Ok(Step::Drop);
        }
        let to = self.choose_by_effect(&summary, analysis.as_ref().map(|analysis| &analysis.effect));
        if !self.may_send(to) {
            return Ok(Step::Wait);
        }
        if let Some(analysis) = &analysis {
            self.afterwards = Afterwards::of(&analysis.effect);
        }
        self.statements.query_ran();
        self.report_statement("", text);
        self.report_sent(to, "", text);
        self.note_sent(&summary, to);
        self.note_asked(to, Ask::Query);
        self.last = to;
        Ok(Step::to(to))
    }

    /// Statements that name prepared ones go where those are.
    fn choose_by_effect(&self, summary: &Summary, effect: Option<&Effect<'_>>) -> Target {
        let Some(Effect::Deallocate { name } | Effect::Execute { name, .. }) = effect else {
            return self.choose(summary);
        };
        let name: Vec<u8> = name.bytes().collect();
        match self.statements.statement(&name) {
            Some((on, ..)) if !on.is_empty() && self.ports[BALANCE].is_some() => on,
            _ => Target::MAIN,
        }
    }

    fn consider_parse(&mut self, header: Header, front: &[u8]) -> Result<Step, Fault> {
        let long = header.total > INSPECT_BYTES;
        if front.len() < header.total.min(INSPECT_BYTES) {
            return Ok(Step::More);
        }
        let body = &front[HEADER_BYTES..header.total.min(INSPECT_BYTES)];
        let Some((name, rest)) = split_cstr(body) else { return Ok(self.malformed(Ask::Parse)) };
        let text = if long { None } else { split_cstr(rest).map(|(text, _)| text) };
        let analysis = text.map(|text| sql::analyze(text, self.dialect()));
        let summary = analysis.as_ref().map_or(Summary::UNKNOWN, Summary::of);
        if summary.local.is_some() {
            if !self.is_quiet() {
                return Ok(Step::Wait);
            }
            self.statements.parsed(name, Target::NONE, summary, None);
            self.say(backend::PARSE_COMPLETE);
            return Ok(Step::Drop);
        }
        // A name in use is refused where it is in use.
        let in_use = Some(name).filter(|name| !name.is_empty()).and_then(|name| self.statements.statement(name));
        let in_use = in_use.map(|(on, ..)| on).filter(|on| !on.is_empty());
        let effect = analysis.as_ref().map(|analysis| &analysis.effect);
        let to = in_use.unwrap_or_else(|| self.choose_by_effect(&summary, effect));
        if !self.may_send(to) {
            return Ok(Step::Wait);
        }
        if in_use.is_none() {
            let source = Some(&front[..header.total.min(front.len())]).filter(|_| !long && self.keeps_statements());
            self.statements.parsed(name, to, summary, source);
        }
        self.statements.parse_sent(Some(name).filter(|_| in_use.is_none()));
        self.report_sent(to, "Parse: ", text);
        self.note_asked(to, Ask::Parse);
        self.last = to;
        Ok(Step::to(to))
    }

    /// Statements are kept when another port may need them, or their text is reported again when they run.
    fn keeps_statements(&self) -> bool {
        self.ports[BALANCE].is_some() || self.reports_per_node()
    }

    fn consider_bind(&mut self, header: Header, front: &[u8]) -> Result<Step, Fault> {
        let here = &front[HEADER_BYTES..front.len().min(header.total)];
        let names = split_cstr(here).and_then(|(portal, rest)| Some((portal, split_cstr(rest)?.0)));
        let Some((portal, name)) = names else {
            if front.len() >= header.total {
                return Ok(self.malformed(Ask::Bind));
            }
            if here.len() > BIND_PREFIX_BYTES {
                return Err(Fault::protocol("a Bind message carries names of absurd length"));
            }
            return Ok(Step::More);
        };
        let Some((on, summary, source)) = self.statements.statement(name) else {
            return Ok(self.ask(Target::MAIN, Ask::Bind, |session, to| {
                let portal_state = Portal { on: to, summary: Summary::UNTOLD, text: None };
                session.statements.bound(portal, portal_state);
                session.report_sent(to, "Bind: ", Some(b""));
            }));
        };
        if summary.local.is_some() {
            return Ok(self.local_bind(portal, summary));
        }
        let wanted = self.choose(&summary);
        let (to, before) = match (wanted.without(on).is_empty(), source) {
            (true, _) => (wanted, None),
            (false, Some(source)) => (wanted, Some((wanted.without(on), Bytes::copy_from_slice(source)))),
            (false, None) if on.is_empty() => (Target::MAIN, None),
            (false, None) => (on, None),
        };
        if !self.may_send(to) {
            return Ok(Step::Wait);
        }
        let text = source.filter(|_| self.reports_per_node()).map(parse_text);
        if let Some((more, _)) = &before {
            let more = *more;
            for position in more.positions() {
                if let Some(port) = &mut self.ports[position] {
                    port.asked(Ask::Parse, false);
                }
            }
            // In a failed block the statement is refused there, and is given again another time.
            if self.transaction_status() != TransactionStatus::Failed {
                self.statements.also_on(name, more);
            }
        }
        self.report_sent(to, "Bind: ", text.as_deref());
        self.statements.bound(portal, Portal { on: to, summary, text: text.map(Into::into) });
        self.note_asked(to, Ask::Bind);
        self.last = to;
        Ok(Step::Forward { to, before })
    }

    fn consider_execute(&mut self, body: &[u8]) -> Step {
        let Some((name, _)) = split_cstr(body) else { return self.malformed(Ask::Execute) };
        let Some(portal) = self.statements.portal(name).cloned() else {
            return self.ask(Target::MAIN, Ask::Execute, |session, to| session.note_sent(&Summary::UNTOLD, to));
        };
        if let Some(kind) = portal.summary.local {
            return self.local_execute(kind);
        }
        let to = if portal.on.is_empty() { Target::MAIN } else { portal.on };
        let names = portal.summary.names;
        self.ask(to, Ask::Execute, |session, to| {
            if names {
                // Which names are gone now is not told by this message: all of them may be.
                session.afterwards = Some(Afterwards::ForgetAll);
            }
            session.report_sent(to, "Execute: ", portal.text.as_deref());
            session.note_sent(&portal.summary, to);
        })
    }

    /// Describe and Close, of a statement or a portal.
    fn consider_named(&mut self, tag: u8, body: &[u8]) -> Step {
        let ask = if tag == frontend::CLOSE { Ask::Close } else { Ask::Describe };
        let letter = if tag == frontend::CLOSE { "C message" } else { "D message" };
        let Some((&kind, rest)) = body.split_first() else { return self.malformed(ask) };
        let Some((name, _)) = split_cstr(rest) else { return self.malformed(ask) };
        let (on, local) = if kind == b'P' {
            let portal = self.statements.portal(name);
            (portal.map(|portal| portal.on), portal.and_then(|portal| portal.summary.local))
        } else {
            let known = self.statements.statement(name);
            (known.map(|(on, ..)| on), known.and_then(|(_, summary, _)| summary.local))
        };
        if let Some(local) = local {
            return self.local_named(ask, kind, name, local);
        }
        if ask == Ask::Describe && kind == b'S' && on.is_some_and(Target::is_empty) {
            return self.describe_elsewhere(name);
        }
        let mut to = on.filter(|on| !on.is_empty()).unwrap_or(Target::MAIN);
        if ask == Ask::Describe && kind == b'S' && to == Target::BOTH {
            to = if to.has(self.last.speaker()) { Target(1 << self.last.speaker()) } else { Target::MAIN };
        }
        self.ask(to, ask, |session, to| {
            if ask == Ask::Close && kind == b'P' {
                session.statements.portal_closed(name);
            } else if ask == Ask::Close {
                session.statements.closed(name);
            }
            session.report_sent(to, "", Some(letter.as_bytes()));
        })
    }

    /// Describes a statement whose only port is gone: the main port is given it first, if its text was kept.
    fn describe_elsewhere(&mut self, name: &[u8]) -> Step {
        let to = Target::MAIN;
        if !self.may_send(to) {
            return Step::Wait;
        }
        let source = self.statements.statement(name).and_then(|(.., source)| source).map(Bytes::copy_from_slice);
        if source.is_some() {
            if let Some(port) = &mut self.ports[MAIN] {
                port.asked(Ask::Parse, false);
            }
            if self.transaction_status() != TransactionStatus::Failed {
                self.statements.also_on(name, to);
            }
        }
        self.report_sent(to, "", Some(b"D message"));
        self.note_asked(to, Ask::Describe);
        self.last = to;
        Step::Forward { to, before: source.map(|source| (to, source)) }
    }

    /// Sends a short message to `to`, unless replies must come first.
    fn ask(&mut self, to: Target, ask: Ask, note: impl FnOnce(&mut Self, Target)) -> Step {
        if !self.may_send(to) {
            return Step::Wait;
        }
        note(self, to);
        self.note_asked(to, ask);
        self.last = to;
        Step::to(to)
    }

    /// A message that cannot be read goes to the primary, which says what is wrong with it.
    fn malformed(&mut self, ask: Ask) -> Step {
        self.ask(Target::MAIN, ask, |session, _| {
            if ask == Ask::Parse {
                session.statements.parse_sent(None);
            }
        })
    }

    fn consider_function_call(&mut self) -> Step {
        self.ask(Target::MAIN, Ask::FunctionCall, |session, to| session.note_sent(&Summary::UNTOLD, to))
    }

    /// Sync goes wherever the batch went; the client sees the last port's ReadyForQuery.
    fn consider_sync(&mut self) -> Step {
        self.skipping = false;
        let mut to = Target::NONE;
        for (position, port) in self.ports.iter().enumerate() {
            if port.as_ref().is_some_and(|port| port.unsynced) {
                to = to.with(Target(1 << position));
            }
        }
        if to.is_empty() {
            // Nothing was asked since the last one, or pgconvoy answered it: in order behind what is outstanding.
            to = if self.is_quiet() { Target::MAIN } else { Target(1 << self.last.speaker()) };
        }
        let speaker = if to.has(self.last.speaker()) { self.last.speaker() } else { to.speaker() };
        for position in to.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.asked(Ask::Sync, position == speaker);
            }
        }
        self.last = Target(1 << speaker);
        Step::to(to)
    }

    fn consider_flush(&mut self, header: Header) -> Step {
        let to = Target(1 << self.last.speaker());
        if header.total > HEADER_BYTES {
            // A Flush has no body: the backend answers with an error and skips what follows, up to Sync.
            self.note_asked(to, Ask::Close);
        }
        if let Some(port) = &mut self.ports[to.speaker()] {
            port.flushed = true;
        }
        Step::to(to)
    }

    /// Terminate: what was asked before it still runs to its end, except a copy whose data will never come.
    fn consider_terminate(&mut self) -> Step {
        if !self.in_copy() && self.ports.iter().flatten().any(|port| port.owes_ready()) {
            return Step::Wait;
        }
        self.end(None);
        Step::Drop
    }

    pub(super) fn is_quiet(&self) -> bool {
        // In the middle of a message nothing of pgconvoy's own may be said.
        self.mid_client.is_none() && self.ports.iter().flatten().all(|port| port.owed.is_empty())
    }

    fn dialect(&self) -> sql::Dialect {
        self.ports[MAIN].as_ref().map_or_else(Default::default, |port| port.dialect)
    }

    pub(super) fn say(&mut self, tag: u8) {
        let mut out = Vec::new();
        build::bare(&mut out, tag);
        self.client.queue.push(out.into());
    }

    fn reports_per_node(&self) -> bool {
        self.setup.report_per_node || self.setup.notice_per_node
    }

    fn report_statement(&mut self, prefix: &str, text: Option<&[u8]>) {
        if self.setup.report_statements {
            let text = String::from_utf8_lossy(text.unwrap_or_default());
            self.report(Report::Statement(format!("{prefix}{text}")));
        }
    }

    /// Tells whoever wants to know that a statement goes to backends.
    fn report_sent(&mut self, to: Target, prefix: &str, text: Option<&[u8]>) {
        if !self.reports_per_node() {
            return;
        }
        let text = format!("{prefix}{}", String::from_utf8_lossy(text.unwrap_or_default()));
        for position in to.positions() {
            let Some(port) = &self.ports[position] else { continue };
            let (node, process_id) = (port.node, port.link.process_id);
            if self.setup.notice_per_node {
                let notice =
                    Fault::new(crate::fault::Culprit::Proxy, b"00000", format!("DB node id: {node} statement: {text}"));
                build::error(&mut self.notices, build::Severity::Notice, &notice);
            }
            if self.setup.report_per_node {
                self.report(Report::PerNode { node, process_id, text: text.clone() });
            }
        }
    }
}

/// The statement text of a whole Parse message.
fn parse_text(message: &[u8]) -> Vec<u8> {
    let text = split_cstr(&message[HEADER_BYTES..]).and_then(|(_, rest)| split_cstr(rest)).map(|(text, _)| text);
    text.unwrap_or_default().to_vec()
}

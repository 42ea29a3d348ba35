//! What the client sends: each message is understood as far as routing needs, and sent on untouched.

use super::determinism::{Agreed, Alike};
use super::port::{Ask, Target};
use super::round::Order;
use super::statements::{Naming, Portal, Summary, UNJUDGED};
use super::{MAIN, Report, Session};
use crate::fault::Fault;
use crate::limits::{BIND_PREFIX_BYTES, INSPECT_BYTES, SMALL_MESSAGE_BYTES};
use crate::node::NodeId;
use crate::sql::{self, Reason, Route};
use crate::wire::build;
use crate::wire::tag::frontend;
use crate::wire::{HEADER_BYTES, Header, TransactionStatus, split_cstr};
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// What is to be done with the message at the front.
pub(super) enum Step {
    /// More of it must be there first.
    More,
    /// Replies must come first.
    Wait,
    /// It goes to these ports; what stands in `before` goes in front of it, each to its own ports.
    Forward { to: Target, before: Vec<(Target, Bytes)> },
    /// These go in front of it, each to its own ports, and their answers must come before it is looked at again.
    Before(Vec<(Target, Bytes)>),
    /// These go in its place, each to its own ports.
    Instead(Vec<(Target, Bytes)>),
    /// It goes nowhere.
    Drop,
}

impl Step {
    pub(super) const fn to(to: Target) -> Self {
        Self::Forward { to, before: Vec::new() }
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
                self.attempt.go_on(&input[run.bytes..run.bytes + part]);
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
                    self.breach(fault);
                    break;
                }
            };
            if run.bytes > 0 && self.owes_nothing() {
                // What comes next may be a question of pgconvoy's own.
                self.cut(&mut run, input);
            }
            let front = &input[run.bytes..];
            let reports = self.events.len();
            let step = self.consider(header, front);
            if matches!(step, Ok(Step::Forward { .. } | Step::Instead(_) | Step::Drop)) {
                self.front_passed();
                self.report_client_message(header, front, reports);
            }
            match step {
                Ok(Step::More) => break,
                Ok(Step::Wait) => {
                    self.wait(&mut run, input, Vec::new());
                    break;
                }
                Ok(Step::Before(before)) => {
                    self.wait(&mut run, input, before);
                    break;
                }
                Ok(Step::Forward { to, before }) => {
                    self.note_attempt(header, front, to);
                    for (ports, message) in before {
                        self.cut(&mut run, input);
                        self.send(ports, &message);
                    }
                    self.pass(&mut run, input, header.total, to);
                }
                Ok(Step::Instead(messages)) => {
                    self.attempt.lose();
                    for (ports, message) in messages {
                        self.cut(&mut run, input);
                        self.send(ports, &message);
                    }
                    self.pass(&mut run, input, header.total, Target::NONE);
                }
                Ok(Step::Drop) => self.pass(&mut run, input, header.total, Target::NONE),
                Err(fault) => {
                    self.cut(&mut run, input);
                    self.breach(fault);
                    break;
                }
            }
        }
        self.cut(&mut run, input);
    }

    /// What stands at the front waits for the answers to what has been sent, and to `before`.
    fn wait(&mut self, run: &mut Run, input: &mut BytesMut, before: Vec<(Target, Bytes)>) {
        self.cut(run, input);
        for (ports, message) in before {
            self.send(ports, &message);
        }
        self.flush_ports();
        self.client.blocked = true;
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
        if self.in_round() {
            return self.send_in_round(to, bytes);
        }
        for position in to.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.queue.push(bytes.clone());
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
        if self.is_replicated() && self.waits_for_round(header.tag) {
            return Ok(Step::Wait);
        }
        let must_wait = |port: &super::Port| port.is_full() || port.must_tell_first(header.tag);
        if self.showing.is_some()
            || self.inquiry.is_open()
            || self.is_consulting()
            || self.attempt.is_refused()
            || self.cancels > 0
            || self.ports.iter().flatten().any(|port| must_wait(port))
        {
            return Ok(Step::Wait);
        }
        if self.answer_cancelled(header.tag) {
            return Ok(Step::Drop);
        }
        if self.in_copy() && header.tag != frontend::TERMINATE {
            return Ok(self.consider_in_copy(header.tag));
        }
        if matches!(header.tag, frontend::SYNC | frontend::QUERY | frontend::FUNCTION_CALL) {
            self.broken_batch = None;
        }
        let ignored =
            matches!(header.tag, frontend::FLUSH | frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL);
        if !ignored && header.tag != frontend::TERMINATE && self.broken_batch.is_some() {
            return Ok(self.consider_broken_batch());
        }
        let whole = front.get(HEADER_BYTES..header.total);
        match header.tag {
            frontend::QUERY => self.consider_query(header, front),
            frontend::PARSE => self.consider_parse(header, front),
            frontend::BIND => self.consider_bind(header, front),
            frontend::FUNCTION_CALL => Ok(self.consider_function_call(header, front)),
            frontend::COPY_DATA => Ok(Step::to(self.for_copy())),
            frontend::SYNC => Ok(self.consider_sync()),
            frontend::FLUSH => Ok(self.consider_flush(header)),
            // The rest is short and looked at whole.
            _ => match (header.tag, whole) {
                (_, None) => Ok(Step::More),
                (frontend::DESCRIBE | frontend::CLOSE, Some(body)) => Ok(self.consider_named(header.tag, body)),
                (frontend::EXECUTE, Some(body)) => Ok(self.consider_execute(body)),
                (frontend::COPY_DONE | frontend::COPY_FAIL, Some(_)) => {
                    let to = self.for_copy();
                    self.note_asked(to, Ask::CopyEnd);
                    Ok(Step::to(to))
                }
                (_, Some(_)) => Ok(self.consider_terminate()),
            },
        }
    }

    pub(super) fn in_copy(&self) -> bool {
        self.ports.iter().flatten().any(|port| port.copy_in)
    }

    /// While a backend reads COPY data, everything goes to it: data and its end; Sync and Flush, which it ignores; and
    /// anything else, which it takes for an error that ends the copy.
    fn consider_in_copy(&mut self, tag: u8) -> Step {
        if self.is_replicated() {
            match tag {
                frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => {}
                // Servers ignore it, and whoever has failed by now would not: none gets it.
                frontend::SYNC | frontend::FLUSH => return Step::Drop,
                _ => {
                    let fault = Fault::protocol(format!("unexpected message type 0x{tag:02X} during COPY from stdin"));
                    self.end(Some(fault));
                    return Step::Drop;
                }
            }
        }
        let mut to = Target::NONE;
        for (position, port) in self.ports.iter_mut().enumerate() {
            let Some(port) = port.as_mut().filter(|port| port.copy_in) else { continue };
            to = to.with(Target::only(position));
            match tag {
                frontend::COPY_DATA | frontend::FLUSH => {}
                frontend::SYNC => port.sync_swallowed(),
                frontend::COPY_DONE | frontend::COPY_FAIL => port.copy_in = false,
                _ => port.turn_transparent(),
            }
        }
        Step::to(to)
    }

    /// Where COPY data goes that nobody reads any more: those who read it before ignore it.
    const fn for_copy(&self) -> Target {
        if self.is_replicated() { self.last } else { Target::only(self.last.speaker()) }
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
        let heard = self.attempt.is_heard();
        for position in to.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.asked(ask, position == to.speaker());
                port.last_heard(heard);
            }
        }
    }

    fn consider_query(&mut self, header: Header, front: &[u8]) -> Result<Step, Fault> {
        let long = header.total > self.inspect_bytes();
        if !long && front.len() < header.total {
            return Ok(Step::More);
        }
        if self.is_in_batch() && !self.is_quiet() {
            // If the batch fails, the backend skips the query.
            return Ok(Step::Wait);
        }
        let text = if long { None } else { split_cstr(&front[HEADER_BYTES..header.total]).map(|(text, _)| text) };
        let Some((summary, mut naming)) = self.understand(text) else { return Ok(Step::Wait) };
        if let Some(local) = summary.local {
            return Ok(self.local_query(local, text.unwrap_or_default()));
        }
        let mut to = self.choose_named(&summary, naming.as_deref());
        if self.is_replicated() && self.is_in_batch() {
            // It ends the batch, wherever that went.
            to = self.everyone();
        }
        if !self.may_send(to) {
            return Ok(Step::Wait);
        }
        let mut instead = None;
        if self.is_replicated() && to.is_several() && may_differ(&summary, naming.as_deref()) {
            match self.query_alike(text, &summary, naming.as_deref()) {
                Alike::AsIs => {}
                Alike::More | Alike::Wait => return Ok(Step::Wait),
                Alike::Refused(error) => return Ok(self.refuse(frontend::QUERY, &error)),
                Alike::Message(message, agreed) => {
                    instead = Some(message);
                    naming = with_agreed(naming, agreed);
                }
            }
        }
        let afterwards = naming.clone().filter(|naming| naming.changes_names());
        if !self.may_send(to) || (afterwards.is_some() && self.owes_ready()) {
            return Ok(Step::Wait);
        }
        self.note_decision(&summary, naming.as_deref(), to, text.unwrap_or_default());
        let summary = self.executed(&summary, naming.as_deref());
        self.note_read(&summary, naming.is_none());
        let mut before = Vec::new();
        // What a batch has written without a Sync is committed with the Query that ends it.
        let commits = self.wrote && self.is_in_batch() && self.transaction_status() == TransactionStatus::Idle;
        let order = if commits { Order::MainLast } else { self.order_of(&summary) };
        if self.join_round(to, Some(order)) && self.in_round() {
            before.extend(self.wrap(&summary, text));
            self.round_executes(&summary, text.unwrap_or_default(), commits);
        }
        let wrapped = before.len();
        if let Some(name) = naming.as_deref().and_then(Naming::statement) {
            self.bring(name, to, &mut before);
        }
        for (ports, message) in &mut before[wrapped..] {
            // The Parse is a batch of its own: a failed one would make the backend skip the query.
            let mut batch = message.to_vec();
            build::bare(&mut batch, frontend::SYNC);
            *message = batch.into();
            self.bringing = true;
            for position in ports.positions() {
                if let Some(port) = &mut self.ports[position] {
                    port.asked(Ask::Sync, false);
                }
            }
        }
        self.end_batch(to);
        self.note_claim(naming.as_deref());
        self.note_called(to);
        self.afterwards = afterwards;
        self.statements.query_ran();
        self.report_statement("", text);
        self.report_sent(to, "", text);
        self.note_sent(&summary, naming.as_deref(), to);
        self.note_asked(to, Ask::Query);
        for position in to.positions() {
            if let Some(owed) = self.ports[position].as_mut().and_then(|port| port.owed.back_mut()) {
                owed.single = summary.single;
            }
        }
        self.last = to;
        if summary.begins_writable && !self.is_replicated() && to.is_several() {
            let message = &front[..header.total];
            let reading = reading(message, self.dialect());
            before.push((to.without(Target::MAIN), reading.into()));
            return Ok(sent(Target::MAIN, before, Some(Bytes::copy_from_slice(message))));
        }
        Ok(sent(to, before, instead))
    }

    /// Analyses a text, and looks its names up if its route depends on them; a text that cannot be read is `None`.
    /// Returns `None` when an answer must come first.
    pub(super) fn understand(&mut self, text: Option<&[u8]>) -> Option<(Summary, Option<Rc<Naming>>)> {
        let Some(text) = text else { return Some((Summary::UNKNOWN, None)) };
        let mut uses = self.commons.catalog.borrow_mut().lend_uses();
        let analysis = sql::analyze_naming(text, self.dialect(), &mut uses);
        let mut summary = Summary::of(&analysis);
        if let Some(reason) = self.setup.policy.pins(text).filter(|_| summary.open) {
            summary.pinned(reason);
        }
        if self.may_read_otherwise && text.contains(&b'\\') && !matches!(summary.route, Route::Primary) {
            // How a string with it ends is known when what ran before in the batch has been answered.
            summary = Summary { verb: summary.verb, ..Summary::UNKNOWN };
        }
        let written = if summary.open && self.minds_writes() { self.reads_written(text, &uses) } else { None };
        if let Some(reason) = written {
            // So far: it is judged again when it runs again.
            (summary.route, summary.reason) = (Route::Primary, reason);
        }
        let waits = written.is_none() && self.look_up(text, &uses, &mut summary);
        self.note_fixed(text, &mut summary);
        self.note_calls(text, &uses, &summary);
        self.note_written_names(text, &uses, &summary);
        if !summary.open {
            // What it writes may be given a trigger.
            summary.judged_at = self.knowledge();
        }
        let mut naming = Naming::of(&analysis.effect);
        if naming.is_none() && summary.writes && self.is_adaptive() {
            naming = Some(self.writes_of(text, &uses));
        }
        self.commons.catalog.borrow_mut().put_back(uses);
        if waits { None } else { Some((summary, naming)) }
    }

    fn consider_parse(&mut self, header: Header, front: &[u8]) -> Result<Step, Fault> {
        let most = self.inspect_bytes();
        let long = header.total > most;
        if front.len() < header.total.min(if long { INSPECT_BYTES } else { most }) {
            return Ok(Step::More);
        }
        let body = &front[HEADER_BYTES..header.total.min(front.len())];
        let Some((name, rest)) = split_cstr(body) else { return Ok(self.malformed(Ask::Parse)) };
        let text = if long { None } else { split_cstr(rest).map(|(text, _)| text) };
        let Some((mut summary, mut naming)) = self.understand(text) else { return Ok(Step::Wait) };
        if summary.begins_writable {
            // Whoever is given a prepared statement is given its text.
            summary.pinned(Reason::PrimarySession);
        }
        if summary.local.is_some() {
            return Ok(self.local_parse(name, summary, text.unwrap_or_default()));
        }
        let source = Some(&front[..header.total.min(front.len())]).filter(|_| !long && self.keeps_statements());
        // A name in use is refused where it is in use.
        let known = if name.is_empty() { None } else { self.statements.statement(name).map(|(on, _)| on) };
        let to = match known {
            Some(on) => self.refusing(on),
            // A name is given everywhere, or it would be refused on some of them only.
            None if self.is_replicated() && !name.is_empty() => self.everyone(),
            None => self.choose_named(&summary, naming.as_deref()),
        };
        // What cannot be brought to the primary later is there from the start.
        let stays = self.statements.has_room(name, source.map_or(0, <[u8]>::len));
        let mut to = if stays || known.is_some() { to } else { to.with(self.unknown()) };
        let (mut instead, mut agreed) = (None, None);
        if self.is_replicated() && known.is_none() && may_differ(&summary, naming.as_deref()) {
            match self.parse_alike(body, text, &summary, naming.as_deref()) {
                Alike::AsIs => {}
                Alike::More | Alike::Wait => return Ok(Step::Wait),
                Alike::Refused(error) => return Ok(self.refuse(frontend::PARSE, &error)),
                Alike::Message(message, plan) => {
                    to = self.everyone();
                    naming = with_agreed(naming, plan.clone());
                    (instead, agreed) = (Some(message), plan);
                }
            }
        }
        let source = instead.as_deref().or(source);
        if !self.may_send(to) || !self.join_round(to, Some(self.order_of(&summary))) {
            return Ok(Step::Wait);
        }
        let mut before = Vec::new();
        if known.is_some() {
            self.bring(name, to, &mut before);
        }
        if let Some(Naming::Executes { name, .. }) = naming.as_deref() {
            self.bring(name, to, &mut before);
        }
        self.note_called(to);
        self.statements.parse_sent(name, to, (summary, naming), agreed, source);
        self.report_sent(to, "Parse: ", text);
        self.note_asked(to, Ask::Parse);
        self.last = to;
        Ok(sent(to, before, instead))
    }

    /// Statements are kept when another port may need them, or their text is reported again when they run.
    fn keeps_statements(&self) -> bool {
        self.has_partners() || self.reports_per_node()
    }

    /// Gives a statement to those of `to` that do not know it: `before` is what must be sent in front.
    pub(super) fn bring(&mut self, name: &[u8], to: Target, before: &mut Vec<(Target, Bytes)>) {
        let Some((on, known)) = self.statements.statement(name).filter(|(_, known)| known.has_source()) else { return };
        let missing = to.without(on);
        if missing.is_empty() {
            return;
        }
        before.push((missing, Bytes::copy_from_slice(&known.source)));
        for position in missing.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.asked(Ask::Prepare, false);
                self.statements.brought(name, position);
            }
        }
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
        let Some((_, known)) = self.statements.statement(name) else {
            return Ok(self.ask(self.unknown(), Ask::Bind, |session, on| {
                session.statements.bind_sent(portal, Portal { on, ..Portal::UNTOLD });
                session.report_sent(on, "Bind: ", Some(b""));
            }));
        };
        if known.summary.local.is_some() {
            let summary = known.summary;
            return Ok(self.local_bind(portal, name, summary));
        }
        let Some((judged, mut to)) = self.aim(name) else { return Ok(Step::Wait) };
        if let Some(in_use) = self.statements.portal(portal).filter(|_| !portal.is_empty()) {
            // The name is refused where it is in use, if it still is when everything has been answered.
            if in_use.on != to && !self.is_quiet() {
                return Ok(Step::Wait);
            }
            to = in_use.on.or_main();
        } else if !self.statements.has_room_for_portal(portal) {
            // It is looked for there when it is not found here.
            to = self.unknown();
        }
        let mut instead = None;
        if self.is_replicated() {
            match self.bind_alike(header, front, name, &judged, to) {
                Alike::AsIs => {}
                Alike::More => return Ok(Step::More),
                Alike::Wait => return Ok(Step::Wait),
                Alike::Refused(error) => return Ok(self.refuse(frontend::BIND, &error)),
                Alike::Message(message, _) => instead = Some(message),
            }
        }
        if !self.may_send(to) || !self.join_round(to, Some(self.order_of(&judged))) {
            return Ok(Step::Wait);
        }
        if let Some(step) = self.compare_shapes(name, to) {
            return Ok(step);
        }
        let Some((_, known)) = self.statements.statement(name) else { return Ok(Step::Wait) };
        let text = if known.has_source() { statement_text(&known.source) } else { name };
        self.note_decision(&judged, known.naming.as_deref(), to, text);
        let (naming, told, repeatable) = (known.naming.clone(), known.told.clone(), known.has_source());
        let summary = self.executed(&judged, naming.as_deref());
        let text = Some(&known.source).filter(|_| known.has_source() && self.reports_per_node());
        let text = text.map(|source| statement_text(source).to_vec());
        self.note_read(&summary, repeatable && naming.is_none());
        let mut before = Vec::new();
        if let Some(name) = naming.as_deref().and_then(Naming::statement) {
            self.bring(name, to, &mut before);
        }
        self.bring(name, to, &mut before);
        self.note_called(to);
        self.report_sent(to, "Bind: ", text.as_deref());
        let text = text.map(Into::into);
        self.statements.bind_sent(portal, Portal { on: to, summary, naming, text, told });
        self.note_asked(to, Ask::Bind);
        self.last = to;
        Ok(sent(to, before, instead))
    }

    /// The node whose answer the client gets if it runs a prepared statement now. `None` if there is no such statement, or
    /// its names must be looked up first.
    pub fn prepared_runs_on(&mut self, name: &[u8]) -> Option<NodeId> {
        let (_, to) = self.aim(name)?;
        self.ports[to.speaker()].as_ref().map(|port| port.node)
    }

    /// What a prepared statement does, and where it goes. `None` when an answer must come first.
    fn aim(&mut self, name: &[u8]) -> Option<(Summary, Target)> {
        let judged = self.judge_again(name)?;
        let (on, known) = self.statements.statement(name)?;
        let wanted = self.choose_named(&judged, known.naming.as_deref());
        Some((judged, known.within_reach(on, wanted)))
    }

    /// What a prepared statement does, as its names are known now. `None` when an answer must come first.
    fn judge_again(&mut self, name: &[u8]) -> Option<Summary> {
        self.forget_calls();
        let Some((_, known)) = self.statements.statement(name) else { return Some(Summary::UNTOLD) };
        let summary = known.summary;
        let unchanged = summary.judged_at == self.knowledge();
        let stands = if summary.open {
            unchanged && !self.minds_writes()
        } else {
            unchanged || !summary.writes || !self.has_partners()
        };
        if stands {
            return Some(summary);
        }
        if !known.has_source() {
            return Some(if summary.open {
                Summary { route: Route::Primary, writes: true, ..summary }
            } else {
                summary
            });
        }
        let text = statement_text(&known.source).to_vec();
        let (judged, _) = self.understand(Some(&text))?;
        if judged.reason == Reason::NotLookedUp && summary.judged_at != UNJUDGED {
            // Where it was prepared, a result that has changed its type is refused; prepared anew elsewhere, it is not.
            return Some(summary);
        }
        self.statements.judged_again(name, &judged);
        Some(judged)
    }

    fn consider_execute(&mut self, body: &[u8]) -> Step {
        let Some((name, _)) = split_cstr(body) else { return self.malformed(Ask::Execute) };
        let Some(portal) = self.statements.portal(name).cloned() else {
            return self.ask(self.unknown(), Ask::Execute, |session, to| {
                session.round_executes(&Summary::UNTOLD, b"", false);
                session.note_sent(&Summary::UNTOLD, None, to);
            });
        };
        if let Some(local) = portal.summary.local {
            return self.local_execute(local, portal.text.as_deref().unwrap_or_default());
        }
        if portal.on.is_empty() {
            return self.portal_lost();
        }
        // An error tells whether names have changed, if it is of this batch.
        let afterwards = portal.naming.clone().filter(|naming| naming.changes_names());
        if afterwards.is_some() && self.owes_ready() {
            return Step::Wait;
        }
        if self.in_round() && !self.join_round(portal.on, Some(self.order_of(&portal.summary))) {
            return Step::Wait;
        }
        self.ask(portal.on, Ask::Execute, |session, to| {
            session.round_executes(&portal.summary, portal.text.as_deref().unwrap_or_default(), false);
            session.note_claim(portal.naming.as_deref());
            session.afterwards = afterwards;
            session.report_sent(to, "Execute: ", portal.text.as_deref());
            session.note_sent(&portal.summary, portal.naming.as_deref(), to);
        })
    }

    /// A database is needed for a statement alone: links that idle there would keep it in use.
    fn note_claim(&mut self, naming: Option<&Naming>) {
        if let Some(Naming::Claims(database)) = naming {
            self.report(Report::Claim { database: database.clone() });
        }
    }

    /// Describe and Close, of a statement or a portal.
    fn consider_named(&mut self, tag: u8, body: &[u8]) -> Step {
        let closes = tag == frontend::CLOSE;
        let letter = if closes { "C message" } else { "D message" };
        let named = body.split_first().and_then(|(kind, rest)| Some((*kind, split_cstr(rest)?.0)));
        let Some((kind, name)) = named else {
            return self.malformed(if closes { Ask::Close } else { Ask::Describe });
        };
        let of_portal = kind == b'P';
        let mut hides = 0;
        let (on, local, told) = if of_portal {
            let portal = self.statements.portal(name);
            let told = portal.and_then(|portal| portal.told.clone());
            (portal.map(|portal| portal.on), portal.and_then(|portal| portal.summary.local), told)
        } else {
            let known = self.statements.statement(name);
            let told = known.and_then(|(_, known)| known.told.clone());
            let agreed = known.and_then(|(_, known)| known.agreed.as_deref());
            hides = agreed.map_or(0, |agreed| agreed.added);
            (known.map(|(on, _)| on), known.and_then(|(_, known)| known.summary.local), told)
        };
        if let Some(local) = local {
            return self.local_named(closes, of_portal, name, local);
        }
        let mut to = on.map_or(self.unknown(), Target::or_main);
        if closes && !of_portal && self.is_replicated() {
            to = self.everyone();
        }
        if !of_portal && self.stands_apart() {
            to = to.with(Target::MAIN);
        }
        let ask = match (closes, of_portal) {
            (false, _) => Ask::Describe,
            (true, true) => Ask::ClosePortal,
            (true, false) => Ask::Close,
        };
        if !closes && !of_portal && to.is_several() && self.round_target() != Some(to) {
            let last = Target::only(self.last.speaker());
            to = if !self.stands_apart() && last.without(to).is_empty() { last } else { Target::only(to.speaker()) };
        }
        if !self.may_send(to) || !self.join_round(to, None) {
            return Step::Wait;
        }
        let mut before = Vec::new();
        match ask {
            Ask::Close => self.statements.close_sent(name, to),
            Ask::ClosePortal => self.statements.portal_close_sent(name, to),
            // A statement whose only port is gone is known again before it is described.
            _ if !of_portal => self.bring(name, to, &mut before),
            _ => {}
        }
        self.report_sent(to, "", Some(letter.as_bytes()));
        if closes {
            self.note_asked(to, ask);
        } else {
            self.note_described(to, told);
            let position = to.speaker();
            if let Some(owed) = self.ports[position].as_mut().and_then(|port| port.owed.back_mut()) {
                owed.hides = hides;
            }
        }
        self.last = to;
        Step::Forward { to, before }
    }

    /// Sends a short message to `to`, unless replies must come first.
    fn ask(&mut self, to: Target, ask: Ask, note: impl FnOnce(&mut Self, Target)) -> Step {
        if !self.may_send(to) || !self.join_round(to, None) {
            return Step::Wait;
        }
        note(self, to);
        self.note_asked(to, ask);
        self.last = to;
        Step::to(to)
    }

    /// A message that cannot be read goes to the primary, which says what is wrong with it.
    fn malformed(&mut self, ask: Ask) -> Step {
        self.ask(Target::MAIN, ask, |session, to| {
            if ask.names_statement() || ask.names_portal() {
                session.statements.nothing_sent(ask, to);
            }
        })
    }

    fn consider_function_call(&mut self, header: Header, front: &[u8]) -> Step {
        if self.is_in_batch() && !self.is_quiet() {
            return Step::Wait;
        }
        let number = front[HEADER_BYTES..front.len().min(header.total)].first_chunk();
        if number.is_none() && front.len() < header.total {
            return Step::More;
        }
        let mut instead = None;
        if self.is_replicated() {
            match self.call_alike(header, front) {
                Alike::AsIs => {}
                Alike::More => return Step::More,
                Alike::Wait => return Step::Wait,
                Alike::Refused(error) => return self.refuse(frontend::FUNCTION_CALL, &error),
                Alike::Message(message, _) => instead = Some(message),
            }
        }
        let step = self.ask(self.unknown(), Ask::FunctionCall, |session, to| {
            session.note_called_by_number(to, number.map_or(0, |number| u32::from_be_bytes(*number)));
            session.round_executes(&Summary::UNTOLD, b"", false);
            session.end_batch(to);
            session.note_sent(&Summary::UNTOLD, None, to);
        });
        match step {
            Step::Forward { to, before } => sent(to, before, instead),
            step => step,
        }
    }

    /// Terminate: what was asked before it still runs to its end, except a copy whose data will never come.
    fn consider_terminate(&mut self) -> Step {
        if !self.in_copy() && self.owes_ready() {
            return Step::Wait;
        }
        self.end(None);
        Step::Drop
    }

    /// True while a request or a batch that is complete has not been answered to its end.
    fn owes_ready(&self) -> bool {
        self.ports.iter().flatten().any(|port| port.owes_ready())
    }

    pub(super) fn is_quiet(&self) -> bool {
        // In the middle of a message nothing of pgconvoy's own may be said.
        self.mid_client.is_none() && self.owes_nothing()
    }

    /// True when every answer is there, or its beginning.
    pub(super) fn owes_nothing(&self) -> bool {
        self.ports.iter().flatten().all(|port| port.owed.is_empty())
    }

    pub(super) fn dialect(&self) -> sql::Dialect {
        self.ports[MAIN].as_ref().map_or_else(Default::default, |port| port.dialect)
    }

    pub(super) fn say(&mut self, tag: u8) {
        let mut out = Vec::new();
        build::bare(&mut out, tag);
        self.client.queue.push(out.into());
    }
}

/// A message, or another in its place, goes to `to` behind what stands in `before`.
fn sent(to: Target, mut before: Vec<(Target, Bytes)>, instead: Option<Bytes>) -> Step {
    let Some(message) = instead else { return Step::Forward { to, before } };
    before.push((to, message));
    Step::Instead(before)
}

/// A Query that begins a block, for a server that refuses one in which all may be written.
fn reading(message: &[u8], dialect: sql::Dialect) -> Vec<u8> {
    let mut reading = message.to_vec();
    for mode in sql::read_write_modes(&message[HEADER_BYTES..message.len() - 1], dialect) {
        let mode = HEADER_BYTES + mode.start..HEADER_BYTES + mode.end;
        reading[mode.clone()].fill(b' ');
        reading[mode.start..][..4].copy_from_slice(b"ONLY");
    }
    reading
}

/// Whether backends may come to differ by a statement.
fn may_differ(summary: &Summary, naming: Option<&Naming>) -> bool {
    summary.writes || matches!(naming, Some(Naming::Prepares(..) | Naming::Executes { .. }))
}

/// What a `PREPARE` gives a name to.
fn with_agreed(naming: Option<Rc<Naming>>, agreed: Option<Rc<Agreed>>) -> Option<Rc<Naming>> {
    match (naming.as_deref(), agreed) {
        (Some(Naming::Prepares(name, _)), agreed @ Some(_)) => Some(Rc::new(Naming::Prepares(name.clone(), agreed))),
        _ => naming,
    }
}

/// The statement text of a whole Parse message.
pub(super) fn statement_text(message: &[u8]) -> &[u8] {
    let text = split_cstr(&message[HEADER_BYTES..]).and_then(|(_, rest)| split_cstr(rest)).map(|(text, _)| text);
    text.unwrap_or_default()
}

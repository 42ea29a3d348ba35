//! What is reported of a client's messages and of the statements in them (`log_statement`, `log_per_node_statement`,
//! `notice_per_node_statement`, `log_client_messages`), in pgpool's words.

use super::port::Target;
use super::{Report, Session, SessionEvent};
use crate::fault::{Culprit, Fault};
use crate::wire::build;
use crate::wire::tag::frontend;
use crate::wire::{HEADER_BYTES, Header, split_cstr};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

impl Session {
    /// Reports a client message that has been dealt with, in front of the events that came of it, which begin at
    /// `position`. `front` is as much of the message as is there.
    pub(super) fn report_client_message(&mut self, header: Header, front: &[u8], position: usize) {
        if !self.setup.report_messages {
            return;
        }
        let body = front.get(HEADER_BYTES..header.total.min(front.len())).unwrap_or_default();
        let (message, detail) = describe(header.tag, body);
        if self.setup.tell_reports {
            // In front of what has been told of the message since.
            let mut notices = Vec::new();
            core::mem::swap(&mut notices, &mut self.notices);
            let notice = Fault::new(Culprit::Proxy, b"00000", message);
            let notice = Fault { detail: Some(detail.clone()).filter(|detail| !detail.is_empty()), ..notice };
            build::error(&mut self.notices, build::Severity::Log, &notice);
            self.notices.append(&mut notices);
        }
        self.events.insert(position, SessionEvent::Report(Report::Message(message, detail)));
    }

    pub(super) fn report_statement(&mut self, prefix: &str, text: Option<&[u8]>) {
        if self.setup.report_statements {
            let text = String::from_utf8_lossy(text.unwrap_or_default());
            self.tell_report(|| format!("statement: {prefix}{text}"));
            self.report(Report::Statement(format!("{prefix}{text}")));
        }
    }

    /// Tells whoever wants to know that a statement goes to backends.
    pub(super) fn report_sent(&mut self, to: Target, prefix: &str, text: Option<&[u8]>) {
        if !self.reports_per_node() {
            return;
        }
        let text = format!("{prefix}{}", String::from_utf8_lossy(text.unwrap_or_default()));
        for position in to.positions() {
            let Some(port) = &self.ports[position] else { continue };
            let (node, process_id) = (port.node, port.link.process_id);
            if self.setup.report_per_node {
                self.tell_report(|| format!("DB node id: {node} backend pid: {process_id} statement: {text}"));
            }
            if self.setup.notice_per_node && !self.setup.mute_notices {
                let notice = Fault::new(Culprit::Proxy, b"00000", format!("DB node id: {node} statement: {text}"));
                build::error(&mut self.notices, build::Severity::Notice, &notice);
            }
            if self.setup.report_per_node {
                self.report(Report::PerNode { node, process_id, text: text.clone() });
            }
        }
    }

    /// What is reported goes to a client that wants it.
    fn tell_report(&mut self, words: impl FnOnce() -> String) {
        if self.setup.tell_reports {
            let notice = Fault::new(Culprit::Proxy, b"00000", words());
            build::error(&mut self.notices, build::Severity::Log, &notice);
        }
    }

    pub(super) fn reports_per_node(&self) -> bool {
        self.setup.report_per_node || self.setup.notice_per_node
    }
}

fn describe(tag: u8, body: &[u8]) -> (&'static str, String) {
    let (first, rest) = split_cstr(body).unwrap_or((body, b""));
    let (second, _) = split_cstr(rest).unwrap_or((rest, b""));
    let text = String::from_utf8_lossy;
    let named = || {
        let kind = if body.first() == Some(&b'P') { "portal" } else { "statement" };
        let name = body.get(1..).map_or(&b""[..], |rest| split_cstr(rest).map_or(rest, |(name, _)| name));
        format!("{kind}: \"{}\"", text(name))
    };
    match tag {
        frontend::BIND => {
            ("Bind message from frontend.", format!("portal: \"{}\", statement: \"{}\"", text(first), text(second)))
        }
        frontend::CLOSE => ("Close message from frontend.", named()),
        frontend::COPY_DATA => ("CopyData message from frontend.", format!("count: {}", body.len())),
        frontend::COPY_DONE => ("CopyDone message from frontend.", String::new()),
        frontend::COPY_FAIL => ("CopyFail message from frontend.", String::new()),
        frontend::DESCRIBE => ("Describe message from frontend.", named()),
        frontend::EXECUTE => ("Execute message from frontend.", format!("portal: \"{}\"", text(first))),
        frontend::FLUSH => ("Flush message from frontend.", String::new()),
        frontend::FUNCTION_CALL => {
            let oid = body.first_chunk::<4>().map_or(0, |oid| u32::from_be_bytes(*oid));
            ("FunctionCall message from frontend.", format!("oid: \"{oid}\""))
        }
        frontend::PARSE => {
            ("Parse message from frontend.", format!("statement: \"{}\", query: \"{}\"", text(first), text(second)))
        }
        frontend::QUERY => ("Query message from frontend.", format!("query: \"{}\"", text(first))),
        frontend::SYNC => ("Sync message from frontend.", String::new()),
        _ => ("Terminate message from frontend.", String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_as_pgpool_tells_them() {
        let bind = describe(frontend::BIND, b"p\0s\0\0\0");
        assert_eq!(bind, ("Bind message from frontend.", "portal: \"p\", statement: \"s\"".into()));
        let describe_statement = describe(frontend::DESCRIBE, b"Ss1\0");
        assert_eq!(describe_statement, ("Describe message from frontend.", "statement: \"s1\"".into()));
        let parse = describe(frontend::PARSE, b"\0SELECT 1\0\0\0");
        assert_eq!(parse.1, "statement: \"\", query: \"SELECT 1\"");
        assert_eq!(describe(frontend::EXECUTE, b"").1, "portal: \"\"", "a malformed message is told as far as it goes");
    }
}

//! Encoders of the messages that pgconvoy itself says. Everything else is relayed as it came.

use crate::fault::Fault;
use crate::wire::TransactionStatus;
use crate::wire::tag::{backend, frontend};
use alloc::vec::Vec;

/// Writes one message: its kind, a length filled in afterwards, and what `body` writes.
pub fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes a string and its NUL.
pub fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    debug_assert!(!text.contains(&0), "a NUL would end the string early");
    out.extend_from_slice(text);
    out.push(0);
}

/// How bad a message to the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the session goes on.
    Error,
    /// The session ends.
    Fatal,
    /// Only for information.
    Notice,
    /// What is for the log, sent to the client as well.
    Log,
}

impl Severity {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
            Self::Log => "LOG",
        }
    }
}

/// ErrorResponse or NoticeResponse for `fault`.
pub fn error(out: &mut Vec<u8>, severity: Severity, fault: &Fault) {
    let tag = match severity {
        Severity::Error | Severity::Fatal => backend::ERROR_RESPONSE,
        Severity::Notice | Severity::Log => backend::NOTICE_RESPONSE,
    };
    message(out, tag, |out| {
        let mut field = |kind: u8, text: &[u8]| {
            out.push(kind);
            out.extend(text.iter().copied().filter(|byte| *byte != 0));
            out.push(0);
        };
        field(b'S', severity.as_str().as_bytes());
        field(b'V', severity.as_str().as_bytes());
        field(b'C', &fault.sqlstate);
        field(b'M', fault.message.as_bytes());
        if let Some(detail) = &fault.detail {
            field(b'D', detail.as_bytes());
        }
        if let Some(hint) = &fault.hint {
            field(b'H', hint.as_bytes());
        }
        if let Some(routine) = fault.routine {
            field(b'R', routine.as_bytes());
        }
        out.push(0);
    });
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    message(out, backend::READY_FOR_QUERY, |out| out.push(status.byte()));
}

/// An Authentication message of the given kind with its data.
pub fn authentication(out: &mut Vec<u8>, kind: i32, data: &[u8]) {
    message(out, backend::AUTHENTICATION, |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    message(out, backend::PARAMETER_STATUS, |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

/// BackendKeyData: the process id and a secret of the length that the protocol version allows.
pub fn backend_key_data(out: &mut Vec<u8>, process_id: i32, secret: &[u8]) {
    message(out, backend::BACKEND_KEY_DATA, |out| {
        out.extend_from_slice(&process_id.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// CommandComplete with its tag.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, backend::COMMAND_COMPLETE, |out| cstr(out, tag.as_bytes()));
}

/// RowDescription of columns that are all of type text (oid 25) in text format.
pub fn text_row_description<'a>(out: &mut Vec<u8>, names: impl ExactSizeIterator<Item = &'a str>) {
    message(out, backend::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&(names.len() as u16).to_be_bytes());
        for name in names {
            cstr(out, name.as_bytes());
            out.extend_from_slice(&[0; 6]); // no table, no column number
            out.extend_from_slice(&25u32.to_be_bytes());
            out.extend_from_slice(&(-1i16).to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes());
            out.extend_from_slice(&[0; 2]); // text format
        }
    });
}

/// DataRow of text values.
pub fn text_data_row<'a>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = &'a str>) {
    message(out, backend::DATA_ROW, |out| {
        out.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            out.extend_from_slice(value.as_bytes());
        }
    });
}

/// A message without a body, such as ParseComplete.
pub fn bare(out: &mut Vec<u8>, tag: u8) {
    message(out, tag, |_| {});
}

/// Query, as a client sends it.
pub fn query(out: &mut Vec<u8>, text: &str) {
    message(out, frontend::QUERY, |out| cstr(out, text.as_bytes()));
}

/// A Parse message without parameter types.
pub fn parse(out: &mut Vec<u8>, name: &str, text: &str) {
    message(out, frontend::PARSE, |out| {
        cstr(out, name.as_bytes());
        cstr(out, text.as_bytes());
        out.extend_from_slice(&[0, 0]);
    });
}

/// CancelRequest, as a client sends it: a start-up packet without a kind.
pub fn cancel_request(out: &mut Vec<u8>, process_id: i32, secret: &[u8]) {
    out.extend_from_slice(&(12 + secret.len() as u32).to_be_bytes());
    out.extend_from_slice(&crate::wire::startup::CANCEL_REQUEST.to_be_bytes());
    out.extend_from_slice(&process_id.to_be_bytes());
    out.extend_from_slice(secret);
}

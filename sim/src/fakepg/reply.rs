//! The messages that the model server says. Written apart from the core's encoders, so that neither hides the other's faults.

use crate::tag::Tag;
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// A SQLSTATE and a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The code.
    pub code: [u8; 5],
    /// The message.
    pub message: std::borrow::Cow<'static, str>,
}

impl SqlError {
    /// An error of the given code.
    pub fn new(code: &[u8; 5], message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { code: *code, message: message.into() }
    }
}

/// Writes one message whose body is what `body` writes.
pub fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes a message without a body.
pub fn bare(out: &mut BytesMut, tag: u8) {
    out.put_slice(&[tag, 0, 0, 0, 4]);
}

/// Writes text and its NUL.
pub fn cstr(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

/// Writes ErrorResponse (`E`) or NoticeResponse (`N`) without a context.
pub fn diagnostic(out: &mut BytesMut, tag: u8, severity: &str, error: &SqlError) {
    diagnostic_of(out, tag, severity, error, None);
}

/// Writes ErrorResponse (`E`) or NoticeResponse (`N`); the request that it is about stands in the context field.
pub fn diagnostic_of(out: &mut BytesMut, tag: u8, severity: &str, error: &SqlError, request: Option<Tag>) {
    message(out, tag, |out| {
        for (field, text) in [
            (b'S', severity.as_bytes()),
            (b'V', severity.as_bytes()),
            (b'C', &error.code),
            (b'M', error.message.as_bytes()),
            (b'F', b"model.c"),
        ] {
            out.put_u8(field);
            cstr(out, text);
        }
        if let Some(request) = request {
            let _ = write!(out, "W{request}\0");
        }
        out.put_u8(0);
    });
}

/// Writes RowDescription of `columns` text columns.
pub fn row_description(out: &mut BytesMut, columns: usize) {
    message(out, b'T', |out| {
        out.put_u16(columns as u16);
        for name in [b"tag", b"val"].into_iter().take(columns) {
            cstr(out, name);
            out.put_slice(&[0; 6]);
            out.put_u32(25);
            out.put_i16(-1);
            out.put_i32(-1);
            out.put_i16(0);
        }
    });
}

/// Writes a column of DataRow.
pub fn column(out: &mut BytesMut, value: &[u8]) {
    out.put_u32(value.len() as u32);
    out.put_slice(value);
}

/// Writes CommandComplete of a command that counts rows or none.
pub fn command_complete(out: &mut BytesMut, command: &str, rows: Option<u32>) {
    message(out, b'C', |out| {
        out.put_slice(command.as_bytes());
        if let Some(rows) = rows {
            let _ = write!(out, " {rows}");
        }
        out.put_u8(0);
    });
}

/// Writes CopyInResponse (`G`) or CopyOutResponse (`H`) of text format.
pub fn copy_response(out: &mut BytesMut, tag: u8, columns: usize) {
    message(out, tag, |out| {
        out.put_u8(0);
        out.put_u16(columns as u16);
        out.put_bytes(0, 2 * columns);
    });
}

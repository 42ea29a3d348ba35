//! The messages of the extended protocol.

use super::Shared;
use super::backend::{Backend, Portal, bad_message, parse_texts};
use super::reply::{self, SqlError};
use super::session::{Block, failed_block, syntax_error};
use super::sql::{self, Statement};
use super::storage::Recovery;
use crate::frame::cstr;
use bytes::{Buf, BufMut, Bytes};
use pgconvoy_core::time::Instant;

impl Backend {
    pub(super) fn parse(&mut self, body: &[u8]) -> Result<(), SqlError> {
        let (name, text) = parse_texts(body).ok_or_else(bad_message)?;
        let (first, rest) = sql::cut(text);
        if !rest.is_empty() {
            return Err(SqlError::new(b"42601", "cannot insert multiple commands into a prepared statement"));
        }
        if name.is_empty() {
            self.session.prepared.remove(name);
        }
        self.allowed(&sql::parse(first).map_err(|_| syntax_error())?)?;
        if self.session.prepared.contains_key(name) {
            let name = String::from_utf8_lossy(name);
            return Err(SqlError::new(b"42P05", format!("prepared statement \"{name}\" already exists")));
        }
        self.session.prepared.insert(name.to_vec(), Bytes::copy_from_slice(text));
        reply::bare(&mut self.out, b'1');
        Ok(())
    }

    pub(super) fn bind(&mut self, body: &[u8], shared: &Shared) -> Result<(), SqlError> {
        let (name, rest) = cstr(body).ok_or_else(bad_message)?;
        let (statement, rest) = cstr(rest).ok_or_else(bad_message)?;
        let text = self.session.prepared.get(statement).cloned().ok_or_else(|| no_statement(statement))?;
        let parameters = bind_parameters(rest).ok_or_else(bad_message)?;
        if parameters.len() != sql::parameters(&text) {
            return Err(SqlError::new(b"08P01", "bind message supplies the wrong number of parameters"));
        }
        let parsed = sql::parse(&text).map_err(|_| syntax_error())?;
        self.allowed(&parsed)?;
        if let Statement::Select(select) = parsed
            && let Some(code) = select.refused().filter(|code| code == b"0A000")
            && shared.storage.recovery() != Recovery::Primary
        {
            return Err(SqlError::new(&code, "cannot plan this during recovery"));
        }
        if !name.is_empty() && self.portals.contains_key(name) {
            return Err(SqlError::new(b"42P03", "portal already exists"));
        }
        self.portals.insert(name.to_vec(), Portal { text, parameters, suspended: None, done: false });
        reply::bare(&mut self.out, b'2');
        Ok(())
    }

    pub(super) fn describe(&mut self, body: &[u8]) -> Result<(), SqlError> {
        let (kind, name) = kind_and_name(body)?;
        let text = if kind == b'S' {
            self.session.prepared.get(name).cloned().ok_or_else(|| no_statement(name))?
        } else {
            self.portals.get(name).map(|portal| portal.text.clone()).ok_or_else(no_portal)?
        };
        let columns = sql::parse(&text).map_err(|_| syntax_error())?.columns();
        if self.session.block == Block::Failed && columns.is_some() {
            return Err(failed_block());
        }
        if kind == b'S' {
            let count = sql::parameters(&text);
            reply::message(&mut self.out, b't', |out| {
                out.put_u16(count as u16);
                (0..count).for_each(|_| out.put_u32(25));
            });
        }
        match columns {
            Some(columns) => reply::row_description(&mut self.out, columns),
            None => reply::bare(&mut self.out, b'n'),
        }
        Ok(())
    }

    pub(super) fn execute(&mut self, body: &[u8], shared: &mut Shared, now: Instant) -> Result<(), SqlError> {
        let (name, mut rest) = cstr(body).ok_or_else(bad_message)?;
        if rest.len() != 4 {
            return Err(bad_message());
        }
        self.run_portal(name, rest.get_u32(), shared, now)
    }

    pub(super) fn close_named(&mut self, body: &[u8]) -> Result<(), SqlError> {
        let (kind, name) = kind_and_name(body)?;
        if kind == b'S' {
            self.session.prepared.remove(name);
        } else {
            self.portals.remove(name);
        }
        reply::bare(&mut self.out, b'3');
        Ok(())
    }

    fn allowed(&self, statement: &Statement<'_>) -> Result<(), SqlError> {
        if self.session.block == Block::Failed && !statement.ends_block() && *statement != Statement::Empty {
            return Err(failed_block());
        }
        Ok(())
    }
}

fn kind_and_name(body: &[u8]) -> Result<(u8, &[u8]), SqlError> {
    match body {
        [kind @ (b'S' | b'P'), name @ .., 0] => Ok((*kind, name)),
        _ => Err(bad_message()),
    }
}

/// The parameters of a Bind message behind its two names, all of them text.
fn bind_parameters(mut rest: &[u8]) -> Option<Vec<Bytes>> {
    let formats = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    rest = rest.get(2 + 2 * formats..)?;
    let count = u16::from_be_bytes(*rest.first_chunk()?);
    rest = &rest[2..];
    let mut parameters = Vec::new();
    for _ in 0..count {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        parameters.push(Bytes::copy_from_slice(rest.get(4..4 + length)?));
        rest = &rest[4 + length..];
    }
    Some(parameters)
}

fn no_statement(name: &[u8]) -> SqlError {
    if name.is_empty() {
        return SqlError::new(b"26000", "unnamed prepared statement does not exist");
    }
    SqlError::new(b"26000", format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name)))
}

fn no_portal() -> SqlError {
    SqlError::new(b"34000", "portal does not exist")
}

//! The shape of a prepared statement's rows.
//!
//! PostgreSQL refuses to run a statement whose rows have changed since it was prepared ("cached plan must not change result
//! type"): the client may have been told what they look like. A port that a statement is brought to prepares it anew and
//! would notice nothing. So it describes the statement first, and that is compared with what the client was told.

use super::Session;
use super::port::{Ask, Target};
use super::request::Step;
use crate::fault::{Culprit, Fault};
use crate::wire::tag::frontend;
use crate::wire::{build, split_cstr};
use alloc::rc::Rc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::cell::Cell;

/// What a client was told of a statement's rows. The statement and its portals share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Stands for the description; `None` while there was none, or one too long to be looked at.
    shape: Option<u64>,
    /// The ports where the rows are known to have that shape.
    agreed: Target,
    /// Those where they are known to have another.
    differing: Target,
}

impl Told {
    /// Whether a description by this port tells anything new.
    pub(super) const fn is_news(self, position: usize) -> bool {
        self.shape.is_none() || !self.agreed.has(position)
    }

    /// A port has described the statement: to the client if `told`, otherwise to compare.
    pub(super) fn described(&mut self, position: usize, shape: Option<u64>, told: bool) {
        let by = Target::only(position);
        if told && self.shape != shape {
            *self = Self { shape, agreed: by, differing: Target::NONE };
        } else if self.shape == shape || shape.is_none() {
            self.agreed = self.agreed.with(by);
        } else {
            self.differing = self.differing.with(by);
        }
    }

    /// These ports do not have the statement any more.
    pub(super) fn forget(&mut self, gone: Target) {
        self.agreed = self.agreed.without(gone);
        self.differing = self.differing.without(gone);
    }
}

/// Stands for what matters of the answer to Describe, of this kind: of each column what PostgreSQL compares, which is all but
/// its table and its format (manual, "Message Formats", RowDescription).
pub(super) fn digest(kind: u8, body: &[u8]) -> u64 {
    // FNV-1a.
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ u64::from(kind);
    let mut take = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let (count, mut rest) = body.split_at(body.len().min(2));
    take(count);
    while let Some((name, fields)) = split_cstr(rest)
        && let Some((fields, more)) = fields.split_first_chunk::<18>()
    {
        take(name);
        // The type, its length and its modifier.
        take(&fields[6..16]);
        take(&[0]);
        rest = more;
    }
    hash
}

impl Session {
    /// Notes that `to` is asked to describe something to the client, of which `told` is known.
    pub(super) fn note_described(&mut self, to: Target, told: Option<Rc<Cell<Told>>>) {
        let position = to.speaker();
        match told.filter(|told| to == Target::only(position) && told.get().is_news(position)) {
            Some(told) => {
                self.statements.describe_sent(position, told, true);
                self.note_asked(to, Ask::Shape);
            }
            None => self.note_asked(to, Ask::Describe),
        }
    }

    /// Makes sure that a statement's rows have the shape that the client was told of on all ports of `to`, before it runs
    /// there. `None` if they have.
    pub(super) fn compare_shapes(&mut self, name: &[u8], to: Target) -> Option<Step> {
        if self.is_replicated() {
            // Each server has prepared it when the client did, and compares by itself.
            return None;
        }
        let (_, known) = self.statements.statement(name)?;
        let told = Rc::clone(known.told.as_ref().filter(|told| told.get().shape.is_some())?);
        let Told { agreed, differing, .. } = told.get();
        let refused = to.without(to.without(differing));
        if !refused.is_empty() {
            return Some(self.refuse_shape(name, refused));
        }
        let open = to.without(agreed);
        if open.is_empty() {
            return None;
        }
        if !self.may_send(to) || self.statements.is_being_described(&told) {
            return Some(Step::Wait);
        }
        let mut before = Vec::new();
        self.bring(name, open, &mut before);
        let mut describe = Vec::new();
        build::message(&mut describe, frontend::DESCRIBE, |out| {
            out.push(b'S');
            build::cstr(out, name);
        });
        before.push((open, describe.into()));
        for position in open.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.asked(Ask::Shape, false);
                self.statements.describe_sent(position, Rc::clone(&told), false);
            }
        }
        self.last = to;
        Some(Step::Before(before))
    }

    /// Says what PostgreSQL would say where the statement was prepared before its rows changed. These ports forget it: the
    /// change may be taken back.
    fn refuse_shape(&mut self, name: &[u8], on: Target) -> Step {
        if !self.is_quiet() {
            return Step::Wait;
        }
        let fault = Fault::new(Culprit::Client, b"0A000", "cached plan must not change result type");
        self.break_batch(&fault.routine("RevalidateCachedQuery"));
        if !self.statements.unlearn(name, on) {
            return Step::Drop;
        }
        let mut close = Vec::new();
        build::message(&mut close, frontend::CLOSE, |out| {
            out.push(b'S');
            build::cstr(out, name);
        });
        self.send(on, &Bytes::from(close));
        for position in on.positions() {
            if let Some(port) = &mut self.ports[position] {
                port.asked(Ask::Close, false);
            }
        }
        Step::Drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, table: u32, kind: u32, modifier: i32, format: u16) -> Vec<u8> {
        let mut out = Vec::from(name.as_bytes());
        out.push(0);
        out.extend_from_slice(&table.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&modifier.to_be_bytes());
        out.extend_from_slice(&format.to_be_bytes());
        out
    }

    fn shape(columns: &[Vec<u8>]) -> u64 {
        digest(b'T', &[&[0, columns.len() as u8][..], &columns.concat()].concat())
    }

    #[test]
    fn a_shape_is_of_names_and_types() {
        let one = shape(&[column("a", 1, 23, -1, 0)]);
        assert_eq!(one, shape(&[column("a", 2, 23, -1, 1)]), "the table and the format are no part of it");
        for other in [
            shape(&[column("b", 1, 23, -1, 0)]),
            shape(&[column("a", 1, 20, -1, 0)]),
            shape(&[column("a", 1, 23, 8, 0)]),
            shape(&[column("a", 1, 23, -1, 0), column("a", 1, 23, -1, 0)]),
            digest(b'n', b""),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_the_client_was_told_last_counts() {
        let mut told = Told::default();
        assert!(told.is_news(1));
        told.described(1, Some(7), true);
        assert!(!told.is_news(1) && told.is_news(0));
        told.described(0, Some(8), false);
        assert_eq!(told.differing, Target::MAIN);
        told.described(0, Some(8), true);
        assert_eq!(told, Told { shape: Some(8), agreed: Target::MAIN, differing: Target::NONE });
        told.forget(Target::MAIN);
        assert!(told.is_news(0));
    }
}

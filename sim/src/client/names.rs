//! Prepared statements under names: given and taken by messages and by SQL, which share them.
//!
//! All clients use the same few names, so what one leaves behind is in the way of another. What must come of each step
//! is worked out beforehand, as PostgreSQL will see it; an error ends a request's effects as it ends the request.

use super::Client;
use super::automaton::{Answer, Block, Outcome};
use super::request::{one_of_two, rows};

/// The names that all clients use.
pub const NAMES: [&str; 3] = ["s0", "s1", "s2"];

/// What a name stands for, as far as the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// It may be there or not.
    Unknown,
    /// Nothing.
    Free,
    /// A statement that gives so many rows.
    Taken(u32),
}

/// What all names stand for.
#[derive(Debug)]
pub struct Names {
    slots: [Slot; NAMES.len()],
    /// What they stand for once this request is answered.
    pending: Option<(u32, [Slot; NAMES.len()])>,
}

impl Default for Names {
    fn default() -> Self {
        Self { slots: [Slot::Free; NAMES.len()], pending: None }
    }
}

impl Names {
    /// A request is answered; it `failed` when an error came that was not asked for.
    pub fn answered(&mut self, request: u32, failed: bool) {
        if let Some((_, after)) = self.pending.take_if(|(by, _)| *by == request) {
            self.slots = if failed { [Slot::Unknown; NAMES.len()] } else { after };
        }
    }
}

/// What names stand for in the course of one request.
struct Course {
    slots: [Slot; NAMES.len()],
    /// The block had failed before: only Close is carried out.
    barred: bool,
    /// An error has come: the rest is skipped.
    over: bool,
}

impl Course {
    fn set(&mut self, slot: usize, to: Slot) {
        if !self.over {
            self.slots[slot] = to;
        }
    }

    /// A step that is refused in a failed block, and fails with `code` anyway if there is one. True when it succeeds.
    fn step(&mut self, code: Option<[u8; 5]>) -> bool {
        self.over |= self.barred || code.is_some();
        !self.over
    }
}

impl Client {
    /// Executes a statement under a name, preparing it first if need be.
    pub(super) fn prepared(&mut self, request: u32) {
        if self.automaton.block() == Block::Failed {
            return self.again(request);
        }
        let mut course = self.course();
        let slot = self.rng.below(NAMES.len() as u64) as usize;
        if !matches!(course.slots[slot], Slot::Taken(_)) {
            if course.slots[slot] == Slot::Unknown || self.rng.chance(1, 2) {
                self.close(b'S', NAMES[slot]);
                course.set(slot, Slot::Free);
            }
            self.give(request, slot, &mut course);
        }
        for _ in 0..1 + self.rng.below(3) {
            self.run(request, slot, &mut course);
        }
        self.memory.names.pending = Some((request, course.slots));
        self.sync(request);
    }

    /// Executes a statement that has its name already, whatever is under way.
    pub(super) fn again(&mut self, request: u32) {
        let mut course = self.course();
        course.barred = false;
        let taken: Vec<usize> = (0..NAMES.len()).filter(|slot| matches!(course.slots[*slot], Slot::Taken(_))).collect();
        if self.memory.names.pending.is_some() || taken.is_empty() {
            let tag = self.tag(request);
            self.extended_statement(
                &format!("SELECT '{tag}', generate_series(1, 2)"),
                Answer::new(request, rows(1, 2, 0)),
            );
        } else {
            let slot = taken[self.rng.below(taken.len() as u64) as usize];
            self.run(request, slot, &mut course);
        }
        self.sync(request);
    }

    /// Gives, uses and takes names, by messages and by SQL.
    pub(super) fn named(&mut self, request: u32) {
        let mut course = self.course();
        if self.rng.chance(1, 3) {
            let (text, answer) = self.sql(request, &mut course);
            self.simple_statement(&text, answer);
        } else {
            for _ in 0..1 + self.rng.below(6) {
                self.named_step(request, &mut course);
            }
            self.sync(request);
        }
        self.memory.names.pending = Some((request, course.slots));
    }

    fn course(&self) -> Course {
        let barred = self.automaton.block() == Block::Failed;
        Course { slots: self.memory.names.slots, barred, over: false }
    }

    fn named_step(&mut self, request: u32, course: &mut Course) {
        let tag = self.tag(request);
        let slot = self.rng.below(NAMES.len() as u64) as usize;
        match self.rng.below(14) {
            0..=2 if course.slots[slot] != Slot::Unknown => self.give(request, slot, course),
            3..=5 if course.slots[slot] != Slot::Unknown => self.run(request, slot, course),
            6 | 7 => {
                let (text, answer) = self.sql(request, course);
                self.parse(request, "", &text, None);
                self.bind(request, "", "", false, None);
                self.execute("", 0, answer);
            }
            8 => self.flush(),
            9 => {
                course.step(Some(*b"22012"));
                let text = format!("SELECT '{tag}', raise('22012')");
                self.extended_statement(&text, Answer::new(request, one_of_two()).fails(*b"22012"));
            }
            10 | 11 => {
                course.step(None);
                let (text, answer) = self.draw_write(request);
                self.extended_statement(&text, answer);
            }
            12 => {
                course.step(None);
                let text = format!("SELECT '{tag}', generate_series(1, 3)");
                self.extended_statement(&text, Answer::new(request, rows(1, 3, 0)));
            }
            _ => {
                self.close(b'S', NAMES[slot]);
                course.set(slot, Slot::Free);
            }
        }
    }

    /// Parse: refused when the name is taken.
    fn give(&mut self, request: u32, slot: usize, course: &mut Course) {
        let count = self.draw_count();
        let fails = matches!(course.slots[slot], Slot::Taken(_)).then_some(*b"42P05");
        self.parse(request, NAMES[slot], &format!("SELECT $1, generate_series(1, {count})"), fails);
        if course.step(fails) {
            course.set(slot, Slot::Taken(count));
        }
    }

    /// Perhaps Describe, Bind and Execute: refused when the name is free.
    fn run(&mut self, request: u32, slot: usize, course: &mut Course) {
        let (count, fails) = match course.slots[slot] {
            Slot::Taken(count) => (count, None),
            Slot::Free | Slot::Unknown => (1, Some(*b"26000")),
        };
        if self.rng.chance(1, 4) {
            self.describe(b'S', NAMES[slot], 1, Some(2), fails);
        }
        self.bind(request, "", NAMES[slot], true, fails);
        self.execute("", 0, Answer::new(request, rows(1, count, 0)));
        course.step(fails);
    }

    /// A statement of SQL about names, for a request of its own.
    pub(super) fn draw_named(&mut self, request: u32) -> (String, Answer) {
        let mut course = self.course();
        let drawn = self.sql(request, &mut course);
        self.memory.names.pending = Some((request, course.slots));
        drawn
    }

    /// A statement of SQL about names.
    fn sql(&mut self, request: u32, course: &mut Course) -> (String, Answer) {
        let tag = self.tag(request);
        let slot = self.rng.below(NAMES.len() as u64) as usize;
        let name = NAMES[slot];
        let done = |command| Answer::new(request, Outcome::Done(command, None));
        let failing = |answer: Answer, fails: Option<[u8; 5]>| Answer { fails, ..answer };
        let missing = (!matches!(course.slots[slot], Slot::Taken(_))).then_some(*b"26000");
        match self.rng.below(4) {
            0 if course.slots[slot] != Slot::Unknown => {
                let count = self.draw_count();
                let fails = missing.is_none().then_some(*b"42P05");
                if course.step(fails) {
                    course.set(slot, Slot::Taken(count));
                }
                let text = format!("PREPARE {name} AS SELECT $1, generate_series(1, {count})");
                (text, failing(done("PREPARE"), fails))
            }
            1 if course.slots[slot] != Slot::Unknown => {
                let count = if let Slot::Taken(count) = course.slots[slot] { count } else { 1 };
                course.step(missing);
                (format!("EXECUTE {name}('{tag}')"), failing(Answer::new(request, rows(1, count, 0)), missing))
            }
            2 if course.slots[slot] != Slot::Unknown => {
                if course.step(missing) {
                    course.set(slot, Slot::Free);
                }
                (format!("DEALLOCATE {name}"), failing(done("DEALLOCATE"), missing))
            }
            _ => {
                if course.step(None) {
                    course.slots = [Slot::Free; NAMES.len()];
                }
                ("DEALLOCATE ALL".to_owned(), done("DEALLOCATE ALL"))
            }
        }
    }

    fn draw_count(&mut self) -> u32 {
        1 + (self.number + self.rng.below(9) as u32) % 17
    }
}

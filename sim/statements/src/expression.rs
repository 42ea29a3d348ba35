//! Expressions of a type, over the columns in sight: `value` has those that each type likes, `call` the calls of functions.

use super::{Generator, Type};
use Type::{Bool, Int, Ints, Json, Num, Text, Time};

pub(super) const ALL: &[Type] = &[Int, Text, Bool, Num, Time, Json, Ints];

impl Generator {
    /// Any type.
    pub(crate) fn any_type(&mut self) -> Type {
        self.pick(&[Int, Int, Int, Text, Text, Bool, Num, Time, Json, Ints])
    }

    /// An expression of type `kind`, at most about `depth` deep.
    pub(crate) fn expression(&mut self, kind: Type, depth: u32) {
        if depth == 0 || self.writer.len() > 400 {
            return self.leaf(kind);
        }
        if kind == Int && self.dares() {
            return self.writing_call(depth - 1);
        }
        if kind == Int && self.local() {
            return self.calm_call(depth - 1);
        }
        match self.rng.below(12) {
            0..3 => self.leaf(kind),
            3 => self.case(kind, depth - 1),
            4 => self.scalar_subquery(kind, depth - 1),
            5 => self.cast(kind, depth - 1),
            6 => {
                self.say("coalesce (");
                self.expression(kind, depth - 1);
                self.say(",");
                self.expression(kind, depth - 1);
                self.say(")");
            }
            _ => match kind {
                Int => self.int(depth - 1),
                Text => self.text(depth - 1),
                Bool => self.bool(depth - 1),
                Num => self.num(depth - 1),
                Time => self.time(depth - 1),
                Json => self.json(depth - 1),
                Ints => self.ints(depth - 1),
            },
        }
    }

    pub(super) fn leaf(&mut self, kind: Type) {
        if self.chance(3, 4) && self.column(kind) {
            return;
        }
        match kind {
            Int => {
                let number = self.pick(&["0", "1", "2", "3", "7", "42"]);
                self.raw(number);
            }
            Text => self.writer.string(&mut self.rng),
            Bool => {
                let word = self.pick(&["true", "false", "bool 't'"]);
                self.say(word);
            }
            Num => {
                let number = self.pick(&["1.5", ".5", "1.", "1e3", "2.5E-2", "10.0"]);
                self.raw(number);
            }
            Time => {
                let word =
                    self.pick(&["current_timestamp", "now ( )", "timestamptz '2020-01-03'", "current_timestamp ( 3 )"]);
                self.say(word);
            }
            Json => match self.rng.below(2) {
                0 => {
                    self.raw("'{\"n\": 1, \"k\": [1, 2]}'");
                    self.say("::");
                    self.raw("jsonb");
                }
                _ => {
                    self.say("jsonb");
                    self.raw("'{}'");
                }
            },
            Ints => match self.rng.below(3) {
                0 => {
                    self.raw("'{1,2,3}'");
                    self.say(":: int [ ]");
                }
                1 => self.say("array [ 1 , 2 ]"),
                _ => {
                    self.say("cast (");
                    self.raw("'{4}'");
                    self.say("as integer array )");
                }
            },
        }
    }

    /// A column of this type, if one is in sight.
    pub(super) fn column(&mut self, kind: Type) -> bool {
        let found: Vec<(usize, usize)> = self
            .sources
            .iter()
            .enumerate()
            .flat_map(|(source, offered)| {
                let columns = offered.columns.iter().enumerate();
                columns.filter(|(_, (_, of))| *of == kind).map(move |(column, _)| (source, column))
            })
            .collect();
        if found.is_empty() {
            return false;
        }
        // What is nearer is likelier.
        let at = self.rng.below(found.len() as u64).max(self.rng.below(found.len() as u64));
        let (source, column) = found[at as usize];
        let name = self.sources[source].columns[column].0.clone();
        let alone =
            self.sources.iter().flat_map(|source| &source.columns).filter(|(other, _)| *other == name).count() == 1;
        if alone && self.chance(1, 3) {
            self.name(&name);
            return true;
        }
        let alias = self.sources[source].alias.clone();
        if self.sources[source].account && self.chance(1, 10) {
            self.say("(");
            self.name(&alias);
            self.say(")");
        } else {
            self.name(&alias);
        }
        self.writer.dot(&mut self.rng);
        self.name(&name);
        true
    }

    pub(super) fn case(&mut self, kind: Type, depth: u32) {
        self.say("case");
        let simple = self.chance(1, 3);
        if simple {
            self.expression(Int, depth);
        }
        for _ in 0..=self.rng.below(2) {
            self.say("when");
            self.expression(if simple { Int } else { Bool }, depth);
            self.say("then");
            self.expression(kind, depth);
        }
        self.say("else");
        self.expression(kind, depth);
        self.say("end");
    }

    pub(super) fn scalar_subquery(&mut self, kind: Type, depth: u32) {
        self.say("(");
        self.subquery(&[kind], depth, true);
        self.say(")");
    }

    pub(super) fn type_name(&mut self, kind: Type) {
        let local = self.local();
        let name = match kind {
            Int if local => self.pick(&["small", "public.small"]),
            Int => self.pick(&["int", "integer", "int4", "pg_catalog.int4"]),
            Text => self.pick(&[
                "text",
                "varchar ( 40 )",
                "character varying ( 40 )",
                "varchar",
                "national character varying ( 9 )",
            ]),
            Bool => self.pick(&["bool", "boolean"]),
            Num => self.pick(&[
                "numeric",
                "numeric ( 30 , 4 )",
                "decimal ( 30 , 2 )",
                "float",
                "double precision",
                "real",
                "float ( 30 )",
            ]),
            Time => self.pick(&[
                "timestamptz",
                "timestamp with time zone",
                "timestamp ( 3 ) with time zone",
                "timestamptz ( 0 )",
            ]),
            Json => "jsonb",
            Ints => self.pick(&["int [ ]", "int4 [ ]", "integer array", "int array [ 4 ]"]),
        };
        for (at, part) in name.split('.').enumerate() {
            if at > 0 {
                self.writer.dot(&mut self.rng);
            }
            self.say(part);
        }
    }

    pub(super) fn cast(&mut self, kind: Type, depth: u32) {
        if self.chance(1, 2) {
            self.say("cast (");
            self.expression(kind, depth);
            self.say("as");
            self.type_name(kind);
            self.say(")");
        } else {
            self.say("(");
            self.expression(kind, depth);
            self.say(") ::");
            self.type_name(kind);
        }
    }

    pub(super) fn binary(&mut self, left: Type, operator: &str, right: Type, depth: u32) {
        self.say("(");
        self.expression(left, depth);
        self.say(operator);
        self.expression(right, depth);
        self.say(")");
    }
}

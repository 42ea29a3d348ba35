//! Calls of functions: of PostgreSQL's own, of those of the schema that only read, and of those that write.

use super::names::DISGUISED;
use super::{Generator, Mood, Type};
use Type::{Int, Ints};

impl Generator {
    /// `name (`, sometimes with the schema of PostgreSQL's own functions.
    pub(crate) fn call(&mut self, name: &str) {
        if self.chance(1, 16) {
            self.dotted(&format!("pg_catalog.{name}"));
        } else if self.chance(1, 30) {
            self.raw(&format!("\"{name}\""));
        } else {
            self.say(name);
        }
        self.say("(");
    }

    pub(super) fn call_with(&mut self, name: &str, arguments: &[Type], depth: u32) {
        self.call(name);
        for (at, kind) in arguments.iter().enumerate() {
            if at > 0 {
                self.say(",");
            }
            self.expression(*kind, depth);
        }
        self.say(")");
    }

    /// A call of a function of the schema that only reads, of type `Int`.
    pub(super) fn calm_call(&mut self, depth: u32) {
        if self.chance(1, 5) && self.attribute(&["points"]) {
            return;
        }
        match self.rng.below(6) {
            0 | 1 => {
                let name = self.pick(&["steady", "public.steady", "other.calm", "constant"]);
                self.dotted(name);
                self.one_argument(depth);
            }
            2 => {
                self.dotted("constant");
                let mark = self.pick(&["( b => 1 , a =>", "( b := 1 , a :="]);
                self.say(mark);
                self.expression(Int, depth);
                self.say(")");
            }
            3 => {
                self.dotted("sum_up");
                self.say("( variadic");
                self.expression(Ints, depth);
                self.say(")");
            }
            4 => self.binary(Int, "@+@", Int, depth),
            _ => {
                self.say("(");
                self.expression(Int, depth);
                self.say(") :: small :: int");
            }
        }
    }

    pub(super) fn one_argument(&mut self, depth: u32) {
        let mark = self.pick(&["(", "(", "(", "( a =>", "( a :="]);
        self.say(mark);
        self.expression(Int, depth);
        self.say(")");
    }

    /// `row.function`, if a row of `account` is in sight.
    pub(super) fn attribute(&mut self, names: &[&'static str]) -> bool {
        let Some(alias) = self.sources.iter().rev().find(|source| source.account).map(|source| source.alias.clone())
        else {
            return false;
        };
        let parentheses = self.chance(1, 2);
        if parentheses {
            self.say("(");
        }
        self.name(&alias);
        if parentheses {
            self.say(")");
        }
        self.writer.dot(&mut self.rng);
        let name = self.pick(names);
        self.name(name);
        true
    }

    /// A call, in whatever disguise, of a function that writes, of type `Int`.
    pub(crate) fn writing_call(&mut self, depth: u32) {
        debug_assert_eq!(self.mood, Mood::Wild);
        match self.rng.below(20) {
            0 | 1 => {
                let name = self.pick(&["ticks", "public.ticks", "writes", "other.abs", "other.steady", "final_tick"]);
                self.dotted(name);
                self.one_argument(depth);
            }
            2..7 => {
                let (name, _) = self.pick(DISGUISED);
                if self.chance(1, 2) {
                    self.dotted("public");
                    self.writer.dot(&mut self.rng);
                    self.raw(&format!("\"{}\"", name.replace('"', "\"\"")));
                } else {
                    self.name(name);
                }
                self.one_argument(depth);
            }
            7 => {
                let name = self.pick(&["nextval", "pg_catalog.nextval"]);
                self.dotted(name);
                self.say("( 'counter' ) :: int");
            }
            8 => {
                self.say("(");
                self.raw("'counter'");
                self.say(":: regclass ) . nextval :: int");
            }
            9 | 10 if self.attribute(&["ticket", "any_ticket", "record_ticket"]) => {}
            9 => {
                self.say("(");
                self.expression(Int, depth);
                self.say(")");
                self.writer.dot(&mut self.rng);
                let name = self.pick(&["ticks", "any_ticket", "final_tick", "over"]);
                self.name(name);
            }
            10 => self.say("( row ( 1 , 2 ) ) . record_ticket"),
            11 => {
                self.dotted("defaulted");
                self.say("( )");
            }
            12 => {
                self.dotted("sum_all");
                let form =
                    self.pick(&["( variadic array [ 1 , 2 ] )", "( 1 , 2 , 3 )", "( variadic n => array [ 1 ] )"]);
                self.say(form);
            }
            13 => {
                self.dotted("double_faced");
                self.say("( 'x' :: text )");
            }
            14 => {
                self.say("( select");
                let name = self.pick(&["total_tick", "public.total_tick"]);
                self.dotted(name);
                self.say("( id ) from item )");
            }
            15 => {
                self.say("( select ordered_tick ( ) within group ( order by id ) from item )");
            }
            16 => self.say("setval ( 'counter' , 5 ) :: int"),
            17 => {
                let rows = self.pick(&[
                    "( select id from writes_rows ( 1 ) limit 1 )",
                    "( select x . id from rows from ( writes_rows ( 2 ) ) as x limit 1 )",
                    "( select id from item , lateral writes_rows ( item . id ) as w ( i , l ) limit 1 )",
                    "( select id from item where id = ( select max ( id ) from bad ) limit 1 )",
                    "( select account . ticket from account limit 1 )",
                    "( select any_ticket from account limit 1 )",
                    "length ( txid_current ( ) :: text )",
                    "length ( table_to_xml ( 'bad' , true , false , '' ) :: text )",
                    "length ( query_to_xml ( 'select ticks(1)' , true , false , '' ) :: text )",
                    "length ( pg_catalog . schema_to_xml ( 'other' , true , false , '' ) :: text )",
                    "lo_creat ( -1 ) :: int",
                ]);
                self.say(rows);
            }
            _ => {
                self.name("ticks");
                self.one_argument(depth);
            }
        }
    }
}

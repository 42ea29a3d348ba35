//! What is written of each type besides columns, constants and the forms that all types have.

use super::expression::ALL;
use super::{Generator, Type};
use Type::{Bool, Int, Ints, Json, Num, Text, Time};

impl Generator {
    pub(super) fn int(&mut self, depth: u32) {
        match self.rng.below(18) {
            0 => self.binary(Int, "+", Int, depth),
            1 => self.binary(Int, "-", Int, depth),
            2 => {
                self.say("( -");
                self.expression(Int, depth);
                self.say(")");
            }
            3 => self.call_with("abs", &[Int], depth),
            4 => self.call_with("length", &[Text], depth),
            5 => self.call_with("cardinality", &[Ints], depth),
            6 => {
                self.say("extract (");
                let field = self.pick(&["year", "\"year\"", "month", "'day'", "second"]);
                self.raw(field);
                self.say("from");
                self.expression(Time, depth);
                self.say(") :: int");
            }
            7 => {
                self.say("position (");
                self.expression(Text, 0);
                self.say("in");
                self.expression(Text, 0);
                self.say(")");
            }
            8 => {
                self.say("( (");
                self.expression(Json, depth);
                self.say(") ->>");
                self.raw("'n'");
                self.say(") :: int");
            }
            9 => {
                self.say("(");
                self.expression(Ints, depth);
                self.say(") [ 1 ]");
            }
            10 => self.say("nullif ( 1 , 2 )"),
            11 => {
                let word = self.pick(&["greatest (", "least ("]);
                self.say(word);
                self.expression(Int, depth);
                self.say(",");
                self.expression(Int, depth);
                self.say(")");
            }
            12 => {
                self.say("int");
                self.raw("'5'");
            }
            13 => self.binary(Int, "%  7 +", Int, depth),
            14 => {
                let bits = self.pick(&["b'101'", "X'1f'", "B'0'"]);
                self.say("(");
                self.raw(bits);
                self.say(") :: int");
            }
            15 => self.say("mod ( 7 , 3 )"),
            16 if self.chance(1, 60) => self.operator_by_name(depth),
            _ => {
                self.say("( values (");
                self.expression(Int, depth);
                self.say(") )");
            }
        }
    }

    /// `OPERATOR(schema.+)`.
    pub(super) fn operator_by_name(&mut self, depth: u32) {
        self.say("(");
        self.expression(Int, depth);
        self.say("operator (");
        self.dotted("pg_catalog");
        self.writer.dot(&mut self.rng);
        self.raw("+");
        self.say(")");
        self.expression(Int, depth);
        self.say(")");
    }

    pub(super) fn text(&mut self, depth: u32) {
        match self.rng.below(16) {
            0 | 1 => self.binary(Text, "||", Text, depth),
            2 => self.call_with("lower", &[Text], depth),
            3 => self.call_with("upper", &[Text], depth),
            4 => {
                self.say("substring (");
                self.expression(Text, depth);
                self.say("from 1 for 2 )");
            }
            5 => {
                let side = self.pick(&["trim ( both 'x' from", "trim ( leading from", "trim ("]);
                self.say(side);
                self.expression(Text, depth);
                self.say(")");
            }
            6 => {
                self.say("overlay (");
                self.expression(Text, depth);
                self.say("placing 'x' from 1 for 1 )");
            }
            7 => {
                let kind = self.pick(ALL);
                self.say("(");
                self.expression(kind, depth);
                self.say(") :: text");
            }
            8 => {
                self.say("(");
                self.expression(Text, depth);
                self.say("collate");
                let collation = self.pick(&["\"C\"", "\"POSIX\"", "pg_catalog.\"C\""]);
                self.raw(collation);
                self.say(")");
            }
            9 => {
                let operator = self.pick(&["->> 'k'", "#>> '{a,b}'", "->> 'n'"]);
                self.say("( (");
                self.expression(Json, depth);
                self.say(")");
                self.say(operator);
                self.say(")");
            }
            10 => {
                self.call("format");
                self.raw("'%s'");
                self.say(",");
                let kind = self.pick(ALL);
                self.expression(kind, depth);
                self.say(")");
            }
            11 => self.call_with("concat_ws", &[Text, Int, Num], depth),
            12 => {
                self.call("to_char");
                self.expression(Time, depth);
                self.say(", 'YYYY' )");
            }
            13 => {
                let word = self.pick(&["current_user", "session_user", "user"]);
                self.say(word);
                self.say(":: text");
            }
            14 => self.call_with("md5", &[Text], depth),
            _ => {
                let side = self.pick(&["left", "right"]);
                self.say(side);
                self.say("(");
                self.expression(Text, depth);
                self.say(", 2 )");
            }
        }
    }

    pub(super) fn bool(&mut self, depth: u32) {
        match self.rng.below(18) {
            0 | 1 => {
                let operator = self.pick(&["=", "<>", "<", ">", "<=", ">=", "!="]);
                let kind = self.pick(&[Int, Text, Num, Time]);
                self.binary(kind, operator, kind, depth);
            }
            2 => {
                let kind = self.any_type();
                let test = self.pick(&["is null", "is not null", "isnull", "notnull"]);
                self.say("(");
                self.expression(kind, depth);
                self.say(test);
                self.say(")");
            }
            3 => {
                let kind = self.pick(&[Int, Text, Num]);
                let test = self.pick(&["is distinct from", "is not distinct from"]);
                self.binary(kind, test, kind, depth);
            }
            4 => {
                self.say("(");
                self.expression(Int, depth);
                let test = self.pick(&["between", "not between", "between symmetric"]);
                self.say(test);
                self.expression(Int, depth.min(1));
                self.say("and");
                self.expression(Int, depth.min(1));
                self.say(")");
            }
            5 => {
                self.say("(");
                self.expression(Int, depth);
                let test = self.pick(&["in (", "not in ("]);
                self.say(test);
                self.expression(Int, depth);
                self.say(",");
                self.expression(Int, depth);
                self.say(") )");
            }
            6 => {
                self.say("(");
                self.expression(Int, depth);
                let test = self.pick(&["in (", "= any (", "not in (", "< all (", "= some ("]);
                self.say(test);
                self.subquery(&[Int], depth, false);
                self.say(") )");
            }
            7 | 8 => {
                let test = self.pick(&["exists (", "( not exists ("]);
                self.say(test);
                let kind = self.any_type();
                self.subquery(&[kind], depth, false);
                self.say(")");
                if test.starts_with('(') {
                    self.say(")");
                }
            }
            9 => {
                self.say("(");
                self.expression(Int, depth);
                self.say("= any (");
                self.expression(Ints, depth);
                self.say(") )");
            }
            10 => {
                let test = self.pick(&["like", "not like", "ilike", "not ilike", "similar to", "~~", "~", "!~*"]);
                self.say("(");
                self.expression(Text, depth);
                self.say(test);
                let pattern = self.pick(&["'%a%'", "( 'a' )", "'x' || 'y'"]);
                self.say(pattern);
                if test.ends_with("like") && pattern == "'%a%'" && self.chance(1, 4) {
                    self.say("escape '!'");
                }
                self.say(")");
            }
            11 => {
                let word = self.pick(&["and", "or"]);
                self.binary(Bool, word, Bool, depth);
            }
            12 => {
                self.say("( not");
                self.expression(Bool, depth);
                self.say(")");
            }
            13 => {
                let test = self.pick(&["is true", "is not false", "is unknown"]);
                self.say("(");
                self.expression(Bool, depth);
                self.say(test);
                self.say(")");
            }
            14 => {
                let row = self.pick(&["row", ""]);
                self.say("(");
                self.say(row);
                self.say("(");
                self.expression(Int, depth);
                self.say(",");
                self.expression(Text, depth);
                self.say(") = ( 1 , 'a' ) )");
            }
            15 => {
                let operator = self.pick(&["@> '{\"n\": 1}'", "? 'k'", "?| array [ 'k' ]", "@? '$.n'"]);
                self.say("( (");
                self.expression(Json, depth);
                self.say(")");
                let (operator, operand) = operator.split_once(' ').unwrap_or((operator, ""));
                self.raw(operator);
                if operand.starts_with('\'') {
                    self.raw(operand)
                } else {
                    self.say(operand)
                }
                self.say(")");
            }
            16 => self.binary(Ints, "&&", Ints, depth),
            _ => {
                self.say("( (");
                self.expression(Time, 0);
                self.say(",");
                self.expression(Time, 0);
                self.say(") overlaps (");
                self.expression(Time, 0);
                self.say(", interval");
                self.raw("'1 day'");
                self.say(") )");
            }
        }
    }

    pub(super) fn num(&mut self, depth: u32) {
        match self.rng.below(5) {
            0 => self.binary(Num, "+", Num, depth),
            1 => self.binary(Int, "* 1.5 +", Int, depth),
            2 => self.call_with("abs", &[Num], depth),
            3 => {
                self.call("round");
                self.expression(Num, depth);
                self.say(")");
            }
            _ => {
                self.say("( |/ 4.0 )");
            }
        }
    }

    pub(super) fn time(&mut self, depth: u32) {
        match self.rng.below(4) {
            0 => {
                self.call("date_trunc");
                self.raw("'day'");
                self.say(",");
                self.expression(Time, depth);
                self.say(")");
            }
            1 => {
                self.say("(");
                self.expression(Time, depth);
                self.say("+ interval");
                let interval = self.pick(&["'1 day'", "'1' day", "'1' second", "'1-2' year to month", "'3' hour"]);
                self.raw(interval);
                self.say(")");
            }
            2 => {
                self.say("( (");
                self.expression(Time, depth);
                self.say(") at time zone 'UTC' at time zone ( 'UTC' ) )");
            }
            _ => self.expression(Time, depth),
        }
    }

    pub(super) fn json(&mut self, depth: u32) {
        match self.rng.below(4) {
            0 => {
                self.call("jsonb_build_object");
                self.raw("'a'");
                self.say(",");
                let kind = self.any_type();
                self.expression(kind, depth);
                self.say(")");
            }
            1 => {
                let kind = self.pick(&[Int, Num, Ints, Bool]);
                self.call_with("to_jsonb", &[kind], depth);
            }
            _ => {
                let operator = self.pick(&["-> 'k'", "|| '{}'", "- 'n'", "#> '{k,0}'", "-> 'k' -> 0"]);
                self.say("( (");
                self.expression(Json, depth);
                self.say(")");
                self.say(operator);
                self.say(")");
            }
        }
    }

    pub(super) fn ints(&mut self, depth: u32) {
        match self.rng.below(5) {
            0 => {
                self.say("array [");
                self.expression(Int, depth);
                self.say(",");
                self.expression(Int, depth);
                self.say("]");
            }
            1 => {
                self.say("array (");
                self.subquery(&[Int], depth, false);
                self.say(")");
            }
            2 => self.call_with("array_append", &[Ints, Int], depth),
            3 => {
                self.say("(");
                self.expression(Ints, depth);
                let slice = self.pick(&[") [ 1 : 2 ]", ") [ : 2 ]", ") [ 2 : ]"]);
                self.say(slice);
            }
            _ => self.binary(Ints, "||", Ints, depth),
        }
    }
}

//! Expressions of a type, over the columns in sight.

use super::{Generator, Mood, Type};
use Type::{Bool, Int, Ints, Json, Num, Text, Time};

const ALL: &[Type] = &[Int, Text, Bool, Num, Time, Json, Ints];

/// Functions of the schema that write, and that have names like syntax.
const DISGUISED: &[&str] = &[
    "over",
    "filter",
    "by",
    "cube",
    "rollup",
    "sets",
    "zone",
    "varying",
    "first",
    "next",
    "materialized",
    "passing",
    "ilike",
    "join",
    "bernoulli",
    "system",
    "left",
    "right",
    "full",
    "inner",
    "cross",
    "natural",
    "overlaps",
    "value",
    "version",
    "within",
    "ordinality",
    "rows",
    "range",
    "operator",
    "tablesample",
    "recursive",
    "insert",
    "update",
    "share",
    "key",
    "mode",
    "temp",
    "no",
    "path",
    "content",
    "document",
    "escape",
    "select",
    "from",
    "table",
    "values",
    "row",
    "array",
    "exists",
    "with",
    "as",
    "extract",
    "trim",
    "position",
    "substring",
    "overlay",
    "normalize",
    "collation",
    "coalesce",
    "grouping",
    "Lower",
    "LOWER",
    "a\"b",
    "é",
];

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

    fn leaf(&mut self, kind: Type) {
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
    fn column(&mut self, kind: Type) -> bool {
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

    fn case(&mut self, kind: Type, depth: u32) {
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

    fn scalar_subquery(&mut self, kind: Type, depth: u32) {
        self.say("(");
        self.subquery(&[kind], depth, true);
        self.say(")");
    }

    fn type_name(&mut self, kind: Type) {
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

    fn cast(&mut self, kind: Type, depth: u32) {
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

    fn call_with(&mut self, name: &str, arguments: &[Type], depth: u32) {
        self.call(name);
        for (at, kind) in arguments.iter().enumerate() {
            if at > 0 {
                self.say(",");
            }
            self.expression(*kind, depth);
        }
        self.say(")");
    }

    fn binary(&mut self, left: Type, operator: &str, right: Type, depth: u32) {
        self.say("(");
        self.expression(left, depth);
        self.say(operator);
        self.expression(right, depth);
        self.say(")");
    }

    fn int(&mut self, depth: u32) {
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
    fn operator_by_name(&mut self, depth: u32) {
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

    fn text(&mut self, depth: u32) {
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

    fn bool(&mut self, depth: u32) {
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

    fn num(&mut self, depth: u32) {
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

    fn time(&mut self, depth: u32) {
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

    fn json(&mut self, depth: u32) {
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

    fn ints(&mut self, depth: u32) {
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

    /// A call of a function of the schema that only reads, of type `Int`.
    fn calm_call(&mut self, depth: u32) {
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

    fn one_argument(&mut self, depth: u32) {
        let mark = self.pick(&["(", "(", "(", "( a =>", "( a :="]);
        self.say(mark);
        self.expression(Int, depth);
        self.say(")");
    }

    /// `row.function`, if a row of `account` is in sight.
    fn attribute(&mut self, names: &[&'static str]) -> bool {
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
                let name = self.pick(DISGUISED);
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

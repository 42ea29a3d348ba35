//! What is asked of a server's system catalogue, in one query of one value, and how the answer is read.
//!
//! The query is unbendable: it sets its own search path, and names every relation, function and type with its schema.
//! It returns lines of fields, with separators that no field can hold.

use super::hidden::Hidden;
use super::{Function, Relation, RelationKind};
use crate::sql::Dialect;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// Ends a field.
const FIELD: u8 = 0x1F;
/// Ends a line.
const LINE: u8 = 0x1E;

/// Names of one database that are to be looked up there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What holds for the database as a whole.
    pub whole: bool,
    /// The temporary relations and types of the session that asks.
    pub own_temporaries: bool,
    /// The schemas that the session searches. Asked alone: the rest is asked with an empty path.
    pub own_path: bool,
    /// Functions, without their schemas.
    pub functions: BTreeSet<Box<[u8]>>,
    /// Relations, without their schemas.
    pub relations: BTreeSet<Box<[u8]>>,
    /// Relations that are written, if it is to be known whether that may change settings.
    pub written: BTreeSet<Box<[u8]>>,
    /// Relations that are read, likewise.
    pub read: BTreeSet<Box<[u8]>>,
    /// Relations of which it is to be known what is written where they change.
    pub kin: BTreeSet<Box<[u8]>>,
}

/// What a server answered to a [`Question`]: every object of each name, in whatever schema.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub whole: Option<Whole>,
    pub functions: Vec<(usize, Function)>,
    pub relations: Vec<(usize, Relation)>,
    pub written: Vec<(usize, ())>,
    pub read: Vec<(usize, ())>,
    pub kin: Vec<(usize, Box<[u8]>)>,
}

/// What holds for a database as a whole.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// An operator, a cast or a type of the database's own calls a volatile function: any expression may.
    pub volatile_notation: bool,
    /// An event trigger may change settings of the session that defines an object.
    pub definitions_set: bool,
    /// Volatile functions that can be called as `row.function`.
    pub row_functions: BTreeSet<Box<[u8]>>,
    /// Volatile functions that can be called as `(value).function`, PostgreSQL's own among them.
    pub value_functions: BTreeSet<Box<[u8]>>,
    /// What the constraints of domains check.
    pub domains: Option<Hidden>,
}

impl Question {
    /// True when there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        let names = [&self.functions, &self.relations, &self.written, &self.read, &self.kin];
        names.iter().all(|names| names.is_empty()) && !self.whole && !self.own_temporaries && !self.own_path
    }

    /// The query: several statements for one Query message, of which one returns one row of one column.
    pub fn sql(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.own_path {
            out.extend_from_slice(OWN_PATH.as_bytes());
            return out;
        }
        out.extend_from_slice(PREAMBLE);
        let mut parts = 0;
        let mut part = |out: &mut Vec<u8>, write: &mut dyn FnMut(&mut Vec<u8>)| {
            if parts > 0 {
                out.extend_from_slice(b" UNION ALL ");
            }
            parts += 1;
            write(out);
        };
        if self.whole {
            part(&mut out, &mut |out| out.extend_from_slice(WHOLE.as_bytes()));
        }
        if self.own_temporaries {
            part(&mut out, &mut |out| out.extend_from_slice(OWN_TEMPORARIES.as_bytes()));
        }
        let lists = [
            (FUNCTIONS, &self.functions),
            (RELATIONS, &self.relations),
            (WRITTEN, &self.written),
            (READ, &self.read),
            (KIN, &self.kin),
        ];
        for (query, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            part(&mut out, &mut |out| with_names(out, query, names));
        }
        out.extend_from_slice(b") answers");
        out
    }

    /// Reads the answer; `dialect` is that of the connection it came by. `None` if it makes no sense.
    pub(super) fn read(&self, value: &[u8], dialect: Dialect) -> Option<Answer> {
        let mut answer = Answer::default();
        if self.whole {
            answer.whole = Some(Whole::default());
        }
        for line in value.split(|byte| *byte == LINE).filter(|line| !line.is_empty()) {
            let mut fields = line.split(|byte| *byte == FIELD);
            let kind = fields.next()?;
            let mut field = || fields.next();
            match kind {
                b"w" => answer.whole.as_mut()?.volatile_notation = field()? == b"true",
                b"e" => answer.whole.as_mut()?.definitions_set = true,
                b"d" => answer.whole.as_mut()?.domains = Some(Hidden::new(field()?, dialect)),
                b"m" => {
                    answer.whole.as_mut()?.row_functions.insert(field()?.into());
                }
                b"n" => {
                    answer.whole.as_mut()?.value_functions.insert(field()?.into());
                }
                b"f" => {
                    let at = number(field()?).filter(|at| *at < self.functions.len())?;
                    let (schema, effect, defaults) = (field()?.into(), field()?, field()?);
                    let (volatile, sets) = (effect != b"false", effect == b"sets");
                    let defaults = (!defaults.is_empty()).then(|| Hidden::new(defaults, dialect));
                    answer.functions.push((at, Function { schema, volatile, sets, defaults }));
                }
                b"r" => {
                    let at = number(field()?).filter(|at| *at < self.relations.len())?;
                    let schema = field()?.into();
                    let kind = match field()? {
                        b"S" => RelationKind::Sequence,
                        b"v" => RelationKind::View,
                        _ => RelationKind::Table,
                    };
                    let (unlogged, text) = (field()? == b"true", field()?);
                    let hidden = (!text.is_empty()).then(|| Hidden::new(text, dialect));
                    answer.relations.push((at, Relation { schema, kind, unlogged, hidden }));
                }
                b"s" => answer.written.push((number(field()?).filter(|at| *at < self.written.len())?, ())),
                b"u" => answer.read.push((number(field()?).filter(|at| *at < self.read.len())?, ())),
                b"k" => {
                    let at = number(field()?).filter(|at| *at < self.kin.len())?;
                    answer.kin.push((at, field()?.into()));
                }
                b"t" if self.own_temporaries => {
                    field()?;
                }
                b"p" if self.own_path => {
                    field()?;
                }
                _ => return None,
            }
        }
        Some(answer)
    }

    /// The temporary relations and types that an answer names.
    pub fn temporaries<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        Self::lines(value, b't')
    }

    /// The schemas that an answer names, in the order in which they are searched.
    pub fn path<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        Self::lines(value, b'p')
    }

    fn lines(value: &[u8], kind: u8) -> impl Iterator<Item = &[u8]> {
        value.split(|byte| *byte == LINE).filter_map(move |line| line.strip_prefix(&[kind, FIELD]))
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// Writes `query` with the list of names in place of its `@`.
fn with_names(out: &mut Vec<u8>, query: &str, names: &BTreeSet<Box<[u8]>>) {
    let (before, after) = query.split_once('@').unwrap_or((query, ""));
    out.extend_from_slice(before.as_bytes());
    for (at, name) in names.iter().enumerate() {
        let mut start = String::new();
        // A string is never written to in vain.
        let _ = write!(start, "{}({at}, E'", if at > 0 { ", " } else { "" });
        out.extend_from_slice(start.as_bytes());
        for byte in name {
            if matches!(byte, b'\'' | b'\\') {
                out.push(*byte);
            }
            out.push(*byte);
        }
        out.extend_from_slice(b"')");
    }
    out.extend_from_slice(after.as_bytes());
}

/// It must not hang on what somebody else has locked, and is not worth being compiled, whatever it is estimated to cost. With
/// an empty path, only `pg_catalog` is searched for operators, and views are shown with every name's schema.
const PREAMBLE: &[u8] = b"SET LOCAL statement_timeout = 2000; SET LOCAL lock_timeout = 500; \
    SET LOCAL search_path = ''; SET LOCAL jit = off; \
    SELECT pg_catalog.string_agg(line, pg_catalog.chr(30)) FROM (";

/// The session's own, of all kinds, and types that are none of a relation's.
const OWN_TEMPORARIES: &str = "\
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 't', own.name) AS line
        FROM (SELECT c.relname FROM pg_catalog.pg_class c
                WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND c.relkind IN ('r', 'p', 'v', 'S')
            UNION ALL SELECT t.typname FROM pg_catalog.pg_type t
                WHERE t.typnamespace = pg_catalog.pg_my_temp_schema() AND t.typtype IN ('c', 'd', 'e', 'r')
                    AND t.typrelid NOT IN (SELECT r.oid FROM pg_catalog.pg_class r WHERE r.relkind <> 'c')) own(name)";

/// The session's own, with those that are searched without being named.
const OWN_PATH: &str = "\
    SELECT pg_catalog.string_agg(pg_catalog.concat_ws(pg_catalog.chr(31), 'p', pg_catalog.translate(s.name,
            pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), '')), pg_catalog.chr(30) ORDER BY s.at)
        FROM ROWS FROM (pg_catalog.unnest(pg_catalog.current_schemas(true))) WITH ORDINALITY s(name, at)";

/// Whether anything that is reached from a function or a relation may change settings: from a source, every function and
/// relation whose name stands in it; from a relation, what runs when it is used (defaults, checks, policies, rules, a view's
/// query, triggers), its heirs, and those that a foreign key changes with it. The seed is a query of a class, `f` or `r`, a
/// number and a source.
///
/// A source may if it has the words for that where a statement begins, or runs a text of which nothing is known. The languages
/// internal and C (12 and 13) have no source, and no reason to.
macro_rules! reaches_setting {
    ($($seed:tt)*) => {
        reaches!("", $($seed)*)
    };
}

/// The same, or whether it may make a temporary relation: for what runs behind a table, of which no text says so.
macro_rules! reaches_setting_or_temporary {
    ($($seed:tt)*) => {
        reaches!(
            "|[[:<:]](temp|temporary)[[:space:]]+(table|view|recursive|sequence)[[:>:]]\
             |[[:<:]]into[[:space:]]+(temp|temporary)[[:>:]]|pg_temp",
            $($seed)*
        )
    };
}

/// The same with more patterns, which begin with `|`.
macro_rules! reaches {
    ($more:literal, $($seed:tt)*) => {
        concat!(
            "EXISTS (WITH RECURSIVE reached(class, oid, source) AS (",
            $($seed)*,
            " UNION SELECT n.class, n.oid, n.source FROM reached r CROSS JOIN LATERAL (
                SELECT 'f', k.oid, ",
            function_source!(),
            "   FROM pg_catalog.regexp_split_to_table(r.source, '[^[:alnum:]_$]+') word JOIN pg_catalog.pg_proc k
                    ON k.proname IN (word::pg_catalog.name, pg_catalog.lower(word)::pg_catalog.name)
                    WHERE k.oid >= 16384 AND k.prolang NOT IN (12, 13)
                UNION ALL SELECT 'f', k.oid, ",
            function_source!(),
            "   FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc k ON k.oid = t.tgfoid
                    WHERE r.class = 'r' AND t.tgrelid = r.oid AND k.oid >= 16384 AND k.prolang NOT IN (12, 13)
                UNION ALL SELECT 'r', k.oid, ",
            relation_source!(),
            "   FROM pg_catalog.regexp_split_to_table(r.source, '[^[:alnum:]_$]+') word JOIN pg_catalog.pg_class k
                    ON k.relname IN (word::pg_catalog.name, pg_catalog.lower(word)::pg_catalog.name)
                    WHERE k.oid >= 16384 AND k.relkind IN ('r', 'p', 'v', 'f')
                UNION ALL SELECT 'r', k.oid, ",
            relation_source!(),
            "   FROM (SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = r.oid
                        UNION ALL SELECT c.conrelid FROM pg_catalog.pg_constraint c WHERE c.confrelid = r.oid
                            AND (c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd'))) next(oid)
                    JOIN pg_catalog.pg_class k ON k.oid = next.oid WHERE r.class = 'r') n(class, oid, source))
            SELECT 1 FROM reached r WHERE pg_catalog.lower(r.source) ~ pg_catalog.concat('set_config|spi_',
                '|[[:<:]](execute|discard)[[:>:]]',
                '|(^|;|[*]/|--[^\n]*\n|[[:<:]](begin|then|else|loop)[[:>:]])[[:space:]]*(set|reset)[[:>:]]",
            $more,
            "'))"
        )
    };
}

/// What runs when the function `k` is called.
macro_rules! function_source {
    () => {
        "pg_catalog.concat(k.prosrc, pg_catalog.pg_get_function_sqlbody(k.oid)) "
    };
}

/// What runs when the relation `k` is read or written. A trigger's own word EXECUTE is none of a source.
macro_rules! relation_source {
    () => {
        "pg_catalog.concat_ws('; ',
            (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '; ')
                FROM pg_catalog.pg_attrdef d WHERE d.adrelid = k.oid),
            (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(c.conbin, c.conrelid), '; ')
                FROM pg_catalog.pg_constraint c WHERE c.conrelid = k.oid),
            (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(c.conbin, 0), '; ')
                FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_constraint c ON c.contypid = a.atttypid
                WHERE a.attrelid = k.oid AND a.atttypid >= 16384),
            (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('; ', pg_catalog.pg_get_expr(s.polqual, s.polrelid),
                    pg_catalog.pg_get_expr(s.polwithcheck, s.polrelid)), '; ')
                FROM pg_catalog.pg_policy s WHERE s.polrelid = k.oid),
            (SELECT pg_catalog.string_agg(pg_catalog.pg_get_ruledef(w.oid), '; ')
                FROM pg_catalog.pg_rewrite w WHERE w.ev_class = k.oid),
            (SELECT pg_catalog.string_agg(pg_catalog.replace(pg_catalog.pg_get_triggerdef(t.oid), ' EXECUTE ', ' '), '; ')
                FROM pg_catalog.pg_trigger t WHERE t.tgrelid = k.oid AND NOT t.tgisinternal)) "
    };
}

/// What runs when the relation `k` is read: the rules for writing it do not, such as that of `pg_settings`.
macro_rules! read_source {
    () => {
        "pg_catalog.concat_ws('; ',
            (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(s.polqual, s.polrelid), '; ')
                FROM pg_catalog.pg_policy s WHERE s.polrelid = k.oid),
            (SELECT pg_catalog.string_agg(pg_catalog.pg_get_ruledef(w.oid), '; ')
                FROM pg_catalog.pg_rewrite w WHERE w.ev_class = k.oid AND w.ev_type = '1')) "
    };
}

/// What a row is given to may take it as a domain over its type, or by an implicit cast.
/// 16384 is the first number of an object that is not PostgreSQL's own (`FirstNormalObjectId`).
const WHOLE: &str = concat!(
    "SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'w', (
        EXISTS (SELECT 1 FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode::pg_catalog.oid
            WHERE o.oid >= 16384 AND p.provolatile = 'v')
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
            WHERE c.oid >= 16384 AND p.provolatile = 'v')
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p
            ON p.oid = ANY (ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend]::pg_catalog.oid[])
            WHERE t.oid >= 16384 AND p.oid >= 16384 AND p.provolatile = 'v')
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_amproc a JOIN pg_catalog.pg_proc p ON p.oid = a.amproc::pg_catalog.oid
            WHERE a.oid >= 16384 AND p.provolatile = 'v'))::pg_catalog.text) AS line
    UNION ALL
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'd', pg_catalog.translate(pg_catalog.concat('SELECT ',
            pg_catalog.string_agg(pg_catalog.pg_get_expr(c.conbin, 0), ', ')), pg_catalog.concat(pg_catalog.chr(30),
            pg_catalog.chr(31)), ''))
        FROM pg_catalog.pg_constraint c WHERE c.contypid >= 16384 HAVING pg_catalog.count(*) > 0
    UNION ALL
    SELECT DISTINCT pg_catalog.concat_ws(pg_catalog.chr(31), notation.kind, p.proname)
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
        CROSS JOIN (VALUES ('m'), ('n')) notation(kind)
        WHERE p.provolatile = 'v' AND p.prokind = 'f' AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
            AND t.typname <> 'internal' AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype
            AND (notation.kind = 'n' OR p.oid >= 16384 AND (t.typtype IN ('c', 'd', 'p') OR EXISTS (
                SELECT 1 FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type s ON s.oid = c.castsource
                    WHERE c.castcontext = 'i' AND s.typtype = 'c')))
    UNION ALL
    SELECT DISTINCT 'e' FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc k ON k.oid = e.evtfoid
        WHERE e.evtenabled <> 'D' AND e.evtevent <> 'login' AND k.oid >= 16384 AND k.prolang NOT IN (12, 13) AND ",
    reaches_setting_or_temporary!("SELECT 'f', k.oid, ", function_source!())
);

/// An aggregate is as volatile as what it calls. One that opens a cursor belongs to where that is fetched from.
///
/// A volatile function `sets` what its session goes by if it may change settings.
const FUNCTIONS: &str = concat!(
    "SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'f', q.at,
            pg_catalog.translate(n.nspname, pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), ''),
            CASE WHEN pg_catalog.bool_or(k.provolatile = 'v' AND k.oid >= 16384 AND k.prolang NOT IN (12, 13) AND ",
    reaches_setting!("SELECT 'f', k.oid, ", function_source!()),
    ") THEN 'sets' ELSE (pg_catalog.bool_or(k.provolatile = 'v'
                OR 'pg_catalog.refcursor'::pg_catalog.regtype = ANY (k.prorettype || k.proallargtypes) OR EXISTS (SELECT 1 FROM pg_catalog.pg_aggregate a
                JOIN pg_catalog.pg_proc s ON s.oid = ANY (ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
                    a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[])
                WHERE a.aggfnoid::pg_catalog.oid = k.oid AND s.provolatile = 'v')))::pg_catalog.text END,
            pg_catalog.translate(CASE WHEN pg_catalog.count(k.proargdefaults) > 0 AND n.nspname <> 'pg_catalog'
                THEN pg_catalog.concat('SELECT ', pg_catalog.string_agg(
                    pg_catalog.pg_get_expr(k.proargdefaults, 0), ', '))
                ELSE '' END, pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), '')) AS line
        FROM (VALUES @) q(at, name)
        JOIN pg_catalog.pg_proc k ON k.proname = q.name::pg_catalog.name
        JOIN pg_catalog.pg_namespace n ON n.oid = k.pronamespace
        GROUP BY q.at, n.nspname"
);

/// Relations that are written, of which one may change settings with that.
const WRITTEN: &str = concat!(
    "SELECT DISTINCT pg_catalog.concat_ws(pg_catalog.chr(31), 's', q.at) AS line
        FROM (VALUES @) q(at, name) JOIN pg_catalog.pg_class k ON k.relname = q.name::pg_catalog.name
        WHERE k.relkind IN ('r', 'p', 'v', 'f') AND ",
    reaches_setting_or_temporary!("SELECT 'r', k.oid, ", relation_source!())
);

/// Relations that are read, of which one may change settings with that: what is attached to a table runs when it is written.
const READ: &str = concat!(
    "SELECT DISTINCT pg_catalog.concat_ws(pg_catalog.chr(31), 'u', q.at) AS line
        FROM (VALUES @) q(at, name) JOIN pg_catalog.pg_class k ON k.relname = q.name::pg_catalog.name
        WHERE k.oid >= 16384 AND (k.relkind = 'v' OR k.relkind IN ('r', 'p') AND k.relrowsecurity) AND ",
    reaches_setting_or_temporary!("SELECT 'q', k.oid, ", read_source!())
);

/// What may be written when a relation is found changed: whatever a view reads and whatever inherits from it, and of each of
/// those what it inherits from, what has a rule that writes it, or passes changes on to it by a foreign key.
const KIN: &str = "\
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'k', q.at, kin.relname) AS line
        FROM (VALUES @) q(at, name) CROSS JOIN LATERAL (
            WITH RECURSIVE looked_at(oid) AS (
                SELECT c.oid FROM pg_catalog.pg_class c
                    WHERE c.relname = q.name::pg_catalog.name AND c.relkind IN ('r', 'p', 'v', 'f')
                UNION SELECT n.oid FROM looked_at l CROSS JOIN LATERAL (
                    SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = l.oid
                    UNION ALL SELECT d.refobjid FROM pg_catalog.pg_rewrite w
                        JOIN pg_catalog.pg_class v ON v.oid = w.ev_class AND v.relkind = 'v'
                        JOIN pg_catalog.pg_depend d ON d.objid = w.oid
                            AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                        WHERE w.ev_class = l.oid) n(oid)),
            changed(oid) AS (
                SELECT l.oid FROM looked_at l
                UNION SELECT n.oid FROM changed l CROSS JOIN LATERAL (
                    SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = l.oid
                    UNION ALL SELECT w.ev_class FROM pg_catalog.pg_depend d
                        JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
                        JOIN pg_catalog.pg_class v ON v.oid = w.ev_class AND v.relkind <> 'm'
                        WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refobjid = l.oid
                            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    UNION ALL SELECT c.confrelid FROM pg_catalog.pg_constraint c WHERE c.conrelid = l.oid
                        AND (c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd'))) n(oid))
            SELECT DISTINCT c.relname FROM changed JOIN pg_catalog.pg_class c ON c.oid = changed.oid
                WHERE c.relname <> q.name::pg_catalog.name) kin
        WHERE kin.relname !~ pg_catalog.concat('[', pg_catalog.chr(30), pg_catalog.chr(31), ']')";
/// A table stands for those that inherit from it, and for the conditions of its row-level security.
const RELATIONS: &str = "\
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'r', q.at,
            pg_catalog.translate(n.nspname, pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), ''), c.relkind,
            (c.relpersistence = 'u' OR c.relhassubclass AND EXISTS (
                WITH RECURSIVE heirs AS (
                    SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid
                    UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN heirs h ON i.inhparent = h.inhrelid)
                SELECT 1 FROM heirs h JOIN pg_catalog.pg_class k ON k.oid = h.inhrelid
                    WHERE k.relpersistence = 'u'))::pg_catalog.text,
            pg_catalog.translate(CASE
                WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid)
                WHEN c.relrowsecurity THEN (SELECT pg_catalog.concat('SELECT ', pg_catalog.string_agg(
                        pg_catalog.pg_get_expr(s.polqual, s.polrelid), ', '))
                    FROM pg_catalog.pg_policy s WHERE s.polrelid = c.oid)
                ELSE '' END, pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), '')) AS line
        FROM (VALUES @) q(at, name)
        JOIN pg_catalog.pg_class c ON c.relname = q.name::pg_catalog.name
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'";

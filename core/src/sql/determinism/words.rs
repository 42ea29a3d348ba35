//! The words that matter here: functions whose value belongs to one server or one moment, names of system columns, types
//! of points in time, and the strings that mean a point in time which moves.

use super::Class;
use super::strings;
use crate::sql::functions;
use crate::sql::name::Name;

/// What is known of a function whose value two servers would not agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub name: &'static str,
    pub class: Class,
    /// The type of its value.
    pub result: &'static str,
    pub arguments: Arguments,
    /// It belongs to an extension, which can be in any schema.
    pub any_schema: bool,
}

/// What a function must be called with for its value to be asked for beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arguments {
    /// Nothing.
    None,
    /// Constants, or nothing.
    Constant,
}

/// The function called `name`, without its schema.
pub(super) fn find(name: Name<'_>) -> Option<Known> {
    let mut buffer = [0; LONGEST];
    let folded = name.fold_into(&mut buffer)?;
    let at = FUNCTIONS.binary_search_by(|known| known.name.as_bytes().cmp(folded)).ok()?;
    Some(FUNCTIONS[at])
}

/// Longest name in the lists, in bytes.
const LONGEST: usize = 32;

const fn of(class: Class, arguments: Arguments, name: &'static str, result: &'static str) -> Known {
    Known { name, class, result, arguments, any_schema: false }
}

const fn stable(name: &'static str, result: &'static str) -> Known {
    of(Class::Transaction, Arguments::None, name, result)
}

const fn instant(name: &'static str, result: &'static str) -> Known {
    of(Class::Statement, Arguments::Constant, name, result)
}

const fn once(name: &'static str, result: &'static str) -> Known {
    of(Class::Evaluation, Arguments::Constant, name, result)
}

const fn extension(name: &'static str, result: &'static str) -> Known {
    Known { any_schema: true, ..once(name, result) }
}

/// In the order of their names.
static FUNCTIONS: &[Known] = &[
    instant("clock_timestamp", "timestamptz"),
    instant("currval", "int8"),
    extension("gen_random_bytes", "bytea"),
    extension("gen_random_uuid", "uuid"),
    extension("gen_salt", "text"),
    stable("inet_client_addr", "inet"),
    stable("inet_client_port", "int4"),
    stable("inet_server_addr", "inet"),
    stable("inet_server_port", "int4"),
    instant("lastval", "int8"),
    of(Class::Sequence, Arguments::Constant, "nextval", "int8"),
    stable("now", "timestamptz"),
    stable("pg_backend_pid", "int4"),
    stable("pg_conf_load_time", "timestamptz"),
    stable("pg_current_snapshot", "pg_snapshot"),
    once("pg_current_wal_flush_lsn", "pg_lsn"),
    once("pg_current_wal_insert_lsn", "pg_lsn"),
    once("pg_current_wal_lsn", "pg_lsn"),
    stable("pg_current_xact_id", "xid8"),
    instant("pg_current_xact_id_if_assigned", "xid8"),
    once("pg_database_size", "int8"),
    once("pg_indexes_size", "int8"),
    stable("pg_postmaster_start_time", "timestamptz"),
    once("pg_relation_filenode", "oid"),
    once("pg_relation_filepath", "text"),
    once("pg_relation_size", "int8"),
    once("pg_sequence_last_value", "int8"),
    once("pg_table_size", "int8"),
    once("pg_tablespace_size", "int8"),
    once("pg_total_relation_size", "int8"),
    of(Class::Evaluation, Arguments::None, "random", "float8"),
    once("random_normal", "float8"),
    of(Class::Statement, Arguments::None, "statement_timestamp", "timestamptz"),
    of(Class::Statement, Arguments::None, "timeofday", "text"),
    stable("transaction_timestamp", "timestamptz"),
    stable("txid_current", "int8"),
    instant("txid_current_if_assigned", "int8"),
    stable("txid_current_snapshot", "txid_snapshot"),
    extension("uuid_generate_v1", "uuid"),
    extension("uuid_generate_v1mc", "uuid"),
    extension("uuid_generate_v4", "uuid"),
    once("uuidv4", "uuid"),
    once("uuidv7", "uuid"),
    stable("version", "text"),
];

/// Functions with values of their server's own that no constant can stand for, by the beginnings of their names.
const SERVERS_OWN: &[&str] =
    &["pg_stat_get_", "pg_last_", "pg_control_", "pg_blocking_", "pg_lock_status", "pg_export_snapshot", "normal_rand"];
/// Functions that make a large object under a number that the server chooses.
const LARGE_OBJECTS: &[&str] = &["lo_creat", "lo_create", "lo_from_bytea", "lo_import"];

fn begins(name: Name<'_>, with: &str) -> bool {
    let mut bytes = name.bytes();
    with.bytes().all(|byte| bytes.next() == Some(byte))
}

/// Whether the function `name` answers what only its own server can know.
pub(super) fn is_servers_own(name: Name<'_>) -> bool {
    SERVERS_OWN.iter().any(|with| begins(name, with))
}

/// Whether the function `name` makes a large object.
pub(super) fn makes_large_object(name: Name<'_>) -> bool {
    LARGE_OBJECTS.iter().any(|function| name.is(function))
}

/// Whether a call of the function `name`, a built-in one, needs a closer look.
pub(in crate::sql) fn matters(name: Name<'_>) -> bool {
    find(name).is_some() || is_servers_own(name) || makes_large_object(name) || name.is("age") || name.is("setval")
}

/// Whether a built-in function leaves something in its server that others can read.
pub(super) fn writes(name: Name<'_>) -> bool {
    ["setval", "pg_notify", "pg_logical_emit_message"].iter().any(|function| name.is(function))
        || begins(name, "lo") && functions::find(name) == functions::Function::Writes
}

/// Built-in functions that return a set of rows.
const SETS: &[&str] = &[
    "_pg_expandarray",
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "json_populate_recordset",
    "json_to_recordset",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "jsonb_path_query_tz",
    "jsonb_populate_recordset",
    "jsonb_to_recordset",
    "pg_timezone_abbrevs",
    "pg_timezone_names",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "ts_parse",
    "ts_stat",
    "ts_token_type",
    "unnest",
];

/// Whether a built-in function returns a set of rows, as far as one knows.
pub(super) fn returns_set(name: Name<'_>) -> bool {
    SETS.iter().any(|function| name.is(function))
}

/// Functions whose arguments have no types of points in time, so that a string there is nothing but a string.
const TAKES_TEXT: &[&str] = &[
    "btrim",
    "char_length",
    "character_length",
    "concat",
    "concat_ws",
    "convert_from",
    "convert_to",
    "current_setting",
    "currval",
    "decode",
    "encode",
    "format",
    "initcap",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
    "jsonb_set",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "nextval",
    "octet_length",
    "pg_notify",
    "plainto_tsquery",
    "position",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_matches",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "regexp_substr",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "set_config",
    "setval",
    "similarity",
    "split_part",
    "starts_with",
    "string_agg",
    "string_to_array",
    "strpos",
    "substr",
    "substring",
    "to_number",
    "to_tsquery",
    "to_tsvector",
    "translate",
    "upper",
];

/// Whether a string in a call of the function `name` can mean no point in time.
pub(super) fn takes_text(name: Name<'_>) -> bool {
    TAKES_TEXT.iter().any(|function| name.is(function))
}

/// Columns that every table has and no two servers agree on.
const SYSTEM_COLUMNS: &[&str] = &["cmax", "cmin", "ctid", "oid", "tableoid", "xmax", "xmin"];

/// Whether a column of this name is one of the system's; an `oid` can be a table's own.
#[inline]
pub(in crate::sql) fn is_system_column(name: Name<'_>) -> bool {
    SYSTEM_COLUMNS.iter().any(|column| name.is(column))
}

/// What a string means as a constant of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeKind {
    /// A point in time, of a date or of a day.
    Temporal,
    /// Never a point in time.
    Harmless,
    /// A type that may hold points in time: ranges and whatever is not known.
    Unknown,
}

const HARMLESS_TYPES: &[&str] = &[
    "bigint",
    "bit",
    "bool",
    "boolean",
    "box",
    "bpchar",
    "bytea",
    "char",
    "character",
    "cidr",
    "circle",
    "citext",
    "dec",
    "decimal",
    "double",
    "float",
    "float4",
    "float8",
    "inet",
    "int",
    "int2",
    "int4",
    "int4range",
    "int8",
    "int8range",
    "integer",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "national",
    "nchar",
    "numeric",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "real",
    "refcursor",
    "regclass",
    "regconfig",
    "regnamespace",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "smallint",
    "text",
    "tsquery",
    "tsvector",
    "uuid",
    "varbit",
    "varchar",
    "xid",
    "xml",
];
const TEMPORAL_TYPES: &[&str] = &["date", "time", "timestamp", "timestamptz", "timetz"];

/// What kind of type is called `name`, without its schema.
pub(super) fn type_kind(name: Name<'_>) -> TypeKind {
    if TEMPORAL_TYPES.iter().any(|known| name.is(known)) {
        TypeKind::Temporal
    } else if HARMLESS_TYPES.iter().any(|known| name.is(known)) {
        TypeKind::Harmless
    } else {
        TypeKind::Unknown
    }
}

/// Whether a string, which is `content`, can mean a moving point in time for one of PostgreSQL's types.
pub(super) fn has_moving_word(content: &[u8]) -> bool {
    strings::words(content).any(is_moving)
}

/// Whether `content` could be a whole point in time that moves (`now`, `today 10:00 CET`), as far as its form goes.
pub(super) fn is_moving_time(content: &[u8]) -> bool {
    let (mut moving, mut others) = (0, 0);
    for word in strings::words(content) {
        if is_moving(word) {
            moving += 1;
        } else if !["am", "pm", "t", "at", "bc", "ad", "on"]
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
        {
            others += 1;
        }
    }
    // Those of arrays and ranges, too.
    let plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+-:/.,_{}[]()\"".contains(byte);
    moving > 0 && others < 2 && content.iter().all(plain)
}

fn is_moving(word: &[u8]) -> bool {
    ["now", "today", "tomorrow", "yesterday"].iter().any(|moving| word.eq_ignore_ascii_case(moving.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_sorted() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FUNCTIONS.iter().all(|known| known.name.len() <= LONGEST));
        assert_eq!(find(Name::new(b"NOW")).map(|known| known.class), Some(Class::Transaction));
        assert_eq!(find(Name::new(b"\"NOW\"")), None);
        assert_eq!(find(Name::new(b"pg_current_xact_id_if_assigned")).map(|known| known.result), Some("xid8"));
    }

    #[test]
    fn what_could_be_a_time_is_told_by_its_form() {
        for time in
            ["now", " NOW ", "today", "tomorrow 10:00", "yesterday 04:05:06.789 CET", "today 3 pm", "{now,today}"]
        {
            assert!(is_moving_time(time.as_bytes()), "{time}");
            assert!(has_moving_word(time.as_bytes()));
        }
        for text in
            ["", "known", "nowhere", "now or never", "we open today!", "2026-01-01", "snow", "not now, later on"]
        {
            assert!(!is_moving_time(text.as_bytes()), "{text}");
        }
    }
}

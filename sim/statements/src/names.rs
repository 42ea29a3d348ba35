//! What there is to name: tables of the schema, functions, aliases.

use super::Type;
use Type::{Bool, Int, Ints, Json, Num, Text, Time};

/// A relation: its name, and its columns.
pub(crate) type Relation = (&'static str, &'static [(&'static str, Type)]);

const ACCOUNT: &[(&str, Type)] =
    &[("id", Int), ("owner", Text), ("balance", Num), ("active", Bool), ("tags", Ints), ("doc", Json), ("made", Time)];
const ITEM: &[(&str, Type)] = &[("id", Int), ("account", Int), ("label", Text), ("price", Num)];
const LABELLED: &[(&str, Type)] = &[("id", Int), ("label", Text)];
const NUMBERED: &[(&str, Type)] = &[("id", Int), ("label", Text), ("n", Int)];

/// Tables that are nothing but tables.
pub(crate) const TABLES: &[Relation] = &[
    ("account", ACCOUNT),
    ("account", ACCOUNT),
    ("public.account", ACCOUNT),
    ("item", ITEM),
    ("other.item", ITEM),
    ("part", LABELLED),
    ("part_2", LABELLED),
    ("Select", &[("from", Int), ("Where", Text), ("a\"b", Int)]),
    ("time", &[("zone", Int), ("value", Text), ("flag", Bool)]),
    ("journal", &[("id", Int), ("note", Text)]),
    ("stock", &[("id", Int), ("note", Text)]),
];

/// The names of [`TABLES`], without schemas: whoever reads only these, and calls only [`HARMLESS`] functions, only reads.
pub const PLAIN_TABLES: &[&str] = &["account", "item", "part", "part_2", "Select", "time", "journal", "stock"];

/// Relations that are harmless, but not at sight.
pub(crate) const CALM_RELATIONS: &[Relation] = &[
    ("good", NUMBERED),
    ("good_nested", NUMBERED),
    ("kept", NUMBERED),
    ("fenced", LABELLED),
    ("ruled", LABELLED),
    ("Odd \"View\" -- /*", &[("ticks(1)", Int), ("x'", Text)]),
];

/// Relations that must not be read on a standby.
pub(crate) const WILD_RELATIONS: &[Relation] = &[
    ("bad", NUMBERED),
    ("bad_nested", NUMBERED),
    ("bad_where", LABELLED),
    ("bad_deep", LABELLED),
    ("bad_rows", LABELLED),
    ("bad_row", LABELLED),
    ("bad_total", LABELLED),
    ("bad_sequence", LABELLED),
    ("bad_default", LABELLED),
    ("bad_shadow", LABELLED),
    ("bad_keyword", LABELLED),
    ("bad_recursive", LABELLED),
    ("public.bad", NUMBERED),
    ("Bad", LABELLED),
    ("guarded", LABELLED),
    ("guarded_view", LABELLED),
    ("scratch", LABELLED),
    ("mixed", LABELLED),
    ("unlogged_view", LABELLED),
];

/// Beginnings of aliases, some of them words of SQL.
pub(crate) const ALIASES: &[&str] =
    &["a", "b", "t", "x", "o", "alias", "e", "n", "u", "Mixed", "update", "first", "é", "pgx_", "q\"q", "s$"];

/// PostgreSQL's own functions that the grammar uses, and that only read, wherever they run; also those that it makes of
/// syntax, such as `AT TIME ZONE`.
pub const HARMLESS: &[&str] = &[
    "abs",
    "array_agg",
    "array_append",
    "array_length",
    "array_to_string",
    "avg",
    "bool_and",
    "bool_or",
    "btrim",
    "cardinality",
    "ceil",
    "concat",
    "concat_ws",
    "count",
    "date_part",
    "date_trunc",
    "dense_rank",
    "every",
    "extract",
    "first_value",
    "float8",
    "floor",
    "format",
    "generate_series",
    "generate_subscripts",
    "int4",
    "is_normalized",
    "json_agg",
    "jsonb_agg",
    "jsonb_array_elements",
    "jsonb_build_object",
    "jsonb_each",
    "jsonb_object_keys",
    "jsonb_to_recordset",
    "jsonb_typeof",
    "lag",
    "last_value",
    "lead",
    "left",
    "length",
    "like_escape",
    "lower",
    "lpad",
    "ltrim",
    "make_interval",
    "max",
    "md5",
    "min",
    "mod",
    "mode",
    "normalize",
    "now",
    "nth_value",
    "ntile",
    "numeric",
    "overlaps",
    "overlay",
    "percentile_cont",
    "path",
    "percentile_disc",
    "position",
    "rank",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "row_number",
    "row_to_json",
    "rtrim",
    "similar_to_escape",
    "sign",
    "split_part",
    "string_agg",
    "string_to_array",
    "strpos",
    "substr",
    "substring",
    "sum",
    "timezone",
    "to_char",
    "to_json",
    "to_jsonb",
    "translate",
    "trunc",
    "unnest",
    "bit",
    "bool",
    "char",
    "date",
    "interval",
    "like",
    "name",
    "notlike",
    "text",
    "time",
    "timestamp",
    "varchar",
    "width",
    "upper",
    "version",
    "xmlexists",
    "current_timestamp",
];

//! What there is to compare: tables with their columns and keys, and the questions that compare their rows.

use std::collections::BTreeMap;

use super::server::Server;

/// Every table with rows of its own, but temporary ones, which belong to a session, and PostgreSQL's, which are each
/// server's own. A key is a unique index without holes: the primary key, or the first by name.
const LIST: &str = "
    SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
           pg_catalog.array_agg(pg_catalog.quote_ident(a.attname) ORDER BY a.attnum)
               FILTER (WHERE a.attname IS NOT NULL) AS columns,
           pg_catalog.array_agg(pg_catalog.format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
               FILTER (WHERE a.attname IS NOT NULL) AS types,
           (SELECT pg_catalog.array_agg(pg_catalog.quote_ident(k.attname) ORDER BY p.place)
            FROM pg_catalog.unnest((
                SELECT i.indkey FROM pg_catalog.pg_index i
                JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
                JOIN pg_catalog.pg_am m ON m.oid = ic.relam
                WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND m.amname = 'btree'
                  AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts
                  AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute h
                                  WHERE h.attrelid = c.oid AND h.attnum = ANY (i.indkey) AND NOT h.attnotnull)
                ORDER BY i.indisprimary DESC, ic.relname LIMIT 1)::pg_catalog.int2[]) WITH ORDINALITY p (attnum, place)
            JOIN pg_catalog.pg_attribute k ON k.attrelid = c.oid AND k.attnum = p.attnum) AS key,
           coalesce(pg_catalog.bool_or(a.attcollation NOT IN (0, 950, 951)), false) AS collated,
           c.relkind = 'r' AS can_be_locked,
           greatest(c.reltuples, 0)::pg_catalog.int8 AS estimate
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema'
      AND n.nspname !~ '^pg_' AND (c.relkind = 'r' OR c.relispopulated)
    GROUP BY n.nspname, c.relname, c.oid, c.relkind, c.reltuples";

/// A table as one server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// With its schema, quoted where that is needed.
    pub name: String,
    /// Its columns, quoted where that is needed, and their types.
    pub columns: Vec<(String, String)>,
    /// The columns of a key, if it has one.
    pub key: Vec<String>,
    /// A column is sorted by a collation, and servers may have different versions of it (950 is C, 951 is POSIX).
    pub collated: bool,
    /// It is a table, and not a materialized view.
    pub can_be_locked: bool,
    /// About how many rows it has.
    pub estimate: u64,
}

impl Table {
    /// The tables of a server by name.
    pub async fn list(server: &Server) -> anyhow::Result<BTreeMap<String, Self>> {
        let mut tables = BTreeMap::new();
        for row in server.rows(LIST, &[]).await? {
            let columns: Vec<String> = row.get::<_, Option<_>>("columns").unwrap_or_default();
            let types: Vec<String> = row.get::<_, Option<_>>("types").unwrap_or_default();
            let table = Self {
                name: row.get("name"),
                columns: columns.into_iter().zip(types).collect(),
                key: row.get::<_, Option<_>>("key").unwrap_or_default(),
                collated: row.get("collated"),
                can_be_locked: row.get("can_be_locked"),
                estimate: row.get::<_, i64>("estimate") as u64,
            };
            tables.insert(table.name.clone(), table);
        }
        let large_objects = server.rows("SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT 1", &[]).await?;
        if !large_objects.is_empty() {
            let column = |(name, of): (&str, &str)| (name.to_owned(), of.to_owned());
            let table = Self {
                name: "pg_catalog.pg_largeobject".into(),
                columns: [("loid", "oid"), ("pageno", "integer"), ("data", "bytea")].map(column).into(),
                key: vec!["loid".into(), "pageno".into()],
                collated: false,
                can_be_locked: true,
                estimate: 0,
            };
            tables.insert(table.name.clone(), table);
        }
        Ok(tables)
    }

    /// Whether the columns are those of another server's table of this name, in whatever order.
    pub fn has_columns_of(&self, other: &Self) -> bool {
        let sorted = |table: &Self| {
            let mut columns = table.columns.clone();
            columns.sort();
            columns
        };
        sorted(self) == sorted(other)
    }

    /// The columns with their types, to be read.
    pub fn described(&self) -> String {
        let columns = self.columns.iter().map(|(name, of)| format!("{name} {of}"));
        format!("({})", columns.collect::<Vec<_>>().join(", "))
    }

    /// All of a row as text.
    fn row(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        format!("ROW({})::pg_catalog.text", columns.join(", "))
    }

    /// A number of 64 bits that tells rows apart. PostgreSQL's own hash functions may change with its version.
    fn hash(&self) -> String {
        format!("('x' || pg_catalog.left(pg_catalog.md5({}), 16))::pg_catalog.bit(64)::pg_catalog.int8", self.row())
    }

    /// The key's columns as text.
    fn key_texts(&self) -> String {
        let texts: Vec<String> = self.key.iter().map(|column| format!("{column}::pg_catalog.text")).collect();
        format!("ARRAY[{}]", texts.join(", "))
    }

    /// The key in the order of its index, backwards if `descending`.
    fn order(&self, descending: bool) -> String {
        self.key.join(if descending { " DESC, " } else { ", " }) + if descending { " DESC" } else { "" }
    }

    /// `(key) OPERATOR (arguments)`, with the arguments from the `first`.
    fn compared(&self, operator: &str, first: usize) -> String {
        let argument = |(at, column): (usize, &String)| {
            let of = self.columns.iter().find(|(name, _)| name == column).map_or("text", |(_, of)| of.as_str());
            format!("${}::pg_catalog.text::{of}", first + at)
        };
        let arguments: Vec<String> = self.key.iter().enumerate().map(argument).collect();
        format!("({}) {operator} ({})", self.key.join(", "), arguments.join(", "))
    }

    /// `WHERE` for the keys beyond `after` and up to `last`, with their values as arguments.
    fn range(&self, after: bool, last: bool) -> String {
        let mut conditions = Vec::new();
        if after {
            conditions.push(self.compared(">", 1));
        }
        if last {
            conditions.push(self.compared("<=", 1 + if after { self.key.len() } else { 0 }));
        }
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) }
    }

    /// `SELECT` of the number of rows.
    pub fn count(&self) -> String {
        format!("SELECT pg_catalog.count(*) FROM ONLY {}", self.name)
    }

    /// `SELECT` of count, checksum and last key of so many rows beyond a key.
    pub fn next_range(&self, rows: u64, after: bool) -> String {
        format!(
            "WITH part AS MATERIALIZED (SELECT {key}, {hash} AS pgconvoy_hash FROM ONLY {name} {range} ORDER BY {order} \
             LIMIT {rows}) SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(pgconvoy_hash), 0)::pg_catalog.text, \
             (SELECT {texts} FROM part ORDER BY {backwards} LIMIT 1) FROM part",
            key = self.key.join(", "),
            hash = self.hash(),
            name = self.name,
            range = self.range(after, false),
            order = self.order(false),
            texts = self.key_texts(),
            backwards = self.order(true),
        )
    }

    /// `SELECT` of count and checksum of a range of keys.
    pub fn checksum(&self, after: bool, last: bool) -> String {
        let (hash, name, range) = (self.hash(), &self.name, self.range(after, last));
        format!(
            "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum({hash}), 0)::pg_catalog.text FROM ONLY {name} {range}"
        )
    }

    /// `SELECT` of the keys of a range and their rows' checksums.
    pub fn keys(&self, after: bool, last: bool) -> String {
        let (texts, hash, name, range) = (self.key_texts(), self.hash(), &self.name, self.range(after, last));
        format!("SELECT {texts}, {hash} FROM ONLY {name} {range} ORDER BY {}", self.order(false))
    }

    /// `SELECT` of the row of a key.
    pub fn row_of_key(&self) -> String {
        format!("SELECT {} FROM ONLY {} WHERE {}", self.row(), self.name, self.compared("=", 1))
    }

    /// `SELECT` of counts and checksums of the rows by some bits of their checksums.
    pub fn buckets(&self, count: u32) -> String {
        format!(
            "SELECT (h & {}::pg_catalog.int8)::pg_catalog.int4, pg_catalog.count(*), pg_catalog.sum(h)::pg_catalog.text \
             FROM (SELECT {} AS h FROM ONLY {}) part GROUP BY 1",
            count - 1,
            self.hash(),
            self.name
        )
    }

    /// `SELECT` of the rows of one of these buckets, each with how often it is there.
    pub fn bucket(&self, count: u32, bucket: i32) -> String {
        format!(
            "SELECT r, pg_catalog.count(*) FROM (SELECT {row} AS r, {hash} AS h FROM ONLY {name}) part \
             WHERE (h & {mask}::pg_catalog.int8) = {bucket} GROUP BY 1",
            row = self.row(),
            hash = self.hash(),
            name = self.name,
            mask = count - 1,
        )
    }
}

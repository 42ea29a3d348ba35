//! The words of SQL that the classifier tells apart, found by one hash of at most sixteen bytes.
//! It must not know what a statement is: only which words there are, and which of them can never name a function.

macro_rules! keywords {
    (syntax { $($syntax:ident = $syntax_text:literal,)+ } words { $($word:ident = $word_text:literal,)+ }) => {
        /// A word of SQL that matters to routing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Keyword {
            $($syntax,)+
            $($word,)+
        }

        const ALL: &[(Keyword, &str)] = &[$((Keyword::$syntax, $syntax_text),)+ $((Keyword::$word, $word_text),)+];
        /// How many entries of [`ALL`], from its start, are reserved words or built-in constructs.
        const SYNTAX: usize = [$($syntax_text),+].len();
    };
}

keywords! {
    // PostgreSQL's reserved words, and those of its "column name" words that have a production of their own: unqualified,
    // none of them can be the name of a called function. (`pg_get_keywords()` categories R and C.) The latter can name a
    // relation. `overlay` and `substring` are not among them: with plain arguments, they are functions like any other.
    syntax {
        All = "all", Analyse = "analyse", Analyze = "analyze", And = "and", Any = "any", Array = "array", As = "as",
        Asc = "asc", Asymmetric = "asymmetric", Both = "both", Case = "case", Cast = "cast", Check = "check",
        Collate = "collate", Column = "column", Constraint = "constraint", Create = "create",
        CurrentCatalog = "current_catalog", CurrentDate = "current_date", CurrentRole = "current_role",
        CurrentTime = "current_time", CurrentUser = "current_user", Default = "default", Deferrable = "deferrable",
        Desc = "desc", Distinct = "distinct", Do = "do", Else = "else", End = "end", Except = "except", False = "false",
        Fetch = "fetch", For = "for", Foreign = "foreign", From = "from", Grant = "grant", Group = "group",
        Having = "having", In = "in", Initially = "initially", Intersect = "intersect", Into = "into",
        Lateral = "lateral", Leading = "leading", Limit = "limit", LocalTime = "localtime",
        LocalTimestamp = "localtimestamp", Not = "not", Null = "null", Offset = "offset", On = "on", Only = "only",
        Or = "or", Order = "order", Placing = "placing", Primary = "primary", References = "references",
        Returning = "returning", Select = "select", SessionUser = "session_user", Some = "some",
        Symmetric = "symmetric", Table = "table", Then = "then", To = "to", Trailing = "trailing", True = "true",
        Union = "union", Unique = "unique", User = "user", Using = "using", Variadic = "variadic", When = "when",
        Where = "where", Window = "window", With = "with",
        Between = "between", BigInt = "bigint", Bit = "bit", Boolean = "boolean", Char = "char",
        Character = "character", Coalesce = "coalesce", Dec = "dec", Decimal = "decimal", Exists = "exists",
        Extract = "extract", Float = "float", Greatest = "greatest", Grouping = "grouping", Int = "int",
        Integer = "integer", Interval = "interval", Least = "least", National = "national", Nchar = "nchar",
        Normalize = "normalize", Nullif = "nullif", Numeric = "numeric", Position = "position",
        Precision = "precision", Real = "real", Row = "row", SmallInt = "smallint",
        Time = "time", Timestamp = "timestamp", Trim = "trim", Values = "values", Varchar = "varchar",
        XmlAttributes = "xmlattributes", XmlConcat = "xmlconcat", XmlElement = "xmlelement", XmlExists = "xmlexists",
        XmlForest = "xmlforest", XmlNamespaces = "xmlnamespaces", XmlParse = "xmlparse", XmlPi = "xmlpi",
        XmlRoot = "xmlroot", XmlSerialize = "xmlserialize", XmlTable = "xmltable",
    }
    // Words that can also be names, of functions among others. Those that may stand before an expression are here so
    // that they are not taken for an operand.
    words {
        Abort = "abort", Access = "access", Alter = "alter", Authorization = "authorization", Begin = "begin",
        Binary = "binary", By = "by", Chain = "chain", Characteristics = "characteristics", Close = "close",
        Commit = "commit", Committed = "committed", Content = "content", Copy = "copy", Cross = "cross", Cube = "cube",
        Cursor = "cursor", Deallocate = "deallocate", Declare = "declare", Delete = "delete", Discard = "discard",
        Document = "document", Drop = "drop", Escape = "escape", Execute = "execute", Explain = "explain", Filter = "filter",
        First = "first", Full = "full", Groups = "groups", Hold = "hold", Ilike = "ilike", Inner = "inner",
        Insert = "insert", Is = "is", Isolation = "isolation", Join = "join", Key = "key", Left = "left",
        Level = "level", Like = "like", Listen = "listen", Local = "local", Lock = "lock",
        Materialized = "materialized", Merge = "merge", Mode = "mode", Move = "move", Names = "names",
        Natural = "natural", Next = "next", No = "no", Notify = "notify", Option = "option",
        Ordinality = "ordinality", Outer = "outer", Over = "over", Overlaps = "overlaps", Overlay = "overlay", Partition = "partition",
        Passing = "passing", Path = "path", Pgpool = "pgpool", Prepare = "prepare", Prepared = "prepared",
        Program = "program", Range = "range", Read = "read", Recursive = "recursive", Release = "release",
        Repeatable = "repeatable", Reset = "reset", Right = "right", Role = "role", Rollback = "rollback",
        Rollup = "rollup", Rows = "rows", Savepoint = "savepoint", Schema = "schema", Serializable = "serializable",
        Session = "session", Set = "set", Sets = "sets", Share = "share", Show = "show", Similar = "similar",
        Snapshot = "snapshot", Start = "start", Stdin = "stdin", Stdout = "stdout", Substring = "substring", Tablesample = "tablesample",
        Temp = "temp", Temporary = "temporary", Transaction = "transaction", Uncommitted = "uncommitted",
        Unlisten = "unlisten", Update = "update", Value = "value", Varying = "varying", Verbose = "verbose",
        Version = "version", Without = "without", Work = "work", Write = "write", Xml = "xml", Zone = "zone",
    }
}

/// Slots of the hash table; a power of two, at most a third of them used.
const SLOTS: usize = 1024;
/// The shortest keyword, in bytes.
const SHORTEST: usize = 2;
/// The bit that tells lower case from upper, in each byte.
const LOWER_CASE: u128 = u128::from_ne_bytes([0x20; LONGEST]);
/// The longest keyword there is room for, in bytes. `current_timestamp` alone is longer, and is known as a function.
const LONGEST: usize = 16;
/// No keyword starts in this slot.
const VACANT: u8 = u8::MAX;

static KEYS: [u128; ALL.len()] = keys();
static TABLE: [u8; SLOTS] = table();

impl Keyword {
    /// The keyword that `text` spells from `start` to `end`, if any. It must be an unquoted identifier: with letters, digits, `_`, `$` and
    /// bytes from 0x80 only, setting the bit of lower case maps no other word onto a keyword.
    #[inline]
    pub(super) fn find(text: &[u8], start: usize, end: usize) -> Option<Keyword> {
        let length = end - start;
        if !(SHORTEST..=LONGEST).contains(&length) {
            return None;
        }
        // One load of sixteen bytes, of which those behind the word are masked out, unless the text ends before.
        let key = match text[start..].first_chunk::<LONGEST>() {
            Some(bytes) => (u128::from_le_bytes(*bytes) | LOWER_CASE) & (u128::MAX >> (8 * (LONGEST - length))),
            None => pack(&text[start..end]),
        };
        let mut slot = slot_of(key);
        loop {
            let entry = TABLE[slot];
            if entry == VACANT {
                return None;
            }
            if KEYS[entry as usize] == key {
                return Some(ALL[entry as usize].0);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Whether this word, where it stands in a query, is behind the list of its `FROM`.
    pub(super) fn ends_from_list(self) -> bool {
        use Keyword::{Except, Fetch, For, Group, Having, Intersect, Into, Limit, Offset, Order, Returning};
        use Keyword::{Select, Union, Where, Window};
        matches!(self, Where | Group | Having | Window | Order | Limit | Offset | Fetch | For | Union)
            || matches!(self, Intersect | Except | Select | Into | Returning)
    }

    /// Whether this word, one that can never name a function, can name a relation.
    #[inline]
    pub(super) fn is_column_name(self) -> bool {
        (Keyword::Between as usize..SYNTAX).contains(&(self as usize))
    }

    /// Whether this word can never name a function, so that a parenthesis behind it opens no call.
    #[inline]
    pub(super) fn is_syntax(self) -> bool {
        (self as usize) < SYNTAX
    }
}

/// A word as a number: lower case, first byte lowest, zero where it ends.
#[inline]
const fn pack(word: &[u8]) -> u128 {
    let mut key = 0u128;
    let mut at = word.len();
    while at > 0 {
        at -= 1;
        key = (key << 8) | (word[at] | 0x20) as u128;
    }
    key
}

#[inline]
const fn slot_of(key: u128) -> usize {
    let folded = (key as u64) ^ ((key >> 64) as u64).rotate_left(23);
    (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize
}

const fn keys() -> [u128; ALL.len()] {
    let mut keys = [0; ALL.len()];
    let mut index = 0;
    while index < ALL.len() {
        let text = ALL[index].1.as_bytes();
        assert!(text.len() >= SHORTEST && text.len() <= LONGEST);
        keys[index] = pack(text);
        index += 1;
    }
    keys
}

const fn table() -> [u8; SLOTS] {
    assert!(ALL.len() < VACANT as usize);
    let keys = keys();
    let mut table = [VACANT; SLOTS];
    let mut index = 0;
    while index < keys.len() {
        let mut slot = slot_of(keys[index]);
        while table[slot] != VACANT {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = index as u8;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `word` is, once with the text ending behind it and once with more text.
    fn found(word: &[u8]) -> Option<Keyword> {
        let padded = [b"(", word, b" and quite some more text"].concat();
        let keyword = Keyword::find(&padded, 1, 1 + word.len());
        assert_eq!(Keyword::find(word, 0, word.len()), keyword);
        keyword
    }

    #[test]
    fn every_keyword_is_found_in_either_case() {
        for (keyword, text) in ALL {
            assert_eq!(found(text.as_bytes()), Some(*keyword));
            assert_eq!(found(text.to_ascii_uppercase().as_bytes()), Some(*keyword));
        }
    }

    #[test]
    fn what_only_resembles_a_keyword_is_none() {
        for text in ["", "s", "selec", "selects", "current-date", "currentdate", "select_", "current_timestamp"] {
            assert_eq!(found(text.as_bytes()), None, "{text}");
        }
        assert_eq!(found(b"s\xC5lect"), None);
    }

    #[test]
    fn reserved_words_and_constructs_cannot_be_called() {
        assert!(Keyword::All.is_syntax() && Keyword::XmlTable.is_syntax() && Keyword::In.is_syntax());
        assert!(!Keyword::Abort.is_syntax() && !Keyword::Zone.is_syntax() && !Keyword::Over.is_syntax());
    }
}

//! `SELECT`, `VALUES`, `TABLE` and `WITH`, with everything that can hang on them.

use super::names::{CALM_RELATIONS, Relation, TABLES, WILD_RELATIONS};
use super::{Generator, Mood, Source, Type};
use Type::{Bool, Int, Ints, Json, Num, Text, Time};

/// One thing in `FROM`, decided before the targets are written and written after them.
struct Planned {
    kind: Kind,
    source: Source,
    /// Its columns are named anew.
    renamed: bool,
    aliased: bool,
}

#[derive(Clone)]
enum Kind {
    Relation(&'static str),
    /// A `WITH` query.
    With(String),
    Query(Vec<Type>),
    Values,
    Series,
    Unnest,
    Records,
    /// A function of the schema that returns rows.
    Rows(&'static str),
}

impl Generator {
    /// A query that returns columns of these types.
    pub(crate) fn query(&mut self, columns: &[Type], depth: u32) {
        let withs = self.withs.len();
        if depth > 0 && self.chance(1, 5) {
            self.with(depth - 1);
        }
        self.body(columns, depth, false);
        self.withs.truncate(withs);
    }

    /// A query inside another; with `single`, of one row at most.
    pub(crate) fn subquery(&mut self, columns: &[Type], depth: u32, single: bool) {
        let sources = self.sources.len();
        let withs = self.withs.len();
        if depth > 1 && self.chance(1, 10) {
            self.with(depth - 1);
        }
        self.body(columns, depth, single);
        self.withs.truncate(withs);
        self.sources.truncate(sources);
    }

    fn body(&mut self, columns: &[Type], depth: u32, single: bool) {
        match self.rng.below(16) {
            0 if depth > 0 => {
                self.say("(");
                self.body(columns, depth - 1, single);
                self.say(")");
            }
            1 if !single => {
                self.values(columns, depth.saturating_sub(1));
            }
            2 | 3 if depth > 0 && !columns.contains(&Json) => {
                let outer = self.sources.len();
                for at in 0..=1 + self.rng.below(2) {
                    self.sources.truncate(outer);
                    if at > 0 {
                        let word =
                            self.pick(&["union", "union all", "intersect", "except", "except all", "union distinct"]);
                        self.say(word);
                    }
                    let parenthesis = self.chance(1, 4);
                    if parenthesis {
                        self.say("(");
                    }
                    self.core(columns, depth - 1, parenthesis, false);
                    if parenthesis {
                        self.say(")");
                    }
                }
                self.sources.truncate(outer);
                if single {
                    self.say("order by 1 limit 1");
                } else if self.chance(1, 3) {
                    self.say("order by 1");
                }
            }
            _ => self.core(columns, depth, true, single),
        }
    }

    fn values(&mut self, columns: &[Type], depth: u32) {
        self.say("values");
        for row in 0..=self.rng.below(2) {
            if row > 0 {
                self.say(",");
            }
            self.say("(");
            self.expressions(columns, depth);
            self.say(")");
        }
    }

    fn expressions(&mut self, columns: &[Type], depth: u32) {
        for (at, kind) in columns.iter().enumerate() {
            if at > 0 {
                self.say(",");
            }
            self.expression(*kind, depth);
        }
    }

    fn with(&mut self, depth: u32) {
        self.say("with");
        let recursive = self.chance(1, 3);
        if recursive {
            self.say("recursive");
        }
        for at in 0..=self.rng.below(2) {
            if at > 0 {
                self.say(",");
            }
            // A name that hides a relation, now and then.
            let name = if self.chance(1, 8) {
                let hidden = self.pick(&["item", "bad", "scratch", "q1"]);
                hidden.to_owned()
            } else {
                self.fresh()
            };
            if self.withs.iter().any(|with| with.alias == name) {
                continue_with(self);
                continue;
            }
            let types: Vec<Type> = (0..=self.rng.below(2)).map(|_| self.any_type()).collect();
            let columns: Vec<(String, Type)> =
                types.iter().enumerate().map(|(at, kind)| (format!("c{at}"), *kind)).collect();
            self.name(&name);
            self.say("(");
            for (at, (column, _)) in columns.iter().enumerate() {
                if at > 0 {
                    self.say(",");
                }
                self.name(column);
            }
            self.say(") as");
            let word = self.pick(&["", "", "materialized", "not materialized"]);
            self.say(word);
            self.say("(");
            let kind = self.rng.below(12);
            if kind < 3 && recursive && types == [Int] {
                self.say("select 1 union all select");
                self.name("c0");
                self.say("+ 1 from");
                self.name(&name);
                self.say("where");
                self.name("c0");
                self.say("< 4 )");
                let more =
                    self.pick(&["", "", "search depth first by c0 set ordering", "cycle c0 set looped using way"]);
                self.say(more);
            } else if self.dares() && types.iter().all(|kind| matches!(kind, Int | Text)) {
                self.modifying(&types);
                self.say(")");
            } else {
                self.subquery(&types, depth, false);
                self.say(")");
            }
            self.withs.push(Source { alias: name, columns, account: false });
        }
    }

    /// `INSERT`, `UPDATE` or `DELETE` that returns these types.
    fn modifying(&mut self, types: &[Type]) {
        let table = self.pick(&["journal", "stock", "public.journal"]);
        match self.rng.below(3) {
            0 => {
                self.say("insert into");
                self.dotted(table);
                self.say("values ( 1 , 'w' )");
            }
            1 => {
                self.say("update");
                self.dotted(table);
                self.say("set note = 'u' where id = 1");
            }
            _ => {
                self.say("delete from");
                self.dotted(table);
                self.say("where id < 0");
            }
        }
        self.say("returning");
        for (at, kind) in types.iter().enumerate() {
            if at > 0 {
                self.say(",");
            }
            self.say(if *kind == Int { "id" } else { "note" });
        }
    }

    /// `SELECT` without set operations. With `tail` it may have an order, a limit and locks.
    fn core(&mut self, columns: &[Type], depth: u32, tail: bool, single: bool) {
        let outer = self.sources.len();
        let planned = self.plan(depth);
        let inner = depth.saturating_sub(1);
        let grouped = !planned.is_empty() && self.chance(1, 5);
        let all: Vec<Source> = planned.iter().map(|planned| planned.source.clone()).collect();
        self.sources.extend(all.iter().cloned());
        self.say("select");
        let mut distinct = false;
        let mut distinct_on = false;
        if !grouped {
            match self.rng.below(14) {
                0 => self.say("all"),
                1 => {
                    self.say("distinct");
                    distinct = true;
                }
                2 => {
                    self.say("distinct on ( 0 +");
                    self.expression(Int, inner.min(1));
                    self.say(")");
                    distinct = true;
                    distinct_on = true;
                }
                _ => {}
            }
        }
        let window = !grouped && !planned.is_empty() && self.chance(1, 8);
        for (at, kind) in columns.iter().enumerate() {
            if at > 0 {
                self.say(",");
            }
            if grouped {
                self.aggregate(*kind, inner);
            } else if window && *kind == Int {
                self.window_call(inner.min(1));
            } else {
                self.expression(*kind, inner);
            }
            if self.chance(1, 5) {
                self.label();
            }
        }
        if depth >= 3 && outer == 0 && self.mood == Mood::Wild && self.chance(1, 40) {
            let into = self.pick(&["into temp", "into temporary table", "into unlogged", "into table", "into"]);
            self.say(into);
            let name = self.fresh();
            self.name(&name);
        }
        if !planned.is_empty() {
            self.say("from");
            self.from(&planned, outer, inner);
        }
        self.sources.truncate(outer);
        self.sources.extend(all);
        if self.chance(1, 2) {
            self.say("where");
            self.expression(Bool, inner);
        }
        if grouped {
            self.group_by(inner);
        }
        if window {
            self.say("window w as (");
            self.window_body(inner.min(1));
            self.say(")");
        }
        if tail {
            let locks = !grouped && !distinct && !window && !planned.is_empty() && self.dares();
            self.tail(columns.len(), grouped || distinct, !distinct_on, single, inner);
            if locks && columns.iter().all(|kind| *kind != Json) {
                let lock = self.pick(&[
                    "for update",
                    "for no key update",
                    "for share",
                    "for key share",
                    "for update nowait",
                    "for share skip locked",
                    "for update for share",
                ]);
                self.say(lock);
            }
        }
    }

    /// A name for a target.
    fn label(&mut self) {
        match self.rng.below(5) {
            0 => {
                let name = self.fresh();
                self.name(&name);
            }
            1 => {
                self.say("as");
                let keyword = self.pick(&[
                    "select", "from", "where", "join", "over", "filter", "for", "with", "as", "order", "group",
                    "table", "case", "end", "null", "lateral", "only", "into", "update",
                ]);
                self.say(keyword);
            }
            _ => {
                self.say("as");
                let name = self.fresh();
                self.name(&name);
            }
        }
    }

    fn tail(&mut self, columns: usize, by_number: bool, may_order: bool, single: bool, depth: u32) {
        let ordered = may_order && self.chance(1, 3);
        if ordered {
            self.say("order by");
            let number = (1 + self.rng.below(columns as u64)).to_string();
            if by_number || self.chance(1, 2) {
                self.raw(&number);
            } else {
                let (kind, start) = self.pick(&[(Int, "( 0 +"), (Text, "( '' ||"), (Num, "( 0 +")]);
                self.say(start);
                self.expression(kind, depth);
                self.say(")");
            }
            let order = self.pick(&["", "", "asc", "desc", "nulls first", "desc nulls last", "using <"]);
            self.say(if order == "using <" && by_number { "" } else { order });
        }
        if single {
            let one = self.pick(&[
                "limit 1",
                "fetch first 1 rows only",
                "fetch next row only",
                "limit ( 1 )",
                "offset 0 limit 1",
            ]);
            self.say(one);
        } else if self.chance(1, 3) {
            let limit = self.pick(&[
                "limit 3",
                "limit all",
                "offset 1",
                "limit 2 offset 1",
                "offset 1 rows fetch next ( 2 ) rows only",
                "limit ( select 2 )",
                "offset ( 1 ) row",
                "fetch first ( 1 + 1 ) rows only",
            ]);
            self.say(limit);
        } else if ordered && self.chance(1, 8) {
            self.say("fetch first 2 rows with ties");
        }
    }

    fn group_by(&mut self, depth: u32) {
        if self.chance(1, 2) {
            let form = self.pick(&[
                "group by",
                "group by",
                "group by distinct",
                "group by rollup (",
                "group by cube (",
                "group by grouping sets ( ( ) ,",
            ]);
            self.say(form);
            self.say("'' ||");
            self.expression(Text, depth.min(1));
            if self.chance(1, 2) {
                self.say(", ( '' ||");
                self.expression(Text, depth.min(1));
                self.say(")");
            }
            if form.contains('(') {
                self.say(")");
            }
        }
        if self.chance(1, 3) {
            self.say("having");
            self.aggregate(Bool, depth.min(1));
        }
    }

    /// An aggregate of this type.
    fn aggregate(&mut self, kind: Type, depth: u32) {
        if kind == Int && self.dares() {
            let name = self.pick(&["total_tick", "public.total_tick"]);
            self.dotted(name);
            self.say("(");
            self.expression(Int, depth);
            self.say(")");
            return;
        }
        self.say("(");
        match kind {
            Int => match self.rng.below(5) {
                0 => self.say("count ( * )"),
                1 => {
                    self.say("count ( distinct");
                    self.expression(Int, depth);
                    self.say(")");
                }
                2 if self.local() => {
                    self.dotted("total");
                    self.say("(");
                    self.expression(Int, depth);
                    self.say(")");
                }
                3 => {
                    self.say("percentile_disc ( 0.5 ) within group ( order by");
                    self.expression(Int, depth);
                    self.say(")");
                }
                _ => {
                    let name = self.pick(&["max", "min", "sum"]);
                    self.call(name);
                    self.expression(Int, depth);
                    self.say(")");
                }
            },
            Text => {
                self.call("string_agg");
                self.expression(Text, depth);
                self.say(", ','");
                if self.chance(1, 2) {
                    self.say("order by");
                    self.expression(Int, depth);
                }
                self.say(")");
            }
            Bool => {
                let name = self.pick(&["bool_and", "every", "bool_or"]);
                self.call(name);
                self.expression(Bool, depth);
                self.say(")");
            }
            Num => {
                self.call("avg");
                self.expression(Num, depth);
                self.say(")");
            }
            Time => {
                self.call("max");
                self.expression(Time, depth);
                self.say(")");
            }
            Json => {
                self.call("jsonb_agg");
                self.expression(Int, depth);
                self.say(")");
            }
            Ints => {
                self.call("array_agg");
                self.expression(Int, depth);
                self.say(")");
            }
        }
        if self.chance(1, 4) {
            self.say("filter ( where");
            self.expression(Bool, depth);
            self.say(")");
        }
        self.say(")");
        if kind == Int {
            self.say(":: int");
        }
    }

    fn window_call(&mut self, depth: u32) {
        self.say("(");
        let call =
            self.pick(&["row_number ( )", "rank ( )", "count ( * )", "sum (", "lag (", "first_value (", "ntile ( 2 )"]);
        self.say(call);
        if call.ends_with('(') {
            self.expression(Int, depth);
            self.say(")");
        }
        if call.starts_with("count") && self.chance(1, 3) {
            self.say("filter ( where");
            self.expression(Bool, depth);
            self.say(")");
        }
        self.say("over");
        if self.chance(1, 2) {
            self.say("w");
        } else {
            self.say("(");
            self.window_body(depth);
            self.say(")");
        }
        self.say(") :: int");
    }

    fn window_body(&mut self, depth: u32) {
        if self.chance(1, 2) {
            self.say("partition by");
            self.expression(Text, depth);
        }
        if self.chance(2, 3) {
            self.say("order by");
            self.expression(Text, depth);
            let frame = self.pick(&[
                "",
                "",
                "rows between 1 preceding and current row",
                "range unbounded preceding",
                "groups between unbounded preceding and 1 following exclude ties",
            ]);
            self.say(frame);
        }
    }

    fn plan(&mut self, depth: u32) -> Vec<Planned> {
        let count = match self.rng.below(10) {
            0 => 0,
            1..7 => 1,
            7 | 8 => 2,
            _ => 3,
        };
        let mut planned: Vec<Planned> = Vec::new();
        for _ in 0..count {
            let next = self.planned(depth);
            let taken = |other: &Planned| other.source.alias == next.source.alias;
            // What stands in FROM twice needs two names.
            if !planned.iter().any(taken) {
                planned.push(next);
            }
        }
        planned
    }

    fn planned(&mut self, depth: u32) -> Planned {
        let choice = self.rng.below(20);
        let of = |kind: Kind, alias: String, columns: &[(&str, Type)]| {
            let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
            let source = Source { alias, columns, account: false };
            Planned { kind, source, renamed: true, aliased: true }
        };
        match choice {
            0 | 1 if depth > 1 => {
                let types: Vec<Type> = (0..=self.rng.below(2)).map(|_| self.any_type()).collect();
                let columns: Vec<(String, Type)> =
                    types.iter().enumerate().map(|(at, kind)| (format!("s{at}"), *kind)).collect();
                let source = Source { alias: self.fresh(), columns, account: false };
                Planned { kind: Kind::Query(types), source, renamed: true, aliased: true }
            }
            2 => of(Kind::Values, self.fresh(), &[("v1", Int), ("v2", Text)]),
            3 => of(Kind::Series, self.fresh(), &[("g", Int)]),
            4 => of(Kind::Unnest, self.fresh(), &[("m", Int)]),
            5 => of(Kind::Records, self.fresh(), &[("ra", Int), ("rb", Text)]),
            6 | 7 if !self.withs.is_empty() => {
                let at = self.rng.below(self.withs.len() as u64) as usize;
                let with = self.withs[at].clone();
                let aliased = self.chance(1, 2);
                let kind = Kind::With(with.alias.clone());
                let alias = if aliased { self.fresh() } else { with.alias };
                let source = Source { alias, columns: with.columns, account: false };
                Planned { kind, source, renamed: false, aliased }
            }
            8 if self.local() => of(Kind::Rows("some_rows"), self.fresh(), &[("i", Int), ("l", Text)]),
            9 | 10 if self.dares() => of(Kind::Rows("writes_rows"), self.fresh(), &[("i", Int), ("l", Text)]),
            _ => self.planned_relation(),
        }
    }

    fn planned_relation(&mut self) -> Planned {
        let (name, columns): Relation = if self.dares() {
            self.pick(WILD_RELATIONS)
        } else if self.local() {
            self.pick(CALM_RELATIONS)
        } else {
            self.pick(TABLES)
        };
        let account = name.ends_with("account");
        let aliased = self.chance(2, 3);
        let renamed = aliased && self.chance(1, 6);
        let alias = if aliased { self.fresh() } else { name.rsplit('.').next().unwrap_or(name).to_owned() };
        let named = |(at, (column, kind)): (usize, &(&str, Type))| {
            (if renamed { format!("r{at}") } else { (*column).to_owned() }, *kind)
        };
        let columns = columns.iter().enumerate().map(named).collect();
        let source = Source { alias, columns, account: account && !renamed };
        Planned { kind: Kind::Relation(name), source, renamed, aliased }
    }

    fn from(&mut self, planned: &[Planned], outer: usize, depth: u32) {
        self.sources.truncate(outer);
        let mut since_comma = outer;
        for (at, next) in planned.iter().enumerate() {
            let mut condition = false;
            if at > 0 {
                let word = self.pick(&[",", ",", "join", "left join", "inner join", "left outer join", "cross join"]);
                self.say(word);
                condition = !matches!(word, "," | "cross join");
                if word == "," {
                    since_comma = self.sources.len();
                }
            }
            self.item(next, outer, depth);
            self.sources.push(next.source.clone());
            if condition {
                self.say("on");
                let hidden: Vec<Source> = self.sources.drain(outer..since_comma).collect();
                self.expression(Bool, depth.min(1));
                self.sources.splice(outer..outer, hidden);
            }
        }
    }

    /// One thing in `FROM`; what stands to its left is in sight.
    fn item(&mut self, planned: &Planned, outer: usize, depth: u32) {
        let mut types_given = false;
        match &planned.kind {
            Kind::Relation(name) => {
                let only = self.chance(1, 16);
                if only {
                    self.say("only");
                }
                self.dotted(name);
                if !only && self.chance(1, 24) {
                    self.say("*");
                }
            }
            Kind::With(name) => self.name(name),
            Kind::Query(types) => {
                let lateral = self.sources.len() > outer && self.chance(1, 2);
                if lateral {
                    self.say("lateral");
                }
                let hidden: Vec<Source> = if lateral { Vec::new() } else { self.sources.drain(outer..).collect() };
                self.say("(");
                self.subquery(types, depth, false);
                self.say(")");
                self.sources.extend(hidden);
            }
            Kind::Values => {
                let hidden: Vec<Source> = self.sources.drain(outer..).collect();
                self.say("(");
                self.values(&[Int, Text], depth.min(1));
                self.say(")");
                self.sources.extend(hidden);
            }
            Kind::Series => {
                let form = self.pick(&[
                    "generate_series ( 1 ,",
                    "pg_catalog . generate_series ( 1 ,",
                    "lateral generate_series ( 1 ,",
                ]);
                self.say(form);
                self.expression(Int, 0);
                self.say(")");
            }
            Kind::Unnest => {
                let rows = self.chance(1, 3);
                self.say(if rows { "rows from ( unnest (" } else { "unnest (" });
                self.expression(Ints, depth.min(1));
                self.say(if rows { ") )" } else { ")" });
                let ordinality = self.pick(&["", "", "with ordinality"]);
                self.say(ordinality);
            }
            Kind::Records => {
                self.say("jsonb_to_recordset (");
                self.raw("'[{\"ra\": 1, \"rb\": \"x\"}]'");
                self.say(")");
                types_given = true;
            }
            Kind::Rows(name) => {
                let rows = self.chance(1, 3);
                if rows {
                    self.say("rows from (");
                }
                self.dotted(name);
                self.say("(");
                self.expression(Int, 0);
                self.say(if rows { ") )" } else { ")" });
            }
        }
        if planned.aliased {
            if self.chance(1, 2) || types_given {
                self.say("as");
            }
            self.name(&planned.source.alias);
            if planned.renamed {
                self.say("(");
                for (at, (column, kind)) in planned.source.columns.iter().enumerate() {
                    if at > 0 {
                        self.say(",");
                    }
                    self.name(column);
                    if types_given {
                        self.say(if *kind == Int { "int" } else { "text" });
                    }
                }
                self.say(")");
            }
        }
        if matches!(planned.kind, Kind::Relation("account" | "item" | "other.item")) && self.chance(1, 16) {
            let sample = self.pick(&["tablesample bernoulli ( 90 )", "tablesample system ( 50 ) repeatable ( 3 )"]);
            self.say(sample);
        }
    }
}

/// A `WITH` query of no use, where a name was drawn twice.
fn continue_with(generator: &mut Generator) {
    let name = generator.fresh();
    generator.name(&name);
    generator.say("as ( select 1 )");
}

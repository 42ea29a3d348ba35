//! Sequences of statements from a seed, as one session of a client sends them: what reads and what only looks like it,
//! transactions of every kind, settings, prepared statements, cursors, temporary and new objects, in either protocol.

use pgconvoy_core::rng::Rng;
use pgconvoy_statements::Generator;

/// What only reads, and what replicated data answer.
const READS: &[&str] = &[
    "SELECT 1",
    "select id, label from item where id = 2",
    "SELECT count(*), max(price) FROM item",
    "SELECT a.owner, i.label FROM account a JOIN item i ON i.account = a.id ORDER BY 1, 2",
    "SELECT owner FROM account WHERE id IN (SELECT account FROM item)",
    "WITH q AS (SELECT id FROM item) SELECT * FROM q ORDER BY id",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SEARCH DEPTH FIRST BY i SET o SELECT i FROM n",
    "SELECT * FROM part",
    "SELECT lower(label), upper(label), now() FROM item LIMIT 1",
    "TABLE item",
    "VALUES (1), (2)",
    "(SELECT 1)",
    "(SELECT id FROM item) UNION (SELECT id FROM account) ORDER BY 1",
    "SELECT 1 UNION ALL SELECT 2",
    "  SELECT 1",
    "\n\tSELECT id FROM item",
    "SELECT 1;",
    "SELECT g FROM generate_series(1, 3) g",
    "SELECT * FROM (VALUES (1), (2)) AS v (n)",
    "SELECT * FROM good",
    "SELECT * FROM good_nested",
    "SELECT * FROM kept",
    "SELECT * FROM fenced",
    "SELECT steady(id), constant(id) FROM item",
    "SELECT other.calm(1)",
    "SELECT * FROM some_rows(2)",
    "SELECT sum_up(1, 2)",
    "SELECT total(id) FROM item",
    "SELECT 1 @+@ 2",
    "SELECT 5::small",
    "SELECT a.points FROM account a",
    "SELECT 'INSERT INTO journal', 'nextval(1)', 'FOR UPDATE'",
    "SELECT extract(year FROM made) FROM account",
    "SELECT current_date IS NULL, current_timestamp(3) IS NULL, current_user",
    "SELECT * FROM item * i (a, b)",
    "SELECT pg_catalog.lower('A')",
    "SELECT label::pg_catalog.text FROM item",
    "SELECT pg_typeof(1), version(), current_setting('work_mem')",
    "SELECT row_number() OVER (ORDER BY id), count(*) FILTER (WHERE id > 1) OVER () FROM item",
    "SELECT id FROM item TABLESAMPLE system (50)",
    "SHOW work_mem",
    "SHOW TIME ZONE",
    "SHOW TRANSACTION ISOLATION LEVEL",
    "SHOW server_version",
    "EXPLAIN SELECT * FROM item",
    "EXPLAIN (COSTS OFF) SELECT * FROM item",
    "EXPLAIN ANALYZE SELECT count(*) FROM item",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT count(*) FROM good",
    "EXPLAIN VERBOSE TABLE item",
    "COPY item TO STDOUT",
    "COPY item (id, label) TO STDOUT WITH (FORMAT csv)",
    "COPY (SELECT id FROM item) TO STDOUT",
    "SELECT * FROM missing",
    "SELECT missing(1)",
    "SELECT 1 / 0",
];

/// The same with parameters, for the extended protocol.
const PARAMETRIC: &[&str] = &[
    "SELECT label FROM item WHERE id = $1",
    "SELECT $1::int + 1",
    "SELECT owner FROM account WHERE id > $1::int ORDER BY id LIMIT 2",
    "SELECT steady($1::int)",
    "SELECT g FROM generate_series(1, $1::int) g",
    "SELECT * FROM good WHERE id = $1",
];

/// What looks like a read and is for the primary, or seems to be.
const SUSPECTS: &[&str] = &[
    "SELECT ticks(1)",
    "SELECT public.ticks(id) FROM item",
    "SELECT \"ticks\"(2)",
    "SELECT writes(1)",
    "SELECT id FROM item WHERE ticks(id) = id",
    "SELECT (SELECT max(ticks(id)) FROM item)",
    "SELECT * FROM writes_rows(1)",
    "SELECT id FROM item, LATERAL writes_rows(item.id) AS w (i, l)",
    "WITH q AS (SELECT ticks(1)) SELECT * FROM q",
    "SELECT 1 UNION SELECT ticks(1)",
    "VALUES (ticks(1))",
    "SELECT * FROM bad",
    "SELECT * FROM bad_nested",
    "SELECT id FROM bad_where",
    "SELECT * FROM bad_deep",
    "SELECT * FROM bad_rows",
    "SELECT * FROM bad_row",
    "SELECT * FROM bad_total",
    "TABLE bad_sequence",
    "SELECT * FROM bad_default",
    "SELECT * FROM bad_shadow",
    "SELECT * FROM bad_recursive",
    "SELECT count(*) FROM \"Bad\"",
    "SELECT * FROM guarded",
    "SELECT * FROM guarded_view",
    "SELECT * FROM scratch",
    "SELECT i.id FROM item i LEFT JOIN scratch s USING (id)",
    "SELECT * FROM mixed",
    "SELECT * FROM unlogged_view",
    "SELECT last_value FROM counter",
    "SELECT nextval('counter') IS NULL",
    "SELECT currval('counter') IS NULL",
    "SELECT random() IS NULL",
    "SELECT id FROM item ORDER BY random()",
    "SELECT gen_random_uuid() IS NULL",
    "SELECT clock_timestamp() IS NULL",
    "SELECT relname FROM pg_class LIMIT 1",
    "SELECT count(*) FROM pg_catalog.pg_type",
    "SELECT table_name FROM information_schema.tables LIMIT 1",
    "SELECT count(*) FROM pg_stat_activity",
    "SELECT count(*) FROM pg_settings",
    "SELECT 'item'::regclass",
    "SELECT to_regclass('item')",
    "SELECT pg_is_in_recovery()",
    "SELECT pg_backend_pid() IS NULL",
    "SELECT inet_server_port() IS NULL",
    "SELECT pg_relation_size('item') IS NULL",
    "SELECT pg_get_viewdef('good'::regclass)",
    "SELECT has_table_privilege('item', 'SELECT')",
    "SELECT txid_current() IS NULL",
    "SELECT pg_current_xact_id_if_assigned() IS NULL",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT pg_try_advisory_lock(2), pg_advisory_unlock(2)",
    "SELECT pg_notify('channel', 'x')",
    "SELECT setseed(0.1)",
    "SELECT lo_creat(-1) IS NULL",
    "SELECT total_tick(id) FROM item",
    "SELECT ordered_tick() WITHIN GROUP (ORDER BY id) FROM item",
    "SELECT a.ticket FROM account a",
    "SELECT ticket(a) FROM account a",
    "SELECT (a).ticket FROM account a",
    "SELECT defaulted()",
    "SELECT defaulted(1)",
    "SELECT double_faced(1)",
    "SELECT double_faced('x'::text)",
    "SELECT other.abs(1)",
    "SELECT abs(1)",
    "SELECT other.steady(1)",
    "SELECT \"over\"(1)",
    "SELECT sum_all(1, 2)",
    "SELECT table_to_xml('bad', true, false, '') IS NULL",
    "SELECT query_to_xml('select ticks(1)', true, false, '') IS NULL",
    "SELECT * FROM stock FOR UPDATE",
    "SELECT * FROM stock WHERE id = 1 FOR SHARE",
    "SELECT * FROM (SELECT * FROM stock FOR NO KEY UPDATE SKIP LOCKED) s",
    "SELECT * FROM stock FOR KEY SHARE NOWAIT",
    "WITH w AS (INSERT INTO journal VALUES (1, 'w') RETURNING id) SELECT * FROM w",
    "WITH w AS (DELETE FROM journal WHERE id < 0 RETURNING id) SELECT count(*) FROM w",
    "EXPLAIN INSERT INTO journal VALUES (1, 'e')",
    "EXPLAIN ANALYZE INSERT INTO journal VALUES (1, 'e')",
    "EXPLAIN (ANALYZE) SELECT ticks(1)",
    "EXPLAIN SELECT ticks(1)",
    "EXPLAIN ANALYZE SELECT * FROM bad",
    "COPY (SELECT ticks(1)) TO STDOUT",
    "COPY (INSERT INTO journal VALUES (1, 'c') RETURNING id) TO STDOUT",
    "COPY scratch TO STDOUT",
    "COPY guarded TO STDOUT",
    "COPY (SELECT * FROM bad) TO STDOUT",
    "SHOW transaction_read_only",
    "SHOW in_hot_standby",
    "SELECT set_config('work_mem', '5MB', false)",
    "SELECT set_config('work_mem', '6MB', true)",
];

/// What writes, or acts on the session at the primary.
const WRITES: &[&str] = &[
    "INSERT INTO journal VALUES (2, 'i')",
    "INSERT INTO journal SELECT id, label FROM item",
    "INSERT INTO journal VALUES (3, 'r') RETURNING id",
    "UPDATE stock SET note = 'u' WHERE id = 1",
    "DELETE FROM journal WHERE id = 2",
    "MERGE INTO stock s USING item i ON s.id = i.id WHEN MATCHED THEN UPDATE SET note = 'm'",
    "INSERT INTO ruled VALUES (4, 'x')",
    "WITH q AS (SELECT 1 AS a) INSERT INTO journal SELECT a, 'q' FROM q",
    "CALL proceed(1)",
    "DO $$ BEGIN PERFORM public.ticks(1); END $$",
    "NOTIFY channel, 'payload'",
    "LISTEN channel",
    "UNLISTEN *",
    "LOCK TABLE stock IN ROW EXCLUSIVE MODE",
    "ANALYZE stock",
    "COPY journal FROM STDIN",
    "REFRESH MATERIALIZED VIEW kept",
];

/// What changes the session, the same wherever it runs.
const SETTINGS: &[&str] = &[
    "SET work_mem = '5MB'",
    "SET LOCAL work_mem = '6MB'",
    "SET SESSION statement_timeout = '2s'",
    "RESET work_mem",
    "SET TIME ZONE 'UTC'",
    "SET DateStyle TO 'SQL, DMY'",
    "SET client_encoding = 'LATIN1'",
    "SET NAMES 'UTF8'",
    "SET CONSTRAINTS ALL DEFERRED",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET ROLE NONE",
    "SET application_name = 'beside'",
    "RESET ALL",
    "DISCARD PLANS",
    "DISCARD SEQUENCES",
    "DISCARD TEMP",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "SET nonsense = 1",
];

/// Settings for transactions to come, and what takes each back.
const DEFAULTS: &[(&str, &str)] = &[
    ("SET default_transaction_isolation = 'serializable'", "RESET default_transaction_isolation"),
    ("SET default_transaction_isolation TO 'repeatable read'", "SET default_transaction_isolation TO DEFAULT"),
    ("SET default_transaction_isolation = 'read committed'", "RESET default_transaction_isolation"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "RESET default_transaction_isolation"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "RESET default_transaction_read_only"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "RESET default_transaction_read_only"),
    ("SET default_transaction_read_only = on", "SET default_transaction_read_only = off"),
    ("SET search_path = other, public", "RESET search_path"),
    ("SELECT set_config('search_path', 'public, other', false)", "SET search_path TO DEFAULT"),
    ("SET standard_conforming_strings = off", "RESET standard_conforming_strings"),
];

/// How transactions begin.
const BEGINS: &[&[&str]] = &[
    &["BEGIN"],
    &["BEGIN"],
    &["BEGIN"],
    &["begin work;"],
    &["START TRANSACTION"],
    &["BEGIN ISOLATION LEVEL READ COMMITTED"],
    &["BEGIN READ ONLY"],
    &["BEGIN READ WRITE"],
    &["START TRANSACTION READ WRITE, ISOLATION LEVEL READ COMMITTED"],
    &["BEGIN ISOLATION LEVEL REPEATABLE READ"],
    &["BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"],
    &["BEGIN ISOLATION LEVEL SERIALIZABLE"],
    &["BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"],
    &["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"],
    &["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    &["BEGIN", "SET transaction_isolation = 'serializable'"],
    &["BEGIN", "SET TRANSACTION READ ONLY"],
    &["BEGIN", "SET TRANSACTION READ WRITE"],
    &["BEGIN", "SET transaction_read_only = off"],
    &["BEGIN", "SET LOCAL transaction_read_only TO on"],
];

/// How they end.
const ENDS: &[&str] = &[
    "COMMIT",
    "COMMIT",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "COMMIT WORK",
    "ROLLBACK TRANSACTION",
    "COMMIT AND CHAIN",
];

/// What may stand in front of a statement.
const COMMENTS: &[&str] = &["/* c */ ", "-- c\n", "/*NO LOAD BALANCE*/ ", "/*REPLICATION*/ ", "/*+ hint */", " /**/\n"];

/// How a step is sent.
#[derive(Clone, Debug)]
pub enum How {
    /// As a Query message.
    Query,
    /// As Parse, Bind and Execute without names.
    Extended(Vec<String>),
    /// As a Parse of this name.
    Parse(String),
    /// As Bind and Execute of what bears this name; the text is what was prepared.
    Execute(String, Vec<String>),
    /// As a Close of this name.
    Close(String),
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its text.
    pub text: String,
    /// How it is sent.
    pub how: How,
    /// What its text does not say.
    pub says: Vec<&'static str>,
}

/// What is sent before the next answer is awaited.
pub type Unit = Vec<Step>;

/// What one session sends.
pub fn sequence(seed: u64) -> Vec<Unit> {
    let mut rng = Rng::new(seed);
    let generator = Generator::new(rng.next_u64(), false);
    let mut author = Author { rng, generator, units: Vec::new(), names: 0, seed };
    for _ in 0..2 + author.rng.below(3) {
        author.scene();
    }
    author.units
}

/// What random sequences say too seldom for every sample to have it.
pub fn scripted() -> Vec<Vec<Unit>> {
    let one = |text: &str| vec![Step { text: text.into(), how: How::Query, says: Vec::new() }];
    let batch = |texts: &[&str]| -> Unit {
        let step = |text: &&str| Step { text: (*text).into(), how: How::Extended(Vec::new()), says: Vec::new() };
        texts.iter().map(step).collect()
    };
    // What was known of the catalogue is not known any more, but for what is read then.
    let forget = ["CREATE TABLE rare (id int)", "DROP TABLE rare", "SELECT id FROM item"].map(one);
    let in_block = ["BEGIN", "SELECT sum_up(1, 2)", "SELECT id FROM item", "COMMIT"].map(one);
    let in_batch = batch(&["SELECT relname FROM pg_class LIMIT 1", "SELECT sum_up(1, 2)", "SELECT id FROM item"]);
    vec![
        forget.iter().cloned().chain(in_block).collect(),
        forget.into_iter().chain([in_batch]).collect(),
        vec![batch(&["SELECT currval('counter') IS NULL", "SHOW work_mem"])],
        vec![one("DEALLOCATE nothing"), one("COPY (SELECT id FROM stock FOR UPDATE) TO STDOUT")],
        vec![one("SELECT id FROM item"), batch(&["SELECT * FROM mixed", "SELECT id FROM item"])],
    ]
}

struct Author {
    rng: Rng,
    generator: Generator,
    units: Vec<Unit>,
    names: u32,
    seed: u64,
}

impl Author {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.below(from.len() as u64) as usize]
    }

    /// A name that no other sequence uses: pgpool remembers what a name meant.
    fn fresh(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}_{}_{}", self.seed, self.names)
    }

    fn scene(&mut self) {
        match self.rng.below(24) {
            0..4 => {
                for _ in 0..1 + self.rng.below(3) {
                    self.plain();
                }
            }
            4..11 => self.block(),
            11 => self.pipeline(),
            12 | 13 => self.prepared_by_parse(),
            14 => self.prepared_by_sql(),
            15 => self.cursor(),
            16 => self.temporary(),
            17 => self.new_table(),
            18 => self.new_function(),
            19 => self.several(),
            20 => self.with_defaults(),
            21 => self.pipeline(),
            22 => self.two_phase(),
            _ => self.generated(),
        }
    }

    fn send(&mut self, text: impl Into<String>, how: How) {
        self.units.push(vec![Step { text: text.into(), how, says: Vec::new() }]);
    }

    fn query(&mut self, text: impl Into<String>) {
        self.send(text, How::Query);
    }

    /// In either protocol.
    fn either(&mut self, text: impl Into<String>) {
        let text = text.into();
        // What is no single statement cannot be parsed, and COPY data end a batch of their own.
        let how = if self.rng.chance(1, 3) && !text.contains("STDIN") { How::Extended(Vec::new()) } else { How::Query };
        self.send(text, how);
    }

    fn read(&mut self) {
        if self.rng.chance(1, 6) {
            let text = self.pick(PARAMETRIC);
            return self.send(text, How::Extended(vec!["2".into()]));
        }
        let text = self.pick(READS);
        let text =
            if self.rng.chance(1, 16) { format!("{}{}", self.pick(COMMENTS), text.trim_start()) } else { text.into() };
        self.either(text);
    }

    fn suspect(&mut self) {
        let text = self.pick(SUSPECTS);
        self.either(text);
    }

    fn write(&mut self) {
        let text = self.pick(WRITES);
        self.either(text);
    }

    fn setting(&mut self) {
        let text = self.pick(SETTINGS);
        self.either(text);
    }

    fn plain(&mut self) {
        match self.rng.below(12) {
            0..6 => self.read(),
            6..9 => self.suspect(),
            9 | 10 => self.write(),
            _ => self.setting(),
        }
    }

    fn generated(&mut self) {
        let script = self.generator.script(true);
        let extended = self.rng.chance(1, 3);
        for statement in script {
            let text = statement.text();
            let how = if extended && !text.contains(';') { How::Extended(Vec::new()) } else { How::Query };
            self.send(text, how);
        }
    }

    /// A transaction. What it reads has mostly been read before: what is not known in a transaction cannot be asked there.
    fn block(&mut self) {
        let begin = self.pick(BEGINS);
        let extended = self.rng.chance(1, 4);
        let rehearsed = self.rng.chance(4, 5);
        let before = self.units.len();
        for text in begin {
            self.send(*text, if extended { How::Extended(Vec::new()) } else { How::Query });
        }
        let inside = self.units.len();
        for _ in 0..1 + self.rng.below(5) {
            match self.rng.below(14) {
                0..7 => self.read(),
                7 | 8 => self.suspect(),
                9 => self.write(),
                10 => self.savepoint(),
                11 => self.lock(),
                12 => self.setting(),
                _ => self.generated_read(),
            }
        }
        let reads: Vec<Unit> =
            self.units[inside..].iter().filter(|unit| unit.iter().all(|step| is_read(&step.text))).cloned().collect();
        if rehearsed {
            self.units.splice(before..before, reads);
        }
        if self.rng.chance(9, 10) {
            let end = self.pick(ENDS);
            self.either(end);
            if end.ends_with("CHAIN") {
                self.read();
                self.query("ROLLBACK");
            }
        } else {
            self.query("ROLLBACK");
        }
    }

    fn generated_read(&mut self) {
        let script = self.generator.script(true);
        if let [statement] = &script[..] {
            self.query(statement.text());
        }
    }

    fn savepoint(&mut self) {
        self.either("SAVEPOINT s");
        if self.rng.chance(1, 2) {
            self.plain();
        }
        let end = self.pick(&["RELEASE SAVEPOINT s", "ROLLBACK TO SAVEPOINT s", "ROLLBACK TO s"]);
        self.either(end);
    }

    fn lock(&mut self) {
        let mode = self.pick(&["ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE", "ACCESS EXCLUSIVE"]);
        self.query(format!("LOCK TABLE stock IN {mode} MODE"));
    }

    fn prepared_by_parse(&mut self) {
        let name = self.fresh("p");
        let (text, parameters) = match self.rng.below(4) {
            0 => (self.pick(SUSPECTS), Vec::new()),
            1 => (self.pick(READS), Vec::new()),
            2 => (self.pick(PARAMETRIC), vec!["1".to_owned()]),
            _ => ("INSERT INTO journal VALUES ($1, 'p')", vec!["1".to_owned()]),
        };
        self.send(text, How::Parse(name.clone()));
        let execute = How::Execute(name.clone(), parameters);
        for _ in 0..1 + self.rng.below(2) {
            self.send(text, execute.clone());
        }
        if self.rng.chance(1, 2) {
            self.query("BEGIN");
            match self.rng.below(6) {
                0 => self.query("SELECT 1 / 0"),
                1..4 => self.write(),
                _ => {}
            }
            self.send(text, execute.clone());
            self.query("COMMIT");
            self.send(text, execute);
        }
        if self.rng.chance(1, 2) {
            self.send(text, How::Close(name));
        }
    }

    fn prepared_by_sql(&mut self) {
        let name = self.fresh("q");
        let (text, arguments) = match self.rng.below(6) {
            0 => (self.pick(SUSPECTS), ""),
            1 | 2 => (self.pick(&["SELECT id FROM item", "SELECT * FROM good", "VALUES (1)", "SELECT steady(1)"]), ""),
            3 => ("SELECT label FROM item WHERE id = $1", "(2)"),
            4 => ("SELECT $1::int", "(ticks(3))"),
            _ => ("UPDATE stock SET note = 'e' WHERE id = $1", "(1)"),
        };
        if !["SELECT", "VALUES", "WITH", "UPDATE", "TABLE"].iter().any(|verb| text.starts_with(verb)) {
            return;
        }
        self.query(format!("PREPARE {name} AS {text}"));
        self.query(format!("EXECUTE {name}{arguments}"));
        if self.rng.chance(1, 2) {
            self.query("BEGIN");
            if self.rng.chance(1, 2) {
                self.write();
            }
            self.query(format!("EXECUTE {name}{arguments}"));
            self.query("COMMIT");
        }
        if self.rng.chance(1, 3) {
            self.query(format!("EXPLAIN EXECUTE {name}{arguments}"));
        }
        self.query(format!("DEALLOCATE {name}"));
    }

    fn cursor(&mut self) {
        let query = self.pick(&[
            "SELECT id FROM item",
            "SELECT * FROM good",
            "SELECT ticks(1)",
            "SELECT * FROM stock FOR UPDATE",
        ]);
        let hold = self.rng.chance(1, 3) && !query.ends_with("UPDATE");
        self.query("BEGIN");
        if self.rng.chance(1, 3) {
            self.read();
        }
        let with = if hold { " WITH HOLD" } else { "" };
        self.either(format!("DECLARE c CURSOR{with} FOR {query}"));
        self.either("FETCH 1 FROM c");
        if self.rng.chance(1, 2) {
            self.read();
        }
        if self.rng.chance(1, 3) {
            self.query("MOVE NEXT IN c");
        }
        if hold {
            self.query("COMMIT");
            self.query("FETCH ALL c");
            self.read();
            self.query("CLOSE c");
        } else {
            self.query("CLOSE ALL");
            self.query("COMMIT");
        }
    }

    fn temporary(&mut self) {
        let name = self.fresh("mine");
        let create = self.pick(&["CREATE TEMP TABLE", "CREATE TEMPORARY TABLE", "CREATE LOCAL TEMP TABLE"]);
        // A name of its own, or one that hides a table.
        let name = if self.rng.chance(1, 3) { "item".to_owned() } else { name };
        match self.rng.below(3) {
            0 => self.query(format!("SELECT 7 AS id, 'seven' AS label INTO TEMP {name}")),
            1 => self.query(format!("{create} {name} AS SELECT 7 AS id, 'seven' AS label")),
            _ => self.query(format!("{create} {name} (id int, label text)")),
        }
        if name == "item" {
            self.say("hides_item");
        }
        self.either(format!("INSERT INTO {name} VALUES (8, 'eight')"));
        let read = self.pick(&[
            "SELECT * FROM $",
            "SELECT count(*) FROM $",
            "SELECT * FROM pg_temp.$",
            "TABLE $",
            "COPY $ TO STDOUT",
        ]);
        self.either(read.replace('$', &name));
        self.say("temporary");
        self.read();
        let end = self.pick(&["DROP TABLE $", "DISCARD TEMP", "DISCARD ALL", "DROP TABLE pg_temp.$"]);
        self.query(end.replace('$', &name));
        self.read();
    }

    fn say(&mut self, fact: &'static str) {
        for step in self.units.last_mut().into_iter().flatten() {
            step.says.push(fact);
        }
    }

    fn new_table(&mut self) {
        let name = self.fresh("made");
        let kind = self.pick(&["TABLE", "UNLOGGED TABLE", "TABLE", "VIEW"]);
        let body = if kind == "VIEW" { "AS SELECT id, label FROM item" } else { "(id int, label text)" };
        let in_block = self.rng.chance(1, 3);
        if in_block {
            self.query("BEGIN");
        }
        self.query(format!("CREATE {kind} {name} {body}"));
        self.either(format!("SELECT * FROM {name}"));
        if kind == "UNLOGGED TABLE" {
            self.say("unlogged");
        }
        if in_block {
            let end = self.pick(ENDS);
            self.query(end.trim_end_matches(" AND CHAIN"));
        }
        if kind != "VIEW" {
            self.either(format!("INSERT INTO {name} VALUES (1, 'n')"));
        }
        self.either(format!("SELECT * FROM {name}"));
        if kind == "UNLOGGED TABLE" {
            self.say("unlogged");
        } else if kind == "TABLE" && self.rng.chance(1, 2) {
            self.query(format!("ALTER TABLE {name} SET UNLOGGED"));
            self.query(format!("SELECT count(*) FROM {name}"));
            self.say("became_unlogged");
        } else if kind == "VIEW" && self.rng.chance(1, 2) {
            self.query(format!("CREATE OR REPLACE VIEW {name} AS SELECT ticks(id) AS id, label FROM item"));
            self.query(format!("SELECT count(*), max(id) FROM {name}"));
            self.say("hides_volatile");
        }
        self.read();
        let drop = kind.trim_start_matches("UNLOGGED ");
        self.query(format!("DROP {drop} {name}"));
        self.read();
    }

    fn new_function(&mut self) {
        let name = self.fresh("made_f");
        let volatility = self.pick(&["STABLE", "IMMUTABLE", "VOLATILE"]);
        let create = |volatility: &str, body: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION {name}(a int) RETURNS int LANGUAGE plpgsql {volatility} AS 'BEGIN RETURN {body}; END'"
            )
        };
        let other = if volatility == "VOLATILE" { "STABLE" } else { "VOLATILE" };
        for (volatility, changed) in [(volatility, false), (other, true)] {
            let body = if volatility == "VOLATILE" { "public.ticks(a)" } else { "a" };
            self.query(create(volatility, body));
            self.either(format!("SELECT {name}(1)"));
            match (volatility == "VOLATILE", changed) {
                (true, false) => self.say("volatile"),
                (true, true) => self.say("became_volatile"),
                (false, true) => self.say("became_stable"),
                (false, false) => {}
            }
        }
        self.query(format!("DROP FUNCTION {name}"));
    }

    fn several(&mut self) {
        let mut parts = Vec::new();
        for _ in 0..2 + self.rng.below(2) {
            let part = match self.rng.below(8) {
                0..5 => self.pick(&[
                    "SELECT id FROM item",
                    "SELECT 1",
                    "TABLE account",
                    "SELECT * FROM good",
                    "SHOW work_mem",
                ]),
                5 => self.pick(&[
                    "SELECT ticks(1)",
                    "SELECT * FROM bad",
                    "SELECT * FROM scratch",
                    "SELECT random() IS NULL",
                ]),
                6 => self.pick(&["INSERT INTO journal VALUES (5, 's')", "UPDATE stock SET note = 's' WHERE id = 2"]),
                _ => self.pick(&["SET work_mem = '7MB'", "SAVEPOINT x", "LISTEN channel", "RESET work_mem"]),
            };
            parts.push(part);
        }
        let text = parts.join("; ");
        match self.rng.below(6) {
            0 => {
                self.query(format!("BEGIN; {text}"));
                self.read();
                self.query("COMMIT");
            }
            1 => self.query(format!("BEGIN; {text}; COMMIT")),
            2 => self.query(format!("{text};")),
            _ => self.query(text),
        }
        self.read();
    }

    fn with_defaults(&mut self) {
        let (set, reset) = self.pick(DEFAULTS);
        self.either(set);
        for _ in 0..1 + self.rng.below(3) {
            self.plain();
        }
        if self.rng.chance(1, 2) {
            self.query("BEGIN");
            self.read();
            self.write();
            self.read();
            self.query("ROLLBACK");
        }
        self.either(reset);
        self.read();
    }

    /// Several statements before one Sync.
    fn pipeline(&mut self) {
        let mut unit = Unit::new();
        for _ in 0..2 + self.rng.below(3) {
            let text = match self.rng.below(8) {
                0..4 => self.pick(&[
                    "SELECT id FROM item",
                    "SELECT 1",
                    "SELECT * FROM good",
                    "SELECT steady(1)",
                    "SHOW work_mem",
                ]),
                4 | 5 => self.pick(SUSPECTS),
                6 => self.pick(&["INSERT INTO journal VALUES (6, 'p')", "UPDATE stock SET note = 'p' WHERE id = 2"]),
                _ => self.pick(&["SET work_mem = '8MB'", "BEGIN", "COMMIT"]),
            };
            unit.push(Step { text: text.into(), how: How::Extended(Vec::new()), says: Vec::new() });
        }
        self.units.push(unit);
        self.query("ROLLBACK");
        self.read();
    }

    fn two_phase(&mut self) {
        // The names of prepared transactions are the cluster's, not the database's.
        let name = format!("{{side}} {}", self.fresh("t"));
        self.query("BEGIN");
        self.query("INSERT INTO journal VALUES (9, 't')");
        self.query(format!("PREPARE TRANSACTION '{name}'"));
        self.read();
        let end = self.pick(&["COMMIT", "ROLLBACK"]);
        self.query(format!("{end} PREPARED '{name}'"));
        self.read();
    }
}

/// Whether a text begins as what reads does.
fn is_read(text: &str) -> bool {
    let text = text.trim_start().trim_start_matches('(').to_ascii_lowercase();
    ["select", "with", "table", "values", "explain", "show"].iter().any(|verb| text.starts_with(verb))
}

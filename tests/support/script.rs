//! Random scripts of a client's messages, grown from a seed by a grammar that knows PostgreSQL's protocol well enough to
//! bend it: whole batches and broken ones, COPY in every ending, messages at the wrong time, malformed bodies.

use pgconvoy_core::rng::Rng;

use super::wire::frontend::{Frontend, Target, encode_all};

/// Statements that need nothing before them and answer alike in every session of the same server.
const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT 1, 'two', NULL, 4.5::numeric",
    "SELECT g, 'row ' || g FROM generate_series(1, 7) g",
    "SELECT repeat('x', 9000), g FROM generate_series(1, 30) g",
    "SELECT",
    "SELECT 1/0",
    "SELECT 10 / (5 - g) FROM generate_series(1, 8) g",
    "SELEC 1",
    "SELECT * FROM missing",
    "SELECT 'abc'::int",
    "VALUES (1, 'a'), (2, 'b')",
    "BEGIN",
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "SAVEPOINT one",
    "ROLLBACK TO one",
    "RELEASE one",
    "CREATE TEMP TABLE t (a int PRIMARY KEY, b text)",
    "CREATE TEMP TABLE IF NOT EXISTS t (a int PRIMARY KEY, b text)",
    "INSERT INTO t SELECT g, 'b' || g FROM generate_series(1, 5) g",
    "INSERT INTO t VALUES (6, 'six') RETURNING a, b",
    "UPDATE t SET b = b || '!' WHERE a < 3",
    "DELETE FROM t WHERE a = 2 RETURNING b",
    "SELECT a, b FROM t ORDER BY a",
    "WITH gone AS (DELETE FROM t RETURNING a) SELECT count(*) FROM gone",
    "TRUNCATE t",
    "DROP TABLE t",
    "DROP TABLE IF EXISTS t",
    "SET application_name = 'differential'",
    "SET DateStyle = 'SQL, DMY'",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET LOCAL TimeZone = 'Europe/Berlin'",
    "SET standard_conforming_strings = off",
    "SELECT 'a\\'b;', '\\\\'",
    "SET client_encoding = 'LATIN1'",
    "SET client_encoding = 'nonsense'",
    "SELECT set_config('TimeZone', 'UTC', false)",
    "RESET ALL",
    "SHOW DateStyle",
    "SHOW TimeZone",
    "DO $$ BEGIN RAISE NOTICE 'a notice'; END $$",
    "DO $$ BEGIN RAISE WARNING 'a warning' USING HINT = 'a hint'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'P1234', DETAIL = 'a detail'; END $$",
    "LISTEN $channel",
    "NOTIFY $channel, 'by statement'",
    "SELECT pg_notify('$channel', 'by function') IS NULL",
    "UNLISTEN *",
    "PREPARE q (int) AS SELECT $1 + 1",
    "EXECUTE q (41)",
    "DEALLOCATE q",
    "DEALLOCATE ALL",
    "DECLARE c CURSOR FOR SELECT g FROM generate_series(1, 9) g",
    "DECLARE h CURSOR WITH HOLD FOR SELECT g FROM generate_series(1, 9) g",
    "FETCH 3 FROM c",
    "FETCH 2 FROM h",
    "MOVE 1 IN c",
    "CLOSE c",
    "CLOSE ALL",
    "DISCARD ALL",
    "DISCARD TEMP",
    "EXPLAIN (COSTS OFF) SELECT 1",
    "LOCK TABLE t",
    "VACUUM pg_am",
    "SELECT 1 /* ; */ ; -- end",
    "SELECT 'dollar' || $a$ ; SELECT 2 $a$",
    "",
    " ",
    ";",
    "-- nothing",
    "/* nothing */ ;;",
];

/// Statements that copy from the client.
const COPY_IN: &[&str] =
    &["COPY t FROM STDIN", "COPY t (a) FROM STDIN", "COPY t FROM STDIN (FORMAT csv)", "COPY missing FROM STDIN"];

/// Statements that copy to the client.
const COPY_OUT: &[&str] = &[
    "COPY (SELECT g, 'r' || g FROM generate_series(1, 20) g) TO STDOUT",
    "COPY t TO STDOUT (FORMAT csv)",
    "COPY (SELECT 10 / (5 - g) FROM generate_series(1, 8) g) TO STDOUT",
];

/// Statements with parameters, for the extended protocol.
const PARAMETRIC: &[&str] = &[
    "SELECT $1::int + 1",
    "SELECT $1::text, $2::int FROM generate_series(1, 4)",
    "SELECT 100 / $1::int",
    "INSERT INTO t VALUES ($1, $2)",
    "SELECT b FROM t WHERE a = $1",
    "SELECT g FROM generate_series(1, $1::int) g",
];

/// Messages with a body that does not parse, or a kind that no client may send in a session and PostgreSQL answers with an error.
const MALFORMED: &[(u8, &[u8])] = &[
    (b'Q', b"SELECT 1"),
    (b'Q', b"SELECT 1\0SELECT 2\0"),
    (b'Q', b""),
    (b'P', b"\0SELECT 1\0"),
    (b'P', b"s1\0SELECT 1\0\0\x05\0\0\0\x17"),
    (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
    (b'B', b"\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0"),
    (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0"),
    (b'E', b"\0\0"),
    (b'D', b"Xs1\0"),
    (b'D', b""),
    (b'C', b"Xs1\0"),
    (b'S', b"more"),
    (b'H', b"more"),
    (b'F', b"\0\0"),
    (b'f', b""),
];

/// Messages after which PostgreSQL closes the session.
const FATAL: &[(u8, &[u8])] =
    &[(b'y', b"what"), (b'p', b"secret\0"), (0, b""), (b'Z', b"I"), (b'X', b""), (b'R', b"\0\0\0\0")];

/// A client's side of a conversation.
#[derive(Clone, Debug)]
pub struct Script {
    /// The seed it grew from.
    pub seed: u64,
    /// What is sent, in order, whatever is answered.
    pub messages: Vec<Frontend>,
    /// How the bytes are split into writes.
    pub chopping: Chopping,
}

/// How a script's bytes are split into writes.
#[derive(Clone, Copy, Debug)]
pub enum Chopping {
    /// All at once.
    Whole,
    /// At random byte borders, at most so many bytes a piece.
    Pieces { longest: u64 },
}

impl Script {
    /// The script of `seed`.
    pub fn generate(seed: u64) -> Self {
        let mut grower = Grower { rng: Rng::new(seed), channel: format!("channel_{seed:x}"), messages: Vec::new() };
        for _ in 0..1 + grower.rng.below(8) {
            grower.scene();
        }
        if grower.rng.chance(1, 40) {
            let (kind, body) = *grower.pick(FATAL);
            grower.push(Frontend::Other(kind, body.to_vec()));
            grower.scene();
        }
        let chopping = match grower.rng.below(4) {
            0 | 1 => Chopping::Whole,
            2 => Chopping::Pieces { longest: 400 },
            _ => Chopping::Pieces { longest: 12 },
        };
        Self { seed, messages: grower.messages, chopping }
    }

    /// The writes that carry the script and `tail` behind it.
    pub fn writes(&self, tail: &[Frontend]) -> Vec<Vec<u8>> {
        let mut bytes = encode_all(&self.messages);
        bytes.extend_from_slice(&encode_all(tail));
        let Chopping::Pieces { longest } = self.chopping else { return vec![bytes] };
        let mut rng = Rng::new(self.seed).fork(1);
        let mut writes = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let length = usize::try_from(1 + rng.below(longest)).expect("a short piece").min(rest.len());
            let (piece, left) = rest.split_at(length);
            writes.push(piece.to_vec());
            rest = left;
        }
        writes
    }
}

/// Grows a script, one scene after the other.
struct Grower {
    rng: Rng,
    channel: String,
    messages: Vec<Frontend>,
}

impl Grower {
    fn scene(&mut self) {
        match self.rng.below(20) {
            0..=4 => self.simple_query(),
            5..=10 => self.batch(),
            11 | 12 => self.tables_and_copy_in(),
            13 => self.copy_in_batch(),
            14 => self.copy_out(),
            15 => self.function_call(),
            16 | 17 => self.out_of_place(),
            18 => self.malformed(),
            _ => self.transaction(),
        }
    }

    fn push(&mut self, message: Frontend) {
        self.messages.push(message);
    }

    fn pick<T>(&mut self, choices: &'static [T]) -> &'static T {
        &choices[usize::try_from(self.rng.below(choices.len() as u64)).expect("a short list")]
    }

    fn statement(&mut self) -> String {
        self.pick(STATEMENTS).replace("$channel", &self.channel)
    }

    fn statement_name(&mut self) -> String {
        self.pick(&["", "", "s1", "s2"]).to_string()
    }

    fn portal_name(&mut self) -> String {
        self.pick(&["", "", "p1", "p2"]).to_string()
    }

    fn rows(&mut self) -> u32 {
        *self.pick(&[0, 0, 1, 2, 3, 1000])
    }

    fn simple_query(&mut self) {
        let count = if self.rng.chance(1, 3) { 2 + self.rng.below(2) } else { 1 };
        let statements: Vec<String> = (0..count).map(|_| self.statement()).collect();
        self.push(Frontend::query(statements.join(";")));
    }

    /// An explicit transaction with some scenes inside, not always ended.
    fn transaction(&mut self) {
        self.push(Frontend::query("BEGIN"));
        for _ in 0..1 + self.rng.below(3) {
            if self.rng.chance(1, 2) { self.simple_query() } else { self.batch() }
        }
        if self.rng.chance(4, 5) {
            let end = *self.pick(&["COMMIT", "ROLLBACK"]);
            self.push(Frontend::query(end));
        }
    }

    /// A run of extended messages, mostly well ordered, mostly with a Sync at its end.
    fn batch(&mut self) {
        for _ in 0..1 + self.rng.below(3) {
            if self.rng.chance(5, 6) {
                self.prepared_run()
            } else {
                self.extended_message()
            }
            if self.rng.chance(1, 6) {
                let between = self.pick(&[Frontend::Flush, Frontend::Sync]).clone();
                self.push(between);
            }
        }
        if self.rng.chance(9, 10) {
            self.push(Frontend::Sync);
        }
    }

    /// Parse, Bind, Describe and Execute of one statement, in order.
    fn prepared_run(&mut self) {
        let (statement, portal) = (self.statement_name(), self.portal_name());
        let parametric = self.rng.chance(1, 2);
        let sql = if parametric { self.pick(PARAMETRIC).to_string() } else { self.statement() };
        if self.rng.chance(1, 8) {
            self.push(Frontend::Close(Target::Statement, statement.clone()));
        }
        self.push(Frontend::parse(&statement, &sql));
        if self.rng.chance(1, 3) {
            self.push(Frontend::Describe(Target::Statement, statement.clone()));
        }
        for _ in 0..1 + self.rng.below(2) {
            let bind = self.bind(portal.clone(), statement.clone(), &sql);
            self.push(bind);
            if self.rng.chance(1, 2) {
                self.push(Frontend::Describe(Target::Portal, portal.clone()));
            }
            let rows = self.rows();
            self.push(Frontend::Execute { portal: portal.clone(), rows });
            if rows > 0 && self.rng.chance(1, 2) {
                self.push(Frontend::execute(&portal));
            }
        }
        if self.rng.chance(1, 6) {
            self.push(Frontend::Close(Target::Portal, portal));
        }
    }

    /// A Bind with as many parameters as `sql` has, mostly.
    fn bind(&mut self, portal: String, statement: String, sql: &str) -> Frontend {
        let wanted = ["$1", "$2"].iter().filter(|parameter| sql.contains(**parameter)).count();
        let count = if self.rng.chance(1, 12) { 1 } else { wanted };
        let parameters =
            (0..count).map(|_| self.pick(&[Some("3"), Some("0"), Some("x"), None]).map(String::from)).collect();
        let formats = self.pick::<&[u16]>(&[&[], &[], &[], &[0], &[1], &[0, 1, 0]]).to_vec();
        Frontend::Bind { portal, statement, parameters, formats }
    }

    /// One extended message without regard to what came before.
    fn extended_message(&mut self) {
        let (statement, portal) = (self.statement_name(), self.portal_name());
        let message = match self.rng.below(8) {
            0 => Frontend::Parse { name: statement, sql: self.statement(), types: vec![23] },
            1 => Frontend::parse(&statement, "SELECT 1; SELECT 2"),
            2 => Frontend::bind(&portal, &statement),
            3 => Frontend::Describe(Target::Statement, statement),
            4 => Frontend::Describe(Target::Portal, portal),
            5 => Frontend::Close(Target::Statement, statement),
            6 => Frontend::Close(Target::Portal, portal),
            _ => Frontend::Execute { portal, rows: self.rows() },
        };
        self.push(message);
    }

    /// A table with rows, then a COPY into it by simple query.
    fn tables_and_copy_in(&mut self) {
        self.push(Frontend::query("CREATE TEMP TABLE IF NOT EXISTS t (a int PRIMARY KEY, b text)"));
        let mut sql = self.pick(COPY_IN).to_string();
        if self.rng.chance(1, 5) {
            sql = format!("SELECT 1; {sql}; {}", self.statement());
        }
        self.push(Frontend::query(sql));
        self.copy_data();
    }

    /// A COPY from the client inside an extended batch.
    fn copy_in_batch(&mut self) {
        self.push(Frontend::query("CREATE TEMP TABLE IF NOT EXISTS t (a int PRIMARY KEY, b text)"));
        let sql = *self.pick(COPY_IN);
        self.push(Frontend::parse("", sql));
        self.push(Frontend::bind("", ""));
        self.push(Frontend::execute(""));
        if self.rng.chance(1, 3) {
            self.push(Frontend::Sync);
        }
        self.copy_data();
        self.push(Frontend::Sync);
    }

    /// Rows for a COPY, good or bad, and its end.
    fn copy_data(&mut self) {
        for _ in 0..self.rng.below(4) {
            let piece: &[u8] = self.pick::<&[u8]>(&[
                b"11\televen\n",
                b"12\ttwelve\n",
                b"13\tthir",
                b"teen\n",
                b"junk\n",
                b"\\.\n",
                b"14\n",
                b"",
            ]);
            self.push(Frontend::CopyData(piece.to_vec()));
            if self.rng.chance(1, 6) {
                self.push(Frontend::Flush);
            }
        }
        // Nothing but its end follows the data: whether PostgreSQL ignores a Sync there, or takes a query for a breach,
        // hangs on whether it has found fault with the data already.
        let end = if self.rng.chance(1, 4) { Frontend::CopyFail("gave up".into()) } else { Frontend::CopyDone };
        self.push(end);
    }

    fn copy_out(&mut self) {
        let sql = *self.pick(COPY_OUT);
        if self.rng.chance(1, 2) {
            self.push(Frontend::query(sql));
        } else {
            self.push(Frontend::parse("", sql));
            self.push(Frontend::bind("", ""));
            self.push(Frontend::Describe(Target::Portal, String::new()));
            self.push(Frontend::execute(""));
            self.push(Frontend::Sync);
        }
    }

    fn function_call(&mut self) {
        // int4pl, int4div, lower, and an object id that is no function
        let oid = *self.pick(&[177, 177, 154, 870, 4]);
        let arguments = self.pick::<&[Option<&str>]>(&[
            &[Some("2"), Some("3")],
            &[Some("1"), Some("0")],
            &[Some("TEXT")],
            &[None, Some("3")],
            &[],
        ]);
        let arguments = arguments.iter().map(|argument| argument.map(String::from)).collect();
        self.push(Frontend::FunctionCall { oid, arguments });
    }

    /// What is allowed but makes no sense here.
    fn out_of_place(&mut self) {
        let messages: &[Frontend] = match self.rng.below(5) {
            0 => &[Frontend::Sync, Frontend::Sync, Frontend::Sync],
            1 => &[Frontend::CopyDone],
            2 => &[Frontend::Flush, Frontend::Flush],
            3 => &[Frontend::CopyDone, Frontend::Sync, Frontend::CopyDone],
            _ => {
                self.push(Frontend::CopyData(b"nobody copies\n".to_vec()));
                self.push(Frontend::CopyFail("nobody copies".into()));
                return;
            }
        };
        self.messages.extend_from_slice(messages);
    }

    fn malformed(&mut self) {
        let (kind, body) = *self.pick(MALFORMED);
        self.push(Frontend::Other(kind, body.to_vec()));
        if self.rng.chance(2, 3) {
            self.push(Frontend::Sync);
        }
    }
}

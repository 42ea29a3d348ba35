//! Tables with defaults of every kind, and writes into them, drawn from a seed.

use pgconvoy_core::rng::Rng;

/// Makes the tables.
pub const SCHEMA: &str = include_str!("schema.sql");

/// Points in time that stand still in a transaction or statement.
pub const TIMES: &[&str] = &[
    "now()",
    "pg_catalog.now()",
    "transaction_timestamp()",
    "CURRENT_TIMESTAMP",
    "current_timestamp(2)",
    "CURRENT_DATE",
    "LOCALTIMESTAMP",
    "localtimestamp(0)",
    "'now'::timestamptz",
    "'now'::timestamp(3)",
    "timestamptz 'today'",
    "timestamp(0) with time zone 'now'",
    "timestamp without time zone 'tomorrow 04:05'",
    "CAST('yesterday' AS timestamptz)",
    "CAST('now' AS date)",
    "date('now')",
    "date_trunc('hour', now())",
    "(now() - interval '1 day')",
    "(now() AT TIME ZONE 'UTC')",
    "to_timestamp(extract(epoch FROM now()))",
    "statement_timestamp()",
    "clock_timestamp()",
    "E'n\\x6fw'::timestamptz",
    "$$today 10:30$$::timestamptz",
    "('now'::text)::date",
    "timestamptz('now'::text)",
    "CAST('today 11:00'::varchar AS timestamp)",
];

/// Texts that stand still.
pub const TEXTS: &[&str] = &[
    "now()::text",
    "to_char(now(), 'YYYY-MM-DD HH24:MI:SS.US')",
    "CURRENT_TIME::text",
    "current_time(1)::text",
    "LOCALTIME::text",
    "localtime(0)::text",
    "'now'::time::text",
    "(timetz 'now')::text",
    "age(now() - interval '1 year')::text",
    "age(date '2001-02-03')::text",
    "timeofday()",
    "version()",
    "pg_current_xact_id()::text",
    "inet_client_addr()::text",
    "concat('it''s ', now(), ' \\ ')",
    "'now'::text",
];

/// Numbers that stand still.
pub const NUMBERS: &[&str] = &[
    "pg_backend_pid()",
    "(txid_current() % 1000)",
    "(extract(epoch FROM now())::int8 % 1000)",
    "inet_client_port()",
    "7",
];

/// Times, texts and numbers that are others at each evaluation.
const VOLATILE_TIMES: &[&str] = &["now() + random() * interval '1 hour'", "to_timestamp(random() * 1e9)"];
const VOLATILE_TEXTS: &[&str] = &[
    "gen_random_uuid()::text",
    "md5(random()::text)",
    "public.uuid_generate_v4()::text",
    "encode(gen_random_bytes(8), 'hex')",
];
const VOLATILE_NUMBERS: &[&str] =
    &["random()", "nextval('loose_seq')", "nextval('public.loose_seq'::regclass)", "-random()"];

/// Statements: `@t`, `@x` and `@n` stand for a time, a text and a number that stand still, `@T`, `@X` and `@N` for any,
/// `@k` for a new key and `@o` for an old one.
const TEMPLATES: &[&str] = &[
    "INSERT INTO plain (k, at, t, f) VALUES (@k, @T, @X, @N)",
    "INSERT INTO plain (k, at, t, f) VALUES (@k, @T, @X, @N), (@k, @T, @X, @N), (@k, DEFAULT, 'x', 0)",
    "INSERT INTO plain (k, at) VALUES (@k, 'now'), (@k, 'today')",
    "INSERT INTO plain (k, d, ts, ti, tz) VALUES (@k, 'now', 'now', 'now', 'now')",
    "INSERT INTO plain (k, d, ts, ti, tz) SELECT @k, 'now', 'today', 'now', 'now'",
    "INSERT INTO plain (k, d, ts) VALUES (@k, @T, @T) RETURNING k, now(), (xmax = 0) AS fresh",
    "INSERT INTO plain (k, at, t, f) SELECT @k, @T, @X, @N",
    "INSERT INTO plain (k, at, t, f) SELECT k + @k, @t, @x, @n FROM src WHERE k < 4 AND at < @t",
    "WITH x (a, b) AS (SELECT @T, @N) INSERT INTO plain (k, at, f) SELECT @k, a, b FROM x",
    "WITH x AS (SELECT now(), @k AS k) INSERT INTO plain (k, at) SELECT x.k, x.now FROM x",
    "WITH x AS (INSERT INTO dated (k) VALUES (@k) RETURNING k, made) INSERT INTO plain (k, at) SELECT k, made FROM x",
    "UPDATE plain SET at = @t, t = @x, f = @n WHERE k % 7 = 3",
    "UPDATE plain SET (at, t) = (@t, @x) WHERE k = @o RETURNING k, at",
    "UPDATE plain p SET at = s.at, d = CURRENT_DATE FROM src s WHERE s.k = p.k AND p.at IS DISTINCT FROM @t",
    "UPDATE plain SET at = (SELECT max(at) FROM src WHERE at < @t), ts = 'now' WHERE k < 10",
    "UPDATE plain SET t = CASE WHEN at < @t THEN 'old' ELSE @x END WHERE k % 5 = 1",
    "DELETE FROM plain WHERE at < @t - interval '100 years' OR k = @o",
    "DELETE FROM plain USING src WHERE src.k = plain.k AND plain.at > @t + interval '1 day'",
    "INSERT INTO dated (k) VALUES (@k)",
    "INSERT INTO dated VALUES (@k), (@k)",
    "INSERT INTO dated VALUES (@k, DEFAULT, DEFAULT, DEFAULT)",
    "INSERT INTO dated (k, made, n) VALUES (@k, @T, DEFAULT) RETURNING *",
    "INSERT INTO dated (k) SELECT k + @k FROM src WHERE k < 4",
    "INSERT INTO dated SELECT @k",
    "INSERT INTO dated (k, made) SELECT DISTINCT k + @k, @t FROM src UNION SELECT @k, NULL ORDER BY 1",
    "INSERT INTO dated (k) VALUES (@o) ON CONFLICT (k) DO UPDATE SET made = DEFAULT, day = 'today', n = dated.n + 1",
    "INSERT INTO dated (k) VALUES (@o), (@k) ON CONFLICT (k) DO UPDATE SET made = @t, day = EXCLUDED.day",
    "INSERT INTO dated (k) VALUES (@o) ON CONFLICT (k) DO UPDATE SET made = @T, n = (10 * random())::int",
    "UPDATE dated SET made = DEFAULT, local = DEFAULT, n = DEFAULT WHERE k % 3 = 0",
    "UPDATE dated SET (made, short) = ROW (DEFAULT, DEFAULT) WHERE k = @o",
    "INSERT INTO numbered (k) VALUES (@k), (@k)",
    "INSERT INTO numbered (k, id) VALUES (@k, DEFAULT) RETURNING *",
    "INSERT INTO numbered DEFAULT VALUES",
    "INSERT INTO numbered (k) SELECT k FROM src ORDER BY k LIMIT 3",
    "INSERT INTO always (k) VALUES (@k)",
    "INSERT INTO always VALUES (DEFAULT, @k), (DEFAULT, @k)",
    "INSERT INTO always DEFAULT VALUES RETURNING id",
    "INSERT INTO always (id, k) OVERRIDING SYSTEM VALUE VALUES (DEFAULT, @k)",
    "INSERT INTO by_default (k) VALUES (@k)",
    "INSERT INTO token (k) VALUES (@k), (@k)",
    "INSERT INTO token (k, u, r) VALUES (@k, DEFAULT, DEFAULT)",
    "INSERT INTO token DEFAULT VALUES",
    "INSERT INTO stamped (k) VALUES (@k)",
    "INSERT INTO stamped (k, s) VALUES (@k, 'now'), (@k, DEFAULT)",
    "INSERT INTO \"Odd Name\" (k) VALUES (@k)",
    "INSERT INTO \"Odd Name\" VALUES (DEFAULT, @k)",
    "INSERT INTO public.\"Odd Name\" AS o (K) VALUES (@k) RETURNING o.\"Made At\"",
    "INSERT INTO parted (k) VALUES (@k)",
    "INSERT INTO called (k) VALUES (@k), (@k)",
    "INSERT INTO seen (k, at, t) VALUES (@k, @T, @X)",
    "MERGE INTO dated d USING src s ON d.k = s.k WHEN MATCHED AND d.made < @t THEN UPDATE SET made = @t, day = DEFAULT \
     WHEN NOT MATCHED THEN INSERT (k, local) VALUES (s.k, DEFAULT)",
    "MERGE INTO dated d USING (VALUES (@k)) s (k) ON d.k = s.k WHEN NOT MATCHED THEN INSERT (k, made) VALUES (s.k, @t)",
    "MERGE INTO numbered d USING (SELECT 1 AS k) s ON false WHEN NOT MATCHED THEN INSERT VALUES (DEFAULT, DEFAULT, s.k)",
    "CREATE TABLE made_@k AS SELECT @T AS a, @X AS b, @N AS c",
    "CREATE TABLE made_@k AS SELECT k, @t, @x AS b, now() FROM src",
    "SELECT now(), @T AS t, @X INTO made_@k",
    "SELECT keep(@k, @T, @X)",
    "SELECT setval('loose_seq', 1000000 + (1000 * random())::int)",
    "CALL keeping(@k, @T, @X)",
    "PREPARE p@k (int) AS INSERT INTO plain (k, at, t) VALUES ($1, now(), @x)",
    "PREPARE p@k AS INSERT INTO dated (k) VALUES ($1)",
    "PREPARE p@k AS INSERT INTO token (k, r) VALUES ($1, random()), ($1 + 100000, DEFAULT)",
    "EXECUTE @p (@k)",
    "EXECUTE @p (@k)",
    "EXECUTE @p (@k)",
    "UPDATE plain SET t = 'today' WHERE k = @o -- now()",
    "INSERT INTO plain (k, t) VALUES (@k, 'it''s now() or \"never\"')",
    "UPDATE plain SET at = now() WHERE t = 'today' OR at < 'yesterday' AND d <> 'today'",
    "DELETE FROM plain p WHERE p.at > 'tomorrow' OR p.ts = 'now' OR t = 'now' AND k = @o",
    "UPDATE plain SET at = now() FROM src WHERE plain.at = 'now'",
    "INSERT INTO stock.items AS i (sku) VALUES ('a@k'), (DEFAULT) RETURNING *",
    "INSERT INTO stock /* of */ . items DEFAULT VALUES",
    "INSERT INTO touched (k) VALUES (@k)",
    "INSERT INTO marked (k) VALUES (@k)",
    "UPDATE touched SET k = DEFAULT WHERE k = @o",
    "UPDATE plain SET f = random()",
    "DELETE FROM plain a USING plain b WHERE a.ctid < b.ctid AND a.k = b.k",
];

/// Draws statements.
pub struct Writer {
    rng: Rng,
    /// The last key given out.
    key: u64,
    prepared: Vec<String>,
}

impl Writer {
    /// All that it writes follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Writer { rng: Rng::new(seed), key: 1000, prepared: Vec::new() }
    }

    /// The next statement.
    pub fn statement(&mut self) -> String {
        loop {
            let template = self.pick(TEMPLATES);
            if template.contains("@p") && self.prepared.is_empty() {
                continue;
            }
            let text = self.fill(template);
            if let Some(rest) = text.strip_prefix("PREPARE ") {
                self.prepared.extend(rest.split_whitespace().next().map(str::to_owned));
            }
            return text;
        }
    }

    fn fill(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once('@') {
            out += before;
            let any = self.rng.chance(1, 3);
            match behind.as_bytes()[0] {
                b'k' => {
                    self.key += 1;
                    out += &self.key.to_string();
                }
                b'o' => out += &(1001 + self.rng.below(self.key - 1000 + 1)).to_string(),
                b'p' => out += &self.pick_prepared(),
                b'T' if any => out += self.pick(VOLATILE_TIMES),
                b'X' if any => out += self.pick(VOLATILE_TEXTS),
                b'N' if any => out += self.pick(VOLATILE_NUMBERS),
                b't' | b'T' => out += self.pick(TIMES),
                b'x' | b'X' => out += self.pick(TEXTS),
                b'n' | b'N' => out += self.pick(NUMBERS),
                other => panic!("@{} in {template}", char::from(other)),
            }
            rest = &behind[1..];
        }
        out + rest
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.rng.below(from.len() as u64) as usize]
    }

    fn pick_prepared(&mut self) -> String {
        self.prepared[self.rng.below(self.prepared.len() as u64) as usize].clone()
    }
}

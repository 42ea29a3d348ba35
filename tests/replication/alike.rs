//! What servers would evaluate differently: afterwards all of them have the same rows, or the client was refused.

use super::servers::Servers;
use super::support::proxy::Proxy;
use super::support::wire::frontend::{Frontend, Target};
use super::support::wire::{Connection, Login};
use super::{error, kinds};

const SCHEMA: &str = "CREATE TABLE event (id serial PRIMARY KEY, what text, at timestamptz DEFAULT now(), \
                          token uuid DEFAULT gen_random_uuid());
                      CREATE TABLE plain (a int, b text, at timestamptz, day date);
                      CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY, at timestamp DEFAULT LOCALTIMESTAMP, n int);
                      CREATE SEQUENCE numbers";

fn client(proxy: &Proxy) -> Connection {
    Connection::login(proxy.address(), &Login::new("postgres", "postgres")).expect("a login")
}

/// Servers whose sequences, clocks and chance do not agree by accident.
fn prepared(count: usize) -> (Servers, Proxy) {
    let servers = Servers::start(count);
    let proxy = servers.proxy().start();
    let mut client = client(&proxy);
    for statement in SCHEMA.split(';') {
        assert_eq!(kinds(&client.query(statement).expect("an answer")), "CZ", "{statement}");
    }
    (servers, proxy)
}

/// One batch of the extended protocol, with values in text.
fn batch(name: &str, sql: &str, values: &[&str]) -> Vec<Frontend> {
    let parameters = values.iter().map(|value| Some((*value).to_owned())).collect();
    vec![
        Frontend::parse(name, sql),
        Frontend::Describe(Target::Statement, name.into()),
        Frontend::Bind { portal: String::new(), statement: name.into(), parameters, formats: Vec::new() },
        Frontend::execute(""),
        Frontend::Sync,
    ]
}

fn run(client: &mut Connection, messages: &[Frontend]) -> String {
    client.send_all(messages).expect("a write");
    let answer = client.read_to_ready().expect("an answer");
    match answer.iter().find(|message| message.kind == b'E') {
        Some(_) => error(&answer),
        None => kinds(&answer),
    }
}

/// Writes, with how many rows each changes; a statement may be run as a Query and as a batch.
const WRITES: [&str; 17] = [
    "INSERT INTO event (what) VALUES ('one')",
    "INSERT INTO event (what) VALUES ('two'), ('three') RETURNING id, at",
    "INSERT INTO event DEFAULT VALUES",
    "INSERT INTO event (what, at) VALUES ('now', 'now')",
    "INSERT INTO event (id, what) VALUES (DEFAULT, 'default'), (DEFAULT, 'again')",
    "INSERT INTO plain VALUES (1, 'x', now(), CURRENT_DATE), (2, random()::text, clock_timestamp(), 'today')",
    "INSERT INTO plain SELECT n, 'series', now(), CURRENT_DATE FROM generate_series(1, 5) n",
    "INSERT INTO plain (a, b) VALUES (nextval('numbers'), gen_random_uuid())",
    "INSERT INTO made (n) VALUES (1) RETURNING *",
    "INSERT INTO made (n) SELECT n FROM generate_series(1, 5) n",
    "INSERT INTO plain (a, at) SELECT id, at FROM event",
    "UPDATE plain SET at = now(), day = DEFAULT WHERE a = 1",
    "UPDATE plain SET b = version() WHERE a = 2",
    "WITH w AS (INSERT INTO plain VALUES (7, 'with', now()) RETURNING a) INSERT INTO made (n) SELECT a FROM w",
    "DELETE FROM plain WHERE at > now() + interval '1 day'",
    "INSERT INTO event (id, what) VALUES (1, 'conflict') ON CONFLICT (id) DO UPDATE SET at = now(), what = 'changed'",
    "SELECT nextval('numbers')",
];

#[test]
fn both_protocols_leave_the_same_everywhere() {
    let (servers, proxy) = prepared(3);
    let mut client = client(&proxy);
    for begin in ["", "BEGIN"] {
        for text in WRITES {
            if !begin.is_empty() {
                client.query(begin).unwrap();
            }
            let answer = client.query(text).unwrap();
            assert!(answer.iter().all(|message| message.kind != b'E'), "{text}: {}", error(&answer));
            let answer = run(&mut client, &batch("", text, &[]));
            assert!(answer.starts_with("1t"), "{text}: {answer}");
            if !begin.is_empty() {
                assert_eq!(kinds(&client.query("COMMIT").unwrap()), "CZ", "{text}");
            }
        }
    }
    servers.assert_alike();
    assert_eq!(client.value("SELECT count(*) FROM plain WHERE at IS NULL AND b = 'x'"), "0");
    let sequences = "SELECT string_agg(sequencename || ' ' || last_value, ' ' ORDER BY 1) FROM pg_sequences";
    let values = servers.ask("postgres", sequences);
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
}

/// `now()` is one value in a transaction, and stands still while it lasts.
#[test]
fn the_present_time_stands_still_in_a_transaction() {
    let (servers, proxy) = prepared(2);
    let mut client = client(&proxy);
    client.query("BEGIN").unwrap();
    client.query("INSERT INTO plain (a, at) VALUES (1, now())").unwrap();
    client.query("INSERT INTO plain (a, at) VALUES (2, CURRENT_TIMESTAMP)").unwrap();
    run(&mut client, &batch("", "INSERT INTO plain (a, at) VALUES ($1::int, now())", &["3"]));
    client.query("COMMIT").unwrap();
    // A text of several statements is one transaction, and so is a batch.
    client.query("INSERT INTO plain (a, at) VALUES (11, now()); INSERT INTO plain (a, at) VALUES (12, now())").unwrap();
    let insert = |number: &str| {
        let mut messages = batch("", "INSERT INTO plain (a, at) VALUES ($1::int, now())", &[number]);
        messages.pop();
        messages
    };
    let mut messages = [insert("21"), insert("22")].concat();
    messages.push(Frontend::Sync);
    assert_eq!(run(&mut client, &messages), "1tn2C1tn2CZ");
    for (from, count) in [(1, 3), (11, 2), (21, 2)] {
        let sql =
            format!("SELECT count(*) || ' ' || count(DISTINCT at) FROM plain WHERE a BETWEEN {from} AND {from} + 9");
        assert_eq!(client.value(&sql), format!("{count} 1"));
    }
    servers.assert_alike();
}

#[test]
fn what_is_prepared_gets_new_constants_each_time() {
    let (servers, proxy) = prepared(3);
    let mut client = client(&proxy);
    // By SQL.
    client.query("PREPARE p (text) AS INSERT INTO event (what, at) VALUES ($1, clock_timestamp())").unwrap();
    client.query("PREPARE q AS UPDATE plain SET at = now()").unwrap();
    for _ in 0..3 {
        assert_eq!(kinds(&client.query("EXECUTE p ('sql')").unwrap()), "CZ");
        assert_eq!(kinds(&client.query("EXECUTE q").unwrap()), "CZ");
    }
    assert_eq!(client.value("SELECT count(DISTINCT at) || ' ' || count(DISTINCT id) FROM event"), "3 3");
    // By messages, and as drivers do it: described first, then run many times.
    let sql = "INSERT INTO event (what) VALUES ($1) RETURNING id";
    client
        .send_all(&[Frontend::parse("s", sql), Frontend::Describe(Target::Statement, "s".into()), Frontend::Sync])
        .unwrap();
    let described = client.read_to_ready().unwrap();
    assert_eq!(kinds(&described), "1tTZ");
    assert_eq!(described[1].body, [0, 1, 0, 0, 0, 25], "the client sees its own parameters alone");
    for begin in [false, true] {
        if begin {
            client.query("BEGIN").unwrap();
        }
        for number in 0..3 {
            let parameters = vec![Some(format!("message {number}"))];
            let bind = Frontend::Bind { portal: "".into(), statement: "s".into(), parameters, formats: vec![] };
            assert_eq!(run(&mut client, &[bind, Frontend::execute(""), Frontend::Sync]), "2DCZ");
        }
    }
    client.query("COMMIT").unwrap();
    // Several in one batch, without waiting.
    let bind = |text: &str| {
        let parameters = vec![Some(text.to_owned())];
        [
            Frontend::Bind { portal: "".into(), statement: "s".into(), parameters, formats: vec![] },
            Frontend::execute(""),
        ]
    };
    let mut messages: Vec<Frontend> = (0..20).flat_map(|number| bind(&number.to_string())).collect();
    messages.push(Frontend::Sync);
    assert_eq!(run(&mut client, &messages), "2DC".repeat(20) + "Z");
    assert_eq!(client.value("SELECT count(DISTINCT id) || ' ' || count(DISTINCT token) FROM event"), "29 29");
    // Its table gets another default: that is seen, and nothing is written that differs.
    let refused = client.query("ALTER TABLE event ADD COLUMN more timestamptz DEFAULT clock_timestamp()").unwrap();
    assert!(error(&refused).starts_with("0A000"), "existing rows would differ");
    client.query("ALTER TABLE event ADD COLUMN more timestamptz").unwrap();
    client.query("ALTER TABLE event ALTER COLUMN more SET DEFAULT clock_timestamp()").unwrap();
    let refused = run(&mut client, &[&bind("late")[..], &[Frontend::Sync]].concat());
    assert_eq!(refused, "0A000 the tables of prepared statement \"s\" have changed");
    let refused = client.query("EXECUTE p ('late')").unwrap();
    assert_eq!(error(&refused), "0A000 the tables of prepared statement \"p\" have changed");
    client.query("DEALLOCATE p").unwrap();
    client.query("PREPARE p (text) AS INSERT INTO event (what) VALUES ($1)").unwrap();
    assert_eq!(kinds(&client.query("EXECUTE p ('late')").unwrap()), "CZ");
    assert_eq!(client.value("SELECT count(*) FROM event WHERE more IS NOT NULL"), "1");
    servers.assert_alike();
}

/// What cannot be made alike is refused with a hint, and fails its block like any error.
#[test]
fn what_cannot_be_made_alike_is_refused() {
    let (servers, proxy) = prepared(2);
    let mut client = client(&proxy);
    client.query("CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := clock_timestamp(); RETURN NEW; END $$").unwrap();
    client.query("CREATE TABLE watched (a int, at timestamptz)").unwrap();
    client.query("INSERT INTO watched VALUES (1)").unwrap();
    assert_eq!(kinds(&client.query("UPDATE watched SET a = 2").unwrap()), "CZ");
    client.query("CREATE TRIGGER stamp BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION stamp()").unwrap();
    let refusals = [
        "INSERT INTO plain SELECT n, random()::text FROM generate_series(1, 3) n",
        "UPDATE plain SET b = gen_random_uuid()",
        "DELETE FROM plain WHERE ctid = '(0,1)'",
        "UPDATE watched SET a = 3",
        "SELECT lo_creat(-1)",
        "INSERT INTO event (what) SELECT 'x' FROM generate_series(1, 3)",
    ];
    for text in refusals {
        let refused = client.query(text).unwrap();
        assert_eq!(kinds(&refused), "EZ", "{text}");
        assert!(error(&refused).starts_with("0A000 "), "{text}: {}", error(&refused));
        assert!(refused[0].field(b'H').is_some(), "{text} has a hint");
        assert_eq!(refused[1].transaction_status(), b'I');
        let refused = run(&mut client, &batch("", text, &[]));
        assert!(refused.starts_with("0A000 "), "{text}: {refused}");
        client.query("BEGIN").unwrap();
        client.query("INSERT INTO plain (a) VALUES (1)").unwrap();
        assert_eq!(client.query(text).unwrap().last().unwrap().transaction_status(), b'E', "{text}");
        assert!(error(&client.query("SELECT 1").unwrap()).starts_with("25P02"));
        assert_eq!(client.query("COMMIT").unwrap()[0].tag(), "ROLLBACK");
        client.query("BEGIN").unwrap();
        client.query("INSERT INTO plain (a) VALUES (1)").unwrap();
        assert!(run(&mut client, &batch("", text, &[])).starts_with("0A000 "));
        assert_eq!(client.query("COMMIT").unwrap()[0].tag(), "ROLLBACK");
    }
    // A value that is the present time only where it is read as one.
    let text = "INSERT INTO plain (b, at) VALUES ($1, $2)";
    assert_eq!(run(&mut client, &batch("", text, &["now", "2026-01-01"])), "1tn2CZ");
    assert!(run(&mut client, &batch("", text, &["x", "now"])).starts_with("0A000 the value of $2"));
    // A client's own mistakes are PostgreSQL's to tell.
    for (text, code) in [
        ("INSERT INTO plain VALUES (now(), )", "42601"),
        ("INSERT INTO nowhere VALUES (now())", "42P01"),
        ("INSERT INTO plain (c) VALUES (now())", "42703"),
        ("INSERT plain SET a = now()", "42601"),
        ("INSERT INTO plain (at) VALUES (nextval('nothing')::text::timestamptz)", "42P01"),
    ] {
        let refused = client.query(text).unwrap();
        assert!(error(&refused).starts_with(code), "{text}: {}", error(&refused));
        assert_eq!(refused.last().unwrap().transaction_status(), b'I');
        assert!(run(&mut client, &batch("", text, &[])).starts_with(code), "{text}");
        client.query("BEGIN").unwrap();
        assert!(error(&client.query(text).unwrap()).starts_with(code), "{text}");
        assert_eq!(client.query("COMMIT").unwrap()[0].tag(), "ROLLBACK");
    }
    servers.assert_alike();
}

/// With the parameter off, everything runs as it does with pgpool-II: differently.
#[test]
fn an_operator_may_let_it_through() {
    let servers = Servers::start(2);
    let proxy = servers.proxy().set("refuse_unlike_writes", "off").start();
    let mut client = client(&proxy);
    client.query("CREATE TABLE t (a int, b float8)").unwrap();
    let insert = "INSERT INTO t SELECT n, random() FROM generate_series(1, 9) n";
    assert_eq!(kinds(&client.query(insert).unwrap()), "CZ");
    assert_eq!(run(&mut client, &batch("", insert, &[])), "1tn2CZ");
    client.query("INSERT INTO t VALUES (0, random())").unwrap();
    let sums = servers.ask("postgres", "SELECT sum(b) FROM t WHERE a > 0");
    assert_ne!(sums[0], sums[1]);
    let ones = servers.ask("postgres", "SELECT b FROM t WHERE a = 0");
    assert_eq!(ones[0], ones[1], "what can be made alike still is");
}

/// `insert_lock`: rows that take values of a sequence by themselves, beside sessions that take single ones.
#[test]
fn sequences_go_alike_under_locks() {
    let (servers, proxy) = prepared(2);
    let address = proxy.address();
    let lock = "CREATE SCHEMA pgpool_catalog; CREATE TABLE pgpool_catalog.insert_lock (reloid oid PRIMARY KEY)";
    let mut first = client(&proxy);
    first.query("CREATE TABLE many (id serial, who int)").unwrap();
    for round in 0..2 {
        let writers: Vec<_> = (0..6)
            .map(|number| {
                std::thread::spawn(move || {
                    let mut client = Connection::login(address, &Login::new("postgres", "postgres")).unwrap();
                    let who = format!("{round}{number}");
                    for turn in 0..15 {
                        let single = format!("INSERT INTO many (who) VALUES ({who})");
                        let several = format!("INSERT INTO many (who) SELECT {who} FROM generate_series(1, 20)");
                        let answer = match (number + turn) % 5 {
                            0 => kinds(&client.query(&several).unwrap()),
                            1 => run(&mut client, &batch("", &several, &[])),
                            2 => kinds(&client.query("SELECT nextval('many_id_seq')").unwrap()),
                            3 => run(&mut client, &batch("", &single, &[])),
                            _ => kinds(&client.query(&single).unwrap()),
                        };
                        assert!(answer.ends_with('Z'), "{answer}");
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        if round == 0 {
            // From now on, pgpool-II's rows are locked too.
            for statement in lock.split(';') {
                assert_eq!(kinds(&first.query(statement).unwrap()), "CZ");
            }
        }
    }
    first.send(&Frontend::query("COPY many (who) FROM STDIN")).unwrap();
    assert_eq!(first.read().unwrap().kind, b'G');
    first.send_all(&[Frontend::CopyData(b"1\n2\n3\n".to_vec()), Frontend::CopyDone]).unwrap();
    assert_eq!(kinds(&first.read_to_ready().unwrap()), "CZ");
    servers.assert_alike();
    assert_eq!(servers.ask("postgres", "SELECT count(*) FROM pgpool_catalog.insert_lock"), ["1", "1"]);
    drop(proxy);
    let proxy = servers.proxy().set("insert_lock", "off").start();
    let mut client = client(&proxy);
    let several = "INSERT INTO many (who) SELECT 1 FROM generate_series(1, 20)";
    assert!(error(&client.query(several).unwrap()).starts_with("0A000"));
    assert_eq!(kinds(&client.query(&format!("/*INSERT LOCK*/ {several}")).unwrap()), "CZ");
    assert_eq!(kinds(&client.query(&format!("/*NO INSERT LOCK*/ {several}")).unwrap()), "CZ");
    assert_eq!(kinds(&client.query("INSERT INTO many (who) VALUES (1)").unwrap()), "CZ");
    servers.assert_alike();
}

/// What libpq calls `lo_creat` and `lo_create`, and what it is for.
#[test]
fn large_objects_have_the_same_numbers() {
    let (servers, proxy) = prepared(3);
    // Their counters are apart.
    servers.direct(1, "postgres").query("SELECT lo_unlink(lo_creat(-1)) FROM generate_series(1, 50)").unwrap();
    let mut client = client(&proxy);
    let (creat, create, import, unlink) = (957, 715, 764, 964);
    let call = |oid: u32, argument: &str| Frontend::FunctionCall { oid, arguments: vec![Some(argument.to_owned())] };
    for begin in [false, true] {
        if begin {
            client.query("BEGIN").unwrap();
        }
        for (function, argument) in [(creat, "-1"), (create, "0"), (create, "70001")] {
            assert_eq!(run(&mut client, &[call(function, argument)]), "VZ", "{function} {argument}");
        }
        let objects = client.rows("SELECT oid FROM pg_largeobject_metadata");
        assert_eq!(objects.len(), if begin { 5 } else { 3 });
        for object in objects {
            let put = format!("SELECT lo_put({}, 0, 'content')", object[0].as_deref().unwrap());
            assert_eq!(kinds(&client.query(&put).unwrap()), "TDCZ");
        }
        assert_eq!(run(&mut client, &[call(unlink, "70001")]), "VZ");
        if begin {
            client.query("COMMIT").unwrap();
        }
        let sql =
            "SELECT count(*) || ' ' || string_agg(loid || ' ' || data::text, ' ' ORDER BY loid) FROM pg_largeobject";
        let objects = servers.ask("postgres", sql);
        assert!(objects[0].starts_with(if begin { "4 " } else { "2 " }), "{objects:?}");
        assert!(objects.iter().all(|object| *object == objects[0]), "{objects:?}");
    }
    let refused = run(&mut client, &[call(import, "/etc/motd")]);
    assert!(refused.starts_with("0A000 a large object would have"), "{refused}");
    assert_eq!(kinds(&client.query("SELECT lo_create(70002)").unwrap()), "TDCZ");
    assert!(error(&client.query("SELECT lo_import('/etc/motd')").unwrap()).starts_with("0A000"));
    assert!(error(&client.query("SELECT lo_from_bytea(0, 'x')").unwrap()).starts_with("0A000"));
}

"""A scripted session of psycopg 3, whose libpq is the newest. `tests/drivers/run --suite psycopg` installs the driver and runs it
against PostgreSQL itself and a proxy; by hand:
`PGHOST=127.0.0.1 PGPORT=5432 PGUSER=postgres PGDATABASE=postgres python session.py`.

Each step prints `step: result`. A result holds nothing that changes from run to run, so that transcripts can be compared line by
line. A step that fails prints `step: FAILED`, says why on standard error, and makes the exit status 1.
"""

import asyncio
import datetime
import decimal
import faulthandler
import hashlib
import sys
import threading
import traceback
import uuid

import psycopg
from psycopg.types.json import Jsonb

LARGE_BYTES = 10 * 1024 * 1024
STEP_TIMEOUT_SECONDS = 20
SLEEP = "DO $$ BEGIN RAISE NOTICE 'started'; PERFORM pg_sleep(15); END $$"
STEPS = {}


def step(name):
    """Registers a step under its name; it is given a connection of its own."""

    def register(function):
        STEPS[name] = function
        return function

    return register


def connect(**options):
    return psycopg.connect(autocommit=True, application_name="drivers-psycopg", **options)


def sqlstate(work):
    try:
        work()
    except psycopg.Error as error:
        return error.sqlstate or type(error).__name__
    return "no error"


def one(connection, query, *parameters):
    return connection.execute(query, parameters or None).fetchone()[0]


def on_primary(connection, expression):
    """The value of an expression where writes go: what is not a query cannot be answered by a standby."""
    heard = []
    connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    connection.execute(f"DO $$ BEGIN RAISE NOTICE '%', {expression}; END $$")
    return heard[0]


@step("server version")
def server_version(connection):
    return connection.info.server_version


@step("protocol 3.2 asked for")
def newer_protocol(_):
    with connect(max_protocol_version="3.2") as connection:
        answer = one(connection, "SELECT 32")
        state = sqlstate(lambda: interrupted(connection, connection.cancel_safe))
        return f"{answer}, protocol {connection.pgconn.full_protocol_version}, {state}"


@step("protocol 3.2 and nothing else")
def only_newer_protocol(_):
    return sqlstate(lambda: connect(min_protocol_version="3.2", max_protocol_version="3.2").close())


@step("many types, text and binary")
def many_types(connection):
    sent = [True, 32767, 2**31 - 1, 2**63 - 1, 1.5, decimal.Decimal("12345678901234567890.123456789"), "žluťoučký 🐘", b"\x00\x01\xfe\xff",
            datetime.date(2026, 2, 28), datetime.datetime(2026, 2, 28, 12, 34, 56, 789000), datetime.timedelta(days=3, hours=4),
            [1, None, 3], uuid.UUID("6f1b2a3c-4d5e-6f70-8192-a3b4c5d6e7f8"), None]
    query = "SELECT " + ", ".join(["%s"] * len(sent))
    rows = [connection.cursor(binary=binary).execute(query, sent).fetchone() for binary in (False, True)]
    assert rows[0] == rows[1] == tuple(sent), rows
    return one(connection, "SELECT %s", Jsonb({"a": [1, None, "x"]})), len(sent)


@step("prepared statement")
def prepared(connection):
    return [one_prepared(connection, value) for value in (1, 20, 300, 4000, 50000, 600000, 7000000)]


def one_prepared(connection, value):
    return connection.execute("SELECT %s::int * 3", (value,), prepare=True).fetchone()[0]


@step("pipeline")
def pipeline(connection):
    connection.execute("DROP TABLE IF EXISTS drivers_psycopg; CREATE TABLE drivers_psycopg (id int PRIMARY KEY, v text)")
    with connection.pipeline():
        cursors = [connection.execute("INSERT INTO drivers_psycopg VALUES (%s, %s) RETURNING id", (i, f"v{i}")) for i in range(500)]
        counts = connection.execute("SELECT count(*) FROM drivers_psycopg")
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(500))
        return counts.fetchone()[0]


@step("pipeline with an error")
def broken_pipeline(connection):
    states = []
    with connection.pipeline() as pipe:
        good = connection.execute("SELECT 1")
        # Slow, so that the error does not come back while psycopg still sends: it would raise it from there.
        connection.execute("SELECT 1 / length(pg_sleep(0.2)::text)")
        lost = connection.execute("SELECT 2")
        states.append(sqlstate(pipe.sync))
        states.append(good.fetchone()[0])
        states.append(sqlstate(lost.fetchone))
        after = connection.execute("SELECT 3")
        pipe.sync()
        states.append(after.fetchone()[0])
    return *states, one(connection, "SELECT 4")


@step("executemany")
def executemany(connection):
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO drivers_psycopg VALUES (%s, %s)", [(1000 + i, "many") for i in range(1000)])
    state = sqlstate(lambda: cursor.executemany("INSERT INTO drivers_psycopg VALUES (%s, 'x')", [(5000,), (1000,), (5001,)]))
    return cursor.rowcount, state, one(connection, "SELECT count(*) FROM drivers_psycopg WHERE id >= 1000")


@step("errors and recovery")
def errors(connection):
    texts = ("SELEC 1", "SELECT 1/0", "SELECT * FROM no_such_table", "INSERT INTO drivers_psycopg VALUES (1)")
    return [sqlstate(lambda text=text: connection.execute(text)) for text in texts], one(connection, "SELECT 7")


@step("nested transactions")
def transactions(connection):
    with connection.transaction():
        connection.execute("INSERT INTO drivers_psycopg VALUES (10001, 'kept')")
        state = sqlstate(lambda: failing_savepoint(connection))
    return state, connection.execute("SELECT id FROM drivers_psycopg WHERE id > 10000").fetchall()


def failing_savepoint(connection):
    with connection.transaction():
        connection.execute("INSERT INTO drivers_psycopg VALUES (10002, 'undone')")
        connection.execute("SELECT 1/0")


@step("two-phase commit")
def two_phase(_):
    with psycopg.connect() as connection:
        name = connection.xid(1, "drivers", "psycopg")
        connection.tpc_begin(name)
        connection.execute("INSERT INTO drivers_psycopg VALUES (20001, 'prepared')")
        connection.tpc_prepare()
        connection.tpc_commit()
        connection.tpc_begin(name)
        connection.execute("INSERT INTO drivers_psycopg VALUES (20002, 'rolled back')")
        connection.tpc_prepare()
        connection.tpc_rollback()
        return connection.execute("SELECT id FROM drivers_psycopg WHERE id > 20000").fetchall()


@step("server-side cursor")
def server_cursor(connection):
    with connection.transaction(), connection.cursor("named", scrollable=True) as cursor:
        cursor.execute("SELECT generate_series(1, 100)")
        first = cursor.fetchmany(10)
        cursor.scroll(40)
        middle = cursor.fetchone()
        cursor.scroll(0, mode="absolute")
        return len(first), middle[0], len(cursor.fetchall())


@step("server-side cursor with hold")
def held_cursor(connection):
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 100)")
        connection.execute("SELECT 1")
        return len(cursor.fetchmany(30)), len(cursor.fetchall())


@step("rows one by one and in chunks")
def streamed(connection):
    by_row = sum(row[0] for row in connection.cursor().stream("SELECT generate_series(1, 5000)"))
    by_chunk = sum(row[0] for row in connection.cursor().stream("SELECT generate_series(1, 5000)", size=100))
    return by_row, by_chunk


@step("large row")
def large_row(connection):
    large = hashlib.sha256(b"seed").digest() * (LARGE_BYTES // 32)
    back = one(connection, "SELECT %b::bytea", large)
    assert back == large
    return len(back), hashlib.sha256(back).hexdigest()


@step("copy in")
def copy_in(connection):
    connection.execute("DROP TABLE IF EXISTS drivers_psycopg_copy; CREATE TABLE drivers_psycopg_copy (id int8, v text)")
    cursor = connection.cursor()
    with cursor.copy("COPY drivers_psycopg_copy FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int8", "text"])
        for number in range(20_000):
            copy.write_row((number, f"value {number}"))
    return cursor.rowcount, one(connection, "SELECT sum(id)::int8 FROM drivers_psycopg_copy")


@step("copy out")
def copy_out(connection):
    digest = hashlib.sha256()
    with connection.cursor().copy("COPY (SELECT * FROM drivers_psycopg_copy ORDER BY id) TO STDOUT") as copy:
        for block in copy:
            digest.update(block)
    return digest.hexdigest()


@step("copy in given up")
def copy_in_given_up(connection):
    def give_up():
        with connection.cursor().copy("COPY drivers_psycopg_copy FROM STDIN") as copy:
            copy.write("1\tone\n")
            raise psycopg.DataError("enough")

    return sqlstate(give_up), one(connection, "SELECT count(*) FROM drivers_psycopg_copy")


@step("left in the middle of a copy")
def left_in_copy(_):
    victim = connect()
    victim.execute("CREATE TABLE drivers_psycopg_left (x int)")
    victim.pgconn.send_query(b"COPY drivers_psycopg_left FROM STDIN")
    while victim.pgconn.is_busy():
        victim.pgconn.consume_input()
    victim.pgconn.get_result()
    victim.pgconn.finish()  # sends Terminate while the server waits for data
    with connect(options="-c lock_timeout=10s") as other:
        other.execute("DROP TABLE drivers_psycopg_left")
    return "its locks are gone"


@step("listen and notify")
def listen(connection):
    connection.execute("LISTEN drivers_psycopg")
    with connect() as other:
        other.execute("NOTIFY drivers_psycopg, 'from another'")
    heard = list(connection.notifies(timeout=STEP_TIMEOUT_SECONDS, stop_after=1))
    connection.execute("SELECT pg_notify('drivers_psycopg', 'from myself')")
    heard += connection.notifies(timeout=STEP_TIMEOUT_SECONDS, stop_after=1)
    assert heard[1].pid == connection.info.backend_pid
    return [(notify.channel, notify.payload) for notify in heard]


@step("process id")
def process_id(connection):
    assert on_primary(connection, "pg_backend_pid()") == str(connection.info.backend_pid)
    return "is that of the backend on the primary"


@step("reported settings")
def reported(connection):
    seen = [connection.info.parameter_status(name) for name in ("server_encoding", "client_encoding", "integer_datetimes", "TimeZone")]
    connection.execute("SET client_encoding TO latin1; SET TimeZone TO 'Asia/Tokyo'; SET application_name TO 'renamed'")
    seen += [connection.info.parameter_status(name) for name in ("client_encoding", "TimeZone", "application_name")]
    return *seen, one(connection, "SELECT 'é'")


def interrupted(connection, interrupt):
    """Runs a statement that sleeps, interrupts it as soon as it has started, and raises what it ended with."""
    started = threading.Event()
    connection.add_notice_handler(lambda _: started.set())

    def work():
        if started.wait(STEP_TIMEOUT_SECONDS):
            interrupt()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        connection.execute(SLEEP)
    finally:
        thread.join()


@step("cancel")
def cancel(connection):
    return sqlstate(lambda: interrupted(connection, connection.cancel_safe)), one(connection, "SELECT 9")


@step("cancel in the old way")
def old_cancel(connection):
    return sqlstate(lambda: interrupted(connection, connection.cancel)), one(connection, "SELECT 10")


@step("backend terminated")
def terminated(connection):
    with connect() as victim:
        terminate = f"DO $$ BEGIN PERFORM pg_terminate_backend({on_primary(victim, 'pg_backend_pid()')}); END $$"
        state = sqlstate(lambda: interrupted(victim, lambda: connection.execute(terminate)))
        return state, victim.broken, one(connection, "SELECT 11")


@step("a new session is fresh")
def fresh(_):
    with connect() as first:
        first.execute("SET work_mem = '123MB'; CREATE TEMP TABLE drivers_leak (x int); SELECT pg_advisory_lock(4714); LISTEN leak")
        first.execute("SELECT %s", (1,), prepare=True)
    expression = """current_setting('work_mem') <> '123MB' AND to_regclass('pg_temp.drivers_leak') IS NULL
        AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
        AND NOT EXISTS (SELECT FROM pg_listening_channels()) AND NOT EXISTS (SELECT FROM pg_prepared_statements)"""
    seen = []
    for _ in range(5):
        with connect() as after:
            seen += [on_primary(after, expression), one(after, f"SELECT {expression}")]
    return seen


@step("50 asynchronous sessions")
def asynchronous(_):
    async def session(tag):
        async with await psycopg.AsyncConnection.connect(autocommit=True) as connection:
            cursor = await connection.execute("SELECT %s, pg_sleep(0.01)::text", (tag,))
            return (await cursor.fetchone())[0] == tag

    async def sessions():
        return sum(await asyncio.gather(*(session(tag) for tag in range(50))))

    return asyncio.run(sessions())


def main():
    status = 0
    for name, function in STEPS.items():
        faulthandler.dump_traceback_later(STEP_TIMEOUT_SECONDS, exit=True)
        try:
            with connect() as connection:
                print(f"{name}: {function(connection)}", flush=True)
        except Exception:  # whatever it is, the next step is to be tried as well
            status = 1
            print(f"{name}: FAILED", flush=True)
            print(f"{name}: {traceback.format_exc()}", file=sys.stderr, flush=True)
    faulthandler.cancel_dump_traceback_later()
    with connect() as connection:
        connection.execute("DROP TABLE IF EXISTS drivers_psycopg, drivers_psycopg_copy")
    return status


if __name__ == "__main__":
    sys.exit(main())

// A scripted session of node-postgres. `tests/drivers/run --suite node-postgres` fetches the driver and runs it against PostgreSQL
// itself and a proxy; by hand: `npm ci && PGHOST=127.0.0.1 PGPORT=5432 PGUSER=postgres PGDATABASE=postgres node session.js`.
//
// Each step prints `step: result`. A result holds nothing that changes from run to run, so that transcripts can be compared line by
// line. A step that fails prints `step: FAILED`, says why on standard error, and makes the exit status 1.
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const { once } = require('node:events');
const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { Client, Pool, Query } = require('pg');
const Cursor = require('pg-cursor');
const copy = require('pg-copy-streams');

const LARGE_BYTES = 10 * 1024 * 1024;
const STEP_TIMEOUT_MS = 20_000;

async function connect(options = {}) {
  const client = new Client({ application_name: 'drivers-node', ...options });
  client.on('error', () => {}); // a connection that is ended on purpose reports it here as well as to its query
  await client.connect();
  return client;
}

async function withClient(work, options) {
  const client = await connect(options);
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

async function sqlstate(promise) {
  return promise.then(() => 'no error', (error) => error.code ?? error.message);
}

const steps = {
  async 'server version'(client) {
    return (await client.query('SHOW server_version')).rows[0].server_version;
  },

  async 'several statements in one query'(client) {
    const results = await client.query("SELECT 1 AS a; SELECT 'two' AS b, NULL AS c; CREATE TEMP TABLE several (x int)");
    assert.deepEqual(results.map((result) => result.command), ['SELECT', 'SELECT', 'CREATE']);
    return JSON.stringify(results.map((result) => result.rows));
  },

  async 'empty query'(client) {
    const result = await client.query('');
    return `${result.command} ${result.rows.length}`;
  },

  async 'many types'(client) {
    const sent = [true, 32767, 2147483647, '9223372036854775807', 1.5, '123456789012345678901234567890.123456789', 'žluťoučký 🐘',
      Buffer.from([0, 1, 254, 255]), '2026-02-28', '2026-02-28 12:34:56.789+00', '3 days 04:05:06', { a: [1, null, 'x'] }, [1, null, 3],
      '192.168.0.0/16', '6f1b2a3c-4d5e-6f70-8192-a3b4c5d6e7f8', '[1,5)', '(1,2)', null];
    const types = ['bool', 'int2', 'int4', 'int8', 'float8', 'numeric', 'text', 'bytea', 'date', 'timestamptz', 'interval', 'jsonb',
      'int4[]', 'cidr', 'uuid', 'int4range', 'point', 'text'];
    const list = types.map((type, index) => `$${index + 1}::${type}`);
    const asText = types.map((type, index) => (type === 'bytea' ? `encode($${index + 1}::bytea, 'hex')` : `$${index + 1}::${type}::text`));
    const values = await client.query({ text: `SELECT ${list.join(', ')}`, values: sent, rowMode: 'array' });
    assert.deepEqual(values.fields.length, types.length);
    assert.deepEqual(values.rows[0][7], sent[7]);
    assert.deepEqual(values.rows[0][11], sent[11]);
    assert.deepEqual(values.rows[0][12], sent[12]);
    const texts = await client.query({ text: `SELECT ${asText.join(', ')}`, values: sent, rowMode: 'array' });
    return JSON.stringify(texts.rows[0]);
  },

  async 'prepared statement'(client) {
    const seen = [];
    for (const value of [1, 20, 300]) {
      const result = await client.query({ name: 'thrice', text: 'SELECT $1::int * 3 AS product', values: [value] });
      seen.push(result.rows[0].product);
    }
    const known = await client.query("SELECT count(*)::int AS n FROM pg_prepared_statements WHERE name = 'thrice'");
    await client.query('DEALLOCATE thrice');
    const gone = await sqlstate(client.query({ name: 'thrice', text: 'SELECT $1::int * 3 AS product', values: [4] }));
    return `${seen.join(' ')}, ${known.rows[0].n} known, then ${gone}`;
  },

  async 'queued queries'(client) {
    const wanted = Array.from({ length: 200 }, (_, index) => index);
    const results = await Promise.all(wanted.map((value) => client.query('SELECT $1::int AS v', [value])));
    assert.deepEqual(results.map((result) => result.rows[0].v), wanted);
    return `${results.length} in order`;
  },

  async 'pipelined queries with errors among them'() {
    return withClient(async (client) => {
      const texts = Array.from({ length: 60 }, (_, index) => (index % 20 === 7 ? 'SELECT 1 / ($1::int - $1::int) AS v' : 'SELECT $1::int AS v'));
      const results = await Promise.allSettled(texts.map((text, index) => client.query(text, [index])));
      results.forEach((result, index) => {
        if (index % 20 === 7) assert.equal(result.reason.code, '22012');
        else assert.equal(result.value.rows[0].v, index);
      });
      return `${results.filter((result) => result.status === 'rejected').length} of ${results.length} refused`;
    }, { pipeline: true });
  },

  async 'insert, update, delete'(client) {
    await client.query('DROP TABLE IF EXISTS drivers_node; CREATE TABLE drivers_node (id int PRIMARY KEY, v text)');
    const counts = [];
    for (const [text, values] of [
      ["INSERT INTO drivers_node SELECT i, 'v' || i FROM generate_series(1, 100) i", []],
      ['UPDATE drivers_node SET v = $1 WHERE id <= $2', ['changed', 10]],
      ['DELETE FROM drivers_node WHERE id > $1', [90]],
      ['INSERT INTO drivers_node VALUES (101, $1) RETURNING id, v', ['returned']],
    ]) {
      const result = await client.query(text, values);
      counts.push(`${result.command} ${result.rowCount}`);
    }
    const sum = await client.query('SELECT count(*)::int AS n, sum(id)::int AS s FROM drivers_node');
    return `${counts.join(', ')}, ${sum.rows[0].n} rows, sum ${sum.rows[0].s}`;
  },

  async 'errors and recovery'(client) {
    const states = [];
    for (const text of ['SELEC 1', 'SELECT 1/0', 'SELECT * FROM no_such_table', 'INSERT INTO drivers_node VALUES (1)', 'SELECT $1::int']) {
      states.push(await sqlstate(client.query(text, text.includes('$1') ? ['not a number'] : undefined)));
    }
    const after = await client.query('SELECT 7 AS seven');
    return `${states.join(' ')}, then ${after.rows[0].seven}`;
  },

  async 'error fields'(client) {
    const error = await client.query('INSERT INTO drivers_node VALUES (1)').then(() => null, (thrown) => thrown);
    return [error.severity, error.code, error.schema, error.table, error.constraint, error.detail].join(' | ');
  },

  async 'transaction rolled back'(client) {
    await client.query('BEGIN');
    await client.query("INSERT INTO drivers_node VALUES (1000, 'gone')");
    const inside = await client.query('SELECT count(*)::int AS n FROM drivers_node WHERE id = 1000');
    await client.query('ROLLBACK');
    const outside = await client.query('SELECT count(*)::int AS n FROM drivers_node WHERE id = 1000');
    return `${inside.rows[0].n} inside, ${outside.rows[0].n} after`;
  },

  async 'failed transaction'(client) {
    await client.query('BEGIN');
    const first = await sqlstate(client.query('SELECT 1/0'));
    const second = await sqlstate(client.query('SELECT 1'));
    const end = await client.query('COMMIT');
    return `${first} ${second} ${end.command}`;
  },

  async savepoints(client) {
    await client.query('BEGIN');
    await client.query("INSERT INTO drivers_node VALUES (2001, 'kept')");
    await client.query('SAVEPOINT one');
    await client.query("INSERT INTO drivers_node VALUES (2002, 'undone')");
    const state = await sqlstate(client.query('SELECT 1/0'));
    await client.query('ROLLBACK TO SAVEPOINT one');
    await client.query('COMMIT');
    const left = await client.query('SELECT id FROM drivers_node WHERE id > 2000 ORDER BY id');
    return `${state}, left ${left.rows.map((row) => row.id).join(' ')}`;
  },

  async 'cursor with row limits'(client) {
    const cursor = client.query(new Cursor('SELECT i FROM generate_series(1, $1::int) i', [25]));
    const sizes = [];
    let sum = 0;
    for (let rows = await cursor.read(10); rows.length > 0; rows = await cursor.read(10)) {
      sizes.push(rows.length);
      sum += rows.reduce((total, row) => total + row.i, 0);
    }
    await cursor.close();
    return `${sizes.join(' ')}, sum ${sum}`;
  },

  async 'cursor closed early'(client) {
    const cursor = client.query(new Cursor('SELECT i FROM generate_series(1, 1000000) i'));
    const rows = await cursor.read(3);
    await cursor.close();
    const after = await client.query('SELECT 8 AS eight');
    return `${rows.length} rows, then ${after.rows[0].eight}`;
  },

  async 'large row'(client) {
    const blob = crypto.createHash('sha256').update('seed').digest();
    const large = Buffer.alloc(LARGE_BYTES, blob);
    const result = await client.query('SELECT $1::bytea AS back, md5($1::bytea) AS sum', [large]);
    assert.ok(result.rows[0].back.equals(large));
    return `${result.rows[0].back.length} bytes, ${result.rows[0].sum}`;
  },

  async 'large result'(client) {
    const result = await client.query("SELECT i, repeat('x', 100) AS filler FROM generate_series(1, 100000) i");
    assert.equal(result.rows[99_999].i, 100_000);
    return `${result.rows.length} rows`;
  },

  async 'copy in'(client) {
    await client.query('CREATE TABLE IF NOT EXISTS drivers_node_copy (id int, v text); TRUNCATE drivers_node_copy');
    const lines = Array.from({ length: 50_000 }, (_, index) => `${index}\tvalue ${index}\n`);
    const stream = client.query(copy.from('COPY drivers_node_copy FROM STDIN'));
    await pipeline(Readable.from(lines), stream);
    const count = await client.query('SELECT count(*)::int AS n, sum(id)::bigint AS s FROM drivers_node_copy');
    return `${stream.rowCount} copied, ${count.rows[0].n} rows, sum ${count.rows[0].s}`;
  },

  async 'copy out'(client) {
    const digest = crypto.createHash('sha256');
    let bytes = 0;
    for await (const chunk of client.query(copy.to('COPY (SELECT * FROM drivers_node_copy ORDER BY id) TO STDOUT'))) {
      digest.update(chunk);
      bytes += chunk.length;
    }
    return `${bytes} bytes, ${digest.digest('hex')}`;
  },

  async 'copy in refused'(client) {
    const stream = client.query(copy.from('COPY drivers_node_copy FROM STDIN'));
    const state = await sqlstate(pipeline(Readable.from(['not a number\tx\n']), stream));
    const after = await client.query('SELECT count(*)::int AS n FROM drivers_node_copy');
    return `${state}, ${after.rows[0].n} rows`;
  },

  async 'copy in given up'(client) {
    const stream = client.query(copy.from('COPY drivers_node_copy FROM STDIN'));
    stream.write('1\tone\n');
    stream.destroy(new Error('enough'));
    await once(stream, 'close').catch(() => {});
    const after = await client.query('SELECT count(*)::int AS n FROM drivers_node_copy');
    return `${after.rows[0].n} rows`;
  },

  async 'listen and notify'(client) {
    const heard = [];
    client.on('notification', (message) => heard.push(message));
    await client.query('LISTEN drivers_node');
    const sender = await withClient(async (other) => {
      await other.query("NOTIFY drivers_node, 'from another'");
      return other.processID;
    });
    while (heard.length === 0) await once(client, 'notification'); // it comes unasked, between two queries
    assert.equal(heard[0].processId, sender);
    await client.query("SELECT pg_notify('drivers_node', 'from myself')");
    while (heard.length === 1) await once(client, 'notification');
    assert.equal(heard[1].processId, client.processID);
    await client.query('UNLISTEN *');
    return heard.map((message) => `${message.channel}=${message.payload}`).join(', ');
  },

  async 'process id'(client) {
    assert.equal(await primaryPid(client), client.processID);
    return 'is that of the backend on the primary';
  },

  async notices(client) {
    const heard = [];
    client.on('notice', (notice) => heard.push(`${notice.severity} ${notice.message}`));
    await client.query("DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second'; END $$");
    return heard.join(', ');
  },

  async cancel(client) {
    const started = once(client, 'notice');
    const sleeping = sqlstate(client.query("DO $$ BEGIN RAISE NOTICE 'started'; PERFORM pg_sleep(15); END $$"));
    await started;
    new Client({ host: client.host, port: client.port }).cancel(client, client._activeQuery);
    const state = await sleeping;
    const after = await client.query('SELECT 9 AS nine');
    return `${state}, then ${after.rows[0].nine}`;
  },

  async 'cancel while rows arrive'(client) {
    const query = new Query("SELECT i, repeat('x', 10000), pg_sleep(0.001) FROM generate_series(1, 15000) i");
    const ended = sqlstate(new Promise((resolve, reject) => query.on('end', resolve).on('error', reject)));
    const row = once(query, 'row');
    client.query(query);
    await row;
    new Client({ host: client.host, port: client.port }).cancel(client, query);
    const state = await ended;
    const after = await client.query('SELECT 12 AS twelve');
    return `${state}, then ${after.rows[0].twelve}`;
  },

  async 'statement timeout'(client) {
    await client.query('SET statement_timeout = 50');
    const state = await sqlstate(client.query('SELECT pg_sleep(15)'));
    await client.query('RESET statement_timeout');
    const after = await client.query('SELECT 10 AS ten');
    return `${state}, then ${after.rows[0].ten}`;
  },

  async 'backend terminated'() {
    const victim = await connect();
    const pid = await primaryPid(victim);
    const started = once(victim, 'notice');
    const sleeping = sqlstate(victim.query("DO $$ BEGIN RAISE NOTICE 'started'; PERFORM pg_sleep(15); END $$"));
    await started;
    await withClient((other) => other.query(`DO $$ BEGIN PERFORM pg_terminate_backend(${pid}); END $$`));
    const state = await sleeping;
    await victim.end().catch(() => {});
    return `${state}, then ${await withClient(async (next) => (await next.query('SELECT 11 AS v')).rows[0].v)}`;
  },

  async 'a new session is fresh'() {
    await withClient(async (first) => {
      await first.query("SET work_mem = '123MB'; CREATE TEMP TABLE drivers_leak (x int); SELECT pg_advisory_lock(4711); LISTEN leak");
      await first.query({ name: 'leak', text: 'SELECT 1' });
    });
    const fresh = `current_setting('work_mem') <> '123MB' AND to_regclass('pg_temp.drivers_leak') IS NULL
      AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
      AND NOT EXISTS (SELECT FROM pg_listening_channels()) AND NOT EXISTS (SELECT FROM pg_prepared_statements)`;
    const seen = [];
    for (let session = 0; session < 5; session += 1) {
      await withClient(async (next) => {
        seen.push(await onPrimary(next, fresh));
        seen.push((await next.query(`SELECT ${fresh} AS fresh`)).rows[0].fresh ? 't' : 'f');
      });
    }
    return seen.join(' ');
  },

  async 'start-up settings'() {
    const options = { application_name: 'named', options: '-c work_mem=7MB -c search_path=pg_catalog', statement_timeout: 4321 };
    return withClient(async (client) => {
      const names = ['application_name', 'work_mem', 'search_path', 'statement_timeout'];
      const shown = [];
      for (const name of names) shown.push((await client.query('SELECT current_setting($1) AS v', [name])).rows[0].v);
      return shown.join(' ');
    }, options);
  },

  async 'wrong database'() {
    return sqlstate(connect({ database: 'no_such_database' }));
  },

  async 'pool of 10, 200 tasks'() {
    const pool = new Pool({ max: 10 });
    try {
      const tasks = Array.from({ length: 200 }, (_, index) => pool.query('SELECT $1::int AS tag, pg_sleep(0.002)', [index]));
      const results = await Promise.all(tasks);
      results.forEach((result, index) => assert.equal(result.rows[0].tag, index));
      return `${results.length} own rows`;
    } finally {
      await pool.end();
    }
  },
};

// The value of an expression where writes go: what is not a query cannot be answered by a standby.
async function onPrimary(client, expression) {
  const told = once(client, 'notice');
  await client.query(`DO $$ BEGIN RAISE NOTICE '%', ${expression}; END $$`);
  return (await told)[0].message;
}

async function primaryPid(client) {
  return Number(await onPrimary(client, 'pg_backend_pid()'));
}

function withDeadline(promise, what) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${STEP_TIMEOUT_MS} ms`)), STEP_TIMEOUT_MS);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

async function main() {
  let status = 0;
  for (const [name, step] of Object.entries(steps)) {
    let client;
    try {
      client = await connect();
      console.log(`${name}: ${await withDeadline(step(client), name)}`);
    } catch (error) {
      status = 1;
      console.log(`${name}: FAILED`);
      console.error(`${name}: ${error.stack}`);
    }
    client?.end().catch(() => {});
  }
  await withClient((client) => client.query('DROP TABLE IF EXISTS drivers_node, drivers_node_copy'));
  process.exit(status);
}

main();

-- What the generated statements are about. Whatever is volatile here writes when it runs, so that a standby refuses it.
-- Nothing lies: what is STABLE or IMMUTABLE only reads.
CREATE ROLE reader LOGIN;
ALTER ROLE reader SET statement_timeout = '3s';
CREATE SCHEMA other;
CREATE SEQUENCE counter;

CREATE TABLE account (id int PRIMARY KEY, owner text, balance numeric, active boolean, tags int[], doc jsonb, made timestamptz);
INSERT INTO account
    SELECT n, 'owner ' || n, n * 1.5, n % 2 = 0, ARRAY[n, n + 1], jsonb_build_object('n', n, 'k', 'v'), timestamptz '2020-01-01' + n * interval '1 day'
    FROM generate_series(1, 5) n;
CREATE TABLE item (id int PRIMARY KEY, account int, label text, price numeric);
INSERT INTO item SELECT n, n % 3 + 1, 'label ' || n, n * 2.25 FROM generate_series(1, 6) n;
CREATE TABLE "Select" ("from" int, "Where" text, "a""b" int);
INSERT INTO "Select" VALUES (1, 'one', 10), (2, 'two', 20);
CREATE TABLE time (zone int, value text, flag boolean);
INSERT INTO time VALUES (1, 'x', true), (2, 'y', false);
CREATE TABLE other.item (id int PRIMARY KEY, account int, label text, price numeric);
INSERT INTO other.item SELECT * FROM item;
CREATE TABLE part (id int, label text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);
INSERT INTO part VALUES (1, 'p'), (11, 'q');
CREATE TABLE journal (id int, note text);
CREATE TABLE stock (id int, note text);
INSERT INTO stock VALUES (1, 'a'), (2, 'b');
CREATE UNLOGGED TABLE scratch (id int, label text);
INSERT INTO scratch VALUES (1, 'u');
CREATE TABLE mixed (id int, label text) PARTITION BY RANGE (id);
CREATE UNLOGGED TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (10);
INSERT INTO mixed VALUES (1, 'm');

-- Functions that only read.
CREATE FUNCTION steady(a int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION constant(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE FUNCTION other.calm(a int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM item) + a; END';
CREATE FUNCTION sum_up(VARIADIC n int[]) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT sum(m)::int FROM unnest($1) m';
CREATE FUNCTION points(account) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1.id';
CREATE FUNCTION some_rows(n int) RETURNS TABLE (id int, label text) LANGUAGE sql STABLE AS 'SELECT id, label FROM item WHERE id <= $1';
CREATE FUNCTION plus(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE AGGREGATE total(int) (SFUNC = plus, STYPE = int, INITCOND = '0');
CREATE OPERATOR @+@ (LEFTARG = int, RIGHTARG = int, FUNCTION = plus);
CREATE DOMAIN small AS int CHECK (constant(VALUE) < 100000);

-- Functions that write.
CREATE FUNCTION ticks(a int) RETURNS int LANGUAGE sql AS 'SELECT nextval(''public.counter'')::int * 0 + $1';
CREATE FUNCTION writes(a int, b text DEFAULT 'w') RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    AS 'BEGIN INSERT INTO public.journal VALUES (a, b); RETURN a; END';
CREATE FUNCTION writes_rows(n int) RETURNS TABLE (id int, label text) LANGUAGE plpgsql SECURITY DEFINER
    AS 'BEGIN RETURN QUERY INSERT INTO public.journal VALUES (n, ''r'') RETURNING journal.id, journal.note; END';
CREATE FUNCTION defaulted(a int DEFAULT ticks(1)) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION sum_all(VARIADIC n int[]) RETURNS int LANGUAGE sql AS 'SELECT public.ticks(sum(m)::int) FROM unnest($1) m';
CREATE FUNCTION ticket(account) RETURNS int LANGUAGE sql AS 'SELECT public.ticks($1.id)';
CREATE FUNCTION any_ticket(anyelement) RETURNS int LANGUAGE sql AS 'SELECT public.ticks(1)';
CREATE FUNCTION record_ticket(record) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN public.ticks(1); END';
CREATE FUNCTION plus_tick(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + public.ticks(b)';
CREATE AGGREGATE total_tick(int) (SFUNC = plus_tick, STYPE = int, INITCOND = '0');
CREATE FUNCTION final_tick(a int) RETURNS int LANGUAGE sql AS 'SELECT public.ticks(a)';
CREATE AGGREGATE ordered_tick(ORDER BY int) (SFUNC = plus, STYPE = int, INITCOND = '0', FINALFUNC = final_tick);
-- One name, two meanings.
CREATE FUNCTION double_faced(a int) RETURNS int LANGUAGE sql STABLE AS 'SELECT a';
CREATE FUNCTION double_faced(a text) RETURNS int LANGUAGE sql AS 'SELECT public.ticks(1)';
CREATE FUNCTION other.abs(a int) RETURNS int LANGUAGE sql AS 'SELECT public.ticks(a)';
CREATE FUNCTION other.length(a text) RETURNS int LANGUAGE sql AS 'SELECT public.ticks(1)';
CREATE FUNCTION other.steady(a int) RETURNS int LANGUAGE sql AS 'SELECT public.ticks(a)';
-- Names that look like syntax.
DO $do$
DECLARE word text;
BEGIN
    FOREACH word IN ARRAY ARRAY['over', 'filter', 'by', 'cube', 'rollup', 'sets', 'zone', 'varying', 'first', 'next',
        'materialized', 'passing', 'ilike', 'join', 'bernoulli', 'system', 'left', 'right', 'full', 'inner', 'cross',
        'natural', 'overlaps', 'value', 'version', 'within', 'ordinality', 'rows', 'range', 'operator', 'tablesample',
        'recursive', 'insert', 'update', 'share', 'key', 'mode', 'temp', 'no', 'path', 'content', 'document', 'escape',
        'select', 'from', 'table', 'values', 'row', 'array', 'exists', 'with', 'as', 'extract', 'trim', 'position',
        'substring', 'overlay', 'normalize', 'collation', 'coalesce', 'grouping', 'Lower', 'LOWER', 'a"b', 'a.b', 'é']
    LOOP
        EXECUTE format('CREATE FUNCTION public.%I(a int) RETURNS int LANGUAGE sql AS ''SELECT public.ticks(a)''', word);
    END LOOP;
END
$do$;
CREATE PROCEDURE proceed(a int) LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN INSERT INTO public.journal VALUES (a, ''p''); END';

CREATE VIEW good AS SELECT id, label, steady(id) AS n FROM item;
CREATE VIEW good_nested AS SELECT * FROM good WHERE n IN (SELECT id FROM account) OR label LIKE E'%\\_';
CREATE VIEW "Odd ""View"" -- /*" AS SELECT id AS "ticks(1)", label AS "x'" FROM item;
CREATE VIEW bad AS SELECT id, label, ticks(id) AS n FROM item;
CREATE VIEW bad_nested AS SELECT id, label, n FROM bad;
CREATE VIEW bad_where AS SELECT id, label FROM item WHERE id = ticks(id);
CREATE VIEW bad_deep AS SELECT id, label FROM item i JOIN (SELECT max(id) AS m FROM account HAVING ticks(1) = 1) x ON x.m >= i.id;
CREATE VIEW bad_rows AS SELECT id, label FROM writes_rows(3);
CREATE VIEW bad_row AS SELECT a.id, a.owner AS label, a.ticket FROM account a;
CREATE VIEW bad_total AS SELECT total_tick(id) AS id, 'x'::text AS label FROM item;
CREATE VIEW bad_sequence AS SELECT nextval('counter')::int AS id, 'x'::text AS label;
CREATE VIEW bad_default AS SELECT defaulted() AS id, 'x'::text AS label;
CREATE VIEW bad_shadow AS SELECT other.abs(id) AS id, label FROM item;
CREATE VIEW bad_keyword AS SELECT "over"(id) AS id, label FROM item;
CREATE RECURSIVE VIEW bad_recursive (id, label) AS SELECT 1, 'r' UNION ALL SELECT ticks(id + 1), label FROM bad_recursive WHERE id < 3;
CREATE VIEW "Bad" AS SELECT ticks(id) AS id, label FROM item;
CREATE VIEW unlogged_view AS SELECT id, label FROM scratch;
CREATE MATERIALIZED VIEW kept AS SELECT id, label, ticks(id) AS n FROM item;
CREATE VIEW ruled AS SELECT id, label FROM item;
CREATE RULE ruled_insert AS ON INSERT TO ruled DO INSTEAD INSERT INTO journal VALUES (NEW.id, NEW.label);

CREATE TABLE guarded (id int, label text);
INSERT INTO guarded VALUES (1, 'g'), (2, 'h');
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded USING (ticks(id) = id);
CREATE TABLE fenced (id int, label text);
INSERT INTO fenced VALUES (1, 'g'), (2, 'h');
ALTER TABLE fenced ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON fenced USING (steady(id) > 0 AND label <> 'x''y');
CREATE VIEW guarded_view WITH (security_barrier) AS SELECT id, label FROM guarded;
ALTER VIEW guarded_view OWNER TO reader;

GRANT ALL ON SCHEMA other TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public, other TO reader;
GRANT USAGE, SELECT, UPDATE ON SEQUENCE counter TO reader;
GRANT INSERT, UPDATE, DELETE ON journal, stock, ruled TO reader;

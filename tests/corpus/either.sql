-- Statements that only read, one per line, against pgbench's tables and built-in functions.
-- The classifier must let each go to any node, and a hot standby must run each without SQLSTATE 25006.
SELECT abalance FROM pgbench_accounts WHERE aid = 12345;
SELECT 1
select 1;
(SELECT 1)
((SELECT 1) UNION ALL (SELECT 2)) ORDER BY 1 LIMIT 1
SELECT
SELECT * FROM pgbench_branches
SELECT b.*, t.tid FROM pgbench_branches AS b JOIN pgbench_tellers AS t ON t.bid = b.bid
SELECT b.bid FROM pgbench_branches b LEFT JOIN (pgbench_tellers t INNER JOIN pgbench_accounts a ON a.bid = t.bid) ON t.bid = b.bid LIMIT 3
SELECT b.bid FROM pgbench_branches b JOIN (pgbench_tellers t CROSS JOIN pgbench_history h) ON (t.bid = b.bid)
SELECT b.bid FROM pgbench_branches b FULL OUTER JOIN (SELECT bid, tbalance FROM pgbench_tellers) t (x, y) ON t.x = b.bid
SELECT * FROM pgbench_branches NATURAL JOIN pgbench_tellers LIMIT 1
SELECT * FROM pgbench_branches JOIN pgbench_tellers USING (bid) WHERE bid IN (1, 2, 3) AND tid NOT IN (SELECT 5)
SELECT count(*), count(DISTINCT bid), sum(abalance), avg(abalance)::numeric(10, 2), min(aid), max(aid) FROM pgbench_accounts
SELECT bid, count(*) FILTER (WHERE abalance > 0) AS positive FROM pgbench_accounts GROUP BY bid HAVING (count(*)) > 0
SELECT bid, tid, sum(tbalance) FROM pgbench_tellers GROUP BY GROUPING SETS ((bid), (tid), ())
SELECT bid, tid, sum(tbalance) FROM pgbench_tellers GROUP BY ROLLUP (bid, tid)
SELECT bid, tid, grouping(bid, tid), sum(tbalance) FROM pgbench_tellers GROUP BY CUBE (bid, tid) ORDER BY 1, 2
SELECT tid, row_number() OVER (PARTITION BY bid ORDER BY tid DESC NULLS LAST), rank() OVER w FROM pgbench_tellers WINDOW w AS (ORDER BY tid)
SELECT sum(tbalance) FILTER (WHERE tid > 2) OVER (ORDER BY tid ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM pgbench_tellers
SELECT lag(tid, 1) OVER (ORDER BY tid), lead(tid) OVER (ORDER BY tid), first_value(tid) OVER (ORDER BY tid), ntile(4) OVER () FROM pgbench_tellers
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY tid), mode() WITHIN GROUP (ORDER BY bid) FROM pgbench_tellers
SELECT DISTINCT ON (bid) bid, tid FROM pgbench_tellers ORDER BY bid, tid
SELECT DISTINCT ON (abs(bid), tid) upper(tid::text) FROM pgbench_tellers ORDER BY abs(bid), tid
SELECT ALL bid FROM pgbench_tellers OFFSET 2 ROWS FETCH FIRST (1 + 1) ROWS ONLY
SELECT bid FROM pgbench_tellers ORDER BY bid FETCH FIRST 3 ROWS WITH TIES
SELECT bid FROM ONLY (pgbench_tellers) LIMIT 1
SELECT * FROM pgbench_accounts TABLESAMPLE bernoulli (1) LIMIT 1
SELECT * FROM pgbench_accounts TABLESAMPLE system (1) LIMIT 1
SELECT EXISTS (SELECT 1 FROM pgbench_history), NOT EXISTS(SELECT FROM pgbench_history)
SELECT (SELECT max(bid) FROM pgbench_branches) + 1 AS next, ARRAY(SELECT bid FROM pgbench_branches), (ARRAY[1, 2, 3])[1:2]
SELECT bid FROM pgbench_branches WHERE bid = ANY (ARRAY[1, 2]) OR bid = ALL (VALUES (1)) OR bid > SOME (SELECT 1)
SELECT bid FROM pgbench_branches WHERE (bid, bbalance) IN ((1, 0), (2, 0)) AND bid BETWEEN (0) AND (10) AND bid IS NOT NULL
SELECT CASE WHEN (bid > 1) THEN 'a' WHEN bid IN (1) THEN 'b' ELSE ('c') END FROM pgbench_branches
SELECT COALESCE(filler, ''), NULLIF(bid, 0), GREATEST(bid, 1), LEAST(bid, 2) FROM pgbench_branches
SELECT CAST(bid AS varchar(10)), CAST(bid AS numeric(10, 2)), bid::text, bid::character varying(5), '1'::bit varying(3), bid::double precision FROM pgbench_branches
SELECT EXTRACT(YEAR FROM now()), date_part('day', current_date), date_trunc('month', CURRENT_TIMESTAMP(3)), LOCALTIME(0), LOCALTIMESTAMP
SELECT now() AT TIME ZONE 'UTC', now() AT TIME ZONE ('Asia/Tokyo'), timestamp '2020-01-01' + interval '1 day', interval(0) '1.5 s', time(2) '10:00'
SELECT make_date(2020, 1, 1), make_interval(days => 3), age(now(), now()), to_timestamp(0), isfinite(now()), justify_days(interval '40 days')
SELECT transaction_timestamp() = statement_timestamp(), now() IS NOT NULL WHERE false IS TRUE LIMIT 0
SELECT POSITION('b' IN 'abc'), SUBSTRING('abc' FROM 2 FOR 1), OVERLAY('abc' PLACING 'x' FROM 2 FOR 1), TRIM(BOTH 'x' FROM 'xax'), trim('a '), btrim(' a ')
SELECT lower('A'), UPPER("filler"), initcap('ab'), length('x'), char_length('x'), octet_length('x'), reverse('ab'), repeat('a', 3) FROM pgbench_branches
SELECT left('abc', 1), right('abc', 1), lpad('a', 3), rpad('a', 3), ltrim(' a'), rtrim('a '), replace('a', 'a', 'b'), translate('a', 'a', 'b'), split_part('a,b', ',', 1)
SELECT concat('a', 1), concat_ws(',', 'a', 'b'), format('%s', 1), quote_ident('a'), quote_literal('a'), quote_nullable(NULL), md5('a'), encode(sha256('a'), 'hex'), strpos('ab', 'b')
SELECT 'a' LIKE ('%a%'), 'a' NOT LIKE 'b', 'a' ILIKE ('A'), 'a' NOT ILIKE ('B'), 'a' SIMILAR TO ('a|b'), 'a' ~ '^a', 'a' LIKE 'a' ESCAPE '\'
SELECT like('a', 'a'), starts_with('ab', 'a'), regexp_replace('a', 'a', 'b'), regexp_match('a', 'a'), regexp_split_to_array('a b', ' '), ascii('a'), chr(65)
SELECT abs(-1), ceil(1.5), floor(1.5), round(1.25, 1), trunc(1.5), sqrt(4), power(2, 3), exp(1), ln(1), log(10), mod(5, 3), sign(-1), pi(), degrees(1), width_bucket(5, 0, 10, 5)
SELECT array_agg(bid ORDER BY bid), string_agg(bid::text, ',' ORDER BY bid), json_agg(bid), jsonb_object_agg(bid, bbalance), bool_and(bid > 0), every(true) FROM pgbench_branches
SELECT stddev(bid), variance(bid), corr(bid, bbalance), regr_slope(bid, bbalance), bit_or(bid) FROM pgbench_branches
SELECT '{"a": [1]}'::jsonb -> 'a' ->> 0, '{"a": 1}'::jsonb @> '{"a": 1}', '{"a": 1}'::json #>> '{a}', '{"a": 1}'::jsonb ? 'a', '{"a": 1}'::jsonb ?| ARRAY['a']
SELECT json_build_object('a', 1), jsonb_build_array(1, 2), to_json(1), to_jsonb('a'::text), row_to_json(ROW(1, 2)), jsonb_set('{}', '{a}', '1'), jsonb_path_query('{"a": 1}', '$.a'), jsonb_typeof('1')
SELECT key, value FROM jsonb_each('{"a": 1}') AS j(key, value)
SELECT x.a, x.b FROM json_to_record('{"a": 1, "b": "c"}') AS x(a int, b varchar(10))
SELECT * FROM generate_series(1, 3) AS g(i), unnest(ARRAY[1, 2]) WITH ORDINALITY AS u(v, n) WHERE u.n = g.i
SELECT * FROM generate_series(1, 3) g(i) JOIN LATERAL (SELECT g.i * 2) l(j) ON true
SELECT * FROM unnest('{1,2}'::int[], '{a,b}'::text[]) WITH ORDINALITY u(a, b, n)
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a', 'b'])) AS r(a, b)
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(n, s)
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v(n, s)
SELECT * FROM pgbench_branches AS b(x, y), LATERAL (SELECT * FROM pgbench_tellers t WHERE t.bid = b.x) AS l
VALUES (1), (2)
VALUES (1, 'a'), (abs(-2), lower('B')) ORDER BY 1
TABLE pgbench_branches
SELECT * FROM pgbench_branches * b (x, y), public.pgbench_tellers *t(x, y) JOIN pgbench_accounts * USING (bid)
TABLE pgbench_branches ORDER BY bid LIMIT 1
WITH a AS (SELECT 1 AS x), b(y) AS (SELECT x FROM a), c(z) AS MATERIALIZED (SELECT y FROM b), d(w) AS NOT MATERIALIZED (TABLE c) SELECT * FROM a, b, c, d
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n) FROM t
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3), u AS (SELECT 1) SELECT * FROM t JOIN u ON (n = 1)
WITH RECURSIVE t(n, m) AS (SELECT 1, 2 UNION ALL SELECT n + 1, m FROM t WHERE n < 3) SEARCH DEPTH FIRST BY n SET o CYCLE n SET c USING p SELECT n FROM t ORDER BY o
WITH a AS (WITH b AS (SELECT 1) SELECT * FROM b) (SELECT * FROM a) ORDER BY 1
SELECT bid FROM pgbench_branches UNION SELECT tid FROM pgbench_tellers EXCEPT (SELECT 1) INTERSECT ALL (SELECT 2) ORDER BY bid
SELECT int4range(1, 5) @> 3, tsrange(now()::timestamp, NULL), lower(int4range(1, 2)), upper_inf('[1,)'::int4range), daterange('2020-01-01', '2020-02-01') * daterange('2020-01-15', NULL)
SELECT to_tsvector('english', 'cats') @@ to_tsquery('cat'), ts_rank(to_tsvector('a'), plainto_tsquery('cat')), ts_headline('a b', websearch_to_tsquery('cat')), setweight(to_tsvector('a'), 'A')
SELECT point(1, 2) <-> point(3, 4), box(point(0, 0), point(1, 1)) && box(point(0, 0), point(2, 2)), area(box '((0,0),(1,1))'), center(circle '((0,0),1)')
SELECT inet '10.0.0.1' << cidr '10.0.0.0/8', host('10.0.0.1'::inet), masklen('10.0.0.0/8'), network('10.0.0.1/8'), inet_server_addr() IS NULL, inet_server_port() > 0
SELECT current_user, session_user, current_role, user, current_catalog, current_schema, current_schemas(true), current_database(), version(), pg_typeof(1), pg_size_pretty(1024::bigint), pg_column_size(1)
SELECT current_setting('work_mem'), current_setting('no.such', true), pg_client_encoding()
SELECT (DATE '2020-01-01', DATE '2020-02-01') OVERLAPS (DATE '2020-01-15', INTERVAL '1 month')
SELECT ROW(1, 2) = ROW(1, 2), (1, 2) < (2, 1), (ROW(1, 2)).*, 1 IS DISTINCT FROM (2), (b).bid FROM pgbench_branches b
SELECT b.bid AS "INTO", b.bid "for update", b.bid AS nextval, 'nextval(''x'')' FROM public.pgbench_branches b WHERE "b"."bid" = 1
SELECT b.delete, b.update FROM (SELECT 1 AS "delete", 2 AS "update") b
SELECT $$ ; DELETE FROM pgbench_history $$, $tag$ $$ INTO $tag$, E'\'; DELETE', U&'d\0061t', B'0101', X'1F', N'n' WHERE false
SELECT 1 /* FOR UPDATE /* nested */ still */ + 2 -- INSERT
SELECT -1, - -1, +1, 2^3, 5 % 3, 1.5e3, .5, 1., 1e-2, 7 / 2, @ -1, |/ 4, 1 << 2, ~ 1, 'a' || 'b', NOT true AND (false OR true)
SELECT xmlelement(name a, xmlattributes('b' AS c), 'd'), xmlforest(1 AS a), xmlconcat('<a/>'::xml, '<b/>'::xml), xmlparse(CONTENT '<a/>'), xpath('/a', '<a/>'), xmlserialize(CONTENT '<a/>'::xml AS varchar(10))
SELECT * FROM xmltable('/a' PASSING ('<a><b>1</b></a>'::xml) COLUMNS b int PATH 'b')
SELECT normalize(U&'\0061', NFC), 'a' IS NORMALIZED, 'abc' COLLATE "C" < 'abd', substring('abc', 1, 2), bit_length('a')
SELECT pg_catalog.lower('A'), "lower"('A'), "pg_catalog"."upper"('a'), pg_catalog . count ( * ) FROM pgbench_branches
SELECT bid FROM pgbench_branches WHERE bid = 1 AND ((((((((((bid = 1)))))))))) GROUP BY (bid) ORDER BY (bid) LIMIT (1) OFFSET (0)
SELECT a.aid AS a_aid, a.bid AS a_bid, a.abalance AS a_abalance, a.filler AS a_filler FROM pgbench_accounts AS a LEFT OUTER JOIN pgbench_branches AS b ON b.bid = a.bid WHERE a.aid IN (1, 2, 3) AND lower(a.filler) LIKE lower('%x%') ORDER BY a.aid ASC LIMIT 10 OFFSET 0
SHOW work_mem
SHOW ALL
SHOW TIME ZONE
SHOW TRANSACTION ISOLATION LEVEL
show search_path;
EXPLAIN SELECT * FROM pgbench_accounts
EXPLAIN ANALYZE SELECT count(*) FROM pgbench_accounts
EXPLAIN VERBOSE VALUES (1)
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM pgbench_accounts WHERE aid = 1
EXPLAIN (COSTS off) (SELECT 1) UNION (SELECT 2)
EXPLAIN ((SELECT 1))

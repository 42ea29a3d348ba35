import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.security.MessageDigest;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PSQLException;

/**
 * A scripted session of pgjdbc. {@code tests/drivers/run --suite pgjdbc} compiles it and runs it against PostgreSQL itself and a
 * proxy; by hand: {@code PGHOST=127.0.0.1 PGPORT=5432 PGUSER=postgres PGDATABASE=postgres java -cp postgresql.jar Session.java}.
 *
 * <p>Each step prints {@code step: result}. A result holds nothing that changes from run to run, so that transcripts can be compared
 * line by line. A step that fails prints {@code step: FAILED}, says why on standard error, and makes the exit status 1.
 */
public final class Session {
    private static final int LARGE_BYTES = 10 * 1024 * 1024;
    private static final int STEP_TIMEOUT_SECONDS = 20;
    private static final String SLEEP = "DO $$ BEGIN RAISE NOTICE 'started'; PERFORM pg_sleep(15); END $$";

    private interface Step {
        String run(Connection connection) throws Exception;
    }

    private static final Map<String, Step> STEPS = new LinkedHashMap<>();

    private static Connection connect(String... settings) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("ApplicationName", "drivers-jdbc");
        for (int i = 0; i < settings.length; i += 2) {
            properties.setProperty(settings[i], settings[i + 1]);
        }
        String database = properties.getProperty("PGDBNAME", System.getenv("PGDATABASE"));
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + database;
        return DriverManager.getConnection(url, properties);
    }

    private static String sqlState(Callable<?> work) throws Exception {
        try {
            work.call();
            return "no error";
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }

    private static String one(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            return rows.next() ? rows.getString(1) : null;
        }
    }

    private static int execute(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(text);
            return statement.getUpdateCount();
        }
    }

    /** The value of an expression where writes go: what is not a query cannot be answered by a standby. */
    private static String onPrimary(Connection connection, String expression) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("DO $$ BEGIN RAISE NOTICE '%', " + expression + "; END $$");
            return statement.getWarnings().getMessage();
        }
    }

    private static String sha256(byte[] bytes) throws Exception {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(bytes);
        return String.format("%064x", new BigInteger(1, digest));
    }

    private static void require(boolean condition, String what) {
        if (!condition) {
            throw new IllegalStateException(what);
        }
    }

    private static String serverVersion(Connection connection) throws SQLException {
        return connection.getMetaData().getDatabaseProductVersion();
    }

    private static String manyTypes(Connection connection) throws SQLException {
        String[] types = {"bool", "int2", "int4", "int8", "float8", "numeric", "text", "bytea", "date", "timestamptz", "interval", "jsonb",
            "int4[]", "cidr", "uuid", "int4range", "point", "text"};
        String casts = Arrays.stream(types).map(type -> "?::" + type).collect(Collectors.joining(", "));
        try (PreparedStatement statement = connection.prepareStatement("SELECT " + casts)) {
            Object[] sent = {true, (short) 32767, 2147483647, 9223372036854775807L, 1.5, new BigDecimal("1234567890123456789.123456789"),
                "žluťoučký 🐘", new byte[] {0, 1, -2, -1}, "2026-02-28", "2026-02-28 12:34:56.789+00", "3 days 04:05:06",
                "{\"a\": [1, null, \"x\"]}", connection.createArrayOf("int4", new Integer[] {1, null, 3}), "192.168.0.0/16",
                UUID.fromString("6f1b2a3c-4d5e-6f70-8192-a3b4c5d6e7f8"), "[1,5)", "(1,2)", null};
            // From the fifth execution on pgjdbc names the statement and asks for binary results.
            String first = null;
            for (int round = 0; ; round++) {
                for (int i = 0; i < sent.length; i++) {
                    if (sent[i] == null) {
                        statement.setNull(i + 1, Types.VARCHAR);
                    } else {
                        statement.setObject(i + 1, sent[i]);
                    }
                }
                List<String> row = new ArrayList<>();
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    for (int i = 1; i <= sent.length; i++) {
                        row.add(types[i - 1].equals("bytea") ? Arrays.toString(rows.getBytes(i)) : rows.getString(i));
                    }
                }
                if (round == 0) {
                    first = row.toString();
                } else if (round == 8) {
                    return first + " and " + row;
                }
            }
        }
    }

    private static String preparedStatement(Connection connection) throws SQLException {
        StringBuilder products = new StringBuilder();
        try (PreparedStatement statement = connection.prepareStatement("SELECT ?::int * 3")) {
            for (int value = 1; value <= 20; value++) {
                statement.setInt(1, value);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    products.append(rows.getInt(1)).append(' ');
                }
            }
        }
        return products.toString().trim();
    }

    private static String changedTable(Connection connection) throws SQLException {
        execute(connection, "DROP TABLE IF EXISTS drivers_jdbc_changed; CREATE TABLE drivers_jdbc_changed (a int)");
        execute(connection, "INSERT INTO drivers_jdbc_changed VALUES (1)");
        try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM drivers_jdbc_changed")) {
            for (int round = 0; round < 8; round++) {
                statement.executeQuery().close();
            }
            execute(connection, "ALTER TABLE drivers_jdbc_changed ADD COLUMN b text DEFAULT 'new'");
            try (ResultSet rows = statement.executeQuery()) { // outside a transaction the driver recovers by itself
                rows.next();
                return rows.getMetaData().getColumnCount() + " columns, " + rows.getString(2);
            }
        }
    }

    private static String batch(Connection connection) throws SQLException {
        execute(connection, "DROP TABLE IF EXISTS drivers_jdbc; CREATE TABLE drivers_jdbc (id int PRIMARY KEY, v text)");
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO drivers_jdbc VALUES (?, ?)")) {
            for (int id = 1; id <= 1000; id++) {
                statement.setInt(1, id);
                statement.setString(2, "value " + id);
                statement.addBatch();
            }
            int[] counts = statement.executeBatch();
            return Arrays.stream(counts).sum() + " inserted, " + one(connection, "SELECT count(*) FROM drivers_jdbc") + " rows";
        }
    }

    private static String brokenBatch(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO drivers_jdbc VALUES (?, 'batch')")) {
            for (int id : new int[] {3001, 3002, 1, 3003}) {
                statement.setInt(1, id);
                statement.addBatch();
            }
            statement.executeBatch();
            return "no error";
        } catch (BatchUpdateException error) {
            connection.rollback();
            return error.getSQLState() + " " + Arrays.toString(error.getUpdateCounts()) + ", left "
                + one(connection, "SELECT count(*) FROM drivers_jdbc WHERE id > 3000");
        }
    }

    private static String generatedKeys(Connection connection) throws SQLException {
        String text = "INSERT INTO drivers_jdbc VALUES (4001, 'a'), (4002, 'b')";
        try (PreparedStatement statement = connection.prepareStatement(text, new String[] {"id"})) {
            statement.executeUpdate();
            List<String> keys = new ArrayList<>();
            try (ResultSet rows = statement.getGeneratedKeys()) {
                while (rows.next()) {
                    keys.add(rows.getString(1));
                }
            }
            return keys.toString();
        }
    }

    private static String severalResults(Connection connection) throws SQLException {
        List<String> seen = new ArrayList<>();
        try (Statement statement = connection.createStatement()) {
            boolean rows = statement.execute("SELECT 1; UPDATE drivers_jdbc SET v = v WHERE id < 11; SELECT 'last'");
            while (rows || statement.getUpdateCount() != -1) {
                if (rows) {
                    ResultSet result = statement.getResultSet();
                    result.next();
                    seen.add(result.getString(1));
                } else {
                    seen.add("count " + statement.getUpdateCount());
                }
                rows = statement.getMoreResults();
            }
        }
        return seen.toString();
    }

    private static String fetchSize(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        long sum = 0;
        int rounds = 0;
        try (PreparedStatement statement = connection.prepareStatement("SELECT i FROM generate_series(1, ?) i")) {
            statement.setFetchSize(1000);
            statement.setInt(1, 25_500);
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    sum += rows.getInt(1);
                    rounds += 1;
                    if (rounds == 5000) {
                        require("5".equals(one(connection, "SELECT 5")), "another query while the portal is open");
                    }
                }
            }
        }
        connection.commit();
        return rounds + " rows, sum " + sum;
    }

    private static String maxRows(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setMaxRows(7);
            int rows = 0;
            try (ResultSet result = statement.executeQuery("SELECT generate_series(1, 1000)")) {
                while (result.next()) {
                    rows++;
                }
            }
            return rows + " rows, then " + one(connection, "SELECT 8");
        }
    }

    private static String errors(Connection connection) throws Exception {
        List<String> states = new ArrayList<>();
        for (String text : List.of("SELEC 1", "SELECT 1/0", "SELECT * FROM no_such_table", "INSERT INTO drivers_jdbc VALUES (1)")) {
            states.add(sqlState(() -> execute(connection, text)));
        }
        return states + ", then " + one(connection, "SELECT 7");
    }

    private static String errorFields(Connection connection) {
        try {
            execute(connection, "INSERT INTO drivers_jdbc VALUES (1)");
            return "no error";
        } catch (PSQLException error) {
            var server = error.getServerErrorMessage();
            return String.join(" | ", server.getSeverity(), server.getSQLState(), server.getSchema(), server.getTable(),
                server.getConstraint(), server.getDetail(), server.getRoutine());
        } catch (SQLException error) {
            return error.toString();
        }
    }

    private static String rolledBack(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        execute(connection, "INSERT INTO drivers_jdbc VALUES (1000000, 'gone')");
        String count = "SELECT count(*) FROM drivers_jdbc WHERE id = 1000000";
        String inside = one(connection, count);
        connection.rollback();
        return inside + " inside, " + one(connection, count) + " after";
    }

    private static String failedTransaction(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        String first = sqlState(() -> one(connection, "SELECT 1/0"));
        String second = sqlState(() -> one(connection, "SELECT 1"));
        String commit = sqlState(() -> {
            connection.commit();
            return null;
        });
        return first + " " + second + " " + commit + ", then " + one(connection, "SELECT 9");
    }

    private static String savepoints(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        execute(connection, "INSERT INTO drivers_jdbc VALUES (5001, 'kept')");
        Savepoint savepoint = connection.setSavepoint("one");
        execute(connection, "INSERT INTO drivers_jdbc VALUES (5002, 'undone')");
        String state = sqlState(() -> one(connection, "SELECT 1/0"));
        connection.rollback(savepoint);
        connection.commit();
        return state + ", left " + one(connection, "SELECT string_agg(id::text, ' ') FROM drivers_jdbc WHERE id > 5000");
    }

    private static String isolation(Connection connection) throws SQLException {
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        connection.setReadOnly(true);
        connection.setAutoCommit(false);
        String shown = one(connection, "SHOW transaction_isolation") + " " + one(connection, "SHOW transaction_read_only");
        connection.rollback();
        return shown;
    }

    private static String largeRow(Connection connection) throws Exception {
        byte[] large = new byte[LARGE_BYTES];
        for (int i = 0; i < large.length; i++) {
            large[i] = (byte) (i * 31 + (i >> 11));
        }
        try (PreparedStatement statement = connection.prepareStatement("SELECT ?::bytea")) {
            statement.setBytes(1, large);
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                byte[] back = rows.getBytes(1);
                require(Arrays.equals(back, large), "the bytes came back changed");
                return back.length + " bytes, " + sha256(back);
            }
        }
    }

    private static String largeObject(Connection connection) throws Exception {
        connection.setAutoCommit(false); // large objects are reached by function calls of the protocol
        LargeObjectManager manager = connection.unwrap(PGConnection.class).getLargeObjectAPI();
        long oid = manager.createLO(LargeObjectManager.READWRITE);
        byte[] written = new byte[300_000];
        Arrays.fill(written, (byte) 'x');
        try (LargeObject object = manager.open(oid, LargeObjectManager.WRITE)) {
            object.write(written);
        }
        byte[] read;
        try (LargeObject object = manager.open(oid, LargeObjectManager.READ)) {
            read = object.read(written.length + 1);
        }
        manager.delete(oid);
        String missing = sqlState(() -> {
            manager.open(oid, LargeObjectManager.READ).read(1);
            return null;
        });
        connection.rollback();
        return read.length + " bytes, then " + missing + ", then " + one(connection, "SELECT 10");
    }

    private static String copyIn(Connection connection) throws Exception {
        execute(connection, "DROP TABLE IF EXISTS drivers_jdbc_copy; CREATE TABLE drivers_jdbc_copy (id int, v text)");
        StringBuilder lines = new StringBuilder();
        for (int id = 0; id < 50_000; id++) {
            lines.append(id).append("\tvalue ").append(id).append('\n');
        }
        CopyManager manager = connection.unwrap(PGConnection.class).getCopyAPI();
        long copied = manager.copyIn("COPY drivers_jdbc_copy FROM STDIN", new StringReader(lines.toString()));
        return copied + " copied, sum " + one(connection, "SELECT sum(id) FROM drivers_jdbc_copy");
    }

    private static String copyOut(Connection connection) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        CopyManager manager = connection.unwrap(PGConnection.class).getCopyAPI();
        long rows = manager.copyOut("COPY (SELECT * FROM drivers_jdbc_copy ORDER BY id) TO STDOUT (FORMAT binary)", out);
        return rows + " rows, " + out.size() + " bytes, " + sha256(out.toByteArray());
    }

    private static String copyInRefused(Connection connection) throws Exception {
        CopyManager manager = connection.unwrap(PGConnection.class).getCopyAPI();
        String state = sqlState(() -> manager.copyIn("COPY drivers_jdbc_copy FROM STDIN", new StringReader("not a number\tx\n")));
        return state + ", " + one(connection, "SELECT count(*) FROM drivers_jdbc_copy") + " rows";
    }

    private static String copyInGivenUp(Connection connection) throws Exception {
        CopyIn copy = connection.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY drivers_jdbc_copy FROM STDIN");
        copy.writeToCopy("1\tone\n".getBytes(), 0, 6);
        copy.cancelCopy();
        return one(connection, "SELECT count(*) FROM drivers_jdbc_copy") + " rows";
    }

    private static String listen(Connection connection) throws Exception {
        PGConnection listener = connection.unwrap(PGConnection.class);
        execute(connection, "LISTEN drivers_jdbc");
        try (Connection other = connect()) {
            execute(other, "NOTIFY drivers_jdbc, 'from another'");
        }
        List<String> heard = new ArrayList<>();
        for (PGNotification notification : listener.getNotifications(STEP_TIMEOUT_SECONDS * 1000)) {
            heard.add(notification.getName() + "=" + notification.getParameter());
        }
        execute(connection, "NOTIFY drivers_jdbc, 'from myself'");
        for (PGNotification notification : listener.getNotifications(STEP_TIMEOUT_SECONDS * 1000)) {
            require(notification.getPID() == listener.getBackendPID(), "the notification's process id");
            heard.add(notification.getName() + "=" + notification.getParameter());
        }
        return heard.toString();
    }

    private static String processId(Connection connection) throws SQLException {
        int reported = connection.unwrap(PGConnection.class).getBackendPID();
        require(onPrimary(connection, "pg_backend_pid()").equals(String.valueOf(reported)), "another process id");
        return "is that of the backend on the primary";
    }

    private static String notices(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second'; END $$");
            List<String> heard = new ArrayList<>();
            for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) {
                heard.add(warning.getSQLState() + " " + warning.getMessage());
            }
            return heard.toString();
        }
    }

    private static String callable(Connection connection) throws SQLException {
        execute(connection, "CREATE OR REPLACE FUNCTION drivers_jdbc_add(a int, b int, OUT total int) LANGUAGE sql AS 'SELECT a + b'");
        try (CallableStatement call = connection.prepareCall("{call drivers_jdbc_add(?, ?, ?)}")) {
            call.setInt(1, 40);
            call.setInt(2, 2);
            call.registerOutParameter(3, Types.INTEGER);
            call.execute();
            return String.valueOf(call.getInt(3));
        }
    }

    private static String metadata(Connection connection) throws SQLException {
        List<String> columns = new ArrayList<>();
        try (ResultSet rows = connection.getMetaData().getColumns(null, "public", "drivers_jdbc", null)) {
            while (rows.next()) {
                columns.add(rows.getString("COLUMN_NAME") + " " + rows.getString("TYPE_NAME"));
            }
        }
        return columns.toString();
    }

    private static String arrays(Connection connection) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT count(*), array_agg(v) FROM unnest(?) v")) {
            statement.setArray(1, connection.createArrayOf("text", new String[] {"a", null, "c,d"}));
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                Array back = rows.getArray(2);
                return rows.getInt(1) + " " + Arrays.toString((Object[]) back.getArray());
            }
        }
    }

    private static String cancel(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            ExecutorService worker = Executors.newSingleThreadExecutor();
            Future<String> state = worker.submit(() -> sqlState(() -> statement.execute(SLEEP)));
            while (statement.getWarnings() == null) { // the notice comes when the statement has started
                Thread.onSpinWait();
            }
            statement.cancel();
            String ended = state.get(STEP_TIMEOUT_SECONDS, TimeUnit.SECONDS);
            worker.shutdown();
            return ended + ", then " + one(connection, "SELECT 11");
        }
    }

    private static String queryTimeout(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            return sqlState(() -> statement.executeQuery("SELECT pg_sleep(15)")) + ", then " + one(connection, "SELECT 12");
        }
    }

    private static String terminated(Connection connection) throws Exception {
        try (Connection victim = connect(); Statement statement = victim.createStatement()) {
            String pid = onPrimary(victim, "pg_backend_pid()");
            ExecutorService worker = Executors.newSingleThreadExecutor();
            Future<String> state = worker.submit(() -> sqlState(() -> statement.execute(SLEEP)));
            while (statement.getWarnings() == null) {
                Thread.onSpinWait();
            }
            execute(connection, "DO $$ BEGIN PERFORM pg_terminate_backend(" + pid + "); END $$");
            String ended = state.get(STEP_TIMEOUT_SECONDS, TimeUnit.SECONDS);
            worker.shutdown();
            return ended + ", then " + one(connection, "SELECT 13");
        }
    }

    private static String freshSession(Connection unused) throws SQLException {
        try (Connection first = connect()) {
            execute(first, "SET work_mem = '123MB'; CREATE TEMP TABLE drivers_leak (x int); SELECT pg_advisory_lock(4712); LISTEN leak");
        }
        String fresh = "current_setting('work_mem') <> '123MB' AND to_regclass('pg_temp.drivers_leak') IS NULL "
            + "AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) "
            + "AND NOT EXISTS (SELECT FROM pg_listening_channels())";
        StringBuilder seen = new StringBuilder();
        for (int session = 0; session < 5; session++) {
            try (Connection next = connect()) {
                seen.append(onPrimary(next, fresh)).append(one(next, "SELECT " + fresh));
            }
        }
        return seen.toString();
    }

    private static String startUpSettings(Connection unused) throws SQLException {
        try (Connection named = connect("ApplicationName", "named", "options", "-c work_mem=7MB -c statement_timeout=4321")) {
            return one(named, "SHOW application_name") + " " + one(named, "SHOW work_mem") + " " + one(named, "SHOW statement_timeout")
                + " " + one(named, "SHOW extra_float_digits");
        }
    }

    private static String manySessions(Connection unused) throws Exception {
        ExecutorService workers = Executors.newFixedThreadPool(10);
        List<Callable<Integer>> tasks = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            int tag = i;
            tasks.add(() -> {
                try (Connection connection = connect()) {
                    return one(connection, "SELECT " + tag).equals(String.valueOf(tag)) ? 1 : 0;
                }
            });
        }
        int own = 0;
        for (Future<Integer> done : workers.invokeAll(tasks)) {
            own += done.get();
        }
        workers.shutdown();
        return own + " own rows";
    }

    private static void declareSteps() {
        STEPS.put("server version", Session::serverVersion);
        STEPS.put("many types, text and binary", Session::manyTypes);
        STEPS.put("prepared statement", Session::preparedStatement);
        STEPS.put("prepared statement on a changed table", Session::changedTable);
        STEPS.put("batch", Session::batch);
        STEPS.put("broken batch", Session::brokenBatch);
        STEPS.put("generated keys", Session::generatedKeys);
        STEPS.put("several results", Session::severalResults);
        STEPS.put("portal with a fetch size", Session::fetchSize);
        STEPS.put("row limit", Session::maxRows);
        STEPS.put("errors and recovery", Session::errors);
        STEPS.put("error fields", Session::errorFields);
        STEPS.put("transaction rolled back", Session::rolledBack);
        STEPS.put("failed transaction", Session::failedTransaction);
        STEPS.put("savepoints", Session::savepoints);
        STEPS.put("isolation and read-only", Session::isolation);
        STEPS.put("large row", Session::largeRow);
        STEPS.put("large object by function calls", Session::largeObject);
        STEPS.put("copy in", Session::copyIn);
        STEPS.put("copy out, binary", Session::copyOut);
        STEPS.put("copy in refused", Session::copyInRefused);
        STEPS.put("copy in given up", Session::copyInGivenUp);
        STEPS.put("listen and notify", Session::listen);
        STEPS.put("process id", Session::processId);
        STEPS.put("notices", Session::notices);
        STEPS.put("function with an out parameter", Session::callable);
        STEPS.put("metadata", Session::metadata);
        STEPS.put("arrays", Session::arrays);
        STEPS.put("cancel", Session::cancel);
        STEPS.put("query timeout", Session::queryTimeout);
        STEPS.put("backend terminated", Session::terminated);
        STEPS.put("a new session is fresh", Session::freshSession);
        STEPS.put("start-up settings", Session::startUpSettings);
        STEPS.put("wrong database", unused -> sqlState(() -> connect("PGDBNAME", "no_such_database")));
        STEPS.put("100 sessions, 10 at a time", Session::manySessions);
    }

    public static void main(String[] arguments) throws Exception {
        declareSteps();
        int status = 0;
        ExecutorService runner = Executors.newCachedThreadPool();
        for (Map.Entry<String, Step> entry : STEPS.entrySet()) {
            Future<String> result = runner.submit(() -> {
                try (Connection connection = connect()) {
                    return entry.getValue().run(connection);
                }
            });
            try {
                System.out.println(entry.getKey() + ": " + result.get(STEP_TIMEOUT_SECONDS, TimeUnit.SECONDS));
            } catch (Exception error) {
                status = 1;
                System.out.println(entry.getKey() + ": FAILED");
                System.err.print(entry.getKey() + ": ");
                error.printStackTrace();
            }
        }
        try (Connection connection = connect()) {
            execute(connection, "DROP TABLE IF EXISTS drivers_jdbc, drivers_jdbc_copy, drivers_jdbc_changed");
        }
        System.exit(status);
    }
}

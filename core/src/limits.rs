//! Every bound of the core, with its unit and its reason. A queue, buffer or table without an entry here is a defect.

/// Longest start-up packet accepted, in bytes (PostgreSQL's own `MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_PACKET_BYTES: usize = 10_000;
/// Longest message accepted from a client that has not logged in, in bytes (PostgreSQL's `PG_MAX_AUTH_TOKEN_LENGTH`).
pub const AUTH_MESSAGE_BYTES: usize = 65_535;
/// Longest message of any kind, in bytes with its length field (PostgreSQL's `PQ_LARGE_MESSAGE_LIMIT`, 1 GiB - 2).
pub const MESSAGE_BYTES: u32 = 0x3fff_fffe;
/// Longest client message of the kinds that carry only names, in bytes (PostgreSQL's `PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL_MESSAGE_BYTES: u32 = 10_000;
/// How much of a Query or Parse message is held to understand it, in bytes. A longer one is not understood, so the
/// primary gets it, and the session stays there.
pub const INSPECT_BYTES: usize = 256 * 1024;
/// The same where pgconvoy replicates: there, a longer one is refused. Enough for 100,000 rows of ordinary width.
pub const REPLICATED_INSPECT_BYTES: usize = 16 * 1024 * 1024;
/// Relations whose columns a session keeps in mind where pgconvoy replicates; above it, it begins anew.
pub const AGREED_TABLES: usize = 512;
/// Longest text of a prepared statement that is kept where pgconvoy replicates, in bytes: one that is longer must be prepared
/// again once its tables have changed.
pub const AGREED_TEXT_BYTES: usize = 16 * 1024;
/// How much of a Bind message is held to find its two names, in bytes.
pub const BIND_PREFIX_BYTES: usize = 16 * 1024;
/// How much of an ErrorResponse is looked at before it is relayed, in bytes: severity and SQLSTATE stand first.
pub const ERROR_PREFIX_BYTES: usize = 96;
/// Longest ParameterStatus, authentication or key message believed from a backend, in bytes.
pub const BACKEND_CONTROL_BYTES: usize = 32 * 1024;
/// Longest answer to a query of pgconvoy's own, in bytes: the definitions of all views that one statement names.
pub const ANSWER_BYTES: usize = 1024 * 1024;
/// Positions of the primary's log that are remembered with their times: the latest half of them without a gap.
pub const PRIMARY_POSITIONS: usize = 64;
/// Longest ErrorResponse kept from a backend that refuses a login, in bytes.
pub const LOGIN_ERROR_BYTES: usize = 64 * 1024;
/// All ParameterStatus messages of one backend connection together, in bytes.
pub const PARAMETERS_BYTES: usize = 64 * 1024;
/// Above this many bytes waiting for one peer, whoever feeds it is not read any more. One read may overshoot it.
pub const WRITE_QUEUE_BYTES: usize = 128 * 1024;
/// Below this many bytes, a chunk that has to wait is copied out of the read buffer it came in.
pub const SMALL_CHUNK_BYTES: usize = 4096;
/// One read from a socket, in bytes.
pub const READ_BYTES: usize = 64 * 1024;
/// Nodes besides the main one that a session is attached to: a set of ports is one word.
pub const PARTNERS: usize = 63;
/// Client input that waits for its turn, in bytes: above it the client is not read any more.
pub const HELD_INPUT_BYTES: usize = INSPECT_BYTES + READ_BYTES;
/// Requests sent to one backend whose replies are outstanding. Above it the client is not read any more.
pub const PENDING_REQUESTS: usize = 4096;
/// Prepared statements whose text a session keeps so that another backend can be given them too.
pub const KEPT_STATEMENTS: usize = 10_000;
/// Bytes of text that a session keeps for that.
pub const KEPT_STATEMENT_BYTES: usize = 4 * 1024 * 1024;
/// How long links to a database are not kept after a statement that needs it alone, in milliseconds: for that long
/// PostgreSQL waits for others to leave (`CountOtherDBBackends`).
pub const CLAIM_MS: u64 = 5_000;
/// Databases for which that is remembered at a time; of more, the oldest is forgotten.
pub const CLAIMS: usize = 64;
/// SSLRequest and GSSENCRequest packets answered on one connection; a further one ends it.
pub const ENCRYPTION_REQUESTS: u8 = 2;
/// Length of the cancel key of protocol 3.2, in bytes (at most 256 by the manual, chapter "Message Formats").
pub const CANCEL_KEY_BYTES: usize = 32;
/// Longest cancel key believed from a backend or a client, in bytes.
pub const CANCEL_KEY_MAX_BYTES: usize = 256;
/// Longest wait for the answers to the reset queries, in milliseconds; then the connection is closed.
pub const RESET_TIMEOUT_MS: u64 = 5_000;
/// Longest life of a connection that only carries a cancel request, in milliseconds.
pub const CANCEL_TIMEOUT_MS: u64 = 5_000;
/// Longest silence of a client that owes pgconvoy the reading of a final error, in milliseconds.
pub const LINGER_MS: u64 = 1_000;
/// Longest SCRAM message accepted from either side, in bytes (PostgreSQL's `PG_MAX_SASL_MESSAGE_LENGTH`).
pub const SCRAM_MESSAGE_BYTES: usize = 1_024;
/// Longest SCRAM nonce of one side, in bytes of its printable form (libpq and PostgreSQL send 24).
pub const SCRAM_NONCE_BYTES: usize = 256;
/// Longest SCRAM salt, in bytes (PostgreSQL makes 16).
pub const SCRAM_SALT_BYTES: usize = 256;
/// Fewest PBKDF2 rounds that a backend may ask for: below RFC 7677's minimum the answer is a gift to a password cracker.
pub const SCRAM_ITERATIONS_MIN: u32 = 4_096;
/// Most PBKDF2 rounds that a backend may ask for, about a quarter of a second of one core: above that it is a work bomb.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;
/// Key pairs kept by one `auth::scram::KeyCache`, about 200 bytes each.
pub const SCRAM_CACHED_KEYS: usize = 4_096;
/// Largest pool_passwd file, in bytes.
pub const PASSWORD_FILE_BYTES: usize = 16 * 1024 * 1024;
/// Longest line of pool_passwd, in bytes without the line end (pgpool cuts lines at 1,023 and passwords at 128).
pub const PASSWORD_LINE_BYTES: usize = 16_384;
/// Deepest parentheses the SQL classifier follows in a query; a deeper one goes to the primary. One byte of stack each.
pub const SQL_PARENTHESES: usize = 256;
/// Longest request that is kept to be repeated on the primary when a standby refuses it, in bytes.
pub const REPEATED_BYTES: usize = 8 * 1024;
/// Above this many bytes, the buffer for that is given back between two requests.
pub const REPEATED_BYTES_KEPT: usize = 1024;
/// Questions about the catalogue that one statement may cause, for views within views.
pub const CATALOG_ROUNDS: u8 = 40;
/// Functions and relations that a transaction may use before it counts as one that changes settings, unless they are known.
pub const CALLED_NAMES: usize = 256;
/// How long nothing is looked up in the catalogue after a question had no answer, in milliseconds.
pub const CATALOG_SILENCE_MS: u64 = 1_000;
/// How deep views within views are followed; a deeper one goes to the primary.
pub const CATALOG_DEPTH: usize = 32;
/// Decisions that each worker keeps for `SHOW pool_decisions`.
pub const DECISIONS: usize = 256;
/// How much of a statement is kept while backends are asked it together, in bytes: it is told if their answers differ.
pub const ROUND_STATEMENT_BYTES: usize = 1024;
/// How much of a statement is kept with its decision, in bytes.
pub const DECISION_STATEMENT_BYTES: usize = 100;

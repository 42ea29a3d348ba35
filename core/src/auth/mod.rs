//! Password proofs in both directions: md5, SCRAM-SHA-256, and the `pool_passwd` entries behind them.

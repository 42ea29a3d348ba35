//! Which backend answers a statement, and the query cache.

use super::super::words::{CheckTempTable, DisableLoadBalanceOnWrite, QueryCacheMethod, RelcacheQueryTarget};
use super::*;

settings! {
    /// Replication by pgconvoy itself.
    pub struct Replication {
        replication_stop_on_mismatch: bool = BOOL, "off", Reload, "2.1", Now, "Detaches the backends whose kind of reply differs from the majority's.";
        failover_if_affected_tuples_mismatch: bool = BOOL, "off", Reload, "3.0.0", Now, "Detaches the backends whose number of changed rows differs from the majority's.";
        replicate_select: bool = BOOL, "off", Reload, "2.1", Now, "Sends reads to every backend too.";
        insert_lock: bool = BOOL, "on", Reload, "2.1", Now, "Locks the sequences of a table whose rows take values of them one by one.";
        lobj_lock_table: String = TEXT, "", Reload, "3.0.0", Moot("the main backend always chooses the number of a large object for all, and needs no lock for it"), "The table to lock when a large object is made.";
    }
}

settings! {
    /// Which reads may leave the primary.
    pub struct LoadBalance {
        load_balance_mode: bool = BOOL, "on", Lifted, "2.1", Now, "Spreads reads over the backends.";
        ignore_leading_white_space: bool = BOOL, "on", Reload, "2.1", Now, "Looks past blanks before a statement; otherwise one keeps it on the primary.";
        allow_sql_comments: bool = BOOL, "off", Session, "3.4.0", Now, "Looks past comments before a statement; otherwise one keeps it on the primary.";
        statement_level_load_balance: bool = BOOL, "off", Reload, "4.1.0", Now, "Draws a node for each read outside blocks, and for each block, not for each session.";
        disable_load_balance_on_write: DisableLoadBalanceOnWrite = Kind::Word(DisableLoadBalanceOnWrite::WORDS), "transaction", Reload, "4.0.0", Now, "What a write means for the reads after it.";
        dml_adaptive_object_relationship_list: String = TEXT, "", Reload, "4.2.0", Now, "Which objects a write to another one touches, for dml_adaptive.";
        track_table_mutation_ttl_factor: f64 = Kind::Float { min: 1.0, max: 100.0 }, "5.0", Reload, "4.8dev", Now, "How long a written table is read from the primary, in multiples of the standbys' delay.";
        track_table_mutation_max_staleness: Duration = Kind::Int { min: 0, max: 3_600_000, unit: Unit::Milliseconds }, "60000", Reload, "4.8dev", Now, "The longest such time, counted from the first write; 0 for no limit.";
        track_table_mutation_cold_start_duration: Duration = Kind::Int { min: 0, max: 60_000, unit: Unit::Milliseconds }, "2000", Reload, "4.8dev", Now, "How long after a start all reads go to the primary.";
        track_table_mutation_table_buckets: u32 = count(64, 65_536), "1024", Init, "4.8dev", Later, "The hash buckets of the table of written tables.";
        track_table_mutation_table_size: u32 = count(128, 131_072), "2048", Init, "4.8dev", Now, "The entries of the table of written tables.";
        read_only_function_list: Vec<String> = COMMAS, "", Reload, "4.2.0", Now, "Patterns of the functions that do not write.";
        write_function_list: Vec<String> = COMMAS, "", Reload, "4.2.0", Now, "Patterns of the functions that write.";
        primary_routing_query_pattern_list: Vec<String> = SEMICOLONS, "", Reload, "4.2.0", Now, "Patterns of the statements that go to the primary.";
        check_temp_table: CheckTempTable = Kind::Word(CheckTempTable::WORDS), "catalog", Reload, "3.2.0", Now, "How temporary tables are recognised, which only the primary has.";
        check_unlogged_table: bool = BOOL, "on", Session, "3.4.0", Now, "Recognises unlogged tables, which only the primary has.";
    }
}

settings! {
    /// Which node is preferred for whom.
    pub struct Redirect {
        user_redirect_preference_list: String = TEXT, "", Reload, "4.5.0", Now, "The preferred node by user.";
        database_redirect_preference_list: String = TEXT, "", Reload, "3.4.0", Now, "The preferred node by database.";
        app_name_redirect_preference_list: String = TEXT, "", Reload, "3.4.0", Now, "The preferred node by application name.";
    }
}

settings! {
    /// The cache of results.
    pub struct QueryCache {
        memory_cache_enabled: bool = BOOL, "off", Init, "3.2.0", Later, "Keeps results of reads.";
        memqcache_method: QueryCacheMethod = Kind::Word(QueryCacheMethod::WORDS), "shmem", Init, "3.2.0", Later, "Where they are kept.";
        memqcache_memcached_host: String = TEXT, "localhost", Init, "3.2.0", Later, "The host of the memcached, or its Unix socket.";
        memqcache_memcached_port: u16 = count(0, 65_535), "11211", Init, "3.2.0", Later, "The port of the memcached.";
        memqcache_total_size: u64 = LARGE_BYTES, "67108864", Init, "3.2.0", Later, "The memory for kept results, in bytes.";
        memqcache_max_num_cache: u32 = count(0, INT_MAX), "1000000", Init, "3.2.0", Later, "The greatest number of kept results.";
        memqcache_expire: Duration = SECONDS, "0", Init, "3.2.0", Later, "How long a result is kept; 0 for ever.";
        memqcache_auto_cache_invalidation: bool = BOOL, "on", Reload, "3.2.0", Later, "Drops a result when one of its tables is written.";
        memqcache_maxcache: u32 = BYTES, "409600", Init, "3.2.0", Later, "The largest result that is kept, in bytes.";
        memqcache_cache_block_size: u32 = Kind::Int { min: 512, max: INT_MAX, unit: Unit::Bytes }, "1048576", Init, "3.2.0", Later, "The size of a block of the memory for results, in bytes.";
        memqcache_oiddir: String = TEXT, "/var/log/pgpool/oiddir", Init, "3.2.0", Later, "The directory that records which result came from which table.";
        cache_safe_memqcache_table_list: Vec<String> = COMMAS, "", Reload, "4.2.0", Later, "Patterns of tables and views whose results may be kept.";
        cache_unsafe_memqcache_table_list: Vec<String> = COMMAS, "", Reload, "4.2.0", Later, "Patterns of tables and views whose results are never kept.";
    }
}

settings! {
    /// The cache of answers from the system catalog.
    pub struct RelationCache {
        relcache_expire: Duration = Kind::Int { min: 0, max: i64::MAX, unit: Unit::Seconds }, "0", Lifted, "3.1.0", Now, "How long an answer is kept; 0 for ever.";
        relcache_size: u32 = count(0, INT_MAX), "256", Lifted, "3.2.0", Now, "The number of kept answers.";
        enable_shared_relcache: bool = BOOL, "on", Init, "4.1.0", Moot("the sessions of a worker thread always share what has been looked up"), "Shares the answers between sessions.";
        relcache_query_target: RelcacheQueryTarget = Kind::Word(RelcacheQueryTarget::WORDS), "primary", Reload, "4.1.0", Now, "Which node is asked.";
    }
}

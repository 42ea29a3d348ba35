//! The functions a query may call and still run anywhere, by name.
//!
//! Taken from the catalogue of PostgreSQL 15 (`pg_proc`: immutable or stable in every overload, callable from SQL, meant
//! to be called by users), less whatever touches the session, sequences, transaction numbers, locks, recovery, files or
//! large objects, and less whatever runs SQL given as text or over whole schemas. A name that is not here, or that stands
//! behind another schema than `pg_catalog`, is a function that may write.

use super::name::Name;

/// What calling a function means for routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// It answers the same on every node that has the same data.
    Anywhere,
    /// It only reads, but its answer belongs to the primary: catalogue, session state, statistics, or another value at
    /// every call.
    ReadsPrimary,
    /// It writes or locks, but makes and drops nothing that a statement could name.
    Writes,
    /// Nothing is known about it.
    Unknown,
}

/// What is known about the function called `name`, without its schema.
pub(super) fn find(name: Name<'_>) -> Function {
    let mut buffer = [0; LONGEST];
    let Some(folded) = name.fold_into(&mut buffer) else { return Function::Unknown };
    let listed = |list: &[&str]| list.binary_search_by(|entry| entry.as_bytes().cmp(folded)).is_ok();
    if listed(ANYWHERE) {
        Function::Anywhere
    } else if listed(READS_PRIMARY) {
        Function::ReadsPrimary
    } else if listed(WRITES) {
        Function::Writes
    } else {
        Function::Unknown
    }
}

/// Longest name in the lists, in bytes.
const LONGEST: usize = 44;

#[rustfmt::skip]
static ANYWHERE: &[&str] = &[
    "abbrev", "abs", "acos", "acosd", "acosh", "age", "area", "array_agg", "array_append", "array_dims",
    "array_fill", "array_length", "array_lower", "array_ndims", "array_position", "array_positions",
    "array_prepend", "array_remove", "array_replace", "array_to_json", "array_to_string", "array_to_tsvector",
    "array_upper", "ascii", "asin", "asind", "asinh", "atan", "atan2", "atan2d", "atand", "atanh", "avg", "bit",
    "bit_and", "bit_count", "bit_length", "bit_or", "bit_xor", "bool", "bool_and", "bool_or", "bound_box", "box",
    "bpchar", "broadcast", "btrim", "cardinality", "cbrt", "ceil", "ceiling", "center", "char", "char_length",
    "character_length", "chr", "cidr", "circle", "concat", "concat_ws", "convert", "convert_from", "convert_to",
    "corr", "cos", "cosd", "cosh", "cot", "cotd", "count", "covar_pop", "covar_samp", "cume_dist",
    "current_database", "current_schema", "current_schemas", "current_setting", "current_timestamp",
    "current_user", "date", "date_bin", "date_part", "date_trunc", "datemultirange", "daterange", "decode",
    "degrees", "dense_rank", "diagonal", "diameter", "div", "encode", "enum_first", "enum_last", "enum_range",
    "every", "exp", "extract", "factorial", "family", "first_value", "float4", "float8", "floor", "format", "gcd",
    "generate_series", "generate_subscripts", "get_bit", "get_byte", "get_current_ts_config",
    "getdatabaseencoding", "height", "host", "hostmask", "inet_client_addr", "inet_client_port", "inet_merge",
    "inet_same_family", "inet_server_addr", "inet_server_port", "initcap", "int2", "int4", "int4multirange",
    "int4range", "int8", "int8multirange", "int8range", "interval", "is_normalized", "isclosed", "isempty",
    "isfinite", "ishorizontal", "isopen", "isparallel", "isperp", "isvertical", "json_agg", "json_array_elements",
    "json_array_elements_text", "json_array_length", "json_build_array", "json_build_object", "json_each",
    "json_each_text", "json_extract_path", "json_extract_path_text", "json_object", "json_object_agg",
    "json_object_keys", "json_populate_record", "json_populate_recordset", "json_strip_nulls", "json_to_record",
    "json_to_recordset", "json_to_tsvector", "json_typeof", "jsonb_agg", "jsonb_array_elements",
    "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_each",
    "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text", "jsonb_insert", "jsonb_object",
    "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_exists_tz", "jsonb_path_match",
    "jsonb_path_match_tz", "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_array_tz",
    "jsonb_path_query_first", "jsonb_path_query_first_tz", "jsonb_path_query_tz", "jsonb_populate_record",
    "jsonb_populate_recordset", "jsonb_pretty", "jsonb_set", "jsonb_set_lax", "jsonb_strip_nulls",
    "jsonb_to_record", "jsonb_to_recordset", "jsonb_to_tsvector", "jsonb_typeof", "justify_days", "justify_hours",
    "justify_interval", "lag", "last_value", "lcm", "lead", "left", "length", "like", "line", "ln", "log", "log10",
    "lower", "lower_inc", "lower_inf", "lpad", "lseg", "ltrim", "macaddr", "macaddr8", "macaddr8_set7bit",
    "make_date", "make_interval", "make_time", "make_timestamp", "make_timestamptz", "masklen", "max", "md5",
    "min", "min_scale", "mod", "mode", "money", "multirange", "name", "netmask", "network", "normalize", "notlike",
    "now", "npoints", "nth_value", "ntile", "num_nonnulls", "num_nulls", "numeric", "numeric_div_trunc",
    "nummultirange", "numnode", "numrange", "octet_length", "oid", "overlaps", "overlay", "parse_ident", "path",
    "percent_rank", "percentile_cont", "percentile_disc", "pg_char_to_encoding", "pg_client_encoding",
    "pg_collation_for", "pg_column_compression", "pg_column_size", "pg_encoding_max_length", "pg_encoding_to_char",
    "pg_get_keywords", "pg_lsn", "pg_size_bytes", "pg_size_pretty", "pg_timezone_abbrevs", "pg_timezone_names",
    "pg_typeof", "pg_wal_lsn_diff", "phraseto_tsquery", "pi", "plainto_tsquery", "point", "polygon", "position",
    "pow", "power", "querytree", "quote_ident", "quote_literal", "quote_nullable", "radians", "radius",
    "range_agg", "range_intersect_agg", "range_merge", "rank", "regexp_count", "regexp_instr", "regexp_like",
    "regexp_match", "regexp_matches", "regexp_replace", "regexp_split_to_array", "regexp_split_to_table",
    "regexp_substr", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx",
    "regr_sxy", "regr_syy", "repeat", "replace", "reverse", "right", "round", "row_number", "row_to_json", "rpad",
    "rtrim", "scale", "session_user", "set_bit", "set_byte", "set_masklen", "setweight", "sha224", "sha256",
    "sha384", "sha512", "sign", "similar_to_escape", "sin", "sind", "sinh", "slope", "split_part", "sqrt",
    "starts_with", "statement_timestamp", "stddev", "stddev_pop", "stddev_samp", "string_agg", "string_to_array",
    "string_to_table", "strip", "strpos", "substr", "substring", "sum", "tan", "tand", "tanh", "text", "time",
    "timestamp", "timestamptz", "timetz", "timezone", "to_ascii", "to_char", "to_date", "to_hex", "to_json",
    "to_jsonb", "to_number", "to_timestamp", "to_tsquery", "to_tsvector", "transaction_timestamp", "translate",
    "trim_array", "trim_scale", "trunc", "ts_delete", "ts_filter", "ts_headline", "ts_lexize", "ts_rank",
    "ts_rank_cd", "tsmultirange", "tsquery_phrase", "tsrange", "tstzmultirange", "tstzrange", "tsvector_to_array",
    "unistr", "unnest", "upper", "upper_inc", "upper_inf", "var_pop", "var_samp", "varbit", "varchar", "variance",
    "version", "websearch_to_tsquery", "width", "width_bucket", "xml", "xml_is_well_formed",
    "xml_is_well_formed_content", "xml_is_well_formed_document", "xmlagg", "xmlcomment", "xmlexists", "xpath",
    "xpath_exists",
];

#[rustfmt::skip]
static READS_PRIMARY: &[&str] = &[
    "clock_timestamp", "col_description", "current_query", "currval", "format_type", "gen_random_uuid",
    "has_any_column_privilege", "has_column_privilege", "has_database_privilege",
    "has_foreign_data_wrapper_privilege", "has_function_privilege", "has_language_privilege",
    "has_parameter_privilege", "has_schema_privilege", "has_sequence_privilege", "has_server_privilege",
    "has_table_privilege", "has_tablespace_privilege", "has_type_privilege", "lastval", "obj_description",
    "pg_available_extension_versions", "pg_available_extensions", "pg_backend_pid", "pg_blocking_pids",
    "pg_collation_is_visible", "pg_column_is_updatable", "pg_conf_load_time", "pg_config", "pg_control_checkpoint",
    "pg_control_init", "pg_control_recovery", "pg_control_system", "pg_conversion_is_visible",
    "pg_current_wal_flush_lsn", "pg_current_wal_insert_lsn", "pg_current_wal_lsn", "pg_cursor", "pg_database_size",
    "pg_describe_object", "pg_extension_update_paths", "pg_filenode_relation", "pg_function_is_visible",
    "pg_get_catalog_foreign_keys", "pg_get_constraintdef", "pg_get_expr", "pg_get_function_arg_default",
    "pg_get_function_arguments", "pg_get_function_identity_arguments", "pg_get_function_result",
    "pg_get_function_sqlbody", "pg_get_functiondef", "pg_get_indexdef", "pg_get_object_address",
    "pg_get_partition_constraintdef", "pg_get_partkeydef", "pg_get_publication_tables",
    "pg_get_replica_identity_index", "pg_get_replication_slots", "pg_get_ruledef", "pg_get_serial_sequence",
    "pg_get_statisticsobjdef", "pg_get_statisticsobjdef_columns", "pg_get_statisticsobjdef_expressions",
    "pg_get_triggerdef", "pg_get_userbyid", "pg_get_viewdef", "pg_has_role", "pg_hba_file_rules",
    "pg_identify_object", "pg_identify_object_as_address", "pg_index_column_has_property", "pg_index_has_property",
    "pg_indexam_has_property", "pg_indexes_size", "pg_is_in_recovery", "pg_is_other_temp_schema",
    "pg_is_wal_replay_paused", "pg_jit_available", "pg_last_committed_xact", "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn", "pg_last_xact_replay_timestamp", "pg_listening_channels", "pg_lock_status",
    "pg_my_temp_schema", "pg_notification_queue_usage", "pg_opclass_is_visible", "pg_operator_is_visible",
    "pg_opfamily_is_visible", "pg_options_to_table", "pg_partition_ancestors", "pg_partition_root",
    "pg_partition_tree", "pg_postmaster_start_time", "pg_prepared_statement", "pg_prepared_xact",
    "pg_relation_filenode", "pg_relation_filepath", "pg_relation_is_publishable", "pg_relation_is_updatable",
    "pg_relation_size", "pg_safe_snapshot_blocking_pids", "pg_sequence_last_value", "pg_sequence_parameters",
    "pg_settings_get_flags", "pg_show_all_file_settings", "pg_show_all_settings", "pg_sleep", "pg_sleep_for",
    "pg_sleep_until", "pg_stat_get_activity", "pg_stat_get_analyze_count", "pg_stat_get_archiver",
    "pg_stat_get_autoanalyze_count", "pg_stat_get_autovacuum_count", "pg_stat_get_backend_activity",
    "pg_stat_get_backend_activity_start", "pg_stat_get_backend_client_addr", "pg_stat_get_backend_client_port",
    "pg_stat_get_backend_dbid", "pg_stat_get_backend_idset", "pg_stat_get_backend_pid",
    "pg_stat_get_backend_start", "pg_stat_get_backend_userid", "pg_stat_get_backend_wait_event",
    "pg_stat_get_backend_wait_event_type", "pg_stat_get_backend_xact_start",
    "pg_stat_get_bgwriter_buf_written_checkpoints", "pg_stat_get_bgwriter_buf_written_clean",
    "pg_stat_get_bgwriter_maxwritten_clean", "pg_stat_get_bgwriter_requested_checkpoints",
    "pg_stat_get_bgwriter_stat_reset_time", "pg_stat_get_bgwriter_timed_checkpoints", "pg_stat_get_blocks_fetched",
    "pg_stat_get_blocks_hit", "pg_stat_get_buf_alloc", "pg_stat_get_buf_fsync_backend",
    "pg_stat_get_buf_written_backend", "pg_stat_get_checkpoint_sync_time", "pg_stat_get_checkpoint_write_time",
    "pg_stat_get_db_active_time", "pg_stat_get_db_blk_read_time", "pg_stat_get_db_blk_write_time",
    "pg_stat_get_db_blocks_fetched", "pg_stat_get_db_blocks_hit", "pg_stat_get_db_checksum_failures",
    "pg_stat_get_db_checksum_last_failure", "pg_stat_get_db_conflict_all", "pg_stat_get_db_conflict_bufferpin",
    "pg_stat_get_db_conflict_lock", "pg_stat_get_db_conflict_snapshot", "pg_stat_get_db_conflict_startup_deadlock",
    "pg_stat_get_db_conflict_tablespace", "pg_stat_get_db_deadlocks", "pg_stat_get_db_idle_in_transaction_time",
    "pg_stat_get_db_numbackends", "pg_stat_get_db_session_time", "pg_stat_get_db_sessions",
    "pg_stat_get_db_sessions_abandoned", "pg_stat_get_db_sessions_fatal", "pg_stat_get_db_sessions_killed",
    "pg_stat_get_db_stat_reset_time", "pg_stat_get_db_temp_bytes", "pg_stat_get_db_temp_files",
    "pg_stat_get_db_tuples_deleted", "pg_stat_get_db_tuples_fetched", "pg_stat_get_db_tuples_inserted",
    "pg_stat_get_db_tuples_returned", "pg_stat_get_db_tuples_updated", "pg_stat_get_db_xact_commit",
    "pg_stat_get_db_xact_rollback", "pg_stat_get_dead_tuples", "pg_stat_get_function_calls",
    "pg_stat_get_function_self_time", "pg_stat_get_function_total_time", "pg_stat_get_ins_since_vacuum",
    "pg_stat_get_last_analyze_time", "pg_stat_get_last_autoanalyze_time", "pg_stat_get_last_autovacuum_time",
    "pg_stat_get_last_vacuum_time", "pg_stat_get_live_tuples", "pg_stat_get_mod_since_analyze",
    "pg_stat_get_numscans", "pg_stat_get_progress_info", "pg_stat_get_replication_slot", "pg_stat_get_slru",
    "pg_stat_get_snapshot_timestamp", "pg_stat_get_subscription", "pg_stat_get_subscription_stats",
    "pg_stat_get_tuples_deleted", "pg_stat_get_tuples_fetched", "pg_stat_get_tuples_hot_updated",
    "pg_stat_get_tuples_inserted", "pg_stat_get_tuples_returned", "pg_stat_get_tuples_updated",
    "pg_stat_get_vacuum_count", "pg_stat_get_wal", "pg_stat_get_wal_receiver", "pg_stat_get_wal_senders",
    "pg_statistics_obj_is_visible", "pg_table_is_visible", "pg_table_size", "pg_tablespace_databases",
    "pg_tablespace_location", "pg_tablespace_size", "pg_total_relation_size", "pg_trigger_depth",
    "pg_ts_config_is_visible", "pg_ts_dict_is_visible", "pg_ts_parser_is_visible", "pg_ts_template_is_visible",
    "pg_type_is_visible", "pg_xact_commit_timestamp", "random", "regclass", "row_security_active",
    "shobj_description", "timeofday", "to_regclass", "to_regcollation", "to_regnamespace", "to_regoper",
    "to_regoperator", "to_regproc", "to_regprocedure", "to_regrole", "to_regtype",
];

#[rustfmt::skip]
static WRITES: &[&str] = &[
    "lo_close", "lo_creat", "lo_create", "lo_export", "lo_from_bytea", "lo_get", "lo_import", "lo_lseek", "lo_lseek64",
    "lo_open", "lo_put", "lo_tell", "lo_tell64", "lo_truncate", "lo_truncate64", "lo_unlink", "loread", "lowrite",
    "nextval", "pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_cancel_backend",
    "pg_current_xact_id", "pg_logical_emit_message", "pg_notify", "pg_terminate_backend", "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared", "pg_try_advisory_xact_lock", "pg_try_advisory_xact_lock_shared", "setseed", "setval",
    "txid_current",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_sorted_and_have_nothing_in_common() {
        assert!(ANYWHERE.is_sorted_by(|a, b| a < b));
        assert!(READS_PRIMARY.is_sorted_by(|a, b| a < b));
        assert!(WRITES.is_sorted_by(|a, b| a < b));
        assert!(ANYWHERE.iter().all(|name| READS_PRIMARY.binary_search(name).is_err()));
        assert!(ANYWHERE.iter().chain(READS_PRIMARY).all(|name| WRITES.binary_search(name).is_err()));
        assert_eq!(ANYWHERE.iter().chain(READS_PRIMARY).map(|name| name.len()).max(), Some(LONGEST));
    }

    #[test]
    fn names_fold_as_identifiers_do() {
        assert_eq!(find(Name::new(b"LOWER")), Function::Anywhere);
        assert_eq!(find(Name::new(b"\"lower\"")), Function::Anywhere);
        assert_eq!(find(Name::new(b"\"LOWER\"")), Function::Unknown);
        assert_eq!(find(Name::new(b"Random")), Function::ReadsPrimary);
    }

    #[test]
    fn functions_with_effects_write_or_are_unknown() {
        for name in [
            "nextval",
            "setval",
            "set_config",
            "setseed",
            "lo_creat",
            "lowrite",
            "pg_notify",
            "query_to_xml",
            "ts_stat",
            "txid_current",
            "pg_current_xact_id",
            "pg_export_snapshot",
            "pg_advisory_lock",
            "pg_try_advisory_xact_lock",
            "pg_terminate_backend",
            "pg_switch_wal",
            "pg_read_file",
            "table_to_xml",
            "cursor_to_xml",
            "pg_promote",
            "dblink",
        ] {
            let found = find(Name::new(name.as_bytes()));
            assert!(matches!(found, Function::Unknown | Function::Writes), "{name}");
        }
    }
}

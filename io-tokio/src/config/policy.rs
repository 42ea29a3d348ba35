//! What the lists and preferences of a configuration mean for routing.

use pgconvoy_core::mutations::Rules;
use pgconvoy_core::policy::{CheckTemporary, FunctionList, OnWrite, Policy, Relationships, patterns, preferences};

use super::Config;
use super::groups::{LoadBalance, Redirect};
use super::words::{CheckTempTable, DisableLoadBalanceOnWrite};

impl Config {
    /// What the operator wants of routing. A configuration that has been checked has no error here.
    ///
    /// # Errors
    /// If a pattern or a preference cannot be understood.
    pub fn policy(&self) -> Result<Policy, String> {
        let policy = policy(&self.load_balance, &self.redirect).map_err(|(name, why)| format!("{name}: {why}"))?;
        Ok(Policy { prefer_lower_delay: self.streaming_check.prefer_lower_delay_standby, ..policy })
    }
}

/// Reads the lists. The error names the parameter that cannot be understood, and says why.
pub(super) fn policy(lists: &LoadBalance, redirect: &Redirect) -> Result<Policy, (&'static str, String)> {
    let of = |name: &'static str| move |why: String| (name, why);
    let functions = if !lists.read_only_function_list.is_empty() {
        let read_only = patterns(&lists.read_only_function_list).map_err(of("read_only_function_list"))?;
        FunctionList::ReadOnly(read_only)
    } else if !lists.write_function_list.is_empty() {
        FunctionList::Writing(patterns(&lists.write_function_list).map_err(of("write_function_list"))?)
    } else {
        FunctionList::Catalog
    };
    let queries = &lists.primary_routing_query_pattern_list;
    Ok(Policy {
        on_write: match lists.disable_load_balance_on_write {
            DisableLoadBalanceOnWrite::Off => OnWrite::Off,
            DisableLoadBalanceOnWrite::TransTransaction => OnWrite::TransTransaction,
            DisableLoadBalanceOnWrite::Always => OnWrite::Always,
            DisableLoadBalanceOnWrite::DmlAdaptive => OnWrite::Adaptive,
            DisableLoadBalanceOnWrite::DmlAdaptiveGlobal => OnWrite::AdaptiveGlobal,
            DisableLoadBalanceOnWrite::Transaction => OnWrite::Transaction,
        },
        mutations: Rules {
            factor_milli: (lists.track_table_mutation_ttl_factor * 1_000.0) as u64,
            longest: lists.track_table_mutation_max_staleness,
            cold_start: lists.track_table_mutation_cold_start_duration,
        },
        check_temporary: match lists.check_temp_table {
            CheckTempTable::Catalog => CheckTemporary::Catalog,
            CheckTempTable::Trace => CheckTemporary::Trace,
            CheckTempTable::None => CheckTemporary::Never,
        },
        functions,
        relationships: Relationships::parse(&lists.dml_adaptive_object_relationship_list)
            .map_err(of("dml_adaptive_object_relationship_list"))?,
        primary_queries: patterns(queries).map_err(of("primary_routing_query_pattern_list"))?,
        blanks_count: !lists.ignore_leading_white_space,
        by_application: preferences(&redirect.app_name_redirect_preference_list)
            .map_err(of("app_name_redirect_preference_list"))?,
        by_database: preferences(&redirect.database_redirect_preference_list)
            .map_err(of("database_redirect_preference_list"))?,
        by_user: preferences(&redirect.user_redirect_preference_list).map_err(of("user_redirect_preference_list"))?,
        each_statement: lists.statement_level_load_balance,
        ..Policy::default()
    })
}

//! The declarations of all parameters, in groups: each group is a struct of typed fields and a table of [`Parameter`]s.
//!
//! A row reads `name: type = kind, default, when set, since, effect, description;`, and the sentence above a group is
//! its title in the manual. Times are [`Duration`]s in the program whatever their unit in the file; zero means what
//! pgpool-II says of it, mostly "never".

mod clients;
mod cluster;
mod logging;
mod routing;
mod watchdog;

use std::time::Duration;

pub use clients::{Auth, Files, Listen, Own, Pcp, Pool, Processes, Tls};
pub use cluster::{BackendSettings, Clustering, Failover, HealthCheck, HealthCheckTest, Recovery, StreamingCheck};
pub use logging::Logging;
pub use routing::{LoadBalance, QueryCache, Redirect, RelationCache, Replication};
pub use watchdog::{Heartbeat, Lifecheck, VirtualIp, Watchdog, WatchdogNode};

use super::names::Effect::{Later, Moot, Now};
use super::names::{Group, Index, Parameter, SetAt};
use super::value::{FromValue, Kind, Unit};
use super::values::Values;

/// Declares a group of settings.
///
/// A group of plain parameters names its fields as the parameters; a group with a node number in its names
/// (`indexed Always` or `indexed Optional`) gives the name of each parameter beside a shorter name of the field.
macro_rules! settings {
    (#[doc = $title:literal] pub struct $Group:ident {
        $($name:ident: $ty:ty = $kind:expr, $default:literal, $set_at:ident, $since:literal, $effect:expr, $about:literal;)*
    }) => {
        settings! { @group Never $title $Group {
            $(stringify!($name) => $name: $ty = $kind, $default, $set_at, $since, $effect, $about;)*
        } }
    };
    (#[doc = $title:literal] indexed $index:ident pub struct $Group:ident {
        $($name:literal => $field:ident: $ty:ty = $kind:expr, $default:literal, $set_at:ident, $since:literal, $effect:expr, $about:literal;)*
    }) => {
        settings! { @group $index $title $Group {
            $($name => $field: $ty = $kind, $default, $set_at, $since, $effect, $about;)*
        } }
    };
    (@group $index:ident $title:literal $Group:ident {
        $($name:expr => $field:ident: $ty:ty = $kind:expr, $default:literal, $set_at:ident, $since:literal, $effect:expr, $about:literal;)*
    }) => {
        #[doc = $title]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Group { $(#[doc = $about] pub $field: $ty,)* }

        impl $Group {
            /// The rows of the parameter table.
            pub(in crate::config) const PARAMETERS: &'static [Parameter] = &[$(Parameter {
                name: $name,
                kind: $kind,
                default: $default,
                set_at: SetAt::$set_at,
                index: Index::$index,
                since: $since,
                effect: $effect,
                about: $about,
            }),*];

            /// The rows, and what they are about.
            pub(in crate::config) const GROUP: Group =
                Group { title: $title.trim_ascii(), parameters: Self::PARAMETERS };

            /// Reads the group: of one node, or of none.
            pub(in crate::config) fn read(values: &Values, node: Option<u16>) -> Self {
                let [$($field),*] = Self::PARAMETERS else { unreachable!("one row per field") };
                Self { $($field: <$ty as FromValue>::from_value(values.value($field, node), &$field.kind),)* }
            }
        }
    };
}
use settings;

/// pgpool-II's parameters, group by group.
pub(super) const PGPOOL: &[Group] = &[
    Clustering::GROUP,
    Listen::GROUP,
    Pcp::GROUP,
    BackendSettings::GROUP,
    Auth::GROUP,
    Tls::GROUP,
    Pool::GROUP,
    Processes::GROUP,
    Files::GROUP,
    Logging::GROUP,
    Replication::GROUP,
    LoadBalance::GROUP,
    Redirect::GROUP,
    StreamingCheck::GROUP,
    HealthCheck::GROUP,
    HealthCheckTest::GROUP,
    Failover::GROUP,
    Recovery::GROUP,
    Watchdog::GROUP,
    WatchdogNode::GROUP,
    VirtualIp::GROUP,
    Lifecheck::GROUP,
    Heartbeat::GROUP,
    QueryCache::GROUP,
    RelationCache::GROUP,
];

/// pgconvoy's own parameters.
pub(super) const OWN: Group = Own::GROUP;

const INT_MAX: i64 = i32::MAX as i64;
const BOOL: Kind = Kind::Bool;
const TEXT: Kind = Kind::Text;
/// Port numbers that need no privilege; a port that is not set is 0.
const PORT: Kind = Kind::Int { min: 1024, max: 65_535, unit: Unit::One };
const SECONDS: Kind = Kind::Int { min: 0, max: INT_MAX, unit: Unit::Seconds };
const MILLISECONDS: Kind = Kind::Int { min: 0, max: INT_MAX, unit: Unit::Milliseconds };
const BYTES: Kind = Kind::Int { min: 0, max: INT_MAX, unit: Unit::Bytes };
const LARGE_BYTES: Kind = Kind::Int { min: 0, max: i64::MAX, unit: Unit::Bytes };
const COMMAS: Kind = Kind::List(',');
const SEMICOLONS: Kind = Kind::List(';');

const fn count(min: i64, max: i64) -> Kind {
    Kind::Int { min, max, unit: Unit::One }
}

#[cfg(test)]
mod tests {
    use super::super::names::all_groups;

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for parameter in all_groups().flat_map(|group| group.parameters) {
            let parsed = parameter.kind.parse_unchecked(parameter.default);
            assert!(parsed.is_ok(), "{}: {parsed:?}", parameter.name);
        }
    }
}

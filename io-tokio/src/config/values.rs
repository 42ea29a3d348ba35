//! From assignments to checked values of known parameters.

use std::collections::BTreeMap;

use super::assignment::{Assignment, Raw};
use super::diagnostic::{Diagnostic, Place, Severity};
use super::names::{Effect, Index, MAX_NODES, Parameter, find, nearest, own_parameters, parameters};
use super::value::{Kind, Value};

/// A parameter and the node that it is about.
type Key = (&'static str, Option<u16>);

/// A value and where it was set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// The value of every parameter: as set, or the default.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Values {
    set: BTreeMap<Key, Setting>,
    defaults: BTreeMap<&'static str, Value>,
}

impl Values {
    /// Nothing is set.
    pub(super) fn new() -> Self {
        let default_of = |parameter: &Parameter| match parameter.kind.parse_unchecked(parameter.default) {
            Ok(value) => value,
            Err(error) => unreachable!("the default of {} is no value of its kind: {error}", parameter.name),
        };
        let defaults = parameters().chain(own_parameters()).map(|known| (known.name, default_of(known))).collect();
        Self { set: BTreeMap::new(), defaults }
    }

    /// Takes assignments in their order, so that the last one of a parameter wins, and notes all that is wrong.
    pub(super) fn assign(&mut self, assignments: Vec<Assignment>, findings: &mut Vec<Diagnostic>) {
        let mut without_effect: BTreeMap<Key, Diagnostic> = BTreeMap::new();
        for found in assignments {
            match understand(&found, findings) {
                Ok((known, node, value)) => {
                    let key = (known.name, node);
                    let at_name = |severity, message| Diagnostic::at(severity, found.name_place.clone(), message);
                    let finding = match known.effect {
                        Effect::Later if !is_empty(&value) => {
                            Some(at_name(Severity::Warning, "this parameter has no effect yet".to_owned()))
                        }
                        Effect::Moot(why) => Some(at_name(Severity::Note, format!("has no effect because {why}"))),
                        Effect::Now | Effect::Later => None,
                    };
                    match finding {
                        Some(finding) => drop(without_effect.insert(key, finding.of(found.name))),
                        None => drop(without_effect.remove(&key)),
                    }
                    self.set.insert(key, Setting { value, place: found.value_place });
                }
                Err(finding) => findings.push(finding.of(found.name)),
            }
        }
        findings.extend(without_effect.into_values());
    }

    /// The value of a parameter: of a node, else of all nodes, else the default.
    pub(super) fn value(&self, parameter: &Parameter, node: Option<u16>) -> &Value {
        self.setting(parameter.name, node)
            .or_else(|| self.setting(parameter.name, None))
            .map_or_else(|| &self.defaults[parameter.name], |setting| &setting.value)
    }

    /// What was set for exactly this parameter and node.
    pub(super) fn setting(&self, name: &'static str, node: Option<u16>) -> Option<&Setting> {
        self.set.get(&(name, node))
    }

    /// Replaces the default of a parameter.
    pub(super) fn set_default(&mut self, name: &'static str, value: Value) {
        self.defaults.insert(name, value);
    }

    /// Gives a parameter that has no nodes a value that stands in no file.
    pub(super) fn override_with(&mut self, name: &'static str, value: Value) {
        self.set.remove(&(name, None));
        self.defaults.insert(name, value);
    }

    /// The nodes for which at least one of some parameters is set, in their order.
    pub(super) fn nodes(&self, group: &[Parameter]) -> Vec<u16> {
        let mut nodes: Vec<u16> = group
            .iter()
            .flat_map(|known| self.set.range((known.name, Some(0))..=(known.name, Some(MAX_NODES))))
            .filter_map(|((_, node), _)| *node)
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Takes the values of `parameter` that another set has, for all nodes.
    pub(super) fn copy_from(&mut self, other: &Self, name: &'static str) {
        self.set.retain(|(set, _), _| *set != name);
        let copied = other.set.range((name, None)..=(name, Some(MAX_NODES)));
        self.set.extend(copied.map(|(key, setting)| (*key, setting.clone())));
    }
}

/// Nothing is configured by an empty text.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

/// Finds the parameter that an assignment is about, and reads its value.
fn understand(
    found: &Assignment,
    findings: &mut Vec<Diagnostic>,
) -> Result<(&'static Parameter, Option<u16>, Value), Diagnostic> {
    let at_name = |severity, message: String| Diagnostic::at(severity, found.name_place.clone(), message);
    let Some((known, number)) = find(&found.name) else {
        let finding = at_name(Severity::Warning, "no such parameter is known; it is ignored".to_owned());
        return Err(match nearest(&found.name) {
            Some(name) => finding.help(format!("did you mean {name}?")),
            None => finding,
        });
    };
    let node = match number {
        Some(number) => match u16::try_from(number) {
            Ok(node) if node < MAX_NODES => Some(node),
            _ => {
                let message = format!("there is no node {number}: nodes have numbers from 0 to {}", MAX_NODES - 1);
                return Err(at_name(Severity::Error, message));
            }
        },
        None if known.index == Index::Always => {
            let message = "the number of a node is missing at the end of the name".to_owned();
            return Err(at_name(Severity::Error, message).help(format!("write {}0 for the first node", known.name)));
        }
        None => None,
    };
    let value = read(known, found, findings)?;
    Ok((known, node, value))
}

/// Reads the value of a parameter.
fn read(known: &Parameter, found: &Assignment, findings: &mut Vec<Diagnostic>) -> Result<Value, Diagnostic> {
    let text = match (&found.value, known.kind) {
        (Raw::One(text), _) => text.clone(),
        (Raw::Many(items), Kind::List(separator)) => items.join(&separator.to_string()),
        (Raw::Many(_), _) => {
            let place = found.value_place.clone();
            return Err(Diagnostic::at(Severity::Error, place, "this parameter has one value, not an array"));
        }
    };
    match known.kind.parse(&text) {
        Ok(value) => Ok(value),
        // pgpool-II takes any other word for on, and old files have log_statement = all.
        Err(invalid) if matches!(known.kind, Kind::Bool) && !text.is_empty() => {
            let message = format!("{}, and is taken for on", invalid.message);
            let finding = Diagnostic::at(Severity::Warning, found.value_place.clone(), message).of(&found.name);
            findings.push(Diagnostic { help: invalid.help, ..finding });
            Ok(Value::Bool(true))
        }
        Err(invalid) => {
            let finding = Diagnostic::at(Severity::Error, found.value_place.clone(), invalid.message);
            Err(Diagnostic { help: invalid.help, ..finding })
        }
    }
}

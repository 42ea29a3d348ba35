//! The same parameters in TOML: flat names (`backend_port0 = 5432`), or a table for each node (`[[backend]]`).

use std::sync::Arc;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::assignment::{Assignment, Parsed, Raw};
use super::diagnostic::{Place, Source};
use super::names::{Index, find};

/// The arrays of tables, and what stands before a key in the name of its parameter.
const NODE_TABLES: [(&str, &str); 3] = [("backend", "backend_"), ("watchdog_node", ""), ("heartbeat", "heartbeat_")];

/// Reads the text of a file.
pub(super) fn parse(source: &Arc<Source>, parsed: &mut Parsed) {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        parsed.error(Place { source: Arc::clone(source), span }, error.message().to_owned(), None);
    }
    let mut reader = Reader { source, parsed };
    for (key, value) in document.get_ref() {
        match NODE_TABLES.iter().find(|(table, _)| *table == key.get_ref()) {
            Some((_, prefix)) => reader.node_tables(prefix, value),
            None => reader.assignment(key.get_ref().to_string(), key.span(), value),
        }
    }
    parsed.assignments.sort_by_key(|found| found.name_place.span.start);
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    parsed: &'a mut Parsed,
}

impl Reader<'_> {
    /// The tables of one kind of node; the first is node 0.
    fn node_tables(&mut self, prefix: &str, value: &Spanned<DeValue<'_>>) {
        let DeValue::Array(tables) = value.get_ref() else {
            let help = "write one [[...]] for each node";
            return self.parsed.error(
                self.place(value.span()),
                "this is not an array of tables",
                Some(help.to_owned()),
            );
        };
        for (number, table) in tables.iter().enumerate() {
            let DeValue::Table(entries) = table.get_ref() else {
                self.parsed.error(self.place(table.span()), "this is not a table", None);
                continue;
            };
            for (key, value) in entries {
                let prefixed = format!("{prefix}{}{number}", key.get_ref());
                let bare = format!("{}{number}", key.get_ref());
                let is_bare = find(&bare).is_some_and(|(known, _)| known.index == Index::Optional);
                self.assignment(if is_bare { bare } else { prefixed }, key.span(), value);
            }
        }
    }

    fn assignment(&mut self, name: String, name_span: std::ops::Range<usize>, value: &Spanned<DeValue<'_>>) {
        let value_place = self.place(value.span());
        let raw = match value.get_ref() {
            DeValue::Array(items) => {
                items.iter().map(|item| text_of(item.get_ref())).collect::<Option<_>>().map(Raw::Many)
            }
            single => text_of(single).map(Raw::One),
        };
        match raw {
            Some(value) => {
                let name_place = self.place(name_span);
                self.parsed.assignments.push(Assignment { name, name_place, value, value_place });
            }
            None => {
                let help = "write a string, a number, true, false, or an array of strings";
                self.parsed.error(value_place, format!("{name} cannot have such a value"), Some(help.to_owned()));
            }
        }
    }

    fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place { source: Arc::clone(self.source), span }
    }
}

/// The text of a single value, as it would stand in pgpool.conf.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|it| it.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parse_text(text: &str) -> Parsed {
        let mut parsed = Parsed::default();
        parse(&Arc::new(Source { path: "pgconvoy.toml".into(), text: text.to_owned() }), &mut parsed);
        parsed
    }

    #[test]
    fn flat_names_and_node_tables_give_the_same_assignments() {
        let parsed = parse_text(
            "port = 5433\nlog_connections = true\nlisten_addresses = [\"a\", \"b\"]\nunix_socket_permissions = 0o700\n\
             backend_port7 = 1\n[[backend]]\nhostname = \"x\"\nweight = 1.5\n[[backend]]\nport = 5432\n\
             health_check_period = \"10s\"\n[[watchdog_node]]\nhostname = \"w\"\n[[heartbeat]]\ndevice = \"eth0\"\n",
        );
        assert_eq!(parsed.findings, []);
        let found: Vec<_> = parsed.assignments.into_iter().map(|found| (found.name, found.value)).collect();
        let one = |name: &str, value: &str| (name.to_owned(), Raw::One(value.to_owned()));
        assert_eq!(
            found,
            [
                one("port", "5433"),
                one("log_connections", "true"),
                ("listen_addresses".to_owned(), Raw::Many(vec!["a".to_owned(), "b".to_owned()])),
                one("unix_socket_permissions", "448"),
                one("backend_port7", "1"),
                one("backend_hostname0", "x"),
                one("backend_weight0", "1.5"),
                one("backend_port1", "5432"),
                one("health_check_period1", "10s"),
                one("hostname0", "w"),
                one("heartbeat_device0", "eth0"),
            ]
        );
    }

    #[test]
    fn every_broken_line_is_reported() {
        let parsed = parse_text("port = \nmax_pool = = 3\nlog_connections = 1979-05-27\n");
        let lines = parsed.findings.iter().filter_map(|finding| finding.place().map(Place::line));
        assert_eq!(lines.collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
    }
}

//! pgpool.conf as pgpool-II reads it: one `name = value` on a line, `#` comments, `include`.
//!
//! The value stands in single quotes or is one bare word. Between the quotes a backslash keeps the next character from
//! ending the text and stays part of it, as in pgpool-II; two quotes in a row are one, as in PostgreSQL.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::assignment::{Assignment, Parsed, Raw};
use super::diagnostic::{Diagnostic, Place, Severity, Source, is_secret};
use super::names::nearest;

/// How deep files may include files, as in pgpool-II.
const MAX_INCLUDE_DEPTH: usize = 10;

/// Reads the text of a file and the files that it includes.
pub(super) fn parse(source: &Arc<Source>, parsed: &mut Parsed) {
    parse_nested(source, 0, parsed);
}

fn parse_nested(source: &Arc<Source>, depth: usize, parsed: &mut Parsed) {
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let mut scan = Line { source, start, text: line.trim_end_matches(['\n', '\r']), at: 0 };
        match scan.assignment() {
            Ok(None) => {}
            Ok(Some(found)) if found.name == "include" => include(&found, depth, parsed),
            Ok(Some(found)) => parsed.assignments.push(found),
            Err(finding) => parsed.findings.push(finding),
        }
        start += line.len();
    }
}

fn include(found: &Assignment, depth: usize, parsed: &mut Parsed) {
    let Raw::One(name) = &found.value else { return };
    let directory = found.value_place.source.path.parent().unwrap_or(Path::new(""));
    let path = directory.join(name);
    if depth + 1 >= MAX_INCLUDE_DEPTH {
        let message = format!("files include one another more than {MAX_INCLUDE_DEPTH} deep");
        return parsed.error(
            found.value_place.clone(),
            message,
            Some("look for a file that includes itself".to_owned()),
        );
    }
    match super::read_text(&path) {
        Ok(text) => parse_nested(&Arc::new(Source { path, text }), depth + 1, parsed),
        Err(unreadable) => parsed.error(found.value_place.clone(), unreadable.message, None),
    }
}

/// One line, and how far it has been read.
struct Line<'a> {
    source: &'a Arc<Source>,
    /// The byte of the file at which the line begins.
    start: usize,
    text: &'a str,
    /// The byte of the line that comes next.
    at: usize,
}

impl Line<'_> {
    /// The assignment on this line, if there is one.
    fn assignment(&mut self) -> Result<Option<Assignment>, Diagnostic> {
        self.skip_blanks();
        if self.at_end() {
            return Ok(None);
        }
        let name = self.take_while(|c| c.is_alphanumeric() || c == '_');
        if name.is_empty() {
            let rest = self.take_while(|_| true);
            return Err(self.error(rest, "a line begins with the name of a parameter", None));
        }
        self.skip_blanks();
        if self.rest().starts_with('=') {
            self.at += 1;
            self.skip_blanks();
        }
        let (value, span) = self.value(&name)?;
        self.skip_blanks();
        if !self.at_end() {
            let rest = self.take_while(|c| c != '#');
            let help = "put a value with blanks in it between single quotes";
            return Err(self.error(rest, "there is more text after the value", Some(help.to_owned())));
        }
        Ok(Some(Assignment {
            name: self.text[name.clone()].to_owned(),
            name_place: self.place(name),
            value: Raw::One(value),
            value_place: self.place(span),
        }))
    }

    /// The text of the value, and where it stands, its quotes included.
    fn value(&mut self, name: &Range<usize>) -> Result<(String, Range<usize>), Diagnostic> {
        if self.rest().starts_with('\'') {
            return self.quoted();
        }
        if self.at_end() {
            let name_text = &self.text[name.clone()];
            let help = format!("write {name_text} = '' for an empty text");
            return Err(self.error(name.clone(), "there is no value", Some(help)));
        }
        let mut span = self.take_while(|c| !c.is_whitespace() && c != '#');
        self.take_unit(&mut span);
        let text = &self.text[span.clone()];
        if let Some(quote) = text.find('\'') {
            let bare = text[..quote].to_owned();
            let (message, help) = if quote + 1 == text.len() {
                ("the quote at the start of the value is missing", format!("write '{bare}'"))
            } else {
                ("a quote in the middle of a value", "put the whole value between single quotes".to_owned())
            };
            return Err(self.error(span, message, Some(help)));
        }
        Ok((text.to_owned(), span))
    }

    fn quoted(&mut self) -> Result<(String, Range<usize>), Diagnostic> {
        let open = self.at;
        let mut text = String::new();
        let mut rest = self.text[open + 1..].char_indices().peekable();
        while let Some((offset, c)) = rest.next() {
            match c {
                '\\' => {
                    text.push(c);
                    text.extend(rest.next().map(|(_, escaped)| escaped));
                }
                '\'' if rest.peek().is_some_and(|(_, next)| *next == '\'') => {
                    text.push('\'');
                    rest.next();
                }
                '\'' => {
                    self.at = open + 1 + offset + 1;
                    return Ok((text, open..self.at));
                }
                _ => text.push(c),
            }
        }
        self.at = self.text.len();
        let help = format!("write {}'", self.text[open..].split(" #").next().unwrap_or("").trim_end());
        Err(self.error(open..self.at, "the quote at the end of the value is missing", Some(help)))
    }

    /// Lets a unit follow its number after blanks: `5 min`.
    fn take_unit(&mut self, span: &mut Range<usize>) {
        let before = self.at;
        if self.text[span.clone()].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            self.skip_blanks();
            let unit = self.take_while(|c| c.is_ascii_alphabetic());
            if ["us", "ms", "s", "min", "h", "d", "B", "kB", "MB", "GB", "TB"].contains(&&self.text[unit.clone()]) {
                span.end = unit.end;
                return;
            }
        }
        self.at = before;
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> Range<usize> {
        let start = self.at;
        self.at += self.rest().find(|c| !wanted(c)).unwrap_or(self.rest().len());
        start..self.at
    }

    fn skip_blanks(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn at_end(&self) -> bool {
        self.rest().is_empty() || self.rest().starts_with('#')
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place { source: Arc::clone(self.source), span: self.start + span.start..self.start + span.end }
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>, help: Option<String>) -> Diagnostic {
        let name = self.text.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
        let known = super::names::find(name).is_some() || nearest(name).is_some();
        Diagnostic {
            // It may repeat the value.
            help: help.filter(|_| !is_secret(self.text)),
            parameter: known.then(|| name.to_owned()),
            ..Diagnostic::at(Severity::Error, self.place(span), message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Parsed {
        let mut parsed = Parsed::default();
        parse(&Arc::new(Source { path: "pgpool.conf".into(), text: text.to_owned() }), &mut parsed);
        parsed
    }

    fn value_of(line: &str) -> Raw {
        let parsed = parse_text(line);
        assert_eq!(parsed.findings, [], "{line}");
        parsed.assignments[0].value.clone()
    }

    #[test]
    fn values_are_read_as_pgpool_reads_them() {
        for (line, value) in [
            ("port = 5433", "5433"),
            ("port=5433", "5433"),
            ("port 5433", "5433"),
            ("x= 'v'", "v"),
            ("\tport = 5433 # ünïcode", "5433"),
            ("port = 5433# no blank", "5433"),
            ("logdir = standby/log", "standby/log"),
            ("logdir = '/tmp/with # inside'", "/tmp/with # inside"),
            ("listen_addresses = *", "*"),
            ("listen_addresses = '*'", "*"),
            ("sr_check_user = ''", ""),
            ("failover_command = 'it''s'", "it's"),
            (r"failover_command = 'a\'b\\c'", r"a\'b\\c"),
            ("child_life_time = 5 min", "5 min"),
            ("backend_flag0 = DISALLOW_TO_FAILOVER\r", "DISALLOW_TO_FAILOVER"),
            ("memqcache_memcached_host = 'größe'", "größe"),
        ] {
            assert_eq!(value_of(line), Raw::One(value.to_owned()), "{line}");
        }
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        let parsed = parse_text("# port = 1\n\n   # ünï\n  \n");
        assert!(parsed.assignments.is_empty() && parsed.findings.is_empty());
    }

    #[test]
    fn each_broken_line_is_reported_and_the_others_are_kept() {
        let parsed = parse_text("backend_hostname0 = node01'\nport = 1 2\nport =\n= 4\nport = 'x\npcp_port = 9898\n");
        let messages: Vec<_> = parsed
            .findings
            .iter()
            .map(|finding| finding.place().map(|place| (place.line(), finding.message.as_str())).expect("a place"))
            .collect();
        assert_eq!(
            messages,
            [
                (1, "the quote at the start of the value is missing"),
                (2, "there is more text after the value"),
                (3, "there is no value"),
                (4, "a line begins with the name of a parameter"),
                (5, "the quote at the end of the value is missing"),
            ]
        );
        assert_eq!(parsed.assignments.len(), 1);
    }

    #[test]
    fn includes_are_relative_to_their_file_and_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file");
        std::fs::create_dir(directory.path().join("sub")).expect("a directory");
        write("main.conf", "port = 1\ninclude = 'sub/a.conf'\nport = 4\n");
        write("sub/a.conf", "port = 2\ninclude 'b.conf'\n");
        write("sub/b.conf", "port = 3\n");
        write("loop.conf", "include 'loop.conf'\n");
        write("missing.conf", "include 'nowhere.conf'\n");
        let parse_file = |name: &str| {
            let path = directory.path().join(name);
            let text = std::fs::read_to_string(&path).expect("a file");
            let mut parsed = Parsed::default();
            parse(&Arc::new(Source { path, text }), &mut parsed);
            parsed
        };
        let values: Vec<_> = parse_file("main.conf").assignments.into_iter().map(|found| found.value).collect();
        assert_eq!(values, ["1", "2", "3", "4"].map(|value| Raw::One(value.to_owned())));
        assert_eq!(parse_file("loop.conf").findings[0].message, "files include one another more than 10 deep");
        assert!(parse_file("missing.conf").findings[0].message.contains("nowhere.conf"));
    }
}

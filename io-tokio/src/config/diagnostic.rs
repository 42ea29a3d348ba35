//! What is wrong with a configuration, and where: one finding, shown with its line and a caret.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Whether a finding stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does not, and nothing is wrong.
    Note,
    /// It does not.
    Warning,
    /// It does.
    Error,
}

/// A configuration file that has been read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, as given or as an include names it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A stretch of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes of its text.
    pub span: Range<usize>,
}

/// Where a finding belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// To a stretch of a file.
    Place(Place),
    /// To a line, counted from 1, of a file whose text is secret.
    Line(PathBuf, usize),
    /// To a file as a whole.
    File(PathBuf),
}

/// One finding about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the start.
    pub severity: Severity,
    /// Where it was found.
    pub location: Location,
    /// The parameter that it is about, with its node number.
    pub parameter: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// Whether a line of a configuration file may hold a secret, which is never shown. The name of pool_passwd is none.
pub(super) fn is_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase().replace("pool_passwd", "");
    line.contains("passw") || line.contains("authkey")
}

impl Place {
    /// The number of its first line, from 1.
    pub fn line(&self) -> usize {
        1 + self.before().matches('\n').count()
    }

    /// The number of its first character in that line, from 1.
    pub fn column(&self) -> usize {
        1 + self.before()[self.line_start()..].chars().count()
    }

    /// The text of its first line.
    fn first_line(&self) -> &str {
        self.source.text[self.line_start()..].lines().next().unwrap_or("")
    }

    fn before(&self) -> &str {
        &self.source.text[..self.span.start]
    }

    /// The byte at which its first line begins.
    fn line_start(&self) -> usize {
        self.before().rfind('\n').map_or(0, |newline| newline + 1)
    }
}

impl Diagnostic {
    /// A finding at a place.
    pub(super) fn at(severity: Severity, place: Place, message: impl Into<String>) -> Self {
        let location = Location::Place(place);
        Self { severity, location, parameter: None, message: message.into(), help: None }
    }

    /// A finding about a file as a whole.
    pub(crate) fn about(severity: Severity, file: &Path, message: impl Into<String>) -> Self {
        let location = Location::File(file.to_owned());
        Self { severity, location, parameter: None, message: message.into(), help: None }
    }

    /// Adds what to do.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the parameter that it is about.
    pub(super) fn of(mut self, parameter: impl Into<String>) -> Self {
        self.parameter = Some(parameter.into());
        self
    }

    /// The file that it is about, or in which it was found.
    pub fn file(&self) -> &Path {
        match &self.location {
            Location::Place(place) => &place.source.path,
            Location::Line(path, _) | Location::File(path) => path,
        }
    }

    /// Where in the file; none if it is about the file as a whole, or its text is secret.
    pub fn place(&self) -> Option<&Place> {
        match &self.location {
            Location::Place(place) => Some(place),
            Location::Line(..) | Location::File(_) => None,
        }
    }

    /// The finding over several lines: the message, the line of the file with a caret under what is meant, unless it may
    /// hold a secret, the advice.
    pub fn render(&self) -> String {
        let level = match self.severity {
            Severity::Note => Level::NOTE,
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        let title = self.title();
        let path = self.file().to_string_lossy();
        let mut report = Group::with_title(level.primary_title(title.as_str()));
        let line;
        if let Some(place) = self.place().filter(|place| !is_secret(place.first_line())) {
            let start = place.line_start();
            line = place.first_line().to_owned();
            let span = place.span.start - start..(place.span.end - start).min(line.len()).max(place.span.start - start);
            report = report.element(
                Snippet::source(line.as_str())
                    .line_start(place.line())
                    .path(path.as_ref())
                    .annotation(AnnotationKind::Primary.span(span)),
            );
        } else {
            let origin = Origin::path(path.as_ref());
            report = report.element(match &self.location {
                Location::Place(place) => origin.line(place.line()),
                Location::Line(_, line) => origin.line(*line),
                Location::File(_) => origin,
            });
        }
        if let Some(help) = &self.help {
            report = report.element(Level::HELP.message(help.as_str()));
        }
        Renderer::plain().render(&[report])
    }

    fn title(&self) -> String {
        match &self.parameter {
            Some(parameter) => format!("{parameter}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

/// The finding on one line: `file:line:column: message (advice)`, as far as there is a line and a column.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file().display())?;
        if let Some(place) = self.place() {
            write!(f, ":{}:{}", place.line(), place.column())?;
        } else if let Location::Line(_, line) = self.location {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.title())?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

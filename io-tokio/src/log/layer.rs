//! From `tracing` events to lines.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context;

use super::outlet::Lines;
use super::prefix::{Prefix, Who};
use crate::config::{Level, Logging, Verbosity};

/// What is printed comes from this program's own crates; libraries have nothing to say to an operator.
const OWN_TARGET: &str = "pgconvoy";

/// The settings that a reload changes.
#[derive(Debug)]
pub(super) struct Shared {
    format: RwLock<Arc<Format>>,
    line_number: AtomicU64,
}

#[derive(Debug)]
struct Format {
    prefix: Prefix,
    least: Level,
    verbosity: Verbosity,
}

/// Prints events as pgpool-II prints its messages.
#[derive(Debug)]
pub struct Layer {
    shared: Arc<Shared>,
    lines: Lines,
}

impl Shared {
    pub(super) fn new(settings: &Logging) -> Self {
        Self { format: RwLock::new(Arc::new(Format::new(settings))), line_number: AtomicU64::new(0) }
    }

    pub(super) fn set(&self, settings: &Logging) {
        let format = Arc::new(Format::new(settings));
        *self.format.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = format;
    }

    /// The line that tells of lines that nobody could write.
    pub(super) fn lost_lines(&self, lost: usize) -> String {
        let mut said = Said::by_main(Level::Warning);
        said.message = format!("{lost} log lines were lost: stderr took them too slowly");
        self.lines_of(&said)
    }

    fn lines_of(&self, said: &Said) -> String {
        let number = 1 + self.line_number.fetch_add(1, Ordering::Relaxed);
        said.lines(&self.format(), &Zoned::now(), number)
    }

    fn format(&self) -> Arc<Format> {
        Arc::clone(&self.format.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl Format {
    fn new(settings: &Logging) -> Self {
        Self {
            prefix: Prefix::new(&settings.log_line_prefix),
            least: settings.log_min_messages,
            verbosity: settings.log_error_verbosity,
        }
    }

    /// The finest level of `tracing` that can carry a wanted level.
    fn max_level(&self) -> LevelFilter {
        match self.least {
            Level::Debug5 | Level::Debug4 => LevelFilter::TRACE,
            Level::Debug3 | Level::Debug2 | Level::Debug1 => LevelFilter::DEBUG,
            // A session may want more than others (`PGPOOL SET`).
            Level::Info | Level::Notice | Level::Warning | Level::Error | Level::Log | Level::Fatal | Level::Panic => {
                LevelFilter::INFO
            }
        }
    }
}

impl Layer {
    pub(super) fn new(shared: Arc<Shared>, lines: Lines) -> Self {
        Self { shared, lines }
    }

    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(OWN_TARGET) && *metadata.level() <= self.shared.format().max_level()
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.is_wanted(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.is_wanted(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.shared.format().max_level())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::by_main(default_level(event.metadata().level()));
        event.record(&mut said);
        if said.level >= said.least.unwrap_or_else(|| self.shared.format().least) {
            self.lines.send(self.shared.lines_of(&said));
        }
    }
}

fn default_level(level: &tracing::Level) -> Level {
    match *level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::INFO => Level::Log,
        tracing::Level::DEBUG => Level::Debug1,
        tracing::Level::TRACE => Level::Debug5,
    }
}

/// What an event says.
struct Said {
    level: Level,
    /// What the speaker prefers to the settings of all.
    least: Option<Level>,
    verbosity: Option<Verbosity>,
    who: Who,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Said {
    /// Fields of an event that name nobody are said by the main process.
    fn by_main(level: Level) -> Self {
        let who = Who {
            application_name: "main".to_owned(),
            process_name: "main".to_owned(),
            process_id: u64::from(std::process::id()),
            ..Who::default()
        };
        Self { level, least: None, verbosity: None, who, message: String::new(), detail: None, hint: None }
    }

    fn lines(&self, format: &Format, now: &Zoned, number: u64) -> String {
        let mut lines = String::with_capacity(self.message.len() + 96);
        let mut line = |label: &str, text: &str| {
            format.prefix.write(&mut lines, &self.who, now, number);
            lines.push_str(label);
            lines.push_str(":  ");
            // A text of several lines cannot pass for several messages.
            for (position, part) in text.split('\n').enumerate() {
                lines.push_str(if position == 0 { "" } else { "\n\t" });
                lines.push_str(part);
            }
            lines.push('\n');
        };
        line(self.label(), &self.message);
        if self.verbosity.unwrap_or(format.verbosity) > Verbosity::Terse {
            for (label, text) in [("DETAIL", &self.detail), ("HINT", &self.hint)] {
                if let Some(text) = text {
                    line(label, text);
                }
            }
        }
        lines
    }

    fn label(&self) -> &'static str {
        match self.level {
            Level::Debug5 | Level::Debug4 | Level::Debug3 | Level::Debug2 | Level::Debug1 => "DEBUG",
            Level::Info => "INFO",
            Level::Notice => "NOTICE",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Log => "LOG",
            Level::Fatal => "FATAL",
            Level::Panic => "PANIC",
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "detail" => self.detail = Some(value.to_owned()),
            "hint" => self.hint = Some(value.to_owned()),
            "application_name" => value.clone_into(&mut self.who.application_name),
            "process_name" => value.clone_into(&mut self.who.process_name),
            "user" => value.clone_into(&mut self.who.user),
            "database" => value.clone_into(&mut self.who.database),
            "least" => self.least = Level::from_word(value),
            "verbosity" => self.verbosity = Verbosity::from_word(value),
            "level" => self.level = Level::from_word(value).unwrap_or(self.level),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "process_id" => self.who.process_id = value,
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // Any other field stands behind the message.
            name => write!(self.message, " {name}={value:?}"),
        };
        debug_assert!(written.is_ok(), "a string takes any text");
    }
}

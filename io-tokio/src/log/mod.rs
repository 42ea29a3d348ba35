//! The log: lines as pgpool-II writes them, to stderr.
//!
//! Any code says something with [`tracing`]'s macros and is printed as the main process; what a session says goes
//! through its [`Speaker`], which knows the client's application name. [`Layer`] gives a line its prefix and level
//! ([`prefix`]), and [`outlet`] writes it from a thread of its own, so that a full or broken stderr holds up nobody.

mod layer;
mod outlet;
mod prefix;
mod speaker;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

pub use layer::Layer;
use layer::Shared;
use outlet::Outlet;
pub use speaker::{Report, Speaker, node_statement_notice};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Logging;

/// How long a flush waits for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The installed log. The last lines are written when it is dropped.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    outlet: Outlet,
}

/// Another log has been installed in this process.
#[derive(Debug, thiserror::Error)]
#[error("a log is installed already")]
pub struct AlreadyInstalled;

impl Log {
    /// Makes the log that all threads of this process write to stderr with.
    ///
    /// # Errors
    /// If there is one already.
    pub fn install(settings: &Logging) -> Result<Self, AlreadyInstalled> {
        let (layer, log) = Self::new(settings, std::io::stderr());
        tracing_subscriber::registry().with(layer).try_init().map_err(|_| AlreadyInstalled)?;
        Ok(log)
    }

    /// Makes a log that writes to `sink`, and the layer that feeds it.
    pub fn new(settings: &Logging, sink: impl Write + Send + 'static) -> (Layer, Self) {
        let shared = Arc::new(Shared::new(settings));
        let describe = Arc::clone(&shared);
        let outlet = Outlet::new(sink, move |lost| describe.lost_lines(lost));
        (Layer::new(Arc::clone(&shared), outlet.sender()), Self { shared, outlet })
    }

    /// Takes the settings of a reload.
    pub fn set(&self, settings: &Logging) {
        self.shared.set(settings);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Waits until the lines so far are written, for at most a second; tells whether they are.
    pub fn flush(&self) -> bool {
        self.outlet.flush(FLUSH_TIMEOUT)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::config::{Config, Level};

    /// A sink that a test reads.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn settings(lines: &str) -> Logging {
        let text = format!("backend_port0 = 5432\nbackend_weight0 = 1\n{lines}");
        Config::parse(Path::new("pgpool.conf"), text).expect("no error").config.logging
    }

    /// What is printed while `speak` runs.
    fn printed(settings: &Logging, speak: impl FnOnce()) -> String {
        let sink = Sink::default();
        let (layer, log) = Log::new(settings, sink.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), speak);
        drop(log);
        let bytes = sink.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }

    fn session() -> Speaker {
        let mut speaker = Speaker::session(42);
        speaker.log_in(Some("psql"), "alice", "shop");
        speaker
    }

    #[test]
    fn the_node_of_a_statement_is_the_tenth_field() {
        let text = printed(&settings("log_line_prefix = '%m: %a pid %p: '\n"), || {
            session().node_statement(1, 4711, "SELECT 1");
        });
        let fields: Vec<_> = text.split_whitespace().collect();
        assert_eq!(
            fields[2..],
            "psql pid 42: LOG: DB node id: 1 backend pid: 4711 statement: SELECT 1".split(' ').collect::<Vec<_>>()
        );
        assert_eq!(fields[9], "1");
        assert!(text.contains(": LOG:  DB node id: "), "{text}");
        let time = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S%.3f:", format!("{} {}", fields[0], fields[1]));
        assert!(time.is_ok(), "{text}");
    }

    #[test]
    fn a_detail_stands_on_a_line_of_its_own_and_new_lines_are_indented() {
        let text = printed(&settings("log_line_prefix = '[%u@%d %P] '\n"), || {
            session().report(Report {
                level: Level::Fatal,
                message: format_args!("two\nlines"),
                detail: Some("why"),
                hint: Some("do this"),
            });
            tracing::warn!(detail = "because", "plain {}", 1);
        });
        assert_eq!(
            text,
            "[alice@shop child] FATAL:  two\n\tlines\n[alice@shop child] DETAIL:  why\n[alice@shop child] HINT:  do this\n\
             [@ main] WARNING:  plain 1\n[@ main] DETAIL:  because\n"
        );
    }

    #[test]
    fn terse_errors_have_no_detail() {
        let text = printed(&settings("log_line_prefix = '%%'\nlog_error_verbosity = terse\n"), || {
            tracing::error!(detail = "because", "gone");
        });
        assert_eq!(text, "%ERROR:  gone\n");
    }

    #[test]
    fn only_wanted_levels_are_printed() {
        let levels = [
            Level::Debug5,
            Level::Debug1,
            Level::Info,
            Level::Notice,
            Level::Warning,
            Level::Error,
            Level::Log,
            Level::Fatal,
        ];
        for (least, wanted) in [
            ("debug5", &levels[..]),
            ("debug1", &levels[1..]),
            ("warning", &levels[4..]),
            ("log", &levels[6..]),
            ("fatal", &levels[7..]),
        ] {
            let lines = format!("log_line_prefix = ''\nlog_min_messages = {least}\n");
            let text = printed(&settings(&lines), || {
                for level in levels {
                    session().say(level, format_args!("x"));
                }
            });
            // DEBUG5 to DEBUG1 have one label, as in pgpool.
            let label = |level: &Level| level.as_str().trim_end_matches(|c: char| c.is_ascii_digit()).to_uppercase();
            let expected: String = wanted.iter().map(|level| format!("{}:  x\n", label(level))).collect();
            assert_eq!(text, expected, "{least}");
        }
    }

    #[test]
    fn a_reload_changes_the_prefix_and_the_level() {
        let sink = Sink::default();
        let (layer, log) = Log::new(&settings("log_line_prefix = 'a '\n"), sink.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!("one");
            tracing::debug!("not wanted");
            log.set(&settings("log_line_prefix = 'b%l '\nlog_min_messages = debug1\n"));
            tracing::debug!("two");
        });
        drop(log);
        let bytes = sink.0.lock().expect("no panic").clone();
        assert_eq!(String::from_utf8_lossy(&bytes), "a LOG:  one\nb2 DEBUG:  two\n");
    }

    #[test]
    fn an_application_name_cannot_forge_a_line() {
        let mut speaker = Speaker::session(1);
        speaker.log_in(Some("x\nLOG:  forged"), "u", "d");
        let text = printed(&settings("log_line_prefix = '%a: '\n"), || speaker.say(Level::Log, format_args!("m")));
        assert_eq!(text, "x?LOG:  forged: LOG:  m\n");
        speaker.log_in(None, "u", "d");
        let text = printed(&settings("log_line_prefix = '%a: '\n"), || speaker.say(Level::Log, format_args!("m")));
        assert_eq!(text, "[unknown]: LOG:  m\n");
    }

    /// A sink that takes nothing until its gate opens.
    struct Stuck(std::sync::mpsc::Receiver<()>, Sink);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // An error means that the gate is open for good.
            let _closed = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_stderr_holds_up_nobody_and_the_lost_lines_are_counted() {
        let (open, gate) = std::sync::mpsc::channel();
        let sink = Sink::default();
        let (layer, log) = Log::new(&settings("log_line_prefix = ''\n"), Stuck(gate, sink.clone()));
        let line = "x".repeat(1 << 20);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..40 {
                tracing::info!("{line}");
            }
            drop(open);
            log.outlet.flush(Duration::from_secs(30));
            tracing::info!("back");
        });
        drop(log);
        let bytes = sink.0.lock().expect("no panic").clone();
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.lines().filter(|found| found.ends_with(&line)).count();
        let lost =
            text.lines().find_map(|found| found.strip_suffix(" log lines were lost: stderr took them too slowly"));
        let lost: usize = lost.and_then(|found| found.rsplit(' ').next()?.parse().ok()).expect("a count of lost lines");
        assert_eq!((whole + lost, text.ends_with("LOG:  back\n")), (40, true));
        assert!(lost > 0);
    }

    #[test]
    fn a_broken_stderr_is_survived() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (layer, log) = Log::new(&settings(""), Broken);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!("lost");
        });
        assert!(log.outlet.flush(Duration::from_secs(30)));
    }
}

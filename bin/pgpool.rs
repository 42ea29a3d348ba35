//! The command line of pgpool-II, for scripts and service units that call it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use pgconvoy_io::process::service::{Options, serve};
use pgconvoy_io::process::{DEFAULT_CONFIG, control};
use pgconvoy_io::server::PGPOOL_VERSION;

use crate::{Mode, exit_code};

/// A proxy in front of PostgreSQL, with the command line of pgpool-II
#[derive(Debug, Parser)]
#[command(name = "pgpool")]
struct Arguments {
    /// What to tell the running server; without it, a server is started
    #[arg(value_enum)]
    command: Option<Command>,
    /// The configuration
    #[arg(short = 'f', long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config_file: PathBuf,
    /// Stay at the terminal
    #[arg(short = 'n', long)]
    dont_detach: bool,
    /// Log debug messages
    #[arg(short = 'd', long)]
    debug: bool,
    /// How to stop
    #[arg(short = 'm', long, value_enum, default_value_t = Mode::Smart)]
    mode: Mode,
    /// Print the version
    #[arg(short = 'v', long)]
    version: bool,
    /// This process is the one that has left the terminal
    #[arg(long, hide = true)]
    detached_child: bool,
    #[command(flatten)]
    without_effect: WithoutEffect,
}

/// What scripts give and nothing needs yet.
#[derive(Debug, clap::Args)]
struct WithoutEffect {
    /// The file of rules for clients (no effect yet)
    #[arg(short = 'a', long, value_name = "FILE")]
    hba_file: Option<PathBuf>,
    /// The file of users and passwords for pcp tools (no effect yet)
    #[arg(short = 'F', long, value_name = "FILE")]
    pcp_file: Option<PathBuf>,
    /// The file of the key for encrypted passwords (no effect yet)
    #[arg(short = 'k', long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Forget which backends were down: none is remembered yet
    #[arg(short = 'D', long)]
    discard_status: bool,
    /// Forget which results came from which table: none are kept yet
    #[arg(short = 'C', long)]
    clear_oidmaps: bool,
    /// Assertions are always on
    #[arg(short = 'x', long)]
    debug_assertions: bool,
    /// As -C, of old releases
    #[arg(short = 'c', hide = true)]
    clear_cache: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Command {
    /// Stop it, and wait until it has ended
    Stop,
    /// Let it read its configuration again
    Reload,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.version {
        let version = concat!("(pgconvoy ", env!("CARGO_PKG_VERSION"), ")");
        // Nothing can be said to who closed stdout.
        drop(writeln!(std::io::stdout(), "pgpool-II version {PGPOOL_VERSION} {version}"));
        return ExitCode::SUCCESS;
    }
    match arguments.command {
        Some(Command::Stop) => exit_code(control::stop(&arguments.config_file, arguments.mode.into())),
        Some(Command::Reload) => exit_code(control::reload(&arguments.config_file)),
        None => serve(&Options {
            config: arguments.config_file,
            detach: !arguments.dont_detach,
            is_child: arguments.detached_child,
            debug: arguments.debug,
            remarks: arguments.without_effect.remarks(),
        }),
    }
}

impl WithoutEffect {
    /// A remark for each file that somebody may rely on.
    fn remarks(&self) -> Vec<String> {
        let files = [("-a", &self.hba_file), ("-F", &self.pcp_file), ("-k", &self.key_file)];
        let given = files.into_iter().filter_map(|(option, file)| Some((option, file.as_ref()?)));
        given.map(|(option, file)| format!("the option {option} {} has no effect yet", file.display())).collect()
    }
}

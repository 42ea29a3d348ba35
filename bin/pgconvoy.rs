//! The one binary of pgconvoy. Called as `pgpool` it takes pgpool-II's command line.

mod check;
mod demo;
mod pgpool;
mod route;
mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use pgconvoy_io::config::manual;
use pgconvoy_io::process::control;
use pgconvoy_io::process::service::{Options, serve};
use pgconvoy_io::server::StopMode;

/// A proxy in front of PostgreSQL: pooling, load balancing, failover
#[derive(Debug, Parser)]
#[command(name = "pgconvoy", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try pgconvoy out: makes a PostgreSQL primary with standbys, and serves in front of them
    Demo(demo::Arguments),
    /// Serve clients until a signal stops it
    Serve {
        #[command(flatten)]
        file: ConfigFile,
        /// Leave the terminal once clients can connect
        #[arg(long, conflicts_with = "dont_detach")]
        detach: bool,
        /// Stay in the foreground, as is done anyway
        #[arg(short = 'n', long)]
        dont_detach: bool,
        /// Log debug messages
        #[arg(short, long)]
        debug: bool,
        /// This process is the one that has left the terminal
        #[arg(long, hide = true)]
        detached_child: bool,
    },
    /// Say all that is wrong with a configuration file
    Check {
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Print the table of all parameters, or a sample configuration
    Parameters {
        /// As what
        #[arg(long = "as", value_enum, value_name = "FORM", default_value_t = Form::Manual)]
        form: Form,
    },
    /// Say where a statement would go, and why
    Route {
        #[command(flatten)]
        file: ConfigFile,
        /// The statement
        sql: String,
    },
    /// Compare the data of the servers, also while clients write
    Verify {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: verify::Arguments,
    },
    /// Stop a running server, and wait until it has ended
    Stop {
        #[command(flatten)]
        file: ConfigFile,
        /// How to stop
        #[arg(short, long, value_enum, default_value_t = Mode::Smart)]
        mode: Mode,
    },
    /// Let a running server read its configuration again
    Reload {
        #[command(flatten)]
        file: ConfigFile,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration: TOML if its name ends in .toml, else in pgpool.conf's syntax
    #[arg(short = 'f', long = "config-file", value_name = "FILE")]
    path: PathBuf,
}

/// A form of the table of parameters.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// The manual, in Markdown
    Manual,
    /// A sample in pgpool.conf's syntax
    Conf,
    /// A sample in TOML
    Toml,
}

/// How to stop.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Once all clients have gone
    #[value(alias = "s")]
    Smart,
    /// Now, but in good order
    #[value(alias = "f")]
    Fast,
    /// Now
    #[value(alias = "i")]
    Immediate,
}

impl From<Mode> for StopMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Smart => Self::Smart,
            Mode::Fast => Self::Fast,
            Mode::Immediate => Self::Immediate,
        }
    }
}

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_stem().is_some_and(|stem| stem == "pgpool") {
        return pgpool::main();
    }
    match Arguments::parse().command {
        Command::Demo(arguments) => demo::main(&arguments),
        Command::Serve { file, detach, dont_detach: _, debug, detached_child } => {
            serve(&Options { config: file.path, detach, is_child: detached_child, debug, remarks: Vec::new() })
        }
        Command::Check { file } => check::main(&file.path),
        Command::Parameters { form } => {
            let text = match form {
                Form::Manual => manual::markdown(),
                Form::Conf => manual::pgpool_conf(),
                Form::Toml => manual::toml(),
            };
            // Who reads it may stop reading.
            drop(std::io::stdout().write_all(text.as_bytes()));
            ExitCode::SUCCESS
        }
        Command::Route { file, sql } => route::main(&file.path, &sql),
        Command::Verify { file, arguments } => verify::main(&file.path, &arguments),
        Command::Stop { file, mode } => exit_code(control::stop(&file.path, mode.into())),
        Command::Reload { file } => exit_code(control::reload(&file.path)),
    }
}

/// Ends a command to a running server.
fn exit_code(result: Result<(), control::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // stderr may be gone.
            drop(writeln!(std::io::stderr(), "FATAL:  {error}"));
            error.exit_code()
        }
    }
}

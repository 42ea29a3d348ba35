//! Commands that the operator has configured: run by the shell, with a time limit, for what they print.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, copy, sink};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Most that a command may print; the rest is not looked at.
const OUTPUT_BYTES: u64 = 64 * 1024;

/// Why there is no output. The texts go on after the name of the command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It took too long, and was killed with all that it had started.
    #[error("timed out after {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// It ended with an exit code that is not zero.
    #[error("failed with exit code {0}")]
    Failed(i32),
    /// A signal ended it.
    #[error("terminated by signal {0}")]
    Killed(i32),
    /// It could not be run.
    #[error("could not be run: {0}")]
    System(#[from] io::Error),
}

/// Runs a line of the shell with some arguments at its end, and gives what it prints. Its error output is pgconvoy's own.
///
/// # Errors
/// If it cannot be run, fails, or takes longer than `limit`.
pub async fn run(line: &str, arguments: &[String], limit: Duration) -> Result<String, CommandError> {
    // The arguments are no part of what the shell reads: it cannot misunderstand them.
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("{line} \"$@\""), "sh"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    match timeout(limit, finish(&mut child)).await {
        Ok(finished) => finished,
        Err(_) => {
            if let Some(group) = group {
                let _ended_meanwhile = kill_process_group(group, Signal::KILL);
            }
            child.wait().await?;
            Err(CommandError::TimedOut(limit))
        }
    }
}

async fn finish(child: &mut Child) -> Result<String, CommandError> {
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        (&mut stdout).take(OUTPUT_BYTES).read_to_end(&mut output).await?;
        copy(&mut stdout, &mut sink()).await?;
    }
    let status = child.wait().await?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(String::from_utf8_lossy(&output).into_owned()),
        (Some(code), _) => Err(CommandError::Failed(code)),
        (None, signal) => Err(CommandError::Killed(signal.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn run_now(line: &str, arguments: &[&str], limit: Duration) -> Result<String, CommandError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        runtime.block_on(run(line, &arguments, limit))
    }

    #[test]
    fn a_command_gets_its_arguments_as_they_are() {
        let limit = Duration::from_secs(20);
        let output = run_now("printf '<%s>' first", &["a b", "$HOME;`id`", "c:5432"], limit);
        assert_eq!(output.expect("output"), "<first><a b><$HOME;`id`><c:5432>");
    }

    #[test]
    fn a_command_that_fails_says_how() {
        let limit = Duration::from_secs(20);
        let error = |line| run_now(line, &[], limit).expect_err("it fails").to_string();
        assert_eq!(error("exit 3;"), "failed with exit code 3");
        assert_eq!(error("kill -TERM $$;"), "terminated by signal 15");
        assert_eq!(error("/nowhere/command"), "failed with exit code 127");
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_what_it_has_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let line = format!("sleep 600 & echo $! > '{}'; wait;", file.display());
        let start = Instant::now();
        let error = run_now(&line, &[], Duration::from_secs(1)).expect_err("it takes too long");
        assert_eq!(error.to_string(), "timed out after 1 seconds");
        assert!(start.elapsed() < Duration::from_secs(60));
        let pid = std::fs::read_to_string(&file).expect("the number of what it started");
        // Killed, it may be there until whoever inherits it has noticed: then it has no memory any more.
        let lives =
            || std::fs::read_to_string(format!("/proc/{}/statm", pid.trim())).is_ok_and(|m| !m.starts_with("0 "));
        while lives() {
            assert!(start.elapsed() < Duration::from_secs(60), "process {pid} still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn much_output_is_cut_and_stops_nobody() {
        let output = run_now("head -c 1000000 /dev/zero; true", &[], Duration::from_secs(20)).expect("output");
        assert_eq!(output.len() as u64, OUTPUT_BYTES);
    }
}

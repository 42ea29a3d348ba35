//! Whoever made a testbed may be killed at any moment: the keeper outlives it and clears up.
//!
//! It is a shell in a process group of its own that waits for the end of its standard input. The only writer is the
//! testbed's process, so the end comes when the testbed is dropped and just as well when its process dies, of whatever.
//! Every way to end a testbed is this one.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::TestbedError;

/// `$1` is the folder, `$2` is `keep` or `remove`.
///
/// Servers are PostgreSQL's, and whatever else keeps a pid file in the folder itself. A process id is believed only while
/// that process works where its pid file is, so a stale one hurts nobody. CONT asks again without harm, and lets a
/// stopped server take the signal that ends it. The System V segment of a postmaster that was killed is released:
/// PostgreSQL itself would do so at its next start only.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
cat >/dev/null
cd / || exit
folder=$1
read_pid_file() { { read -r pid; read -r _; read -r _; read -r _; read -r _; read -r _; read -r _ segment; } <"$1"; }
signal_servers() {
    running=
    for file in "$folder"/*/data/postmaster.pid "$folder"/*.pid; do
        [ -r "$file" ] && read_pid_file "$file"
        if [ -r "$file" ] && [ "$(readlink "/proc/$pid/cwd")" = "${file%/*}" ]; then
            kill -s "$1" "$pid" && running=yes
        fi
    done
}
if [ "$2" = keep ]; then signal_servers INT; else signal_servers QUIT; fi
tries=0
while [ -n "$running" ] && [ $tries -lt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
    signal_servers CONT
done
signal_servers KILL
for file in "$folder"/*/data/postmaster.pid; do
    [ -r "$file" ] && read_pid_file "$file" && ipcrm -m "$segment"
done
[ "$2" = keep ] && exit
tries=0
until rm -rf "$folder" || [ $tries -ge 100 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
"#;

/// The shell that ends a testbed's servers and removes its folder.
#[derive(Debug)]
pub(super) struct Keeper {
    shell: Child,
}

impl Keeper {
    /// Watches over `folder`; when this process is gone, its servers are ended and, unless `keep`, it is removed.
    pub(super) fn watch(folder: &Path, keep: bool) -> Result<Self, TestbedError> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "pgconvoy-testbed"])
            .arg(folder)
            .arg(if keep { "keep" } else { "remove" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| TestbedError::io("running", Path::new("/bin/sh"), source))?;
        Ok(Self { shell })
    }

    /// Has everything ended and waits for it.
    pub(super) fn finish(&mut self) {
        drop(self.shell.stdin.take());
        // The shell was ours to start and nobody else waits for it, so there is no failure to tell anybody about.
        let _ = self.shell.wait();
    }
}

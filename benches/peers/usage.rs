//! What a proxy costs the machine, read from `/proc`: CPU time and memory of a process with all its descendants.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// One process, as `/proc/PID/stat` tells it; times are user and system time together, in clock ticks.
struct Process {
    parent: u32,
    /// Its own, threads that have ended included.
    ticks: u64,
    /// That of its children that have ended and been waited for.
    ticks_of_ended: u64,
}

/// CPU seconds that process `root` and its descendants have used so far, those that have ended included.
pub fn cpu_seconds(root: u32) -> Result<f64> {
    let all = processes()?;
    let family = family(&all, root);
    Ok(family.iter().filter_map(|pid| Some(process_seconds(*pid, all.get(pid)?))).sum())
}

/// What one process and its ended children have used.
///
/// A clock tick is 10 ms, and whole ticks are told: of 64 processes that share one second, most would show nothing. The
/// scheduler's own count of each living thread is in nanoseconds, but forgets threads that have ended. The larger one
/// of the two is the better one.
fn process_seconds(pid: u32, process: &Process) -> f64 {
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    seconds(process.ticks).max(threads_ns(pid) as f64 / 1e9) + seconds(process.ticks_of_ended)
}

/// Time on a CPU of all living threads of a process, by the scheduler's count.
fn threads_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let time = |thread: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(time).sum()
}

/// Memory of process `root` and its descendants in bytes; what several share counts once (PSS).
pub fn memory_bytes(root: u32) -> Result<u64> {
    let kib: u64 = family(&processes()?, root).into_iter().filter_map(proportional_kib).sum();
    Ok(kib * 1024)
}

/// `root` and all its descendants.
pub fn descendants(root: u32) -> Result<Vec<u32>> {
    Ok(family(&processes()?, root))
}

/// The processes of the machine by id. One that ends while this looks is left out.
fn processes() -> Result<BTreeMap<u32, Process>> {
    let entries = fs::read_dir("/proc").context("reading /proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids.filter_map(|pid| Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect())
}

/// `/proc/PID/stat`: the second field is a name in brackets that may hold anything, so counting starts behind it.
fn parse(stat: &str) -> Option<Process> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    // proc(5): ppid is field 4, utime, stime, cutime and cstime are 14 to 17; the first one here is field 3.
    let ticks: Vec<u64> = fields.get(11..15)?.iter().filter_map(|field| field.parse().ok()).collect();
    let &[user, system, user_of_ended, system_of_ended] = ticks.as_slice() else { return None };
    let parent = fields.get(1)?.parse().ok()?;
    Some(Process { parent, ticks: user + system, ticks_of_ended: user_of_ended + system_of_ended })
}

/// `root` and its descendants among `all`, parents first.
fn family(all: &BTreeMap<u32, Process>, root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, process)| process.parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// The proportional set size of one process, KiB; none when it has ended.
fn proportional_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

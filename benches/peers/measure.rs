//! One measurement: one peer, started afresh, under one workload.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::Client;
use crate::figure::{Figure, Sample, quantile};
use crate::launch::{Peer, Running};
use crate::pgbench::{self, Load, Outcome};
use crate::usage;
use crate::workload::{Mode, Script, Transfer, Workload};
use crate::world::{ROW_BYTES, ROWS, World};

/// Bytes of a megabyte, as in MB/s.
const MEGABYTE: f64 = 1e6;
/// How often the rows of the table are repeated for a result of 1 GB.
const REPEATS_FOR_A_GIGABYTE: usize = 10;
/// Rows of the piece of COPY data that is sent over and over.
const ROWS_PER_PIECE: usize = 10_000;
/// How long pools are filled before connecting is measured, seconds.
const FILLING_SECONDS: u32 = 1;
/// Memory counts as settled when it moves by less than this between two looks, bytes.
const SETTLED_BYTES: u64 = 16 * 1024;
/// How long memory may take to settle.
const SETTLING: Duration = Duration::from_secs(5);

/// Measures `peer` under `workload` for `seconds`.
pub fn measure(world: &mut World, peer: Peer, workload: Workload, seconds: u32) -> Result<Sample> {
    world.wait_alone()?;
    if let Workload::Pgbench(Script::Tpcb, ..) = workload {
        world.tidy()?;
    }
    let running = Running::start(world, peer, workload.capacity())?;
    match workload {
        Workload::Pgbench(script, mode, clients) => {
            transactions(world, &running, Load { script, mode, clients, reconnect: false, seconds })
        }
        Workload::Connect(clients) => {
            let load = Load { script: Script::Select, mode: Mode::Simple, clients, reconnect: true, seconds };
            // Pools fill first: with one process per client, as pgpool-II has them, that takes one connection each.
            pgbench::run(world, running.address(), Load { seconds: FILLING_SECONDS, ..load })?;
            transactions(world, &running, load)
        }
        Workload::Transfer(transfer) => bulk(world, &running, transfer, Duration::from_secs(seconds.into())),
        Workload::Idle(clients) => idle(&running, clients),
        Workload::SlowReader => slow_reader(&running, Duration::from_secs(seconds.into())),
    }
}

/// pgbench's transactions.
fn transactions(world: &World, running: &Running, load: Load) -> Result<Sample> {
    let (outcome, cpu) = with_cpu(running, || pgbench::run(world, running.address(), load))?;
    let Outcome { transactions, throughput, mut latencies_us } = outcome;
    let mut sample = Sample::from([(Figure::Throughput, throughput)]);
    // pgbench leaves connecting out of a transaction's latency: with a connection each, it says nothing.
    if !load.reconnect {
        add_latencies(&mut sample, &mut latencies_us);
    }
    if let Some(cpu) = cpu {
        sample.insert(Figure::CpuPerThousand, cpu / (transactions as f64 / 1000.0));
    }
    Ok(sample)
}

/// 100 MB by one client, over and over for at least `time`.
fn bulk(world: &mut World, running: &Running, transfer: Transfer, time: Duration) -> Result<Sample> {
    let mut client = Client::login(running.address())?;
    let expected = (ROWS * ROW_BYTES) as u64;
    let row = format!("{:x<1$}\n", "", ROW_BYTES);
    let piece = row.repeat(ROWS_PER_PIECE);
    let ((bytes, busy), cpu) = with_cpu(running, || {
        let (mut bytes, mut busy) = (0, Duration::ZERO);
        while busy < time {
            if transfer == Transfer::CopyIn {
                world.ask("TRUNCATE bench_sink")?;
            }
            let begun = Instant::now();
            match transfer {
                Transfer::Result => ensure!(client.drain("SELECT line FROM bench_rows")? >= expected, "rows are lost"),
                Transfer::CopyOut => ensure!(client.drain("COPY bench_rows TO STDOUT")? >= expected, "rows are lost"),
                Transfer::CopyIn => {
                    client.copy_in("COPY bench_sink FROM STDIN", piece.as_bytes(), ROWS / ROWS_PER_PIECE)?;
                }
            }
            busy += begun.elapsed();
            bytes += expected;
        }
        Ok((bytes, busy))
    })?;
    if transfer == Transfer::CopyIn {
        let arrived = world.ask("SELECT count(*) FROM bench_sink")?;
        ensure!(arrived == Some(ROWS.to_string()), "{arrived:?} of {ROWS} rows arrived");
    }
    let megabytes = bytes as f64 / MEGABYTE;
    let mut sample = Sample::from([(Figure::Bandwidth, megabytes / busy.as_secs_f64())]);
    if let Some(cpu) = cpu {
        sample.insert(Figure::CpuPerBulk, cpu / (megabytes / 100.0));
    }
    Ok(sample)
}

/// Clients that log in and stay silent.
fn idle(running: &Running, clients: usize) -> Result<Sample> {
    let process = running.process().context("there is no proxy to weigh")?;
    let before = settled_memory(process)?;
    let login = |number| Client::login(running.address()).with_context(|| format!("idle client {number}"));
    let sessions = (0..clients).map(login).collect::<Result<Vec<_>>>()?;
    let after = settled_memory(process)?;
    drop(sessions);
    Ok(Sample::from([
        (Figure::MemoryPerClient, kib(after.saturating_sub(before)) / clients as f64),
        (Figure::MemoryTotal, kib(after) / 1024.0),
    ]))
}

/// A client that reads a gigabyte in small sips, and a neighbour that works meanwhile.
fn slow_reader(running: &Running, time: Duration) -> Result<Sample> {
    let mut neighbour = Client::login(running.address())?;
    let mut reader = Client::login(running.address())?;
    neighbour.ask("SELECT 1")?;
    reader.ask("SELECT 1")?;
    let before = running.process().map(settled_memory).transpose()?;
    reader.send_query(&format!("SELECT line FROM bench_rows, generate_series(1, {REPEATS_FOR_A_GIGABYTE})"))?;
    let (mut most, mut latencies_us) = (0, Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < time {
        reader.sip()?;
        for _ in 0..50 {
            let asked = Instant::now();
            neighbour.ask("SELECT 1")?;
            latencies_us.push(asked.elapsed().as_micros() as u32);
        }
        if let Some(process) = running.process() {
            most = usage::memory_bytes(process)?.max(most);
        }
    }
    let mut sample = Sample::new();
    add_latencies(&mut sample, &mut latencies_us);
    if let Some(before) = before {
        sample.insert(Figure::MemoryGrowth, kib(most.saturating_sub(before)) / 1024.0);
    }
    Ok(sample)
}

/// What `work` returns, and the CPU seconds that the proxy, if there is one, used meanwhile.
fn with_cpu<T>(running: &Running, work: impl FnOnce() -> Result<T>) -> Result<(T, Option<f64>)> {
    let used = || running.process().map(usage::cpu_seconds).transpose();
    let before = used()?;
    let done = work()?;
    let cpu = used()?.zip(before).map(|(after, before)| after - before);
    Ok((done, cpu))
}

fn add_latencies(sample: &mut Sample, latencies_us: &mut [u32]) {
    for (figure, share) in [(Figure::LatencyP50, 0.5), (Figure::LatencyP99, 0.99)] {
        if let Some(us) = quantile(latencies_us, share) {
            sample.insert(figure, f64::from(us) / 1000.0);
        }
    }
}

/// The proxy's memory in bytes once it has stopped moving.
fn settled_memory(process: u32) -> Result<u64> {
    let begun = Instant::now();
    let mut seen = usage::memory_bytes(process)?;
    loop {
        thread::sleep(Duration::from_millis(100));
        let now = usage::memory_bytes(process)?;
        if now.abs_diff(seen) < SETTLED_BYTES || begun.elapsed() > SETTLING {
            return Ok(now);
        }
        seen = now;
    }
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

//! `pgconvoy-oracle`: judges generated statements and texts of a file by PostgreSQL's own grammar.

use anyhow::{Context, bail};
use clap::Parser;
use pgconvoy_oracle::trial::{Failure, Tally, run};
use pgconvoy_oracle::{complaint, grammar, is_balanced};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Of the queries that only read plain tables, so many per cent must be free to go anywhere.
const BALANCED_PERCENT: u64 = 99;

/// PostgreSQL's own grammar against pgconvoy's classifier.
#[derive(Parser)]
struct Command {
    /// Generated statements to judge.
    #[arg(long, default_value_t = 1_000_000)]
    statements: u64,
    /// The first seed; each gives some hundred statements.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Runs all seeds whatever happens.
    #[arg(long)]
    keep_going: bool,
    /// Prints plain reads that may not go anywhere.
    #[arg(long)]
    show_kept: bool,
    /// Files of statements, one a line, that only read.
    #[arg(long)]
    reads: Vec<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    for file in &command.reads {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        reads(&text).with_context(|| file.display().to_string())?;
    }
    let (next, over) = (AtomicU64::new(command.start), AtomicBool::new(false));
    let total = Mutex::new((Tally::default(), Vec::<Box<Failure>>::new()));
    println!("seeds from {} on", command.start);
    std::thread::scope(|scope| {
        for _ in 0..command.threads {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let outcome = run(next.fetch_add(1, Ordering::Relaxed));
                    let mut total = total.lock().unwrap_or_else(|poison| poison.into_inner());
                    match outcome {
                        Ok(tally) => total.0.add(tally),
                        Err(failure) => {
                            print(&failure);
                            total.1.push(failure);
                        }
                    }
                    let failed = !total.1.is_empty() && !command.keep_going || total.1.len() > 20;
                    if failed || total.0.statements() >= command.statements {
                        over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (tally, failures) = total.into_inner().unwrap_or_else(|poison| poison.into_inner());
    println!(
        "{} statements of seeds {} to {}: {} read, {} of them may write; {} of {} plain reads may go anywhere",
        tally.statements(),
        command.start,
        next.load(Ordering::Relaxed),
        tally.read,
        tally.writing,
        tally.balanced,
        tally.plain
    );
    let enough = tally.balanced * 100 >= tally.plain * BALANCED_PERCENT;
    if command.show_kept || !enough {
        tally.kept.iter().take(40).for_each(|text| println!("kept: {text:?}"));
    }
    if !failures.is_empty() {
        bail!("the classifier is wrong about {} statements", failures.len());
    }
    if !enough {
        bail!("too few plain reads may go anywhere");
    }
    // A generator that nobody reads proves nothing.
    if tally.read * 100 < tally.statements() * 75 || tally.writing * 5 < tally.read || tally.plain * 5 < tally.read {
        bail!("the generator is out of balance");
    }
    Ok(())
}

/// Judges statements that only read.
fn reads(text: &str) -> anyhow::Result<()> {
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("--")) {
        let found = grammar::read(line).with_context(|| format!("PostgreSQL refuses {line}"))?;
        // Functions that the generator does not use are not known here.
        let wrong = complaint(line.as_bytes(), true, &grammar::Found { writes: None, ..found });
        if let Some(wrong) = wrong {
            bail!("{wrong}: {line}");
        }
        if !is_balanced(line.as_bytes(), true) {
            bail!("it may not go anywhere: {line}");
        }
    }
    Ok(())
}

fn print(failure: &Failure) {
    println!(
        "seed {}, statement {}: {}\n  short: {:?}\n  standard_conforming_strings {}, {}",
        failure.seed,
        failure.number,
        failure.complaint,
        failure.short,
        if failure.standard_strings { "on" } else { "off" },
        failure.short_complaint
    );
}

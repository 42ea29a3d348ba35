//! `pgconvoy check`: everything that is wrong with a configuration file and its pool_passwd, with the lines that it is
//! about.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use pgconvoy_io::config::{Config, Diagnostic, Loaded, Severity};

/// Prints all findings; the exit code is 1 if one of them would stop the start.
pub fn main(file: &Path) -> ExitCode {
    let (findings, verdict) = match Config::load(file) {
        Ok(Loaded { config, warnings: mut findings, notes }) => {
            let verdict = match config.passwords() {
                Ok((_, of_passwords)) => {
                    findings.extend(of_passwords);
                    ExitCode::SUCCESS
                }
                Err(finding) => {
                    findings.push(finding);
                    ExitCode::FAILURE
                }
            };
            findings.extend(notes);
            (findings, verdict)
        }
        Err(findings) => (findings, ExitCode::FAILURE),
    };
    // The findings are the output: who reads them may stop reading.
    drop(std::io::stdout().write_all(report(file, &findings).as_bytes()));
    verdict
}

fn report(file: &Path, findings: &[Diagnostic]) -> String {
    let mut report = String::new();
    for finding in findings {
        report.push_str(&finding.render());
        report.push_str("\n\n");
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let [errors, warnings, notes] = [Severity::Error, Severity::Warning, Severity::Note].map(count);
    report.push_str(&format!("{}: {}, {}", file.display(), number(errors, "error"), number(warnings, "warning")));
    if notes > 0 {
        report.push_str(&format!(", {}", number(notes, "note")));
    }
    report.push('\n');
    report
}

fn number(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

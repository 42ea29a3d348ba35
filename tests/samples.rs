//! The samples and the manual in conf/ are what the table of parameters gives, and say what they claim to say; files of
//! old pgpool-II releases are understood line by line.

use std::path::{Path, PathBuf};

use pgconvoy_io::config::names::{Effect, Index, own_parameters, parameters};
use pgconvoy_io::config::{Config, manual};

/// The path of a sample.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

/// What the text of a sample configures, as `SHOW pool_status` and Rust see it; it must not give any error or warning.
fn configured(path: &Path, text: String) -> Vec<String> {
    let config = match Config::parse(path, text) {
        Ok(loaded) => {
            assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
            assert!(
                loaded.notes.iter().all(|note| note.message.starts_with("a reload is enough")),
                "{:#?}",
                loaded.notes
            );
            loaded.config
        }
        Err(findings) => panic!("{} is wrong: {findings:#?}", path.display()),
    };
    // The default pid file depends on which of two directories the machine has.
    let rows = config.status_rows(&[]).into_iter().filter(|row| row.item != "pid_file_name");
    let shown = rows.map(|row| format!("{} = {}", row.item, row.value));
    shown.chain([format!("{:?}", config.own), format!("{:?}", config.backends)]).collect()
}

/// The text with every line switched on that is commented out: `#name = value`.
fn with_defaults_written_out(text: &str) -> String {
    let is_setting = |line: &str| {
        let name = line.split('=').next().unwrap_or_default().trim_end();
        let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        line.contains('=') && !name.is_empty() && name.bytes().all(in_name)
    };
    let switched_on =
        |line: &str| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line).to_owned() + "\n";
    text.lines().map(switched_on).collect()
}

#[test]
fn the_samples_are_free_of_warnings_and_comment_out_the_defaults() {
    for name in ["pgpool.conf", "pgconvoy.toml"] {
        let path = sample(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let written_out = with_defaults_written_out(&text);
        assert!(text.lines().zip(written_out.lines()).filter(|(before, after)| before != after).count() > 20);
        assert_eq!(configured(&path, text), configured(&path, written_out));
    }
}

#[test]
fn both_samples_mean_the_same() {
    let [old, new] = ["pgpool.conf", "pgconvoy.toml"].map(|name| {
        let path = sample(name);
        configured(&path, std::fs::read_to_string(&path).unwrap())
    });
    assert_eq!(old, new);
}

#[test]
fn the_committed_pages_are_those_of_the_table() {
    for (name, form, page) in [
        ("parameters.md", "manual", manual::markdown()),
        ("pgpool.conf", "conf", manual::pgpool_conf()),
        ("pgconvoy.toml", "toml", manual::toml()),
    ] {
        let committed = std::fs::read_to_string(sample(name)).expect("a committed page");
        let command = format!("cargo run -- parameters --as {form} > conf/{name}");
        let line = 1 + page.lines().zip(committed.lines()).take_while(|(new, old)| new == old).count();
        assert!(committed == page, "conf/{name} is out of date from line {line} on; write it anew: {command}");
    }
}

#[test]
fn the_pages_leave_nothing_out() {
    let [manual, conf, toml] = [manual::markdown(), manual::pgpool_conf(), manual::toml()];
    for known in parameters().chain(own_parameters()) {
        let name = known.name;
        let starts = [format!("| `{name}` |"), format!("| `{name}N` |")];
        let is_row = |line: &&str| starts.iter().any(|start| line.starts_with(start)) && line.contains(known.about);
        assert_eq!(manual.lines().filter(is_row).count(), 1, "{name}");
        let sets = |sample: &str, name: &str| {
            sample.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{name} = ")))
        };
        // In TOML, what belongs to a node has a shorter name, which others may have too.
        let samples: &[(&str, &str)] = match known.index {
            Index::Always => &[(&conf, "0")],
            Index::Never | Index::Optional => &[(&conf, ""), (&toml, "")],
        };
        for (sample, number) in samples {
            assert_eq!(sets(sample, &format!("{name}{number}")), known.effect == Effect::Now, "{name}");
        }
    }
}

/// The findings about a file, one on each line, with its folder left out.
fn said_of(path: &Path, text: &str) -> String {
    let loaded = Config::parse(path, text.to_owned()).unwrap_or_else(|findings| panic!("refused: {findings:#?}"));
    let findings = loaded.warnings.iter().chain(&loaded.notes);
    let folder = format!("{}/", path.parent().expect("a folder").display());
    findings.map(|finding| finding.to_string().replace(&folder, "") + "\n").collect()
}

#[test]
fn a_file_of_pgpool_3_7_loads_and_each_line_that_is_not_todays_is_named() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/pgpool-3.7.conf");
    let text = std::fs::read_to_string(&path).expect("the file");
    let said = said_of(&path, &text);
    assert_eq!(said, include_str!("config/pgpool-3.7.txt"));
    for (number, line) in (1..).zip(text.lines()) {
        let Some((name, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        // What is empty asks for nothing.
        let is_todays = pgconvoy_io::config::names::find(name)
            .is_some_and(|(known, _)| known.effect == Effect::Now || (known.effect == Effect::Later && value == "''"));
        let named = said.contains(&format!("pgpool-3.7.conf:{number}:"));
        // An old name of today's list, and a word that is neither on nor off.
        let odd = ["replication_mode", "log_statement"].contains(&name);
        assert_eq!(named, !is_todays || odd, "{name} in line {number}");
    }
}

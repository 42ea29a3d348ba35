//! The samples and the manual in conf/ are what the table of parameters gives, and say what they claim to say; files of
//! old pgpool-II releases are understood line by line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pgconvoy_io::config::names::{Effect, Index, find, own_parameters, parameters};
use pgconvoy_io::config::{Config, Severity, manual};

/// Where Debian's pgpool2 package puts pgpool-II's own sample.
const STOCK_SAMPLE: &str = "/usr/share/doc/pgpool2/examples/pgpool.conf.sample";

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

/// What is said of a parameter that nothing acts on yet. Which ones these are, the table says.
const LATER: &str = ": this parameter has no effect yet";

/// The findings about a file, one on each line, with its folder left out.
fn said_of(path: &Path, text: &str) -> String {
    let loaded = Config::parse(path, text.to_owned()).unwrap_or_else(|findings| panic!("refused: {findings:#?}"));
    let findings = loaded.warnings.iter().chain(&loaded.notes);
    let folder = format!("{}/", path.parent().expect("a folder").display());
    findings.map(|finding| finding.to_string().replace(&folder, "") + "\n").collect()
}

/// Fails unless something is said of every line that sets what is unknown, old or without effect, or is among the `odd`
/// ones, and nothing of any other. Of a name that is set more than once, the last line counts.
fn assert_each_is_named(file: &str, text: &str, said: &str, odd: &[&str]) {
    let setting = |line: &str| {
        let (name, value) = line.split_once('=').filter(|_| !line.trim_start().starts_with('#'))?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    let settings: BTreeMap<String, (usize, String)> = (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| setting(line).map(|(name, value)| (name, (number, value))))
        .collect();
    for (name, (number, value)) in settings {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        // What is empty asks for nothing.
        let is_todays = find(&name).filter(|(known, _)| known.name == stem).is_some_and(|(known, _)| {
            known.effect == Effect::Now || (known.effect == Effect::Later && value.starts_with("''"))
        });
        let named = said.contains(&format!("{file}:{number}:"));
        assert_eq!(named, !is_todays || odd.contains(&name.as_str()), "{name} in line {number} of {file}");
    }
}

#[test]
fn a_file_of_pgpool_3_7_loads_and_each_line_that_is_not_todays_is_named() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/pgpool-3.7.conf");
    let text = std::fs::read_to_string(&path).expect("the file");
    let said = said_of(&path, &text);
    let besides: String =
        said.lines().filter(|line| !line.ends_with(LATER)).map(|line| line.to_owned() + "\n").collect();
    assert_eq!(besides, include_str!("config/pgpool-3.7.txt"));
    // An old name that is still on today's list, and a word that is neither on nor off.
    assert_each_is_named("pgpool-3.7.conf", &text, &said, &["replication_mode", "log_statement"]);
}

#[test]
fn the_sample_of_pgpool_4_3_loads_with_everything_switched_on() {
    let stock = std::fs::read_to_string(STOCK_SAMPLE).expect("Debian's pgpool2 is installed");
    let is_setting = |rest: &&str| {
        let name = rest.split('=').next().unwrap_or_default().trim_end();
        rest.contains('=') && (find(name).is_some() || ["socket_dir", "logdir"].contains(&name))
    };
    let switched_on = |line: &str| line.strip_prefix('#').filter(is_setting).unwrap_or(line).to_owned() + "\n";
    let text: String = stock.lines().map(switched_on).collect();
    let folder = tempfile::tempdir().expect("a folder");
    // Debian's own folders need not be there.
    let text = ["/var/run/postgresql", "/var/log/postgresql"]
        .iter()
        .fold(text, |text, debian| text.replace(debian, &folder.path().display().to_string()));
    let said = said_of(Path::new("/etc/pgpool.conf"), &text);
    assert_each_is_named("pgpool.conf", &text, &said, &[]);
    assert!(!said.contains("no such parameter"), "{said}");
}

/// Lines of clusters that ran pgpool-II 2.1, 3.1 and 3.3, one after the other; the first release's had a quote missing.
#[test]
fn lines_of_still_older_releases_are_understood_or_refused_by_name() {
    let text = "listen_addresses ='*'\nport = 9999\nreplication_mode = true\nload_balance_mode = true\n\
                backend_hostname0 = node01'\nbackend_port0 = 5432\nbackend_weight0 = 1\n\
                backend_data_directory0 = '/opt/postgres/data'\nbackend_hostname1 = 'node02'\nbackend_port1 = 5432\n\
                backend_weight1 = 1\nhealth_check_period = 30 # check every 30s\nrecovery_timeout = 600\n\
                failover_command = 'echo host:%h, new master id:%m, old master id:%M > /opt/log/failover.log'\n\
                enable_pool_hba = on\nreplication_stop_on_mismatch = on\ndebug_level = 1\nprint_timestamp = on\n\
                parallel_mode = false\nenable_query_cache = false\npgpool2_hostname = ''\nsystem_db_port = 5432\n";
    let findings = Config::parse(Path::new("pgpool.conf"), text.to_owned()).expect_err("one line is wrong");
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let errors = findings.iter().zip(&said).filter(|(finding, _)| finding.severity == Severity::Error);
    let errors: Vec<&str> = errors.map(|(_, said)| said.as_str()).collect();
    let [quote] = errors[..] else { panic!("{errors:#?}") };
    assert!(quote.starts_with("pgpool.conf:5:21: backend_hostname0: the quote at the start"), "{quote}");
    for (number, name) in (17..).zip([
        "debug_level",
        "print_timestamp",
        "parallel_mode",
        "enable_query_cache",
        "pgpool2_hostname",
        "system_db_port",
    ]) {
        let place = format!("pgpool.conf:{number}:1: {name}: ");
        assert!(said.iter().any(|line| line.starts_with(&place)), "{place}\n{said:#?}");
    }
}

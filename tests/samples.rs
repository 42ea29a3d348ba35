//! The sample configurations in conf/ say what they claim to say.

use std::path::{Path, PathBuf};

use pgconvoy_io::config::Config;

/// The path of a sample.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

/// What the text of a sample configures, as `SHOW pool_status` and Rust see it; it must not give any error or warning.
fn configured(path: &Path, text: String) -> Vec<String> {
    let config = match Config::parse(path, text) {
        Ok(loaded) => {
            assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
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
        line.contains('=') && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
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

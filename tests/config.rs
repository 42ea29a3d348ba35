//! `pgconvoy check` on good and bad files, as an operator sees it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgconvoy_io::config::names;

/// Where Debian's pgpool2 package puts pgpool-II's own sample.
const STOCK_SAMPLE: &str = "/usr/share/doc/pgpool2/examples/pgpool.conf.sample";

const BACKENDS: &str = "backend_hostname0 = '127.0.0.1'\nbackend_port0 = 5432\nbackend_weight0 = 1\n";

/// A folder with configuration files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What `check` prints, with the folder left out, and its exit code.
    fn check(&self, name: &str) -> (String, i32) {
        let (printed, code) = check(&self.path(name));
        (printed.replace(&format!("{}/", self.0.path().display()), ""), code)
    }
}

fn check(path: &Path) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_pgconvoy")).arg("check").arg("-f").arg(path).output().expect("a run");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (String::from_utf8(output.stdout).expect("text"), output.status.code().expect("no signal"))
}

#[test]
fn every_mistake_is_shown_with_its_line_and_a_caret() {
    let files = Files::new(&[
        (
            "pgpool.conf",
            "# größere Fehler\nbackend_hostname0 = node01'\nbackend_port0 = 5432 # fine\nport = 80\n\tchild_life_time = 5MB\n\
             include = 'more.conf'\nbakend_weight0 = 1\nlogdir = '/tmp'\n",
        ),
        ("more.conf", "log_min_messages = loud\nssl = on\n"),
    ]);
    let (printed, code) = files.check("pgpool.conf");
    assert_eq!(code, 1);
    assert_eq!(printed, include_str!("config/mistakes.txt"));
}

#[test]
fn a_good_file_passes_and_its_warnings_are_shown() {
    let files = Files::new(&[
        ("good.conf", BACKENDS),
        ("old.conf", &format!("{BACKENDS}fail_over_on_backend_error = off\n")),
        ("good.toml", "[[backend]]\nhostname = \"127.0.0.1\"\nport = 5432\nweight = 1\n"),
        ("bad.toml", "[[backend]]\nhostname = \"127.0.0.1\"\nport = \"many\"\n"),
    ]);
    assert_eq!(files.check("good.conf"), ("good.conf: 0 errors, 0 warnings\n".to_owned(), 0));
    assert_eq!(files.check("good.toml"), ("good.toml: 0 errors, 0 warnings\n".to_owned(), 0));
    let (printed, code) = files.check("old.conf");
    assert!(
        printed.contains("fail_over_on_backend_error: this is the old name of failover_on_backend_error"),
        "{printed}"
    );
    assert_eq!(code, 0);
    let (printed, code) = files.check("bad.toml");
    assert!(printed.contains("bad.toml:3:8\n"), "{printed}");
    assert_eq!(code, 1);
}

#[test]
fn where_less_is_needed_than_by_pgpool_it_is_noted() {
    let text = format!(
        "{BACKENDS}pool_passwd = ''\nmax_pool = 8\nchild_life_time = 60\nenable_shared_relcache = off\n\
         include = 'more.conf'\nport = 9998\n"
    );
    let files = Files::new(&[("pgpool.conf", &text), ("more.conf", "num_init_children = 7\n")]);
    let (printed, code) = files.check("pgpool.conf");
    let expected = "note: child_life_time: has no effect because there are no child processes; connection_life_time ends \
                    backend connections that nobody uses\n --> pgpool.conf:6:1\n  |\n6 | child_life_time = 60\n  | \
                    ^^^^^^^^^^^^^^^\n\n\
                    note: enable_shared_relcache: has no effect because the sessions of a worker thread always share what \
                    has been looked up\n --> pgpool.conf:7:1\n  |\n7 | enable_shared_relcache = off\n  | \
                    ^^^^^^^^^^^^^^^^^^^^^^\n\n\
                    note: a reload is enough where pgpool-II takes a restart: pool_passwd (line 4), max_pool (line 5), \
                    num_init_children (more.conf, line 1)\n--> pgpool.conf\n\n\
                    pgpool.conf: 0 errors, 0 warnings, 3 notes\n";
    assert_eq!((printed.as_str(), code), (expected, 0));
}

#[test]
fn bad_lines_of_the_password_file_are_named_and_not_shown() {
    let passwords = "alice:TEXTsecret\nno colon but a secret\nalice:md5secret\nbob:\n";
    let named = format!("{BACKENDS}pool_passwd = 'users'\n");
    let files =
        Files::new(&[("pgpool.conf", &named), ("users", passwords), ("lost.conf", &named.replace("users", "lost"))]);
    let (printed, code) = files.check("pgpool.conf");
    let expected = "warning: no colon between user name and password\n--> users:2\n\n\
                    warning: the user has an entry on line 1 already, which is the one that counts\n--> users:3\n\n\
                    warning: the password is empty\n--> users:4\n\n\
                    note: a reload is enough where pgpool-II takes a restart: pool_passwd (line 4)\n--> pgpool.conf\n\n\
                    pgpool.conf: 0 errors, 3 warnings, 1 note\n";
    assert_eq!((printed.as_str(), code), (expected, 0));
    let (printed, code) = files.check("lost.conf");
    assert!(printed.contains("pool_passwd: lost does not exist") && printed.contains("lost.conf:4"), "{printed}");
    assert_eq!(code, 0);
    std::fs::create_dir(files.path("lost")).expect("a folder where a file should be");
    let (printed, code) = files.check("lost.conf");
    assert!(printed.contains("cannot read pool_passwd lost: "), "{printed}");
    assert_eq!(code, 1);
}

#[test]
fn an_unreadable_file_is_an_error() {
    let (printed, code) = Files::new(&[]).check("nowhere.conf");
    assert!(printed.contains("No such file or directory"), "{printed}");
    assert_eq!(code, 1);
}

#[test]
fn a_port_that_is_none_is_one_mistake() {
    let text = "backend_hostname0 = 'db'\nbackend_port0 = 99999\nbackend_weight0 = 1\n\
                backend_hostname1 = 'db'\nbackend_port1 = 5432\n";
    let (printed, code) = Files::new(&[("pgpool.conf", text)]).check("pgpool.conf");
    assert_eq!(code, 1);
    assert!(printed.starts_with("error: backend_port0: 99999 is outside"), "{printed}");
    assert!(printed.ends_with("pgpool.conf: 1 error, 0 warnings\n"), "{printed}");
}

#[test]
fn directories_that_do_not_exist_are_named_with_their_lines() {
    let lines = "unix_socket_directories = '/tmp,/nowhere/sockets'\nlogdir = '/nowhere/work'\n";
    let files = Files::new(&[("pgpool.conf", &format!("{BACKENDS}{lines}"))]);
    let (printed, code) = files.check("pgpool.conf");
    assert_eq!(code, 1);
    let sockets = "error: unix_socket_directories: there is no directory /nowhere/sockets\n --> pgpool.conf:4:";
    let work = "warning: work_dir: there is no directory /nowhere/work\n --> pgpool.conf:5:";
    assert!(printed.contains(sockets) && printed.contains(work), "{printed}");
}

#[test]
fn every_name_of_pgpool_is_known() {
    let known = names::parameters().map(|known| (known.name, known.default, known.index));
    let deprecated = names::DEPRECATED.map(|(old, new)| {
        let (known, _) = names::find(new).expect("today's name");
        (old, known.default, known.index)
    });
    let mut text = BACKENDS.to_owned();
    for (name, default, index) in known.chain(deprecated) {
        let number = if index == names::Index::Always { "0" } else { "" };
        // A port that is not set has no number that could be written.
        let value = if name.contains("port") && default == "0" { "5432" } else { default };
        writeln!(text, "{name}{number} = '{value}'").expect("a string takes any text");
    }
    assert_eq!(text.lines().count(), 3 + 193);
    let (printed, code) = Files::new(&[("all.conf", &text)]).check("all.conf");
    assert_eq!(code, 0, "{printed}");
    assert!(!printed.contains("no such parameter"), "{printed}");
}

#[test]
fn the_stock_sample_with_backends_appended_is_accepted() {
    let stock = std::fs::read_to_string(STOCK_SAMPLE).expect("Debian's pgpool2 is installed");
    let files = Files::new(&[("stock.conf", &format!("{stock}{BACKENDS}"))]);
    assert_eq!(files.check("stock.conf"), ("stock.conf: 0 errors, 0 warnings\n".to_owned(), 0));
}

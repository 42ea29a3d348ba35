//! Whole configurations: what is understood, what is warned of, what is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use pgconvoy_core::rng::Rng;

use super::*;

const BACKEND: &str = "backend_hostname0 = 'db0'\nbackend_port0 = 5432\nbackend_weight0 = 1\n";

fn load(text: &str) -> Loaded {
    Config::parse(Path::new("pgpool.conf"), text.to_owned()).unwrap_or_else(|findings| {
        let shown: Vec<_> = findings.iter().map(Diagnostic::render).collect();
        panic!("refused:\n{}", shown.join("\n"))
    })
}

fn errors(text: &str) -> Vec<String> {
    match Config::parse(Path::new("pgpool.conf"), text.to_owned()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(findings) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            errors.map(ToString::to_string).collect()
        }
    }
}

#[test]
fn the_last_assignment_of_a_parameter_wins() {
    let text = format!(
        "{BACKEND}port = 5000\nbackend_port0=5433\nPORT = 5001 # again\nconnect_timeout = 3s\nconnect_timeout0 = 1s\n"
    );
    let Loaded { config, warnings, .. } = load(&text);
    assert_eq!(warnings, []);
    assert_eq!((config.listen.port, config.backends[0].settings.port), (5001, 5433));
    assert_eq!(config.health_check.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.backends[0].health_check.connect_timeout, Duration::from_secs(1));
}

#[test]
fn every_name_is_accepted_with_its_own_default() {
    let mut text = BACKEND.to_owned();
    for known in names::parameters().chain(names::own_parameters()) {
        let node = if known.index == Index::Always { "1" } else { "" };
        // A port that is not set is 0, which cannot be written.
        let value = if known.name.ends_with("port") && known.default == "0" { "5432" } else { known.default };
        text.push_str(&format!("{}{node} = '{value}'\n", known.name));
    }
    for (old, new) in names::DEPRECATED {
        let known = names::find(new).expect("the new name").0;
        text.push_str(&format!("{old} = '{}'\n", known.default));
    }
    let Loaded { config, warnings, .. } = load(&text);
    assert_eq!(config.backends.len(), 2);
    let unknown: Vec<_> = warnings.iter().filter(|warning| warning.message.contains("no such parameter")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn what_is_moot_is_a_note_that_says_why() {
    let Loaded { warnings, notes, .. } =
        load(&format!("{BACKEND}child_life_time = 9\nserialize_accept = on\nmax_pool = 1\n"));
    assert_eq!(warnings, []);
    assert_eq!(
        notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "pgpool.conf:4:1: child_life_time: has no effect because there are no child processes; \
             connection_life_time ends backend connections that nobody uses",
            "pgpool.conf:5:1: serialize_accept: has no effect because a few worker threads wait for clients, not \
             num_init_children processes",
            "pgpool.conf: a reload is enough where pgpool-II takes a restart: max_pool (line 6)",
        ]
    );
}

#[test]
fn what_has_no_effect_yet_is_reported_where_it_was_last_set() {
    let warnings = load(&format!("{BACKEND}ssl = on\nfailover_command = ''\nssl = off\n")).warnings;
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["pgpool.conf:6:1: ssl: this parameter has no effect yet"]
    );
}

#[test]
fn an_unknown_name_is_a_warning_with_a_suggestion() {
    let warnings = load(&format!("{BACKEND}bakend_weight1 = 3\nfrobnicate = on\n")).warnings;
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "pgpool.conf:4:1: bakend_weight1: no such parameter is known; it is ignored (did you mean backend_weight1?)",
            "pgpool.conf:5:1: frobnicate: no such parameter is known; it is ignored",
        ]
    );
}

#[test]
fn a_preference_for_a_node_that_is_not_there_is_a_warning() {
    let lists =
        "database_redirect_preference_list = 'postgres:7,shop:0'\nuser_redirect_preference_list = 'alice:standby'\n";
    let warnings = load(&format!("{BACKEND}{lists}")).warnings;
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "pgpool.conf:4:37: database_redirect_preference_list: no backend 7 is configured: whoever prefers it gets a node by \
             weight (name a configured backend, primary or standby)"
        ]
    );
}

#[test]
fn any_word_is_true_for_a_boolean_as_in_old_files() {
    let Loaded { config, warnings, .. } = load(&format!("{BACKEND}log_statement = all\n"));
    assert!(config.logging.log_statement);
    assert_eq!(warnings[0].message, "\"all\" is neither on nor off, and is taken for on");
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = "backend_hostname0 = node01'\nport = 80\nchild_life_time = 5MB\nlog_min_messages = loud\n\
                backend_port = 5432\nbackend_port128 = 5432\nbackend_flag0 = 'BOGUS'\nreserved_connections = 32\n\
                read_only_function_list = 'a'\nwrite_function_list = 'b'\nsr_check_period =\n";
    let found = errors(text);
    let expected = [
        "pgpool.conf:1:21: backend_hostname0: the quote at the start of the value is missing (write 'node01')",
        "pgpool.conf:2:8: port: 80 is outside the range 1024 .. 65535",
        "pgpool.conf:3:19: child_life_time: \"5MB\" has a unit that this parameter does not know",
        "pgpool.conf:4:20: log_min_messages: \"loud\" is not a word that this parameter knows",
        "pgpool.conf:5:1: backend_port: the number of a node is missing at the end of the name",
        "pgpool.conf:6:1: backend_port128: there is no node 128: nodes have numbers from 0 to 127",
        "pgpool.conf:7:17: backend_flag0: BOGUS is no flag of a backend",
        "pgpool.conf:8:24: reserved_connections: 32 places are reserved of the 32 that num_init_children gives",
        "pgpool.conf:10:23: write_function_list: read_only_function_list and write_function_list cannot both be set",
        "pgpool.conf:11:1: sr_check_period: there is no value",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
}

#[test]
fn a_backend_that_is_missing_is_reported_unless_a_mistake_explains_it() {
    assert_eq!(
        errors("port = 9998\n"),
        ["pgpool.conf: no backend is configured (set at least backend_hostname0 and backend_port0)"]
    );
    assert_eq!(errors("backend_port0 = x\n").len(), 1);
    let warnings = load(&format!("{BACKEND}backend_hostname1 = 'db1'\n")).warnings;
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["pgpool.conf:4:21: backend_hostname1: backend 1 has no backend_port1 and is not used (set backend_port1)"]
    );
}

#[test]
fn names_of_old_releases_are_translated() {
    let text = "backend_hostname0 = 'a'\nbackend_port0 = 5432\nbackend_weight0 = 1\nmaster_slave_mode = on\n\
                master_slave_sub_mode = 'stream'\nlogdir = '/var/log'\nsocket_dir = '/run'\nwd_hostname = 'me'\n\
                wd_port = 9000\nother_pgpool_hostname0 = 'peer'\nother_pgpool_port0 = 9999\nother_wd_port0 = 9001\n\
                heartbeat_destination0 = 'peer'\nheartbeat_device0 = 'ens33'\nblack_function_list = 'nextval'\n\
                relcache_query_target = master\nbackend_flag0 = 'ALWAYS_MASTER'\nprint_timestamp = on\n\
                debug_level = 1\nparallel_mode = off\ndelegate_IP = '10.0.0.1'\n";
    let Loaded { config, warnings, .. } = load(text);
    assert_eq!(config.clustering.backend_clustering_mode, ClusteringMode::StreamingReplication);
    assert_eq!(config.files.work_dir, "/var/log");
    assert_eq!(config.listen.unix_socket_directories, ["/run"]);
    let nodes: Vec<_> = config.watchdog_nodes.iter().map(|node| (node.id, node.settings.hostname.as_str())).collect();
    assert_eq!(nodes, [(0, "me"), (1, "peer")]);
    assert_eq!(config.heartbeats[0].id, 1);
    assert_eq!(config.heartbeats[0].settings.device, "ens33");
    assert_eq!(config.load_balance.write_function_list, ["nextval"]);
    assert_eq!(config.backends[0].settings.flag, ["ALWAYS_PRIMARY"]);
    assert_eq!(config.logging.log_line_prefix, "%t: pid %p: ");
    assert_eq!(config.logging.log_min_messages, Level::Debug1);
    assert_eq!(config.virtual_ip.delegate_ip, "10.0.0.1");
    assert!(
        warnings.iter().any(|warning| warning
            .to_string()
            .starts_with("pgpool.conf:6:1: logdir: this is the old name of work_dir"))
    );
    assert!(warnings.iter().any(|warning| warning.to_string().starts_with("pgpool.conf:20:1: parallel_mode")));
}

#[test]
fn a_mode_that_does_not_work_yet_is_refused() {
    for mode in ["snapshot_isolation", "slony"] {
        let found = errors(&format!("{BACKEND}backend_clustering_mode = {mode}\n"));
        assert!(found[0].contains(&format!("{mode} is not supported yet")), "{found:?}");
    }
    assert_eq!(load(&format!("{BACKEND}replication_mode = off\n")).warnings.len(), 1);
}

#[test]
fn the_old_modes_say_together_what_they_are_taken_for() {
    use ClusteringMode::{LogicalReplication, NativeReplication, Raw, StreamingReplication};
    for (text, mode) in [
        ("master_slave_mode = on\nmaster_slave_sub_mode = 'stream'\n", StreamingReplication),
        ("master_slave_mode = on\nmaster_slave_sub_mode = 'logical'\n", LogicalReplication),
        ("replication_mode = off\nmaster_slave_mode = on\n", StreamingReplication),
        ("replication_mode = off\nmaster_slave_mode = off\n", Raw),
        ("master_slave_mode = off\n", Raw),
        ("replication_mode = on\n", NativeReplication),
        ("replication_mode = true\nmaster_slave_mode = off\n", NativeReplication),
    ] {
        let Loaded { config, warnings, .. } = load(&format!("{BACKEND}{text}"));
        assert_eq!(config.clustering.backend_clustering_mode, mode, "{text}");
        assert_eq!(warnings.len(), text.lines().count(), "{warnings:#?}");
        for (line, warning) in (4..).zip(&warnings) {
            let said = format!("is taken for backend_clustering_mode = {}", mode.as_str());
            assert!(warning.to_string().starts_with(&format!("pgpool.conf:{line}:1: ")), "{warning}");
            assert!(warning.message.ends_with(&said), "{warning}");
        }
    }
    let Loaded { config, warnings, .. } = load(&format!("{BACKEND}replication_mode = off\n"));
    assert_eq!((config.clustering.backend_clustering_mode, warnings.len()), (StreamingReplication, 1));
    let Loaded { config, warnings, .. } =
        load(&format!("{BACKEND}master_slave_mode = on\nbackend_clustering_mode = raw\n"));
    assert_eq!(config.clustering.backend_clustering_mode, Raw);
    assert!(warnings[0].message.contains("is set, and wins"), "{warnings:?}");
}

#[test]
fn toml_gives_the_same_configuration() {
    let toml = "port = 5433\nreset_query_list = [\"ABORT\", \"DISCARD ALL\"]\nlog_connections = true\n\
                authentication_timeout = \"1min\"\n[[backend]]\nhostname = \"db0\"\nport = 5432\nweight = 1\n";
    let conf = format!("{BACKEND}port = 5433\nlog_connections = on\nauthentication_timeout = 60\n");
    let from_toml = Config::parse(Path::new("pgconvoy.toml"), toml.to_owned()).expect("no error").config;
    assert_eq!(from_toml.status_rows(&[]), load(&conf).config.status_rows(&[]));
}

#[test]
fn a_reload_keeps_what_can_only_be_set_at_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pgpool.conf");
    std::fs::write(&path, BACKEND).expect("a file");
    let config = Config::load(&path).expect("no error").config;
    let more = "port = 5433\nlog_statement = on\nbackend_hostname1 = 'db1'\nbackend_port1 = 5432\nmax_pool = 9\n\
                child_life_time = 3\n";
    std::fs::write(&path, format!("{BACKEND}{more}")).expect("a file");
    let Loaded { config: reloaded, warnings, .. } = config.reload().expect("no error");
    assert_eq!((reloaded.listen.port, reloaded.backends.len(), reloaded.logging.log_statement), (9999, 2, true));
    assert_eq!(reloaded.pool.max_pool, 9, "that takes a restart in pgpool only");
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].parameter.as_deref(), Some("port"));
    std::fs::write(&path, "port = x\n").expect("a file");
    assert!(config.reload().is_err());
}

#[test]
fn debug_messages_that_were_asked_for_stay_wanted_after_a_reload() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pgpool.conf");
    for (word, expected) in [("warning", Level::Debug1), ("debug3", Level::Debug3)] {
        std::fs::write(&path, BACKEND).expect("a file");
        let config = Config::load(&path).expect("no error").config.debugging();
        assert_eq!(config.logging.log_min_messages, Level::Debug1);
        std::fs::write(&path, format!("{BACKEND}log_min_messages = {word}\n")).expect("a file");
        let once = config.reload().expect("no error").config;
        let twice = once.reload().expect("no error").config;
        assert_eq!([once, twice].map(|config| config.logging.log_min_messages), [expected; 2]);
    }
}

#[test]
fn passwords_that_are_sound_are_not_replaced_by_a_file_that_is_lost_or_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pgpool.conf");
    let file = directory.path().join("users");
    std::fs::write(&path, format!("{BACKEND}pool_passwd = 'users'\n")).expect("a file");
    let config = Config::load(&path).expect("no error").config;
    let after = |present: &str, now: Option<&str>| {
        match now {
            Some(text) => std::fs::write(&file, text).expect("a file"),
            None => drop(std::fs::remove_file(&file)),
        }
        let present = pgconvoy_core::auth::passwd::PasswordFile::parse(present).0;
        let shown = |findings: Vec<Diagnostic>| {
            let shown = findings.iter().map(|finding| format!("{:?} {finding}", finding.severity));
            shown.map(|line| line.replace(&format!("{}/", directory.path().display()), "")).collect::<Vec<_>>()
        };
        match config.passwords_after(&present) {
            Ok((passwords, findings)) => Ok((passwords.len(), shown(findings))),
            Err(findings) => Err(shown(findings)),
        }
    };
    let good = "alice:TEXTone\nbob:TEXTtwo\n";
    let lost = |what: &str| {
        Err(vec![format!(
            "Error pgpool.conf:4:15: pool_passwd: users {what}, and those in force would be lost (write pool_passwd = '' \
             to go on without passwords)"
        )])
    };
    assert_eq!(after(good, Some("carol:TEXTthree\n")), Ok((1, vec![])));
    assert_eq!(after(good, None), lost("does not exist"));
    assert_eq!(after(good, Some("")), lost("has no passwords"));
    assert_eq!(
        after(good, Some("alice:TEXTone\nbob\n")),
        Err(vec!["Error users:2: no colon between user name and password".to_owned()])
    );
    assert_eq!(after("", None), Ok((0, vec![])), "there was none before");
    let warning = "Warning users:2: no colon between user name and password".to_owned();
    assert_eq!(after("alice:TEXTone\nbob\n", Some("alice:TEXTone\nbob\n")), Ok((1, vec![warning])));
    std::fs::remove_file(&file).expect("it is there");
    std::fs::create_dir(&file).expect("a folder where a file should be");
    let unreadable = after(good, None).expect_err("it cannot be read");
    assert!(unreadable[0].starts_with("Error pgpool.conf:4:15: pool_passwd: cannot read pool_passwd users: "));
}

#[test]
fn comments_may_be_in_any_encoding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pgpool.conf");
    let mut bytes = BACKEND.as_bytes().to_vec();
    // "Port" in Japanese, in EUC-JP.
    bytes.extend_from_slice(b"port = 5433 # \xa5\xdd\xa1\xbc\xa5\xc8\n");
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(Config::load(&path).unwrap().config.listen.port, 5433);
}

#[test]
fn the_running_server_is_found_by_a_file_with_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pgpool.conf");
    std::fs::write(&path, "port = x\npid_file_name = '/run/p.pid'\n").unwrap();
    assert_eq!(Config::essentials(&path).unwrap().files.pid_file_name, "/run/p.pid");
}

#[test]
fn pool_passwd_lies_beside_the_configuration() {
    let load_at =
        |line: &str| Config::parse(Path::new("/etc/p/pgpool.conf"), format!("{BACKEND}{line}")).expect("no error");
    let path_with = |line: &str| load_at(line).config.pool_passwd_path();
    assert_eq!(path_with("").as_deref(), Some(Path::new("/etc/p/pool_passwd")));
    assert_eq!(path_with("pool_passwd = '/x/y'\n").as_deref(), Some(Path::new("/x/y")));
    assert_eq!(path_with("pool_passwd = ''\n"), None);
}

/// Recorded from pgpool-II 4.3.5 with two backends: names, values and descriptions that scripts compare.
#[test]
fn status_rows_are_those_of_pgpool() {
    let text = "backend_hostname0='127.0.0.1'\nbackend_port0=47011\nbackend_weight0=1\nbackend_data_directory0='/pg'\n\
                backend_hostname1='127.0.0.1'\nbackend_port1=47011\nbackend_weight1=2\nbackend_clustering_mode=raw\n";
    let state = |id, status: &str| NodeState { id, status: status.to_owned(), standby_delay: 0 };
    let rows = load(text).config.status_rows(&[state(0, "up"), state(1, "waiting")]);
    let shown: Vec<_> = rows.iter().map(|row| format!("{}|{}|{}", row.item, row.value, row.description)).collect();
    let mut after = 0;
    for expected in [
        "backend_clustering_mode|5|clustering mode",
        "listen_addresses|localhost|host name(s) or IP address(es) to listen on",
        "port|9999|pgpool accepting port number",
        "socket_dir|/tmp|pgpool socket directory",
        "allow_clear_text_frontend_auth|0|allow to use clear text password auth when pool_passwd does not contain passwor",
        "log_error_verbosity|1|controls how much detail about error should be emitted",
        "client_min_messages|18|controls which message should be sent to client",
        "log_min_messages|19|controls which message should be emitted to server log",
        "syslog_facility|LOCAL0|syslog local facility",
        "logdir|/tmp|PgPool status file logging directory",
        "reset_query_list|ABORT;DISCARD ALL|queries issued at the end of session",
        "disable_load_balance_on_write|2|Load balance behavior when write query is received",
        "dml_adaptive_object_relationship_list|(null)|list of relationships between objects",
        "check_temp_table|1|enable temporary table check",
        "wd_lifecheck_method|2|method of watchdog lifecheck",
        "memqcache_total_size|67108864|Total memory size in bytes for storing memory cache. Mandatory if memqcache_met",
        "backend_hostname0|127.0.0.1|backend #0 hostname",
        "backend_port0|47011|backend #0 port number",
        "backend_weight0|0.333333|weight of backend #0",
        "backend_data_directory0|/pg|data directory for backend #0",
        "backend_status0|up|status of backend #0",
        "standby_delay0|0|standby delay of backend #0",
        "backend_flag0|ALLOW_TO_FAILOVER|backend #0 flag",
        "backend_application_name0||application_name for backend #0",
        "backend_weight1|0.666667|weight of backend #1",
        "backend_status1|waiting|status of backend #1",
    ] {
        let at = shown[after..].iter().position(|row| row == expected);
        after += 1 + at.unwrap_or_else(|| panic!("{expected} is missing or out of order"));
    }
    let items: BTreeSet<_> = rows.iter().map(|row| row.item.as_str()).collect();
    let secret_or_indexed = |known: &&names::Parameter| {
        known.index == Index::Always || known.name.contains("password") || known.name == "wd_authkey"
    };
    for known in names::parameters().filter(|known| !secret_or_indexed(known) && known.name != "memqcache_oiddir") {
        assert!(items.contains(known.name), "{}", known.name);
    }
}

#[test]
fn a_line_that_may_hold_a_secret_is_named_and_not_shown() {
    for (file, line) in [
        ("p.conf", "sr_check_password = 'hunter2"),
        ("p.conf", "sr_check_password = hunter2'"),
        ("p.conf", "health_check_password0 = hun'ter2"),
        ("p.conf", "recovery_password = hunter2 more"),
        ("p.conf", "wd_authkey = 'hunter2' more"),
        ("p.conf", "sr_check_pasword = 'hunter2' # password"),
        ("p.toml", "sr_check_password = \"hunter2"),
        ("p.toml", "sr_check_password = [\"hunter2\", [\"x\"]]"),
    ] {
        let findings = Config::parse(Path::new(file), format!("# one\n{line}\n")).expect_err(line);
        let said: Vec<_> = findings.iter().flat_map(|finding| [finding.to_string(), finding.render()]).collect();
        assert!(said.iter().all(|said| !said.contains("hunter2") && !said.contains("hun'ter2")), "{said:#?}");
        assert!(said.iter().any(|said| said.contains(&format!("{file}:2"))), "{said:#?}");
    }
}

/// Both samples with everything switched on, damaged at random: what comes of them is a configuration or findings that
/// can be shown.
#[test]
fn whatever_stands_in_a_file_is_read_or_refused() {
    const PIECES: [&str; 16] = [
        "'",
        "\"",
        "=",
        "#",
        "\n",
        "\r",
        "\\",
        "[",
        "]",
        "[[",
        "\u{fffd}",
        "größe",
        "\0",
        "9999999999999999999",
        "-1",
        "include = 'x'\n",
    ];
    let is_setting = |rest: &&str| rest.starts_with(|first: char| first.is_ascii_lowercase());
    let line = |line: &str| line.strip_prefix('#').filter(is_setting).unwrap_or(line).to_owned() + "\n";
    let switched_on = |sample: String| sample.lines().map(line).collect::<String>();
    let samples = [("p.conf", switched_on(manual::pgpool_conf())), ("p.toml", switched_on(manual::toml()))];
    let mut rng = Rng::new(7);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..300 {
        for (file, sample) in &samples {
            let mut text = sample.clone();
            for _ in 0..=rng.below(4) {
                let mut at = rng.below(text.len() as u64 + 1) as usize;
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                match rng.below(4) {
                    0 => text.truncate(at),
                    1 => text.replace_range(at..at + text[at..].chars().next().map_or(0, char::len_utf8), ""),
                    _ => text.insert_str(at, PIECES[rng.below(PIECES.len() as u64) as usize]),
                }
            }
            match Config::parse(Path::new(file), text) {
                Ok(loaded) => {
                    taken += 1;
                    loaded.config.policy().expect("a configuration that was taken has a policy");
                }
                Err(findings) => {
                    refused += 1;
                    assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
                    assert!(
                        findings.iter().all(|finding| !finding.render().is_empty() && !finding.to_string().is_empty())
                    );
                }
            }
        }
    }
    assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
}

#[test]
fn a_finding_is_shown_with_its_line_and_a_caret() {
    let Err(findings) = Config::parse(Path::new("/etc/pgpool.conf"), format!("{BACKEND}# ünï\nport = 80 # no\n"))
    else {
        panic!("accepted")
    };
    assert_eq!(
        findings[0].render(),
        "error: port: 80 is outside the range 1024 .. 65535\n --> /etc/pgpool.conf:5:8\n  |\n5 | port = 80 # no\n  |        ^^"
    );
}

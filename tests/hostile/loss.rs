//! A server that is lost at every point of the protocol: an honest error, never a short success, never done twice.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pgconvoy_io::testbed::Options;

use crate::support::postgres::{address, role, shared, start, superuser, superuser_login, wait_until};
use crate::support::proxy::{Backend, Proxy};
use crate::support::relay::{Action, Choose, Filter, Relay, Sender};
use crate::support::wire::{Connection, Frontend, Login, LoginError, Message, is_closed};

/// Where a connection is cut, counted in frames since a client's message with the word `trigger` in it.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Whose frames are counted.
    sender: Sender,
    /// How many of them pass.
    frames: usize,
    /// How many bytes of the next one pass.
    bytes: usize,
}

/// Cuts the connections of `user` at `cut`; counts how often.
fn cutter(user: &str, cut: Cut, cuts: &Arc<AtomicU32>) -> Choose {
    let (user, cuts) = (user.to_string(), Arc::clone(cuts));
    Box::new(move |parameters| {
        let cuts = Arc::clone(&cuts);
        (parameters.get("user") == Some(&user)).then(|| -> Filter {
            let mut passed = None;
            Box::new(move |sender, message: &Message| {
                if sender == Sender::Client
                    && passed.is_none()
                    && message.body.windows(7).any(|word| word == b"trigger")
                {
                    passed = Some(0);
                }
                let Some(count) = passed.as_mut().filter(|_| sender == cut.sender) else { return Action::Pass };
                *count += 1;
                if *count <= cut.frames {
                    return Action::Pass;
                }
                cuts.fetch_add(1, Ordering::SeqCst);
                let bytes = message.bytes();
                Action::Cut(bytes[..cut.bytes.min(bytes.len() - 1)].to_vec())
            })
        })
    })
}

/// Everything the server says to `messages`, up to its last ReadyForQuery or the end; the flag tells which.
fn converse(session: &mut Connection, messages: &[Frontend]) -> (Vec<Message>, bool) {
    let wanted = messages.iter().filter(|message| matches!(message, Frontend::Sync | Frontend::Query(_))).count();
    // A connection that is cut while it is written to tells so on reading.
    let _ = session.send_all(messages);
    let mut answers = Vec::new();
    while answers.iter().filter(|message: &&Message| message.kind == b'Z').count() < wanted {
        match session.read() {
            Ok(message) => answers.push(message),
            Err(error) if is_closed(&error) => return (answers, false),
            Err(error) => panic!("{error} after {answers:?}"),
        }
    }
    (answers, true)
}

/// Fails unless what a cut session heard is the beginning of the `whole` answer and then at most one honest error.
fn assert_honest(heard: &[Message], whole: &[Message], cut: Cut) {
    let answers = match heard.split_last() {
        Some((last, answers)) if last.kind == b'E' => {
            let state = last.sqlstate();
            assert!(state.starts_with("08") || state.starts_with("57P"), "{cut:?}: {last:?}");
            answers
        }
        _ => heard,
    };
    let lines = |messages: &[Message]| messages.iter().map(Message::line).collect::<Vec<_>>();
    assert!(lines(whole).starts_with(&lines(answers)), "{cut:?}: {answers:?} is no beginning of {whole:?}");
    assert!(answers.len() < whole.len(), "{cut:?}: the whole answer came through");
}

/// Cuts `messages` at each of `cuts`, each in a session of its own; `check` looks at what is left on the server.
fn cut_everywhere(user: &str, messages: &[Frontend], cuts: impl IntoIterator<Item = Cut>, mut check: impl FnMut(Cut)) {
    let testbed = shared();
    let login = Login::new(user, "postgres");
    let (whole, _) = converse(&mut Connection::login(address(testbed.node(0)), &login).expect("login"), messages);
    check(Cut { sender: Sender::Client, frames: usize::MAX, bytes: 0 });
    for cut in cuts {
        let count = Arc::new(AtomicU32::new(0));
        let relay = Relay::start(address(testbed.node(0)), cutter(user, cut, &count));
        let mut proxy = Proxy::over(&[Backend::from(relay.address())]).start();
        let mut session = Connection::login(proxy.address(), &login).expect("login");
        let (heard, ready) = converse(&mut session, messages);
        assert_eq!(count.load(Ordering::SeqCst), 1, "{cut:?}: cut once, or the statement was sent again");
        assert!(!ready, "{cut:?}: the session goes on as if nothing had been lost: {heard:?}");
        assert_honest(&heard, &whole, cut);
        check(cut);
        proxy.assert_healthy();
        let mut next = Connection::login(proxy.address(), &login).expect("the next login");
        assert_eq!(next.value("SELECT 'next'"), "next", "{cut:?}");
    }
}

#[test]
fn a_batch_cut_between_any_two_frames_ends_with_an_honest_error() {
    role(shared(), "loss_batch");
    let messages = [
        Frontend::parse("", "SELECT 'trigger', g FROM generate_series(1, 3) g"),
        Frontend::bind("", ""),
        Frontend::Describe(crate::support::wire::frontend::Target::Portal, String::new()),
        Frontend::execute(""),
        Frontend::Sync,
    ];
    let server = (0..8).map(|frames| Cut { sender: Sender::Server, frames, bytes: 0 });
    let client = (0..5).map(|frames| Cut { sender: Sender::Client, frames, bytes: 0 });
    cut_everywhere("loss_batch", &messages, server.chain(client), |_| {});
}

#[test]
fn an_answer_cut_at_any_byte_of_a_frame_is_never_completed() {
    role(shared(), "loss_bytes");
    let messages = [Frontend::query("SELECT 'trigger'")];
    let cuts = (0..4).flat_map(|frames| [1, 3, 5, 6, 11].map(|bytes| Cut { sender: Sender::Server, frames, bytes }));
    cut_everywhere("loss_bytes", &messages, cuts, |_| {});
}

#[test]
fn a_copy_cut_in_the_middle_stores_nothing_and_says_so() {
    let testbed = shared();
    role(testbed, "loss_copy");
    let mut root = superuser(testbed);
    root.rows("CREATE TABLE loss_copy (a text); GRANT ALL ON loss_copy TO loss_copy");
    let mut messages = vec![
        Frontend::parse("", "COPY loss_copy /* trigger */ FROM STDIN"),
        Frontend::bind("", ""),
        Frontend::execute(""),
    ];
    messages.extend((0..5).map(|row| Frontend::CopyData(format!("{row}\n").into_bytes())));
    messages.extend([Frontend::CopyDone, Frontend::Sync]);
    let client = (3..9).map(|frames| Cut { sender: Sender::Client, frames, bytes: 3 });
    cut_everywhere("loss_copy", &messages, client, |cut| {
        let stored = root.value("WITH gone AS (DELETE FROM loss_copy RETURNING a) SELECT count(*) FROM gone");
        // Uncut, the rows are there.
        let expected = if cut.frames == usize::MAX { "5" } else { "0" };
        assert_eq!(stored, expected, "{cut:?}");
    });

    role(testbed, "loss_copy_out");
    let messages = [Frontend::query("COPY (SELECT 'trigger', g FROM generate_series(1, 20) g) TO STDOUT")];
    let server = [0, 1, 10, 20, 21, 22].map(|frames| Cut { sender: Sender::Server, frames, bytes: 2 });
    cut_everywhere("loss_copy_out", &messages, server, |_| {});
}

#[test]
fn a_write_whose_answer_is_lost_is_done_at_most_once() {
    let testbed = shared();
    role(testbed, "loss_write");
    let mut root = superuser(testbed);
    root.rows("CREATE TABLE loss_write (a text); GRANT ALL ON loss_write TO loss_write");
    let messages = [Frontend::query("INSERT INTO loss_write VALUES ('trigger')")];
    let cuts = [Sender::Client, Sender::Server].map(|sender| Cut { sender, frames: 0, bytes: 0 });
    cut_everywhere("loss_write", &messages, cuts, |cut| {
        // The server works on while its answer is cut off.
        std::thread::sleep(Duration::from_millis(200));
        let stored = root.value("WITH gone AS (DELETE FROM loss_write RETURNING a) SELECT count(*) FROM gone");
        assert!(
            stored == "0" || stored == "1" && cut.sender == Sender::Server || cut.frames > 0,
            "{cut:?}: stored {stored} times"
        );
    });
}

#[test]
fn a_server_lost_during_a_login_is_told_honestly() {
    let testbed = shared();
    let login = role(testbed, "loss_login");
    for frames in 0..16 {
        let mut left = 2;
        let attempts = std::sync::Mutex::new(move || {
            left -= 1;
            left >= 0
        });
        let choose: Choose = Box::new(move |parameters| {
            let cut = parameters.get("user").is_some_and(|user| user == "loss_login")
                && attempts.lock().expect("no filter panics")();
            cut.then(|| -> Filter {
                let mut passed = 0;
                Box::new(move |sender, _: &Message| {
                    passed += usize::from(sender == Sender::Server);
                    if passed > frames { Action::Cut(Vec::new()) } else { Action::Pass }
                })
            })
        });
        let relay = Relay::start(address(testbed.node(0)), choose);
        let mut proxy = Proxy::over(&[Backend::from(relay.address())]).start();
        for _ in 0..3 {
            match Connection::login(proxy.address(), &login) {
                Ok(mut session) => {
                    // The cut may come after the login was over.
                    let _ = session.query("SELECT 1");
                }
                Err(LoginError::Refused(error)) => assert_eq!(error.field(b'S').as_deref(), Some("FATAL"), "{error:?}"),
                Err(LoginError::Broken(error)) => panic!("cut after frame {frames}: no answer at all: {error}"),
            }
        }
        proxy.assert_healthy();
        let mut session = Connection::login(proxy.address(), &login).expect("a login after the cuts");
        assert_eq!(session.value("SELECT 'in'"), "in");
    }
}

#[test]
fn a_server_process_killed_in_the_middle_of_a_result_is_no_success() {
    let testbed = start(Options::default());
    let mut proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).start();
    let mut session = Connection::login(proxy.address(), &superuser_login()).expect("login");
    let process = session.value("SELECT pg_backend_pid()");
    session.send(&Frontend::query("SELECT g FROM generate_series(1, 3000000) g")).expect("sending");
    let mut rows = 0;
    let end = loop {
        match session.read() {
            Ok(message) => match message.kind {
                b'D' => rows += 1,
                b'C' | b'Z' => panic!("{message:?} after {rows} rows of a server that was killed"),
                b'E' => assert!(["08", "57"].contains(&&message.sqlstate()[..2]), "{message:?}"),
                _ => {}
            },
            Err(error) => break error,
        }
        if rows == 500_000 {
            let killed = Command::new("kill").args(["-9", &process]).status().expect("running kill");
            assert!(killed.success());
        }
    };
    assert!(is_closed(&end), "{end} after {rows} rows");
    assert!((500_000..3_000_000).contains(&rows), "{rows} rows");
    proxy.assert_healthy();
    wait_until(Duration::from_secs(20), "service is back by itself", || {
        Connection::login(proxy.address(), &superuser_login())
            .is_ok_and(|mut session| session.query("SELECT 1").is_ok())
    });
}

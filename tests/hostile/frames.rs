//! What reaches a server is what the client sent, frame by frame, however the bytes were cut and whatever they hold.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::postgres::{address, role, shared};
use crate::support::proxy::{Backend, Proxy};
use crate::support::relay::{Action, Choose, Relay, Sender};
use crate::support::script::{Chopping, Script};
use crate::support::transcript::{End, Side, tail};
use crate::support::wire::{Frontend, Message, encode_all};

/// Random scripts to smuggle with.
const SCRIPTS: u64 = 600;

/// Frames of one role's sessions as they reach the server, each with its connection's number.
type Record = Arc<Mutex<Vec<(usize, Message)>>>;

/// Records what the sessions of `user` send after their login.
fn recorder(user: &str, record: &Record) -> Choose {
    let (user, record, connections) = (user.to_string(), Arc::clone(record), AtomicUsize::new(0));
    Box::new(move |parameters| {
        let (record, number) = (Arc::clone(&record), connections.fetch_add(1, Ordering::Relaxed));
        (parameters.get("user") == Some(&user)).then(|| -> crate::support::relay::Filter {
            let mut logged_in = false;
            Box::new(move |sender, message| {
                if sender == Sender::Server {
                    logged_in |= message.kind == b'Z';
                } else if logged_in {
                    record.lock().expect("no filter panics").push((number, message.clone()));
                }
                Action::Pass
            })
        })
    })
}

/// What was recorded of the session that is served now; former connections may still be washed meanwhile.
fn recorded(record: &Record) -> Vec<Message> {
    let frames = std::mem::take(&mut *record.lock().expect("no filter panics"));
    let current = frames.iter().rev().find(|(_, message)| !is_housekeeping(message)).map(|(number, _)| *number);
    frames.into_iter().filter(|(number, _)| Some(*number) == current).map(|(_, message)| message).collect()
}

/// The messages as the server should get them.
fn frames(messages: &[Frontend]) -> Vec<Message> {
    let mut bytes = encode_all(messages);
    let mut frames = Vec::new();
    while let Ok(Some((message, length))) = crate::support::wire::cut(&bytes) {
        frames.push(message);
        bytes.drain(..length);
    }
    frames
}

/// How many frames at the end of `sent` are not in `seen`; `None` when `seen` is anything else than the beginning of `sent`.
///
/// After an error, everything up to the next Sync is without effect: the proxy may leave it out. It may ask for answers
/// with a Flush, and after a failed copy with a Close that closes nothing and a Sync.
fn unforwarded(sent: &[Message], seen: &[Message]) -> Option<usize> {
    let mut rest = sent;
    let probe = Frontend::Other(b'C', b"Ppgconvoy\0".to_vec()).bytes();
    let mut seen = seen.iter();
    while let Some(message) = seen.next() {
        if message.bytes() == probe {
            seen.next().filter(|next| next.kind == b'S')?;
            continue;
        }
        if message.kind == b'H' && rest.first() != Some(message) {
            continue;
        }
        if rest.first() != Some(message) {
            let sync = rest.iter().position(|skipped| matches!(skipped.kind, b'S' | b'X'))?;
            rest = &rest[sync..];
        }
        rest = rest.strip_prefix(std::slice::from_ref(message))?;
    }
    Some(rest.len())
}

/// What the proxy may send on its own at the start or end of a session.
fn is_housekeeping(message: &Message) -> bool {
    [Frontend::query("ABORT"), Frontend::query("DISCARD ALL"), Frontend::Terminate]
        .iter()
        .any(|own| own.bytes() == message.bytes())
}

#[test]
fn random_frames_reach_the_server_unchanged() {
    let testbed = shared();
    let login = role(testbed, "smuggler");
    let record = Record::default();
    let relay = Relay::start(address(testbed.node(0)), recorder("smuggler", &record));
    let proxy = Proxy::over(&[Backend::from(relay.address())]).start();
    let mut side = Side::new(proxy.address(), &login);
    for seed in 0..SCRIPTS {
        let script = Script::generate(seed);
        record.lock().expect("no filter panics").clear();
        let end = side.run(&script).end;
        let seen: Vec<Message> = recorded(&record).into_iter().skip_while(is_housekeeping).collect();
        let sent = frames(&[script.messages.as_slice(), &tail(&format!("end of {seed}"))].concat());
        let sent: Vec<Message> = sent.into_iter().skip_while(is_housekeeping).collect();
        match end {
            End::Ready => assert_eq!(unforwarded(&sent, &seen), Some(0), "seed {seed}: {seen:?} for {sent:?}"),
            // The server or the proxy ended the session on the way, so the rest did not matter.
            End::Closed => {
                let seen =
                    &seen[..seen.len() - seen.iter().rev().take_while(|message| is_housekeeping(message)).count()];
                assert!(unforwarded(&sent, seen).is_some(), "seed {seed}: {seen:?} for {sent:?}");
            }
            End::Hang => panic!("seed {seed} hangs"),
        }
        if seed % 8 == 0 {
            side.leave();
        }
    }
}

#[test]
fn a_batch_cut_at_every_byte_reaches_the_server_whole() {
    let testbed = shared();
    let login = role(testbed, "cutter");
    let record = Record::default();
    let relay = Relay::start(address(testbed.node(0)), recorder("cutter", &record));
    let proxy = Proxy::over(&[Backend::from(relay.address())]).start();
    let inner = Frontend::query("SELECT 'smuggled'").bytes();
    let messages = [
        Frontend::query("CREATE TEMP TABLE t (a text)"),
        Frontend::parse("", "COPY t FROM STDIN"),
        Frontend::bind("", ""),
        Frontend::execute(""),
        Frontend::CopyData(inner.clone()),
        Frontend::CopyData([b"\n".as_slice(), &inner].concat()),
        Frontend::CopyDone,
        Frontend::Sync,
        Frontend::Other(b'Q', b"SELECT 1\0Q\0\0\0\x0dSELECT 2\0".to_vec()),
        Frontend::parse("s", "SELECT $1::text"),
        Frontend::Bind {
            portal: String::new(),
            statement: "s".into(),
            parameters: vec![Some("Q\0\0\0\u{4}".into())],
            formats: vec![],
        },
        Frontend::Sync,
    ];
    let length = encode_all(&messages).len();
    let mut session = crate::support::wire::Connection::login(proxy.address(), &login).expect("login");
    for at in 1..length {
        record.lock().expect("no filter panics").clear();
        let bytes = encode_all(&messages);
        for piece in [&bytes[..at], &bytes[at..]] {
            session.send_bytes(piece).expect("sending");
            std::thread::yield_now();
        }
        for _ in 0..4 {
            session.read_to_ready().unwrap_or_else(|error| panic!("cut at byte {at}: {error}"));
        }
        let seen = recorded(&record);
        assert_eq!(unforwarded(&frames(&messages), &seen), Some(0), "cut at byte {at}: {seen:?}");
        session.query("DISCARD ALL").expect("a clean session");
    }
}

#[test]
fn a_recorder_sees_a_frame_too_many() {
    let messages = [Frontend::query("SELECT 1"), Frontend::Sync];
    let script = Script { seed: 0, messages: messages.to_vec(), chopping: Chopping::Whole };
    let written: Vec<u8> = script.writes(&[]).concat();
    assert_eq!(frames(&messages).iter().flat_map(Message::bytes).collect::<Vec<u8>>(), written);
    assert!(!is_housekeeping(&frames(&messages)[0]));

    let sent =
        frames(&[Frontend::parse("", "SELEC"), Frontend::bind("", ""), Frontend::Sync, Frontend::query("SELECT 1")]);
    let [parse, bind, sync, query] = [0, 1, 2, 3].map(|at| sent[at].clone());
    assert_eq!(unforwarded(&sent, &sent), Some(0));
    assert_eq!(unforwarded(&sent, &[parse.clone(), sync.clone(), query.clone()]), Some(0), "what an error skips");
    assert_eq!(unforwarded(&sent, &[parse.clone(), bind.clone()]), Some(2));
    assert_eq!(unforwarded(&sent, &[parse.clone(), bind.clone(), query.clone()]), None, "a Sync was lost");
    assert_eq!(unforwarded(&sent, &[parse.clone(), parse, bind, sync, query]), None, "a frame was doubled");
}

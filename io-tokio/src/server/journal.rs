//! What sessions write to the log, in pgpool's words. Nothing here runs unless it is asked for. `own` is what a session
//! has set for itself.

use super::settings::Settings;
use crate::config::{Level, SessionValues};
use crate::env::Origin;
use crate::log::{Report, Speaker};
use pgconvoy_core::auth::passwd::Credential;
use pgconvoy_core::fault::{Culprit, Fault};
use pgconvoy_core::link::{Link, Login};
use pgconvoy_core::node::{NodeId, NodeSet};
use pgconvoy_core::session::Session;
use pgconvoy_core::vote::Mismatch;
use pgconvoy_core::wire::startup;

fn speaker(login: Option<&Login>) -> Speaker {
    let mut speaker = Speaker::session(std::process::id());
    if let Some(login) = login {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = startup::pairs(&login.parameters).filter(|(name, _)| *name == b"application_name").last();
        let name = name.map(|(_, value)| text(value));
        speaker.log_in(name.as_deref(), &text(&login.user), &text(&login.database));
    }
    speaker
}

fn of(session: &Session, own: Option<&SessionValues>) -> Speaker {
    let mut speaker = speaker(session.login().map(AsRef::as_ref));
    if let Some(own) = own {
        speaker.prefer(own.log_min_messages(), own.log_error_verbosity());
    }
    let name = session.links().next().and_then(|link| link.parameters.get(b"application_name"));
    if let Some(name) = name {
        speaker.set_application_name(&String::from_utf8_lossy(name));
    }
    speaker
}

/// `log_connections`.
pub(super) fn connected(login: &Login, origin: &Origin) {
    say_of(login, origin, "new connection received");
}

/// `log_disconnections`.
pub(super) fn disconnected(login: &Login, origin: &Origin) {
    say_of(login, origin, "frontend disconnection");
}

fn say_of(login: &Login, origin: &Origin, what: &str) {
    let user = String::from_utf8_lossy(&login.user);
    let database = String::from_utf8_lossy(&login.database);
    let Origin { host, port } = origin;
    let words = format_args!("{what}: host={host} port={port} user={user} database={database}");
    speaker(Some(login)).say(Level::Log, words);
}

/// Backends did not answer alike (pgpool's `read_kind_from_backend`).
pub(super) fn mismatch(session: &Session, own: Option<&SessionValues>, mismatch: &Mismatch, detached: NodeSet) {
    let speaker = of(session, own);
    speaker.say(Level::Error, format_args!("{}", mismatch.message()));
    for node in detached.iter() {
        let by = if mismatch.majority { "it was outvoted" } else { "the main backend's answer counts" };
        speaker.say(Level::Log, format_args!("received degenerate backend request for node_id: {node}: {by}"));
    }
}

/// `log_per_node_statement`.
pub(super) fn per_node(session: &Session, own: Option<&SessionValues>, node: NodeId, process_id: i32, text: &str) {
    of(session, own).node_statement(node.0.into(), process_id.unsigned_abs(), text);
}

/// `log_statement`.
pub(super) fn statement(session: &Session, own: Option<&SessionValues>, text: &str) {
    of(session, own).say(Level::Log, format_args!("statement: {text}"));
}

/// `log_client_messages`.
pub(super) fn message(session: &Session, own: Option<&SessionValues>, message: &str, detail: &str) {
    let detail = Some(detail).filter(|detail| !detail.is_empty());
    of(session, own).report(Report { level: Level::Log, message: format_args!("{message}"), detail, hint: None });
}

/// Why a session ended, if not in order.
pub(super) fn fault(session: &Session, own: Option<&SessionValues>, fault: &Fault) {
    let level = if fault.culprit == Culprit::Client { Level::Log } else { Level::Warning };
    of(session, own).report(Report {
        level,
        message: format_args!("session ended: {}", fault.message),
        detail: fault.detail.as_deref(),
        hint: fault.hint.as_deref(),
    });
}

/// A backend asks for the password of a user who has none in `pool_passwd`.
pub(super) fn no_password(settings: &Settings, node: NodeId, login: &Login) {
    let user = String::from_utf8_lossy(&login.user);
    let (detail, hint) = match settings.config.pool_passwd_path() {
        None => (
            "There is no password file: pool_passwd is empty in the configuration.".to_owned(),
            "Name a file there, and restart pgconvoy.".to_owned(),
        ),
        Some(path) => {
            let file = path.display();
            let what = match settings.session.passwords.lookup(&login.user) {
                Some(Credential::Text(_)) => "has one only since it was read again",
                Some(Credential::Md5(_)) => "has only an md5 hash for the user, from which nobody can log in",
                Some(Credential::Aes(_)) => "has it encrypted, which is not supported yet",
                None if !path.exists() => "does not exist",
                None => "has no usable line for the user",
            };
            (
                format!("{file} {what}."),
                format!("Add a line \"{user}:TEXT\" with the password behind it to {file}, and run pgconvoy reload."),
            )
        }
    };
    speaker(Some(login)).report(Report {
        level: Level::Warning,
        message: format_args!(
            "backend {node} asks for the password of user \"{user}\", and pool_passwd has none: the user cannot log in"
        ),
        detail: Some(&detail),
        hint: Some(&hint),
    });
}

/// A backend refuses the login of a client, who has been told its words.
pub(super) fn login_refused(settings: &Settings, node: NodeId, login: &Login, sqlstate: [u8; 5]) {
    let (user, database) = (String::from_utf8_lossy(&login.user), String::from_utf8_lossy(&login.database));
    let code = String::from_utf8_lossy(&sqlstate);
    let place = settings.backend(node).map(|backend| format!(" ({}:{})", backend.hostname, backend.port));
    let place = place.unwrap_or_default();
    speaker(Some(login)).report(Report {
        level: Level::Log,
        message: format_args!(
            "backend {node}{place} refused the login of user \"{user}\" to database \"{database}\" (SQLSTATE {code})"
        ),
        detail: None,
        hint: None,
    });
}

/// `log_per_node_statement` of the reset queries, as pgpool logs them.
pub(super) fn washing(settings: &Settings, link: &Link) {
    if settings.session.report_per_node {
        let speaker = speaker(Some(&link.login));
        for query in settings.reset_queries.iter() {
            if !query.eq_ignore_ascii_case("abort") {
                speaker.node_statement(link.node.0.into(), link.process_id.unsigned_abs(), query);
            }
        }
    }
}

//! From the first byte to the first ReadyForQuery: start-up packets, a slot, a backend, the client's proof.

#[cfg(test)]
mod tests;

use super::{MAIN, Port, Report, Session, SessionEvent, Timer};
use crate::auth::AuthError;
use crate::auth::passwd::Credential;
use crate::auth::scram::{self, Verifier, salt_for};
use crate::fault::{Culprit, Fault};
use crate::limits::{AUTH_MESSAGE_BYTES, CANCEL_KEY_BYTES, ENCRYPTION_REQUESTS, PARTNERS};
use crate::link::{AUTH_OK, AUTH_SASL, AUTH_SASL_CONTINUE, AUTH_SASL_FINAL, Link, Login, Refused, SCRAM_SHA_256};
use crate::node::{Health, Mode, NodeId, NodeView, Role};
use crate::policy::Who;
use crate::time::{Duration, Instant};
use crate::wire::startup::{self, PROTOCOL_3_2, Packet, Startup};
use crate::wire::tag::{backend, frontend};
use crate::wire::{HEADER_BYTES, Header, TransactionStatus, build, split_cstr};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// How long the partners are waited for once the main node is there.
const BALANCE_WAIT: Duration = Duration::from_millis(1_000);
/// How long nodes are waited for that the session cannot do without.
const REPLICA_WAIT: Duration = Duration::from_millis(5_000);
/// Rounds of the key derivation that clients are asked for: PostgreSQL's own default.
const SCRAM_ITERATIONS: u32 = 4096;

/// Where a session stands in its life.
pub(super) enum Phase {
    /// Start-up packets are read.
    Startup { deadline: Instant, encryption_requests: u8 },
    /// A slot is waited for.
    Slot { deadline: Instant, protocol: Protocol },
    /// Links are waited for.
    Linking(Linking),
    /// The client proves its password, and holds nothing meanwhile. The reason why there is no link waits for the outcome.
    Proving { deadline: Instant, protocol: Protocol, proof: Box<Proof>, refused: Option<Box<Refused>> },
    /// Logged in.
    Serving,
    /// Over. What is queued is written, nothing else happens.
    Over,
}

/// What the start-up packet settled about the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    version: u32,
}

/// Links are being acquired.
#[derive(Debug)]
pub(super) struct Linking {
    deadline: Instant,
    protocol: Protocol,
    /// The main node that was asked for.
    main: NodeId,
    /// Nodes of unknown role that turned out not to be the primary.
    tried: Vec<NodeId>,
    /// Partners that were asked for and have not answered.
    partners: Vec<NodeId>,
    /// Set when only they are waited for.
    balance_deadline: Option<Instant>,
}

/// Where the client's SCRAM exchange stands.
pub(super) struct Proof {
    server: scram::Server,
    started: bool,
    hopeless: bool,
}

impl Phase {
    pub(super) const fn new(deadline: Instant) -> Self {
        Self::Startup { deadline, encryption_requests: 0 }
    }

    pub(super) const fn is_serving(&self) -> bool {
        matches!(self, Self::Serving)
    }

    pub(super) const fn waits_for_slot(&self) -> bool {
        matches!(self, Self::Slot { .. })
    }

    pub(super) const fn is_proving(&self) -> bool {
        matches!(self, Self::Proving { .. })
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// While a slot or a link is waited for, the client has nothing to say, but its leaving must be noticed; its
    /// input is bounded by what is held.
    pub(super) const fn wants_client(&self) -> bool {
        !self.is_over()
    }

    pub(super) fn deadline(&self) -> Option<(Instant, Timer)> {
        match self {
            Self::Startup { deadline, .. } | Self::Slot { deadline, .. } | Self::Proving { deadline, .. } => {
                Some((*deadline, Timer::Authentication))
            }
            Self::Linking(linking) => Some(match linking.balance_deadline {
                Some(balance) if balance < linking.deadline => (balance, Timer::BalanceWait),
                _ => (linking.deadline, Timer::Authentication),
            }),
            Self::Serving | Self::Over => None,
        }
    }
}

impl Session {
    /// Reads the client's input before it is logged in.
    pub(super) fn read_login(&mut self, input: &mut BytesMut) {
        loop {
            let progressed = match &self.phase {
                Phase::Startup { .. } => self.read_startup(input),
                Phase::Proving { .. } => self.read_proof(input),
                Phase::Slot { .. } | Phase::Linking(_) if input.len() > AUTH_MESSAGE_BYTES => {
                    self.end(Some(Fault::protocol("too much was sent before authentication")));
                    return;
                }
                _ => return,
            };
            match progressed {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => return self.end(Some(fault)),
            }
        }
    }

    fn read_startup(&mut self, input: &mut BytesMut) -> Result<bool, Fault> {
        let Some(length) = startup::packet_length(input)? else { return Ok(false) };
        if input.len() < length {
            return Ok(false);
        }
        let packet = startup::parse(&input.split_to(length))?;
        match packet {
            Packet::Encryption => self.refuse_encryption(input)?,
            Packet::Cancel { process_id, secret } => {
                self.events.push_back(SessionEvent::CancelOther { process_id, secret });
                self.end(None);
            }
            Packet::Startup(startup) => self.start(startup)?,
        }
        Ok(!self.is_over())
    }

    /// Answers SSLRequest and GSSENCRequest with no. Anything sent along with the request is an attack.
    fn refuse_encryption(&mut self, input: &BytesMut) -> Result<(), Fault> {
        let Phase::Startup { encryption_requests, .. } = &mut self.phase else {
            unreachable!("encryption requests are read at start-up only");
        };
        *encryption_requests += 1;
        if *encryption_requests > ENCRYPTION_REQUESTS {
            return Err(Fault::protocol("too many requests for encryption"));
        }
        if !input.is_empty() {
            return Err(Fault::protocol("received unencrypted data after a request for encryption"));
        }
        self.client.queue.push(Bytes::from_static(b"N"));
        Ok(())
    }

    fn start(&mut self, startup: Startup) -> Result<(), Fault> {
        let Phase::Startup { deadline, .. } = self.phase else {
            unreachable!("a start-up packet is read at start-up only");
        };
        let off: [&[u8]; 5] = [b"false", b"off", b"no", b"0", b""];
        if let Some(value) = startup.parameter(b"replication")
            && !off.iter().any(|word| value.eq_ignore_ascii_case(word))
        {
            return Err(Fault::new(
                Culprit::Client,
                b"0A000",
                "replication connections are not supported through pgconvoy",
            )
            .hint("Connect to the backend itself for streaming replication, base backups and logical decoding."));
        }
        let protocol = Protocol { version: startup.version };
        if startup.negotiate {
            let mut out = Vec::new();
            build::message(&mut out, backend::NEGOTIATE_PROTOCOL_VERSION, |out| {
                out.extend_from_slice(&startup.version.to_be_bytes());
                out.extend_from_slice(&(startup.unknown_options.len() as u32).to_be_bytes());
                for option in &startup.unknown_options {
                    build::cstr(out, option.as_bytes());
                }
            });
            self.client.queue.push(out.into());
        }
        let password = match self.setup.passwords.lookup(&startup.user) {
            Some(Credential::Text(secret)) => Some(secret.clone()),
            _ => None,
        };
        self.login = Some(Arc::new(Login {
            user: startup.user,
            database: startup.database,
            parameters: startup.parameters,
            password,
        }));
        self.phase = Phase::Slot { deadline, protocol };
        self.events.push_back(SessionEvent::WantSlot);
        Ok(())
    }

    pub(super) fn slot_decided(&mut self, slot: Result<(), Fault>) {
        let Phase::Slot { deadline, protocol } = self.phase else { return };
        if let Err(fault) = slot {
            return self.end(Some(fault));
        }
        let Some(main) = self.view.main() else { return self.end(Some(no_main())) };
        // What it held before the client's proof is others'.
        self.ports.truncate(MAIN + 1);
        let replicated = self.view.mode.is_replicated();
        self.replicas = replicated.then(Box::default);
        let partners = match replicated {
            true => self.all_others(main),
            false if self.setup.load_balance => self.draw_partners(main),
            false => Vec::new(),
        };
        let wanted = partners.clone();
        self.phase =
            Phase::Linking(Linking { deadline, protocol, main, tried: Vec::new(), partners, balance_deadline: None });
        self.acquire(main);
        wanted.into_iter().for_each(|node| self.acquire(node));
    }

    /// The nodes besides the main one that this session's reads may go to: one, unless they take turns.
    fn draw_partners(&self, main: NodeId) -> Vec<NodeId> {
        let Some(login) = &self.login else { return Vec::new() };
        if self.setup.policy.may_turn() {
            let serves = |node: &&NodeView| node.serves_reads(self.view.mode) && self.setup.policy.may_prefer(node);
            let partners = self.view.nodes.iter().filter(serves).map(|node| node.id).filter(|node| *node != main);
            return partners.take(PARTNERS).collect();
        }
        let application = startup::value_of(&login.parameters, b"application_name").unwrap_or_default();
        let who = Who { application, database: &login.database, user: &login.user };
        let drawn = self.setup.policy.balance_node(&who, &self.view, self.lot, &|_| true);
        drawn.into_iter().filter(|node| *node != main).collect()
    }

    /// Where pgconvoy replicates, a session is with every node that counts.
    fn all_others(&self, main: NodeId) -> Vec<NodeId> {
        let counts = |node: &&NodeView| node.health != Health::Down && node.id != main;
        self.view.nodes.iter().filter(counts).map(|node| node.id).take(PARTNERS).collect()
    }

    /// The cluster counts these nodes no more: a login that waits for one of them goes on without it.
    pub(super) fn linking_without(&mut self, down: &impl Fn(NodeId) -> bool, now: Instant) {
        let Phase::Linking(linking) = &mut self.phase else { return };
        linking.partners.retain(|node| !down(*node));
        if down(linking.main) {
            let Some(next) = self.view.main() else { return self.end(Some(no_main())) };
            // It is attached already, or on its way.
            linking.main = next;
            linking.partners.retain(|node| *node != next);
            if let Some(gone) = self.ports[MAIN].take() {
                self.events.push_back(SessionEvent::Release { node: gone.node });
            }
            if let Some(position) = self.position(next) {
                self.ports[MAIN] = self.ports.remove(position);
            }
        }
        self.linked(now);
    }

    fn acquire(&mut self, node: NodeId) {
        if let Some(login) = &self.login {
            self.events.push_back(SessionEvent::Acquire { node, login: Arc::clone(login) });
        }
    }

    /// A link was granted or refused. Returns the link when nobody wants it any more.
    pub(super) fn link_decided(&mut self, node: NodeId, grant: Result<Link, Refused>, now: Instant) -> Option<Link> {
        match &grant {
            Ok(link) => {
                if let Some(standby) = link.in_hot_standby() {
                    self.report(Report::Role { node, standby });
                }
            }
            Err(refused) if refused.unreachable => self.report(Report::Unreachable { node }),
            Err(refused) if refused.password_asked && self.login.as_ref().is_some_and(|l| l.password.is_none()) => {
                self.report(Report::NoPassword { node });
            }
            Err(_) => {}
        }
        let Phase::Linking(linking) = &mut self.phase else { return grant.ok() };
        if let Some(at) = linking.partners.iter().position(|partner| *partner == node) {
            linking.partners.remove(at);
            let known_primary = self.view.node(node).is_some_and(|known| known.role == Role::Primary);
            let replicated = self.view.mode.is_replicated();
            match grant {
                Ok(link) if replicated && link.in_hot_standby() != Some(true) => {
                    self.ports.push(Some(Box::new(Port::new(link))));
                    self.linked(now);
                    return None;
                }
                Err(refused) if replicated && refused.unreachable => {
                    // The cluster will say whether it counts.
                    linking.partners.push(node);
                    self.linked(now);
                    return None;
                }
                Err(refused) if replicated => {
                    self.tell_refusal(refused);
                    return None;
                }
                Ok(link) if replicated => {
                    self.end(Some(still_recovering(node)));
                    return Some(link);
                }
                Ok(link) if link.in_hot_standby() != Some(false) && !known_primary => {
                    self.ports.push(Some(Box::new(Port::new(link))));
                    self.linked(now);
                    return None;
                }
                other => {
                    self.linked(now);
                    return other.ok();
                }
            }
        }
        if linking.main != node || self.ports[MAIN].is_some() {
            // A partner was too slow for the links that were there before the client's proof.
            return grant.ok();
        }
        match grant {
            Ok(link) if self.view.mode == Mode::Streaming && link.in_hot_standby() == Some(true) => {
                if !self.try_next_main(node, now) {
                    self.end(Some(no_main()));
                }
                Some(link)
            }
            Ok(link) => {
                self.ports[MAIN] = Some(Box::new(Port::new(link)));
                self.linked(now);
                None
            }
            Err(refused) => {
                if !refused.unreachable || !self.try_next_main(node, now) {
                    self.main_refused(refused);
                }
                None
            }
        }
    }

    /// While roles are unknown, the next candidate is tried in the place of `node`.
    fn try_next_main(&mut self, node: NodeId, now: Instant) -> bool {
        let Phase::Linking(linking) = &mut self.phase else { return false };
        if self.replicas.is_some() {
            // The cluster will say whether it counts, and who is the main one if it does not.
            linking.balance_deadline.get_or_insert(now.after(REPLICA_WAIT));
            return true;
        }
        linking.tried.push(node);
        let known_elsewhere = self.view.nodes.iter().any(|n| n.role == Role::Primary && n.health != Health::Down);
        if known_elsewhere && self.view.mode == Mode::Streaming {
            return false;
        }
        let mut live = self.view.nodes.iter().filter(|n| n.health != Health::Down && n.role != Role::Standby);
        let next = live.find(|n| !linking.tried.contains(&n.id) && !linking.partners.contains(&n.id)).map(|n| n.id);
        if let Some(next) = next {
            linking.main = next;
            self.acquire(next);
        }
        next.is_some()
    }

    fn main_refused(&mut self, refused: Refused) {
        let Phase::Linking(linking) = &self.phase else { return };
        let (node, deadline, protocol) = (linking.main, linking.deadline, linking.protocol);
        if refused.response.is_some() {
            self.report(Report::LoginRefused { node, sqlstate: refused.fault.sqlstate });
        }
        if refused.password_asked && !refused.unreachable && !self.proven {
            return self.ask_proof(deadline, protocol, Some(Box::new(refused)));
        }
        self.tell_refusal(refused);
    }

    /// Ends the session with the backend's own words where it said any.
    fn tell_refusal(&mut self, refused: Refused) {
        match refused.response {
            Some(response) => {
                self.client.queue.push(response);
                self.end(None);
            }
            None => self.end(Some(refused.fault)),
        }
    }

    /// Goes on once everything that is waited for is there.
    fn linked(&mut self, now: Instant) {
        let Phase::Linking(linking) = &mut self.phase else { return };
        if self.ports[MAIN].is_none() {
            return;
        }
        if !linking.partners.is_empty() {
            let wait = if self.replicas.is_some() { REPLICA_WAIT } else { BALANCE_WAIT };
            linking.balance_deadline.get_or_insert(now.after(wait));
            return;
        }
        let (deadline, protocol) = (linking.deadline, linking.protocol);
        // A password that any backend asks for is the client's to prove.
        if !self.proven && self.links().any(|link| link.password_asked) {
            self.ask_proof(deadline, protocol, None);
        } else {
            self.leave_those_at_odds();
            self.greet(protocol);
        }
    }

    /// Links that were opened before and after a role's or a database's settings have changed begin with different ones.
    /// Nobody can say here which are out of date: none of them serves another session, and this one reads on the primary.
    fn leave_those_at_odds(&mut self) {
        if self.is_replicated() {
            return;
        }
        let Some((Some(main), partners)) = self.ports.split_first_mut() else { return };
        for partner in partners.iter_mut().flatten() {
            let at_odds = main.link.parameters.are_at_odds(&partner.link.parameters);
            partner.leaving |= at_odds;
            partner.tainted |= at_odds;
            main.tainted |= at_odds;
        }
    }

    /// Partners are too slow: the session starts without them.
    pub(super) fn balance_overdue(&mut self, now: Instant) {
        if let Phase::Linking(linking) = &mut self.phase {
            let mut overdue = core::mem::take(&mut linking.partners);
            if self.replicas.is_some() {
                overdue.extend(Some(linking.main).filter(|_| self.ports[MAIN].is_none()));
                let nodes: Vec<String> = overdue.iter().map(|node| format!("{node}")).collect();
                let message = format!("backend {} does not let this session in", nodes.join(", "));
                let fault = Fault::new(Culprit::Backend, b"08006", message)
                    .detail("Writes go to every backend, so a session needs them all.")
                    .hint("Connect again; see SHOW pool_nodes and the log for the backend's state.");
                overdue.into_iter().for_each(|node| self.report(Report::Unreachable { node }));
                return self.end(Some(fault));
            }
            self.linked(now);
            for node in overdue {
                self.report(Report::Unreachable { node });
            }
        }
    }

    /// Asks for the password. Whoever has not proved it takes nothing from others: while the client is waited for, its
    /// place and its links are free.
    fn ask_proof(&mut self, deadline: Instant, protocol: Protocol, refused: Option<Box<Refused>>) {
        let Some(login) = &self.login else { return };
        self.events.push_back(SessionEvent::StandAside);
        let seed = &self.setup.salt_seed;
        let mut keys = self.commons.keys.borrow_mut();
        let verifier = match &login.password {
            Some(password) => Verifier::from_cache(&mut keys, password, &salt_for(&login.user, seed), SCRAM_ITERATIONS),
            None => Verifier::mock_from_cache(&mut keys, &login.user, seed),
        };
        drop(keys);
        let proof = Proof {
            server: scram::Server::new(verifier, &self.secrets.nonce),
            started: false,
            hopeless: login.password.is_none(),
        };
        let mut out = Vec::new();
        let mut mechanisms = SCRAM_SHA_256.to_vec();
        mechanisms.extend_from_slice(&[0, 0]);
        build::authentication(&mut out, AUTH_SASL, &mechanisms);
        self.client.queue.push(out.into());
        self.phase = Phase::Proving { deadline, protocol, proof: Box::new(proof), refused };
    }

    fn read_proof(&mut self, input: &mut BytesMut) -> Result<bool, Fault> {
        let header = Header::parse(input).map_err(|_| Fault::protocol("invalid message length"))?;
        let Some(header) = header else { return Ok(false) };
        if header.tag == frontend::TERMINATE {
            self.end(None);
            return Ok(false);
        }
        if header.tag != frontend::PASSWORD {
            return Err(Fault::protocol(format!("expected SASL response, got message type {}", header.tag)));
        }
        if header.total > AUTH_MESSAGE_BYTES {
            return Err(Fault::protocol("invalid message length"));
        }
        if input.len() < header.total {
            return Ok(false);
        }
        let message = input.split_to(header.total);
        self.check_proof(&message[HEADER_BYTES..])?;
        Ok(!self.is_over())
    }

    fn check_proof(&mut self, body: &[u8]) -> Result<(), Fault> {
        let Phase::Proving { deadline, protocol, proof, refused } = &mut self.phase else {
            unreachable!("a proof is read only while one is asked for");
        };
        let (deadline, protocol) = (*deadline, *protocol);
        let user = self.login.as_ref().map(|login| String::from_utf8_lossy(&login.user).into_owned());
        let user = user.unwrap_or_default();
        let refuse = |error: AuthError| error.fault(&user);
        let mut out = Vec::new();
        if !proof.started {
            proof.started = true;
            let answer = proof.server.handle_client_first(initial_response(body)?).map_err(refuse)?;
            build::authentication(&mut out, AUTH_SASL_CONTINUE, &answer);
            self.client.queue.push(out.into());
            return Ok(());
        }
        let answer = proof.server.handle_client_final(body).map_err(refuse)?;
        assert!(!proof.hopeless, "a user without a password proved one");
        build::authentication(&mut out, AUTH_SASL_FINAL, &answer);
        if let Some(refused) = refused.take() {
            self.tell_refusal(*refused);
        } else {
            self.client.queue.push(out.into());
            self.proven = true;
            self.phase = Phase::Slot { deadline, protocol };
            self.events.push_back(SessionEvent::WantSlot);
        }
        Ok(())
    }

    /// Tells the client that it is logged in.
    fn greet(&mut self, protocol: Protocol) {
        let Some(main) = &mut self.ports[MAIN] else { return };
        main.link.uses += 1;
        // Equal logins are one: what the link was made with is kept, the client's copy is not.
        self.login = Some(Arc::clone(&main.link.login));
        let length = if protocol.version >= PROTOCOL_3_2 { CANCEL_KEY_BYTES } else { 4 };
        let secret = Bytes::copy_from_slice(&self.secrets.cancel_key[..length]);
        let process_id = main.link.process_id;
        let mut out = Vec::with_capacity(main.link.parameters.messages().len() + 64);
        build::authentication(&mut out, AUTH_OK, &[]);
        out.extend_from_slice(main.link.parameters.messages());
        build::backend_key_data(&mut out, process_id, &secret);
        build::ready_for_query(&mut out, TransactionStatus::Idle);
        self.client.queue.push(out.into());
        self.ports[MAIN + 1..].iter_mut().flatten().for_each(|partner| partner.link.uses += 1);
        self.take_turn();
        self.note_primary(self.idle_since);
        self.secrets.nonce = String::new();
        self.phase = Phase::Serving;
        self.events.push_back(SessionEvent::LoggedIn { process_id, secret });
    }
}

/// The client-first message inside SASLInitialResponse.
fn initial_response(body: &[u8]) -> Result<&[u8], Fault> {
    let malformed = || Fault::protocol("malformed SASL initial response");
    let (mechanism, rest) = split_cstr(body).ok_or_else(malformed)?;
    if mechanism != SCRAM_SHA_256 {
        return Err(Fault::protocol("client selected an invalid SASL authentication mechanism"));
    }
    let (length, data) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
    if usize::try_from(i32::from_be_bytes(*length)) != Ok(data.len()) {
        return Err(malformed());
    }
    Ok(data)
}

fn still_recovering(node: NodeId) -> Fault {
    Fault::new(Culprit::Configuration, b"57P03", format!("backend {node} is a standby, which cannot be written to"))
        .detail("In native_replication and snapshot_isolation every backend is a server of its own.")
        .hint("Promote it, or set backend_clustering_mode = streaming_replication.")
}

fn no_main() -> Fault {
    Fault::new(Culprit::Backend, b"57P03", "no primary backend can be reached")
        .detail("Every backend is down, or none of those that are up accepts writes.")
        .hint("Backends are tried again by themselves; see SHOW pool_nodes and the log for their state.")
}

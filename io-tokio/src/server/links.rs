//! Errands with backends: opening a link, making room for it, washing one, sending a cancel request, probing a node.

use super::line::{Line, Right};
use super::mailbox::{Grant, Mail, Mailbox};
use super::settings::BackendSettings;
use super::shared::{LinkInfo, SessionId, WorkerMail};
use super::worker::{News, Worker, timed_out};
use crate::env::Env;
use bytes::{Bytes, BytesMut};
use pgconvoy_core::auth::scram::KeyCache;
use pgconvoy_core::fault::{Culprit, Fault};
use pgconvoy_core::limits::{CANCEL_TIMEOUT_MS, READ_BYTES, RESET_TIMEOUT_MS};
use pgconvoy_core::link::{Link, Login, Outcome, Refused};
use pgconvoy_core::node::NodeId;
use pgconvoy_core::pool::Limit;
use pgconvoy_core::wire::build;
use pgconvoy_core::wire::tag::frontend;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Tells a session that there is no link, unless it has been told something else: also after a panic, so that nobody
/// waits for ever.
struct Promise<E: Env> {
    worker: Rc<Worker<E>>,
    node: NodeId,
    mailbox: Rc<Mailbox<Line<E>>>,
    kept: bool,
}

impl<E: Env> Promise<E> {
    fn keep(mut self, grant: Grant<Line<E>>) {
        self.kept = true;
        self.worker.deliver(&self.mailbox, Mail::Grant(self.node, Box::new(grant)));
    }
}

impl<E: Env> Drop for Promise<E> {
    fn drop(&mut self) {
        if !self.kept {
            let refused = Refused::of(Fault::new(Culprit::Proxy, b"XX000", "the connection could not be opened"));
            self.worker.deliver(&self.mailbox, Mail::Grant(self.node, Box::new(Err(refused))));
        }
    }
}

/// Opens a link and delivers it, or tells why there is none.
pub(super) async fn open<E: Env>(
    worker: Rc<Worker<E>>,
    right: Right<E>,
    node: NodeId,
    login: Arc<Login>,
    mailbox: Rc<Mailbox<Line<E>>>,
) {
    let promise = Promise { worker: Rc::clone(&worker), node, mailbox, kept: false };
    let mut opened = login_at(&worker, node, Arc::clone(&login)).await;
    for limit in Limit::ALL {
        // Whoever could have an idle link shall not be kept out by it.
        if opened.as_ref().is_err_and(Refused::at_limit) && make_room(&worker, node, &login, limit).await {
            opened = login_at(&worker, node, Arc::clone(&login)).await;
        }
    }
    match opened {
        Ok((mut link, stream)) => {
            link.parameters.share(&mut worker.parameters.borrow_mut());
            promise.keep(Ok((link, Line::new(stream, right))));
        }
        Err(refused) => {
            drop(right);
            promise.keep(Err(refused));
        }
    }
}

/// Closes an idle link, of whatever worker, that counts towards a limit which keeps `login` out. False when there is
/// none.
async fn make_room<E: Env>(worker: &Rc<Worker<E>>, node: NodeId, login: &Arc<Login>, limit: Limit) -> bool {
    if close_in_the_way(worker, node, login, limit).await {
        return true;
    }
    for other in (0..worker.shared.workers.len()).filter(|other| *other != worker.index) {
        let (answer, answered) = oneshot::channel();
        worker.shared.tell(other, WorkerMail::MakeRoom(node, Arc::clone(login), limit, answer));
        if answered.await.unwrap_or(false) {
            return true;
        }
    }
    false
}

/// Closes an idle link of this worker, as above, and waits until the server has let go of it.
pub(super) async fn close_in_the_way<E: Env>(
    worker: &Rc<Worker<E>>,
    node: NodeId,
    login: &Login,
    limit: Limit,
) -> bool {
    let Some(mut line) = worker.take_in_the_way(node, login, limit) else { return false };
    let (user, database) = (String::from_utf8_lossy(&login.user), String::from_utf8_lossy(&login.database));
    tracing::info!(
        "closing an idle connection to backend {node}: a limit of connections keeps user \"{user}\" out of database \"{database}\""
    );
    let mut packet = Vec::new();
    build::message(&mut packet, frontend::TERMINATE, |_| {});
    let mut rest = [0; 64];
    let parting = async {
        line.stream.write_all(&packet).await?;
        // The connection ends when its server process does, and counts no more.
        while line.stream.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // Gone, broken or too slow: in any case it is closed now, and the login is tried again.
    let _parted = timeout(Duration::from_millis(CANCEL_TIMEOUT_MS), parting).await;
    true
}

async fn login_at<E: Env>(
    worker: &Rc<Worker<E>>,
    node: NodeId,
    login: Arc<Login>,
) -> Result<(Link, E::Stream), Refused> {
    let settings = worker.shared.settings();
    let Some(backend) = settings.backend(node) else {
        return Err(Refused::unreachable(node, "it is not configured any more"));
    };
    let connect = connect_and_log_in(&worker.env, backend, login, worker.nonce(), &worker.commons.keys);
    match timeout(settings.connect_timeout, connect).await {
        Ok(opened) => opened,
        Err(_) => Err(timed_out(node)),
    }
}

/// Connects to a backend and logs in there.
pub(super) async fn connect_and_log_in<E: Env>(
    env: &E,
    backend: &BackendSettings,
    login: Arc<Login>,
    nonce: String,
    keys: &std::cell::RefCell<KeyCache>,
) -> Result<(Link, E::Stream), Refused> {
    let node = backend.id;
    let connected = env.connect(&backend.address).await;
    let mut stream = connected.map_err(|error| Refused::unreachable(node, &error.to_string()))?;
    let mut link = Link::new(node, login, nonce, env.now());
    converse(&mut link, &mut stream, keys).await;
    match link.outcome() {
        Outcome::Failed(refused) => Err(refused.clone()),
        _ => Ok((link, stream)),
    }
}

/// Carries bytes between a link and its connection until the link is ready or has failed.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    link: &mut Link,
    stream: &mut S,
    keys: &std::cell::RefCell<KeyCache>,
) {
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        while !link.writes().is_empty() {
            let mut chunks: [&[u8]; 1] = [&[]];
            link.writes().chunks(&mut chunks);
            match stream.write(chunks[0]).await {
                Ok(written) if written > 0 => link.writes().advance(written),
                Ok(_) => return link.handle_closed("the connection takes no more bytes"),
                Err(error) => return link.handle_closed(&error.to_string()),
            }
        }
        if !matches!(link.outcome(), Outcome::Pending) {
            return;
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) => link.handle_closed("The server closed the connection."),
            Ok(_) => link.handle_read(&mut buffer, &mut keys.borrow_mut()),
            Err(error) => link.handle_closed(&error.to_string()),
        }
        debug_assert!(buffer.capacity() <= 2 * READ_BYTES, "a link's buffer grew");
    }
}

/// Washes a link after a session and puts it back, or closes it when that fails or takes too long (F25).
pub(super) async fn wash<E: Env>(worker: Rc<Worker<E>>, mut link: Link, mut line: Line<E>) {
    let settings = worker.shared.settings();
    super::journal::washing(&settings, &link);
    link.wash(&settings.reset_queries);
    let bound = Duration::from_millis(RESET_TIMEOUT_MS);
    let washed = timeout(bound, converse(&mut link, &mut line.stream, &worker.commons.keys)).await.is_ok();
    let clean = washed && matches!(link.outcome(), Outcome::Ready);
    link.parameters.share(&mut worker.parameters.borrow_mut());
    worker.give_back(link, line, clean);
}

/// Sends a cancel request and waits until the backend has dealt with it. False when that is not sure: the request may
/// still be delivered, and hit whatever runs then.
pub(super) async fn send_cancel<E: Env>(worker: &Rc<Worker<E>>, node: NodeId, process_id: i32, key: &Bytes) -> bool {
    let settings = worker.shared.settings();
    let Some(backend) = settings.backend(node) else { return true };
    let send = async {
        let mut stream = match worker.env.connect(&backend.address).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::info!("could not send a cancel request to backend {node}: {error}");
                worker.tell_control(News::Suspicion(node));
                return true;
            }
        };
        let mut packet = Vec::new();
        build::cancel_request(&mut packet, process_id, key);
        let mut rest = [0; 16];
        let told = async {
            stream.write_all(&packet).await?;
            // The backend closes the connection once the signal is sent.
            while stream.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        told.await.is_ok()
    };
    let delivered = timeout(Duration::from_millis(CANCEL_TIMEOUT_MS), send).await;
    if delivered.is_err() {
        tracing::info!("backend {node} did not take a cancel request in time");
    }
    delivered.unwrap_or(false)
}

/// A link's line in `SHOW pool_pools`.
pub(super) fn info(link: &Link, session: Option<SessionId>) -> LinkInfo {
    LinkInfo { node: link.node, login: Arc::clone(&link.login), process_id: link.process_id, uses: link.uses, session }
}

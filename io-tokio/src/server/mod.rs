//! The server: workers that serve clients, and the control task that knows the backends.
//!
//! [`run`] is production: one control thread, one thread per worker. [`serve`] is the same program on one thread, over
//! any [`Env`]: what the simulator runs.

mod command;
mod control;
mod drive;
mod journal;
mod line;
mod links;
mod mailbox;
mod mismatches;
pub mod settings;
mod shared;
mod show;
#[cfg(test)]
mod tests;
mod worker;

use crate::config::Config;
use crate::env::{Address, Env};
use crate::log::Log;
use crate::os::Os;
use control::Control;
use pgconvoy_core::cluster::Cluster;
use pgconvoy_core::session::Shutdown;
use settings::Settings;
use shared::{Shared, WorkerMail};
pub use show::PGPOOL_VERSION;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;
use worker::{News, Orders, Worker};

/// Shortest time between two looks at a pool's deadlines.
const POOL_PERIOD: Duration = Duration::from_millis(20);
/// Places for clients that make one more worker worth it.
const WORKER_CLIENTS: u32 = 4;
/// How often a stopping server looks whether its last session has ended.
const DRAIN_PERIOD: Duration = Duration::from_millis(20);
/// Longest wait for sessions to end after a fast stop.
const FAST_STOP: Duration = Duration::from_secs(4);
/// Pause after accept has failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the server is to stop, in pgpool's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Once every client has left by itself.
    Smart,
    /// After a word to every client.
    Fast,
    /// At once.
    Immediate,
}

/// What the server can be told while it runs.
#[derive(Debug)]
pub enum Command {
    /// Stop.
    Stop(StopMode),
    /// Read the configuration again, and take it over as far as that can be done without a restart.
    Reload,
}

/// Why the server could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A listening socket could not be had.
    #[error("could not listen on {address}: {source}")]
    Listen {
        /// Where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// The configuration asks for what is not there.
    #[error("{0}")]
    Configuration(String),
    /// The system refused something that the server cannot do without.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs the server on this thread and on its workers', until it is told to stop. `ready` is called once clients can
/// connect; from then on, commands come from `commands`.
pub fn run(
    config: &Config,
    log: Option<Arc<Log>>,
    commands: mpsc::UnboundedReceiver<Command>,
    ready: impl FnOnce(),
) -> Result<(), ServerError> {
    let settings = Settings::from_config(config)?;
    let backlog = settings.clients.saturating_mul(config.listen.listen_backlog_multiplier);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let os = runtime.block_on(async { Os::new(backlog, config.listen.unix_socket_permissions) });
    let bound = bind(&os, &settings.listen)?;
    crate::os::set_socket_group(&settings.listen, &config.listen.unix_socket_group)?;
    let count = worker_count(&settings, std::thread::available_parallelism().map_or(1, usize::from));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    let shared = Shared::new(settings, senders);
    let bound = Arc::new(bound);
    let result = runtime.block_on(LocalSet::new().run_until(async {
        let (control, orders, news) = start_control(&os, &shared);
        let mut threads = Vec::new();
        for (index, mail) in receivers.into_iter().enumerate() {
            let (os, shared, bound) = (os.clone(), Arc::clone(&shared), Arc::clone(&bound));
            let (orders, news) = (orders.clone(), news.clone());
            let body = move || -> io::Result<()> {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_io().enable_time().build_local(LocalOptions::default())?;
                let worker = Worker::new(os, index, shared, orders.clone(), news);
                runtime.block_on(work(worker, bound, mail, orders))
            };
            threads.push(std::thread::Builder::new().name(format!("worker{index}")).spawn(body)?);
        }
        // The workers listen now: with their listeners the ports are closed.
        drop(bound);
        ready();
        let immediate = command(&control, log, commands).await;
        if immediate {
            // Nobody is waited for: the process ends, and with it every connection.
            return Ok(());
        }
        while threads.iter().any(|thread| !thread.is_finished()) {
            sleep(DRAIN_PERIOD).await;
        }
        for thread in threads {
            thread.join().map_err(|_| io::Error::other("a worker thread panicked"))??;
        }
        Ok(())
    }));
    remove_sockets(&shared.settings().listen);
    result
}

/// Runs the same server on the current [`LocalSet`], with one worker.
pub async fn serve<E: Env>(
    env: E,
    settings: Settings,
    commands: mpsc::UnboundedReceiver<Command>,
) -> Result<(), ServerError> {
    let bound = Arc::new(bind(&env, &settings.listen)?);
    let (sender, mail) = mpsc::unbounded_channel();
    let shared = Shared::new(settings, vec![sender]);
    let (control, orders, news) = start_control(&env, &shared);
    let worker = Worker::new(env, 0, shared, orders.clone(), news);
    let working = spawn_local(work(worker, bound, mail, orders));
    if !command(&control, None, commands).await {
        working.await.map_err(io::Error::other)??;
    }
    Ok(())
}

/// How many workers there are. Each keeps idle links of its own, so that with few places for clients a link would
/// mostly lie idle where the next client is not: a worker more is worth it once there are [`WORKER_CLIENTS`] for it.
fn worker_count(settings: &Settings, cores: usize) -> usize {
    let wanted = if settings.workers == 0 { cores } else { settings.workers };
    wanted.clamp(1, (settings.clients / WORKER_CLIENTS).max(1) as usize)
}

fn bind<E: Env>(env: &E, listen: &[Address]) -> Result<Vec<E::Bound>, ServerError> {
    let one = |(index, address): (usize, &Address)| {
        env.bind(address).map_err(|source| {
            remove_sockets(&listen[..index]);
            ServerError::Listen { address: address.clone(), source }
        })
    };
    listen.iter().enumerate().map(one).collect()
}

/// Removes the Unix sockets that this server has made.
fn remove_sockets(made: &[Address]) {
    for address in made {
        if let Address::Unix(path) = address {
            let _gone_already = std::fs::remove_file(path);
        }
    }
}

type Started<E> = (Rc<Control<E>>, watch::Receiver<Orders>, mpsc::UnboundedSender<News>);

fn start_control<E: Env>(env: &E, shared: &Arc<Shared<E::Parcel>>) -> Started<E> {
    let settings = shared.settings();
    let cluster = Cluster::new(settings.mode, settings.cluster(), env.now());
    let first = Orders { view: Arc::clone(cluster.view()), shutdown: None };
    let (orders, receiver) = watch::channel(first);
    let (news, heard) = mpsc::unbounded_channel();
    let control = Control::new(env.clone(), Arc::clone(shared), cluster, orders);
    control.start(heard);
    (control, receiver, news)
}

/// Carries out commands until one of them stops the server. True when it is to stop at once.
async fn command<E: Env>(
    control: &Rc<Control<E>>,
    log: Option<Arc<Log>>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> bool {
    let mut stopping = false;
    loop {
        match commands.recv().await {
            Some(Command::Reload) => control.reload(log.as_deref()),
            Some(Command::Stop(StopMode::Immediate)) => return true,
            Some(Command::Stop(StopMode::Fast)) => {
                control.order_shutdown(Shutdown::Now);
                return false;
            }
            Some(Command::Stop(StopMode::Smart)) | None if !stopping => {
                stopping = true;
                control.order_shutdown(Shutdown::WhenIdle);
                let patient = Rc::clone(control);
                let (done, finished) = tokio::sync::oneshot::channel();
                spawn_local(async move {
                    while patient.sessions() > 0 {
                        sleep(DRAIN_PERIOD).await;
                    }
                    let _nobody_waits = done.send(());
                });
                if let Some(immediate) = hurried(control, &mut commands, finished).await {
                    return immediate;
                }
            }
            Some(Command::Stop(StopMode::Smart)) => {}
            None => return false,
        }
    }
}

/// Waits for the last client of a smart stop, or for a command to hurry.
async fn hurried<E: Env>(
    control: &Rc<Control<E>>,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    mut finished: tokio::sync::oneshot::Receiver<()>,
) -> Option<bool> {
    loop {
        if finished.try_recv().is_ok() {
            return Some(false);
        }
        match tokio::time::timeout(DRAIN_PERIOD, commands.recv()).await {
            Ok(Some(Command::Stop(StopMode::Immediate))) => return Some(true),
            Ok(Some(Command::Stop(StopMode::Fast))) => {
                control.order_shutdown(Shutdown::Now);
                return Some(false);
            }
            Ok(None) => {
                sleep(DRAIN_PERIOD).await;
            }
            Ok(Some(_)) | Err(_) => {}
        }
    }
}

/// The life of a worker: it ends when the control task says so and its last session is over.
async fn work<E: Env>(
    worker: Rc<Worker<E>>,
    bound: Arc<Vec<E::Bound>>,
    mut mail: mpsc::UnboundedReceiver<WorkerMail<E::Parcel>>,
    mut orders: watch::Receiver<Orders>,
) -> io::Result<()> {
    let mut accepting = Vec::new();
    for bound in bound.iter() {
        let listener = worker.env.adopt(bound).await?;
        accepting.push(spawn_local(accept(Rc::clone(&worker), listener)));
    }
    drop(bound);
    spawn_local(Rc::clone(&worker).follow());
    let reader = Rc::clone(&worker);
    spawn_local(async move {
        while let Some(mail) = mail.recv().await {
            reader.handle_mail(mail);
        }
    });
    spawn_local(keep_pool_deadlines(Rc::clone(&worker)));
    let stopped = orders.wait_for(|orders| orders.shutdown.is_some()).await.is_ok();
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    let mut waited = Duration::ZERO;
    while stopped && worker.session_count() > 0 {
        let fast = orders.borrow().shutdown == Some(Shutdown::Now);
        if fast && waited >= FAST_STOP {
            break;
        }
        sleep(DRAIN_PERIOD).await;
        waited += if fast { DRAIN_PERIOD } else { Duration::ZERO };
    }
    worker.close_idle();
    worker.leave();
    Ok(())
}

async fn accept<E: Env>(worker: Rc<Worker<E>>, listener: E::Listener) {
    let mut failing = false;
    loop {
        match worker.env.accept(&listener).await {
            Ok((stream, origin)) => {
                failing = false;
                worker.welcome(stream, origin);
            }
            Err(error) => {
                // One connection that broke early is nobody's trouble; a lack of descriptors is said once.
                if !failing {
                    tracing::warn!("could not accept a client: {error}");
                }
                failing = true;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Does what the pool has to do at its deadlines. A worker whose pool has none sets no timer, which would cost at every
/// turn of its runtime.
async fn keep_pool_deadlines<E: Env>(worker: Rc<Worker<E>>) {
    loop {
        let changed = worker.pool_changed.notified();
        match worker.pool_deadline().map(|at| at.since(worker.env.now())) {
            // Either the time comes or something changes: both lead to another look.
            Some(due) => drop(tokio::time::timeout(due.max(POOL_PERIOD), changed).await),
            None => changed.await,
        }
        worker.expire_links();
    }
}

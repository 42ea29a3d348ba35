//! Signals: how an operator tells the server to stop or to read its configuration again.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal as Number, pidfd_open, pidfd_send_signal};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::server::{Command, StopMode};

/// What a signal asks for: SIGTERM a smart stop, SIGINT a fast one, SIGQUIT an immediate one, SIGHUP a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To stop.
    Stop(StopMode),
    /// To read the configuration again.
    Reload,
}

/// The signals that reach this process.
#[derive(Debug)]
pub struct Signals {
    sources: [(Signal, Request); 4],
}

impl Signals {
    /// Takes over the handling of the signals; to be called within a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> io::Result<Self> {
        let source = |kind, request| signal(kind).map(|source| (source, request));
        Ok(Self {
            sources: [
                source(SignalKind::quit(), Request::Stop(StopMode::Immediate))?,
                source(SignalKind::interrupt(), Request::Stop(StopMode::Fast))?,
                source(SignalKind::terminate(), Request::Stop(StopMode::Smart))?,
                source(SignalKind::hangup(), Request::Reload)?,
            ],
        })
    }

    /// Waits for the next request; of several at once the gravest comes first. It may be cancelled at any time.
    pub async fn next(&mut self) -> Request {
        poll_fn(|context| {
            for (source, request) in &mut self.sources {
                if source.poll_recv(context).is_ready() {
                    return Poll::Ready(*request);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Request {
    fn number(self) -> Number {
        match self {
            Self::Stop(StopMode::Smart) => Number::TERM,
            Self::Stop(StopMode::Fast) => Number::INT,
            Self::Stop(StopMode::Immediate) => Number::QUIT,
            Self::Reload => Number::HUP,
        }
    }
}

/// Turns the signals of this process into commands for its server, from now on.
///
/// # Errors
/// If the system refuses.
pub fn commands() -> io::Result<UnboundedReceiver<Command>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _within = runtime.enter();
        Signals::new()?
    };
    let (sender, commands) = unbounded_channel();
    let listen = async move {
        loop {
            let command = match signals.next().await {
                Request::Stop(mode) => {
                    tracing::info!("shutting down by signal {}", Request::Stop(mode).number().as_raw());
                    Command::Stop(mode)
                }
                Request::Reload => {
                    tracing::info!("reload config files.");
                    Command::Reload
                }
            };
            if sender.send(command).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(listen))?;
    Ok(commands)
}

/// Another process, by a handle that never comes to mean a third one.
#[derive(Debug)]
pub struct Process {
    handle: OwnedFd,
}

impl Process {
    /// Opens a process.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn open(pid: Pid) -> io::Result<Self> {
        Ok(Self { handle: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Sends it a request.
    ///
    /// # Errors
    /// If it is gone, or belongs to somebody else.
    pub fn send(&self, request: Request) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.handle, request.number())?)
    }

    /// Waits until it has ended, but not longer than `timeout`; tells whether it has.
    ///
    /// # Errors
    /// If waiting fails.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&timeout)) {
            Ok(ended) => Ok(ended > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_signal_is_one_request_and_the_gravest_comes_first() {
        let mut signals = Signals::new().unwrap();
        let this = Process::open(rustix::process::getpid()).unwrap();
        let requests = [Request::Reload, Request::Stop(StopMode::Smart), Request::Stop(StopMode::Fast)];
        for request in requests {
            this.send(request).unwrap();
            assert_eq!(signals.next().await, request);
        }
    }

    #[test]
    fn the_end_of_a_process_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::open(Pid::from_child(&child)).unwrap();
        assert!(!process.wait(Duration::ZERO).unwrap());
        process.send(Request::Stop(StopMode::Smart)).unwrap();
        assert!(process.wait(Duration::from_secs(30)).unwrap());
        child.wait().unwrap();
        assert!(process.send(Request::Reload).is_err());
    }
}

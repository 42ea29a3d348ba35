//! What goes wrong, when the plan says so.

use super::mark::Mark;
use super::net::{Owner, Side};
use super::{Event, World};
use crate::fakepg::{Inject, Up};
use crate::plan::{Fault, Topology};
use pgconvoy_core::time::Duration;

impl World {
    pub(super) fn fault(&mut self, index: u32) {
        let fault = self.plan.faults[index as usize].fault;
        self.trace.note(self.now, [u64::from(index), u64::MAX]);
        self.trace.say(self.now, || format!("fault: {fault:?}"));
        // Where writes go to every server, one that stands still keeps sessions out.
        let replicated = self.plan.topology == Topology::Replicated;
        self.disrupted |=
            fault.disrupts() || (replicated && matches!(fault, Fault::Hold { .. } | Fault::HoldNode { .. }));
        self.routes.disturbed();
        match fault {
            Fault::Cut { pick } => {
                if let Some(pipe) = self.pick(pick, |_| true) {
                    self.mark(Mark::Cut);
                    // pgconvoy may hear of it, and cancel for the client, before that hears of it itself.
                    if let Some(Owner::Client(slot)) = self.net.owner(pipe, Side::Near)
                        && let Some(client) = &self.slots[slot as usize].client
                    {
                        self.referee.client_over(client.number);
                    }
                    self.net.cut(pipe, self.now, &mut self.heap);
                }
            }
            Fault::Hold { pick, for_us } => {
                let until = self.now.after(Duration::from_micros(u64::from(for_us)));
                if let Some(pipe) = self.pick(pick, |_| true) {
                    self.mark(Mark::Held);
                    self.net.hold(pipe, until);
                }
            }
            Fault::HoldNode { node, for_us } => {
                let until = self.now.after(Duration::from_micros(u64::from(for_us)));
                let pipes: Vec<_> = self.net.live().filter(|(_, ends)| ends[1] == Owner::Server(node)).collect();
                self.mark(Mark::ServerHeld);
                pipes.into_iter().for_each(|(pipe, _)| self.net.hold(pipe, until));
            }
            Fault::Crash { node, told, down_us } => self.crash(node, told, u64::from(down_us)),
            Fault::ProcessCrash { node, recovery_us } => {
                let server = &mut self.servers[usize::from(node)];
                if server.pg.up() == Up::Running {
                    server.pg.handle_process_crash(self.now);
                    self.mark(Mark::ProcessCrashed);
                    self.heap.push(self.now.after(Duration::from_micros(u64::from(recovery_us))), Event::Ready(node));
                    self.drain_server(node);
                }
            }
            Fault::Terminate { pick } => {
                if let Some((node, pipe)) = self.pick_session(pick) {
                    self.mark(Mark::Terminated);
                    self.servers[usize::from(node)].pg.handle_terminate(pipe, self.now);
                    self.drain_server(node);
                }
            }
            Fault::RefuseLogins { node, count } => {
                self.servers[usize::from(node)].pg.refuse_logins(u32::from(count));
            }
            Fault::Inject { pick, what } => {
                if let Some((node, pipe)) = self.pick_session(pick) {
                    self.mark(Mark::Injected);
                    let what = [Inject::Notice, Inject::ParameterStatus, Inject::Notification][usize::from(what % 3)];
                    self.servers[usize::from(node)].pg.handle_inject(pipe, what);
                    self.drain_server(node);
                }
            }
        }
    }

    fn crash(&mut self, node: u8, told: bool, down_us: u64) {
        let server = &mut self.servers[usize::from(node)];
        if server.pg.up() != Up::Running {
            return;
        }
        server.pg.handle_stop(told, self.now);
        self.mark(if told { Mark::ServerDown } else { Mark::ServerKilled });
        self.drain_server(node);
        let down = Duration::from_micros(down_us);
        self.heap.push(self.now.after(down), Event::Start(node));
        self.heap.push(self.now.after(down).after(down), Event::Ready(node));
    }

    /// One of the live connections that `fits`.
    fn pick(&self, pick: u32, fits: impl Fn(&[Owner; 2]) -> bool) -> Option<u32> {
        let fitting: Vec<u32> = self.net.live().filter(|(_, ends)| fits(ends)).map(|(pipe, _)| pipe).collect();
        let count = fitting.len();
        (count > 0).then(|| fitting[pick as usize % count])
    }

    /// One of the live connections to servers.
    fn pick_session(&self, pick: u32) -> Option<(u8, u32)> {
        let pipe = self.pick(pick, |ends| matches!(ends[1], Owner::Server(_)) && ends[0] != Owner::Canceller)?;
        match self.net.owner(pipe, Side::Far)? {
            Owner::Server(node) => Some((node, pipe)),
            _ => None,
        }
    }
}

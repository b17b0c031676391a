//! The domain's life: its main loop, and the toolstack's wishes (`control/shutdown`).

use crate::abi::sched::ShutdownReason;
use crate::arch::pv::clock;
use crate::stat::{self, Report};
use crate::task::Executor;
use crate::time::Instant;
use crate::xen::{PAGE_SIZE, Xen};
use crate::xenstore::{Client, Error};
use crate::{Boot, Pv, console, event, hypercall, mm, xenbus};
use alloc::format;
use alloc::rc::Rc;
use core::cell::Cell;

/// Set-up tasks at a time: a handful for the domain itself and one for each device.
const TASKS_MAX: usize = 160;

/// Where the toolstack asks, and where we say what we understand (docs/misc/xenstore-paths).
const SHUTDOWN: &str = "control/shutdown";

/// A running domain: the handles that everything else is built from.
#[derive(Clone)]
pub struct Domain {
    /// Xen.
    pub xen: Pv,
    /// Xenstore. Relative paths are under this domain's own directory.
    pub store: Client<Pv>,
    /// Set-up tasks.
    pub executor: Executor,
    /// `extra=` of the guest's configuration.
    pub command_line: &'static str,
    /// `ramdisk=` of the guest's configuration; empty without one.
    pub module: &'static [u8],
    stop: Rc<Cell<Option<ShutdownReason>>>,
    started: Instant,
}

impl Domain {
    /// Connects to xenstore and starts to answer the toolstack.
    pub fn start(boot: Boot) -> Self {
        let domain = Self {
            xen: Pv,
            store: Client::new(Pv, boot.xenstore, boot.xenstore_port),
            executor: Executor::new(TASKS_MAX),
            command_line: boot.command_line,
            module: boot.module,
            stop: Rc::new(Cell::new(None)),
            started: Instant(clock::system_time_ns()),
        };
        let listener = domain.clone();
        let spawned = domain.executor.spawn(async move {
            if let Err(error) = listener.listen().await {
                log::error!("xl shutdown will not be answered: {error}");
            }
        });
        assert!(spawned.is_ok(), "the first task fits");
        domain
    }

    /// Answers for devices of every class but `known`: Closing with Closed, so that nobody waits.
    pub fn refuse_devices_except(&self, known: &'static [&'static str]) {
        let store = self.store.clone();
        let spawned = self.executor.spawn(async move {
            if let Err(error) = xenbus::refuse_unknown(store, known).await {
                log::error!("devices that nobody here drives will not be refused: {error}");
            }
        });
        assert!(spawned.is_ok(), "the first tasks fit");
    }

    /// Refuses to be the backend of devices of every class but `known`, for `reason`, and lets each go when the
    /// toolstack takes it away, so that nobody waits.
    pub fn refuse_backends_except(&self, known: &'static [&'static str], reason: &'static str) {
        let (store, executor) = (self.store.clone(), self.executor.clone());
        let spawned = self.executor.spawn(async move {
            if let Err(error) = xenbus::refuse_backends(store, executor, known, reason).await {
                log::error!(
                    "devices of others that nobody here serves will not be refused: {error}"
                );
            }
        });
        assert!(spawned.is_ok(), "the first tasks fit");
    }

    /// Tells whoever asks in dom0 (see [`stat`]) what this domain counts. `fill` adds what only the
    /// appliance knows to what every domain counts; it is called outside [`Domain::run`]'s `work`,
    /// and only when somebody asks.
    pub fn answer_statistics(&self, mut fill: impl FnMut(&mut Report) + 'static) {
        let domain = self.clone();
        let spawned = self.executor.spawn(async move {
            let report = || {
                let mut report = domain.report();
                fill(&mut report);
                report
            };
            if let Err(error) = stat::serve(&domain.store, &domain.executor, report).await {
                log::error!("nobody will be told statistics: {error}");
            }
        });
        assert!(spawned.is_ok(), "the first tasks fit");
    }

    /// What every domain counts.
    fn report(&self) -> Report {
        let (pages, heap) = (mm::usage(), mm::heap_usage());
        let bytes = |pages: usize| (pages * PAGE_SIZE) as u64;
        // Xen's clock counts from the host's start.
        let uptime_ns = clock::system_time_ns().saturating_sub(self.started.0);
        let mut report = Report {
            state: "running".into(),
            uptime_ns,
            memory: stat::Memory {
                total: bytes(pages.total),
                free: bytes(pages.free),
                heap: bytes(pages.heap),
                heap_used: heap.bytes as u64,
                heap_used_max: heap.bytes_max as u64,
            },
            ..Report::default()
        };
        report.set_hypercalls(&self.xen.hypercalls());
        report
    }

    /// Ends the domain after the current turn of the main loop.
    pub fn stop(&self, reason: ShutdownReason) {
        self.stop.set(Some(reason));
    }

    /// Takes back what [`Domain::stop`], or the toolstack, has asked for in this turn of the main loop.
    pub fn go_on(&self) -> Option<ShutdownReason> {
        self.stop.take()
    }

    async fn listen(&self) -> Result<(), Error> {
        // A domain that was suspended finds its grants and event channels gone, and so does everybody who hangs off it:
        // nothing here can be brought back, and toolstacks that ask first are told.
        for (feature, is_there) in [("poweroff", "1"), ("reboot", "1"), ("suspend", "0")] {
            let node = format!("control/feature-{feature}");
            self.store.write(&node, is_there).await?;
        }
        let mut requests = self.store.watch(SHUTDOWN).await?;
        loop {
            requests.next().await?;
            let request = match self.store.read_text(SHUTDOWN).await {
                Ok(request) => request,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let reason = match request.as_str() {
                "" => continue,
                "poweroff" | "halt" => ShutdownReason::Poweroff,
                "reboot" => ShutdownReason::Reboot,
                // Left unanswered, as what is acknowledged is waited for: the toolstack gives up by itself and says so.
                "suspend" => {
                    log::warn!(
                        "this domain cannot be suspended: its devices would not come back; it goes on as before"
                    );
                    continue;
                }
                other => {
                    let other = other.escape_default();
                    log::warn!("this domain cannot '{other}' yet; it goes on as before");
                    continue;
                }
            };
            // The empty value is the acknowledgement that the toolstack waits for.
            self.store.write(SHUTDOWN, "").await?;
            log::info!("the toolstack asks for {request}");
            self.stop(reason);
        }
    }

    /// Runs until somebody stops the domain: each turn takes what is pending, runs the tasks that
    /// are ready, calls `work` with the time, and sleeps until the next event or the earlier of
    /// `work`'s and the tasks' deadlines.
    ///
    /// `work` is called after every event, whatever it was for: it must be cheap when there is
    /// nothing to do.
    pub fn run(&self, mut work: impl FnMut(Instant) -> Option<Instant>) -> ! {
        let mut store_lives = true;
        loop {
            // Before anything is looked at: an event from here on ends the next sleep.
            event::take_pending();
            let now = Instant(clock::system_time_ns());
            console::pump();
            self.store.pump();
            self.executor.run_ready(now);
            let deadline = work(now);
            self.store.pump();
            if let Some(reason) = self.stop.get() {
                console::drain();
                hypercall::shutdown(reason);
            }
            if store_lives && let Some(error) = self.store.dead() {
                store_lives = false;
                log::error!("the connection to xenstore is dead: {error}");
            }
            let next = [deadline, self.executor.next_deadline()]
                .into_iter()
                .flatten()
                .min();
            if next.is_none_or(|next| next > now) {
                event::wait(next.map(|next| next.0));
            }
        }
    }
}

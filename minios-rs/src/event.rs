//! Event channels: allocate, bind, send, look, wait.
//!
//! Upcalls stay masked for the domain's whole life. Every port stays masked too, so that Xen only
//! sets bits in shared info; the main loop clears them before it looks at the rings, and sleeps in
//! `SCHEDOP_poll`, which wakes for masked ports as well.
//!
//! That takes 128 ports and no more. A domain that binds another one (many guests hang off it) sleeps in
//! `SCHEDOP_block` from then on, which lets upcalls through while it sleeps, for ports that are not
//! masked: what is unmasked then is every bound port, and the upcall does nothing but come
//! ([`arch::pv`](crate::arch::pv)). It has no time-out, so a virtual timer stands in for it.
#![expect(unsafe_code, reason = "typed calls of event-channel operations")]

use crate::abi::event_channel::{
    AllocUnbound, BIND_PIRQ_WILL_SHARE, BindInterdomain, BindPirq, BindVirq,
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_PIRQ, EVTCHNOP_BIND_VIRQ,
    EVTCHNOP_CLOSE, EVTCHNOP_SEND, PortArgument,
};
use crate::abi::sched::POLL_PORTS_MAX;
use crate::abi::xen::{DOMID_SELF, SharedInfo, VIRQ_TIMER};
use crate::arch::pv::{clock, upcall};
use crate::hardware::{Pirq, Sharing};
use crate::hypercall;
use crate::xen::{DomId, Errno, Port};
use core::sync::atomic::{AtomicU64, Ordering};
use heapless::Vec;
use spin::{Mutex, Once};

/// Ports this domain may have at a time: 64 guests with two queues of two channels each, and what else
/// it needs.
pub const PORTS_MAX: usize = 512;

static SHARED: Once<&'static SharedInfo> = Once::new();

/// How to sleep.
enum Sleep {
    /// `SCHEDOP_poll`, over every port.
    Poll,
    /// `SCHEDOP_block`, with the port of the timer.
    Block(Port),
}

/// Physical interrupts this domain may have bound at a time.
pub const INTERRUPTS_MAX: usize = 64;

struct Bound {
    /// Every port this domain has: one that is not listed is a lost wake-up.
    ports: Vec<Port, PORTS_MAX>,
    /// Those of physical interrupts, and whether one came that nobody has taken: whose it was matters,
    /// since it has to be ended.
    interrupts: Vec<(Port, bool), INTERRUPTS_MAX>,
    sleep: Sleep,
}

static BOUND: Mutex<Bound> = Mutex::new(Bound {
    ports: Vec::new(),
    interrupts: Vec::new(),
    sleep: Sleep::Poll,
});

/// How often one wait goes on after Xen woke it too early. Each brings what is left down to a tenth.
const WAKES_BEFORE_DEADLINE_MAX: usize = 8;

/// `ENOSPC` of xen/errno.h.
const NO_SPACE: Errno = Errno(28);

impl Bound {
    /// Makes room for another port, changing how to sleep if it is one more than `SCHEDOP_poll` takes.
    fn reserve(&mut self) -> Result<(), Errno> {
        if self.ports.is_full() {
            return Err(NO_SPACE);
        }
        if self.ports.len() < POLL_PORTS_MAX || matches!(self.sleep, Sleep::Block(_)) {
            return Ok(());
        }
        upcall::register()?;
        let mut timer = BindVirq {
            virq: VIRQ_TIMER,
            ..BindVirq::default()
        };
        // SAFETY: the operation's own argument type.
        unsafe { hypercall::event_channel_op(EVTCHNOP_BIND_VIRQ, &mut timer) }?;
        self.sleep = Sleep::Block(Port(timer.port));
        let _ = self.ports.push(Port(timer.port));
        self.ports.iter().for_each(|&port| unmask(port));
        if self.ports.is_full() {
            return Err(NO_SPACE);
        }
        Ok(())
    }

    fn add(&mut self, port: Port) {
        let added = self.ports.push(port);
        assert!(added.is_ok(), "room was reserved");
        if matches!(self.sleep, Sleep::Block(_)) {
            unmask(port);
        }
    }

    fn is_any_pending(&self) -> bool {
        self.ports.iter().any(|&port| is_pending(port))
    }

    fn take_pending(&mut self) -> bool {
        if matches!(self.sleep, Sleep::Block(_)) {
            // Before the ports' own bits: what comes from here on sets them again, or finds a bit that
            // is taken below.
            let vcpu = &shared_info().vcpu_info[0];
            vcpu.evtchn_upcall_pending.store(0, Ordering::SeqCst);
            vcpu.evtchn_pending_sel.swap(0, Ordering::SeqCst);
        }
        let interrupts = &mut self.interrupts;
        self.ports.iter().fold(false, |any, &port| {
            let came = clear(port);
            if came && let Some((_, fired)) = interrupts.iter_mut().find(|(own, _)| *own == port) {
                *fired = true;
            }
            came | any
        })
    }
}

pub(crate) fn init(shared: &'static SharedInfo) {
    SHARED.call_once(|| shared);
    shared.vcpu_info[0]
        .evtchn_upcall_mask
        .store(1, Ordering::Relaxed);
    for word in &shared.evtchn_mask {
        word.store(u64::MAX, Ordering::Relaxed);
    }
}

pub(crate) fn shared_info() -> &'static SharedInfo {
    SHARED.get().expect("used before shared info was mapped")
}

/// Address of the last page fault.
pub(crate) fn fault_address() -> u64 {
    SHARED
        .get()
        .map_or(0, |shared| shared.vcpu_info[0].cr2.load(Ordering::Relaxed))
}

/// A port that Xen or the toolstack made for us.
pub(crate) fn adopt(port: Port) -> Port {
    let mut bound = BOUND.lock();
    if port.0 != 0 && !bound.ports.contains(&port) {
        bound.add(port);
    }
    port
}

/// A port that `remote` may bind to.
///
/// # Errors
/// Xen's; ENOSPC when this domain has [`PORTS_MAX`].
pub fn allocate_unbound(remote: DomId) -> Result<Port, Errno> {
    let mut bound = BOUND.lock();
    bound.reserve()?;
    let mut argument = AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: remote.0,
        port: 0,
    };
    // SAFETY: the operation's own argument type.
    unsafe { hypercall::event_channel_op(EVTCHNOP_ALLOC_UNBOUND, &mut argument) }?;
    bound.add(Port(argument.port));
    Ok(Port(argument.port))
}

/// A port bound to one that `remote` allocated for this domain. It is pending at once, in case an event
/// was sent before.
///
/// # Errors
/// Xen's; ENOSPC when this domain has [`PORTS_MAX`].
pub fn bind_interdomain(remote: DomId, remote_port: Port) -> Result<Port, Errno> {
    let mut bound = BOUND.lock();
    bound.reserve()?;
    let mut argument = BindInterdomain {
        remote_dom: remote.0,
        remote_port: remote_port.0,
        ..BindInterdomain::default()
    };
    // SAFETY: the operation's own argument type.
    unsafe { hypercall::event_channel_op(EVTCHNOP_BIND_INTERDOMAIN, &mut argument) }?;
    bound.add(Port(argument.local_port));
    Ok(Port(argument.local_port))
}

/// A port bound to a physical interrupt of this domain's.
///
/// # Errors
/// Xen's; ENOSPC when this domain has [`PORTS_MAX`] or [`INTERRUPTS_MAX`].
pub fn bind_pirq(pirq: Pirq, sharing: Sharing) -> Result<Port, Errno> {
    let mut bound = BOUND.lock();
    if bound.interrupts.is_full() {
        return Err(NO_SPACE);
    }
    bound.reserve()?;
    let flags = match sharing {
        Sharing::Alone => 0,
        Sharing::Shared => BIND_PIRQ_WILL_SHARE,
    };
    let mut argument = BindPirq {
        pirq: pirq.0,
        flags,
        port: 0,
    };
    // SAFETY: the operation's own argument type.
    unsafe { hypercall::event_channel_op(EVTCHNOP_BIND_PIRQ, &mut argument) }?;
    bound.add(Port(argument.port));
    let _ = bound.interrupts.push((Port(argument.port), false));
    Ok(Port(argument.port))
}

/// Whether the physical interrupt of this port came since this was last asked.
pub fn take_interrupt(port: Port) -> bool {
    let mut bound = BOUND.lock();
    let mut interrupts = bound.interrupts.iter_mut();
    let found = interrupts.find(|(own, _)| *own == port);
    found.is_some_and(|(_, fired)| core::mem::take(fired))
}

/// Tells the other end.
///
/// # Errors
/// Xen's: the port is not bound.
pub fn notify(port: Port) -> Result<(), Errno> {
    // SAFETY: the operation's own argument type.
    unsafe { hypercall::event_channel_op(EVTCHNOP_SEND, &mut PortArgument { port: port.0 }) }
}

/// Closes a port, and forgets an event that waits on it.
pub fn close(port: Port) {
    let mut bound = BOUND.lock();
    bound.ports.retain(|&other| other != port);
    bound.interrupts.retain(|&(other, _)| other != port);
    mask(port);
    clear(port);
    // SAFETY: the operation's own argument type.
    let _ =
        unsafe { hypercall::event_channel_op(EVTCHNOP_CLOSE, &mut PortArgument { port: port.0 }) };
}

fn mask_bit(port: Port) -> Option<(&'static AtomicU64, u64)> {
    let word = shared_info().evtchn_mask.get(port.0 as usize / 64)?;
    Some((word, 1 << (port.0 % 64)))
}

/// Lets the port's events wake a blocked domain. One that came before does not: whoever is about to
/// sleep looks first.
fn unmask(port: Port) {
    if let Some((word, bit)) = mask_bit(port) {
        word.fetch_and(!bit, Ordering::SeqCst);
    }
}

fn mask(port: Port) {
    if let Some((word, bit)) = mask_bit(port) {
        word.fetch_or(bit, Ordering::SeqCst);
    }
}

/// The word of shared info that holds a port's pending bit, and that bit.
fn pending_bit(port: Port) -> Option<(&'static AtomicU64, u64)> {
    let word = shared_info().evtchn_pending.get(port.0 as usize / 64)?;
    Some((word, 1 << (port.0 % 64)))
}

fn is_pending(port: Port) -> bool {
    pending_bit(port).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

fn clear(port: Port) -> bool {
    let was = |(word, bit): (&AtomicU64, u64)| word.fetch_and(!bit, Ordering::AcqRel) & bit != 0;
    is_pending(port) && pending_bit(port).is_some_and(was)
}

/// Takes what is pending on any port. Done before the rings are looked at, so that an event that
/// comes after the look ends the next wait at once.
pub fn take_pending() -> bool {
    BOUND.lock().take_pending()
}

/// Sleeps until an event is pending on any port, or [`clock::system_time_ns`] reaches
/// `deadline_ns`. It may return earlier: who waits looks and waits again.
///
/// Xen wakes by its own clock. Where a machine's clocks are emulated that one may be a tenth ahead
/// of what it lets guests read; what is left then is asked for on top, or the domain would spin.
pub fn wait(deadline_ns: Option<u64>) {
    let bound = BOUND.lock();
    // 0 would mean for ever; an instant that has passed makes Xen return at once.
    let mut timeout = deadline_ns.map_or(0, |deadline| deadline.max(1));
    for _ in 0..WAKES_BEFORE_DEADLINE_MAX {
        let slept = match bound.sleep {
            Sleep::Poll => hypercall::poll(&bound.ports, timeout),
            Sleep::Block(timer) => block(&bound, timer, timeout),
        };
        // Display, here and wherever only a domain's image gets: Debug's formatting costs kilobytes.
        slept.unwrap_or_else(|error| panic!("Xen refused to wait for our ports: {error}"));
        let left = deadline_ns.map_or(0, |deadline| {
            deadline.saturating_sub(clock::system_time_ns())
        });
        if left == 0 || bound.is_any_pending() {
            return;
        }
        timeout = timeout.saturating_add(left);
    }
}

/// Sleeps in `SCHEDOP_block`, unless a port is pending already; takes the timer's own event.
fn block(bound: &Bound, timer: Port, timeout: u64) -> Result<(), Errno> {
    if bound.is_any_pending() {
        return Ok(());
    }
    hypercall::set_timer(timeout)?;
    let vcpu = &shared_info().vcpu_info[0];
    // An event between the look above and this call has set `evtchn_upcall_pending`, as every bound port
    // is unmasked: then it returns at once.
    hypercall::block(&vcpu.evtchn_upcall_mask)?;
    if is_pending(timer) {
        // As in `take_pending`, before the port's own bit. The other ports' bits stay, and are looked at
        // by whoever called.
        vcpu.evtchn_upcall_pending.store(0, Ordering::SeqCst);
        vcpu.evtchn_pending_sel.swap(0, Ordering::SeqCst);
        clear(timer);
    }
    Ok(())
}

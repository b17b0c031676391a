//! Event channels: allocate, send, look, wait.
//!
//! Upcalls stay masked for the domain's whole life. Every port stays masked too, so that Xen only
//! sets bits in shared info; the main loop clears them before it looks at the rings, and sleeps in
//! `SCHEDOP_poll`, which wakes for masked ports as well.
#![expect(unsafe_code, reason = "typed calls of event-channel operations")]

use crate::abi::event_channel::{
    AllocUnbound, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_CLOSE, EVTCHNOP_SEND, PortArgument,
};
use crate::abi::sched::POLL_PORTS_MAX;
use crate::abi::xen::{DOMID_SELF, SharedInfo};
use crate::arch::pv::clock;
use crate::hypercall;
use crate::xen::{DomId, Errno, Port};
use core::sync::atomic::{AtomicU64, Ordering};
use heapless::Vec;
use spin::{Mutex, Once};

static SHARED: Once<&'static SharedInfo> = Once::new();

/// Every port this domain has: a port that is not listed is a lost wake-up.
static BOUND: Mutex<Vec<Port, POLL_PORTS_MAX>> = Mutex::new(Vec::new());

/// How often one wait goes on after Xen woke it too early. Each brings what is left down to a tenth.
const WAKES_BEFORE_DEADLINE_MAX: usize = 8;

/// `ENOSPC` of xen/errno.h.
const NO_SPACE: Errno = Errno(28);

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
    if port.0 != 0 && !bound.contains(&port) {
        let adopted = bound.push(port);
        assert!(adopted.is_ok(), "the first ports of a domain fit");
    }
    port
}

/// A port that `remote` may bind to.
///
/// # Errors
/// Xen's; ENOSPC when this domain has as many ports as one `SCHEDOP_poll` can wait for.
pub fn allocate_unbound(remote: DomId) -> Result<Port, Errno> {
    let mut bound = BOUND.lock();
    if bound.is_full() {
        return Err(NO_SPACE);
    }
    let mut argument = AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: remote.0,
        port: 0,
    };
    // SAFETY: the operation's own argument type.
    unsafe { hypercall::event_channel_op(EVTCHNOP_ALLOC_UNBOUND, &mut argument) }?;
    let port = Port(argument.port);
    let _ = bound.push(port);
    Ok(port)
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
    bound.retain(|&other| other != port);
    clear(port);
    // SAFETY: the operation's own argument type.
    let _ =
        unsafe { hypercall::event_channel_op(EVTCHNOP_CLOSE, &mut PortArgument { port: port.0 }) };
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
    let bound = BOUND.lock();
    bound.iter().fold(false, |any, &port| clear(port) | any)
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
        let slept = hypercall::poll(&bound, timeout);
        // Display, here and wherever only a domain's image gets: Debug's formatting costs kilobytes.
        slept.unwrap_or_else(|error| panic!("Xen refused to wait for our ports: {error}"));
        let left = deadline_ns.map_or(0, |deadline| {
            deadline.saturating_sub(clock::system_time_ns())
        });
        if left == 0 || bound.iter().any(|&port| is_pending(port)) {
            return;
        }
        timeout = timeout.saturating_add(left);
    }
}

//! xen/event_channel.h: event channels, Xen's one-bit interrupts between domains.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Binds a port to another domain's unbound port.
pub const EVTCHNOP_BIND_INTERDOMAIN: u32 = 0;
/// Binds a virtual interrupt of a vCPU to a port.
pub const EVTCHNOP_BIND_VIRQ: u32 = 1;
/// Binds a physical interrupt to a port.
pub const EVTCHNOP_BIND_PIRQ: u32 = 2;
/// Closes a port.
pub const EVTCHNOP_CLOSE: u32 = 3;
/// Sends an event to the port's other end.
pub const EVTCHNOP_SEND: u32 = 4;
/// Asks what a port is bound to.
pub const EVTCHNOP_STATUS: u32 = 5;
/// Allocates a port that one other domain may bind to.
pub const EVTCHNOP_ALLOC_UNBOUND: u32 = 6;
/// Binds a port to another vCPU of this domain.
pub const EVTCHNOP_BIND_IPI: u32 = 7;
/// Chooses the vCPU that is told of a port's events.
pub const EVTCHNOP_BIND_VCPU: u32 = 8;
/// Unmasks a port and delivers what is pending.
pub const EVTCHNOP_UNMASK: u32 = 9;
/// Closes every port of a domain.
pub const EVTCHNOP_RESET: u32 = 10;

/// Ports of the two-level ABI on x86-64 (`EVTCHN_2L_NR_CHANNELS`).
pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;

/// The port is not in use.
pub const EVTCHNSTAT_CLOSED: u32 = 0;
/// The port waits for its other end.
pub const EVTCHNSTAT_UNBOUND: u32 = 1;
/// The port is connected to another domain's.
pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2;
/// The port is bound to a physical interrupt.
pub const EVTCHNSTAT_PIRQ: u32 = 3;
/// The port is bound to a virtual interrupt.
pub const EVTCHNSTAT_VIRQ: u32 = 4;
/// The port is bound to a vCPU of the same domain.
pub const EVTCHNSTAT_IPI: u32 = 5;

/// The physical interrupt may be shared (`bind_pirq` flag).
pub const BIND_PIRQ_WILL_SHARE: u32 = 1;

/// `struct evtchn_alloc_unbound`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AllocUnbound {
    /// In: the domain that gets the port, or `DOMID_SELF`.
    pub dom: u16,
    /// In: the domain that may bind to it.
    pub remote_dom: u16,
    /// Out: the port.
    pub port: u32,
}
const _: () = assert!(size_of::<AllocUnbound>() == 8 && offset_of!(AllocUnbound, port) == 4);

/// `struct evtchn_bind_interdomain`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BindInterdomain {
    /// In: the domain that allocated the port.
    pub remote_dom: u16,
    /// Padding.
    pub pad: u16,
    /// In: its port.
    pub remote_port: u32,
    /// Out: this domain's port.
    pub local_port: u32,
}
const _: () = assert!(size_of::<BindInterdomain>() == 12);
const _: () = assert!(offset_of!(BindInterdomain, remote_port) == 4);
const _: () = assert!(offset_of!(BindInterdomain, local_port) == 8);

/// `struct evtchn_bind_virq`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BindVirq {
    /// In: `VIRQ_*`.
    pub virq: u32,
    /// In: the vCPU.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}
const _: () = assert!(size_of::<BindVirq>() == 12 && offset_of!(BindVirq, port) == 8);

/// `struct evtchn_bind_pirq`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BindPirq {
    /// In: the physical interrupt.
    pub pirq: u32,
    /// In: [`BIND_PIRQ_WILL_SHARE`] or 0.
    pub flags: u32,
    /// Out: the port.
    pub port: u32,
}
const _: () = assert!(size_of::<BindPirq>() == 12 && offset_of!(BindPirq, port) == 8);

/// `struct evtchn_close`, `evtchn_send` and `evtchn_unmask`, which are the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PortArgument {
    /// In: the port.
    pub port: u32,
}
const _: () = assert!(size_of::<PortArgument>() == 4);

/// `struct evtchn_status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Status {
    /// In: the domain, or `DOMID_SELF`.
    pub dom: u16,
    /// Padding.
    pub pad: u16,
    /// In: the port.
    pub port: u32,
    /// Out: `EVTCHNSTAT_*`.
    pub status: u32,
    /// Out: the vCPU that is told.
    pub vcpu: u32,
    /// Out: for an interdomain port the domain (low 16 bits), for others see the header.
    pub remote_dom: u32,
    /// Out: for an interdomain port the other end.
    pub remote_port: u32,
}
const _: () = assert!(size_of::<Status>() == 24 && offset_of!(Status, status) == 8);
const _: () = assert!(offset_of!(Status, remote_dom) == 16);

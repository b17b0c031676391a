//! xen/io/xenbus.h: the states both ends of a device go through.

#![forbid(unsafe_code)]

/// `XenbusState`: what a device's end writes to its `state` node. An open set: a peer may write
/// any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XenbusState(pub u32);

impl XenbusState {
    /// No state known: what a missing node means.
    pub const UNKNOWN: Self = Self(0);
    /// Created by the toolstack.
    pub const INITIALISING: Self = Self(1);
    /// The backend has started and waits for the frontend's keys.
    pub const INIT_WAIT: Self = Self(2);
    /// Keys are published; waiting for the peer to connect.
    pub const INITIALISED: Self = Self(3);
    /// Works.
    pub const CONNECTED: Self = Self(4);
    /// Is being closed, after an error or because the device is unplugged.
    pub const CLOSING: Self = Self(5);
    /// Closed.
    pub const CLOSED: Self = Self(6);
    /// Is being reconfigured (PCI).
    pub const RECONFIGURING: Self = Self(7);
    /// Was reconfigured (PCI).
    pub const RECONFIGURED: Self = Self(8);
}

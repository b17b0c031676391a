//! xen/sched.h

/// `SCHEDOP_block`: no argument.
pub const SCHEDOP_BLOCK: u64 = 1;
/// `SCHEDOP_shutdown`, with [`Shutdown`].
pub const SCHEDOP_SHUTDOWN: u64 = 2;
/// `SCHEDOP_poll`, with [`Poll`].
pub const SCHEDOP_POLL: u64 = 3;

/// Why a domain shuts down (`SHUTDOWN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ShutdownReason {
    /// Done: `on_poweroff` applies.
    Poweroff = 0,
    /// Start again: `on_reboot` applies.
    Reboot = 1,
    /// Save me.
    Suspend = 2,
    /// Something is broken: `on_crash` applies.
    Crash = 3,
}

/// `sched_shutdown_t`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Shutdown {
    /// [`ShutdownReason`]
    pub reason: u32,
}

/// `sched_poll_t`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Poll {
    /// Address of an array of ports (`evtchn_port_t`).
    pub ports: u64,
    /// How many, at most [`POLL_PORTS_MAX`].
    pub nr_ports: u32,
    /// System time in nanoseconds at which to stop waiting; 0: never.
    pub timeout: u64,
}

/// More ports in one [`Poll`] are refused with EINVAL.
pub const POLL_PORTS_MAX: usize = 128;

const _: () = {
    assert!(size_of::<Shutdown>() == 4);
    assert!(size_of::<Poll>() == 24);
    assert!(core::mem::offset_of!(Poll, timeout) == 16);
};

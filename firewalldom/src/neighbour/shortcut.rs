//! What the shortest way reads of a neighbour.

use crate::policy::InterfaceId;
use crate::time::Instant;

/// What an established packet needs of a neighbour, 32 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortcut {
    /// Destination and source of the Ethernet header.
    pub(crate) stations: [u8; 12],
    /// The address that packets must have to be sent here, as it is in memory.
    pub(super) address: u32,
    /// The bits of it that count: none of a gateway's.
    pub(super) mask: u32,
    /// Until when the neighbour is trusted without asking; 0: it is not.
    pub(super) until: Instant,
    /// Bytes of the longest frame that may leave by the interface.
    pub(crate) frame_max: u16,
    pub(crate) interface: InterfaceId,
}

const _: () = assert!(size_of::<Shortcut>() == 32);

impl Shortcut {
    /// Whether packets for `address`, as it is in memory, go this way.
    #[inline(always)]
    pub(crate) const fn leads_to(&self, address: u32) -> bool {
        (self.address ^ address) & self.mask == 0
    }

    /// Whether the neighbour need not be asked now.
    #[inline(always)]
    pub(crate) const fn is_fresh(&self, now: Instant) -> bool {
        now.0 < self.until.0
    }
}

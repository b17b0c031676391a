//! What the registers and descriptors of Intel's gigabit cards hold.

/// Bytes of registers that are used.
pub(super) const REGISTERS: usize = 0x2_0000;

pub(super) mod register {
    pub(crate) const CTRL: usize = 0x0000;
    pub(crate) const STATUS: usize = 0x0008;
    pub(crate) const CTRL_EXT: usize = 0x0018;
    pub(crate) const ICR: usize = 0x00c0;
    pub(crate) const ITR: usize = 0x00c4;
    pub(crate) const IMS: usize = 0x00d0;
    pub(crate) const IMC: usize = 0x00d8;
    /// Of a card with a table: causes that are forgotten when their message goes; who has which message.
    pub(crate) const EIAC: usize = 0x00dc;
    pub(crate) const IVAR: usize = 0x00e4;
    pub(crate) const RCTL: usize = 0x0100;
    pub(crate) const TCTL: usize = 0x0400;
    pub(crate) const TIPG: usize = 0x0410;
    /// Address (two), length in bytes, head and tail.
    pub(crate) const RECEIVE_RING: usize = 0x2800;
    pub(crate) const RDTR: usize = 0x2820;
    pub(crate) const RADV: usize = 0x282c;
    pub(crate) const TRANSMIT_RING: usize = 0x3800;
    pub(crate) const TIDV: usize = 0x3820;
    /// Missed frames; reading clears it.
    pub(crate) const MPC: usize = 0x4010;
    pub(crate) const RXCSUM: usize = 0x5000;
    /// The table of groups: 128 words.
    pub(crate) const MTA: usize = 0x5200;
    pub(crate) const RAL: usize = 0x5400;
    pub(crate) const RAH: usize = 0x5404;

    /// In a ring's registers.
    pub(crate) const LOW: usize = 0x00;
    pub(crate) const HIGH: usize = 0x04;
    pub(crate) const LENGTH: usize = 0x08;
    pub(crate) const HEAD: usize = 0x10;
    pub(crate) const TAIL: usize = 0x18;
}

pub(super) mod ctrl {
    /// No more transfers (PCI Express).
    pub(crate) const NO_MASTER: u32 = 1 << 2;
    pub(crate) const LINK_RESET: u32 = 1 << 3;
    pub(crate) const AUTO_SPEED: u32 = 1 << 5;
    pub(crate) const SET_LINK_UP: u32 = 1 << 6;
    pub(crate) const INVERT_LOSS: u32 = 1 << 7;
    pub(crate) const RESET: u32 = 1 << 26;
    pub(crate) const VLAN_MODE: u32 = 1 << 30;
    pub(crate) const PHY_RESET: u32 = 1 << 31;
}

pub(super) mod status {
    pub(crate) const LINK_UP: u32 = 1 << 1;
    /// Transfers may be under way (PCI Express).
    pub(crate) const MASTER: u32 = 1 << 19;
}

pub(super) mod cause {
    pub(crate) const LINK: u32 = 1 << 2;
    pub(crate) const RECEIVE_LOW: u32 = 1 << 4;
    pub(crate) const RECEIVE_OVERRUN: u32 = 1 << 6;
    pub(crate) const RECEIVED: u32 = 1 << 7;
    pub(crate) const WANTED: u32 = LINK | RECEIVE_LOW | RECEIVE_OVERRUN | RECEIVED;
    /// With a table: the first queue received; anything else.
    pub(crate) const QUEUE_RECEIVED: u32 = 1 << 20;
    pub(crate) const OTHER: u32 = 1 << 24;
    pub(crate) const TABLE: u32 = QUEUE_RECEIVED | OTHER;
}

/// All have the table's first message: receiving, sending, the rest.
pub(super) const IVAR_FIRST: u32 = 1 << 3 | 1 << 11 | 1 << 19;
/// Messages that wait are shown in the table's own bits.
pub(super) const CTRL_EXT_PENDING: u32 = 1 << 31;

pub(super) mod rctl {
    pub(crate) const ENABLE: u32 = 1 << 1;
    pub(crate) const ALL_STATIONS: u32 = 1 << 3;
    pub(crate) const ALL_GROUPS: u32 = 1 << 4;
    pub(crate) const LONG: u32 = 1 << 5;
    pub(crate) const BROADCAST: u32 = 1 << 15;
    /// Buffers of 4,096 bytes.
    pub(crate) const BUFFER_4096: u32 = 3 << 16 | 1 << 25;
    pub(crate) const STRIP_CRC: u32 = 1 << 26;
}

pub(super) mod tctl {
    pub(crate) const ENABLE: u32 = 1 << 1;
    pub(crate) const PAD_SHORT: u32 = 1 << 3;
    /// Collisions: tried 15 times, distance of a full-duplex link.
    pub(crate) const COLLISIONS: u32 = 15 << 4 | 64 << 12;
}

/// The gaps between frames that the manual recommends for copper.
pub(super) const TIPG_COPPER: u32 = 8 | 8 << 10 | 6 << 20;
/// Checks the checksums of IPv4, TCP and UDP.
pub(super) const RXCSUM_ON: u32 = 1 << 8 | 1 << 9;
/// Between interrupts, in units of 256 ns: at most some 20,000 a second.
pub(super) const ITR_INTERVAL: u32 = 200;

/// Word 3 of a receive descriptor.
pub(super) mod received {
    pub(crate) const DONE: u32 = 1 << 0;
    pub(crate) const LAST: u32 = 1 << 1;
    pub(crate) const IGNORE_CHECKSUM: u32 = 1 << 2;
    pub(crate) const TRANSPORT_CHECKED: u32 = 1 << 5;
    /// Of a damaged frame: CRC, symbol, sequence, carrier, data.
    pub(crate) const DAMAGED: u32 = 0x97 << 8;
    pub(crate) const TRANSPORT_WRONG: u32 = 1 << 13;
}

/// Word 2 of a transmit descriptor.
pub(super) mod command {
    pub(crate) const DATA: u32 = 1 << 20;
    pub(crate) const LAST: u32 = 1 << 24;
    /// Of a context, and of the data behind it: to be cut into segments.
    pub(crate) const SEGMENT: u32 = 1 << 26;
    pub(crate) const ADD_CRC: u32 = 1 << 25;
    pub(crate) const REPORT: u32 = 1 << 27;
    pub(crate) const EXTENDED: u32 = 1 << 29;
    /// Of a context: the transport is TCP, the network IPv4.
    pub(crate) const CONTEXT_TCP: u32 = 1 << 24;
    pub(crate) const CONTEXT_IPV4: u32 = 1 << 25;
}

/// Word 3 of a transmit descriptor: the card is done with it.
pub(super) const SENT: u32 = 1 << 0;
/// And its options: put the network's checksum in, and the transport's.
pub(super) const FILL_NETWORK: u32 = 1 << 8;
pub(super) const FILL_TRANSPORT: u32 = 2 << 8;

/// What a card that is gone reads as.
pub(super) const GONE: u32 = u32::MAX;

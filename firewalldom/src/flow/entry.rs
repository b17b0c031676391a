//! One flow in 84 bytes: both directions, the connection, where to send its packets next.

use crate::packet::{Tuple, UDP};
use crate::tcp::{self, Connection};
use crate::time::{Deadline, Tick};

/// Addresses and ports of packets in one direction, as they arrive, byte for byte: source and
/// destination of each.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub(crate) struct Ends {
    addresses: [u8; 8],
    ports: [u8; 4],
}

impl PartialEq for Ends {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        // Two words, and one jump for both.
        (self.addresses() ^ other.addresses()) | u64::from(self.ports() ^ other.ports()) == 0
    }
}

impl Ends {
    /// As they stand in an IPv4 header and behind it.
    #[inline(always)]
    pub(crate) const fn new(addresses: [u8; 8], ports: [u8; 4]) -> Self {
        Self { addresses, ports }
    }

    pub(crate) fn of(tuple: Tuple) -> Self {
        let pair = |source: u32, destination: u32| u64::from(source) << 32 | u64::from(destination);
        let ports = u32::from(tuple.source_port) << 16 | u32::from(tuple.destination_port);
        Self {
            addresses: pair(tuple.source, tuple.destination).to_be_bytes(),
            ports: ports.to_be_bytes(),
        }
    }

    pub(crate) const fn tuple(self, protocol: u8) -> Tuple {
        let addresses = u64::from_be_bytes(self.addresses);
        let ports = u32::from_be_bytes(self.ports);
        Tuple {
            source: (addresses >> 32) as u32,
            destination: addresses as u32,
            source_port: (ports >> 16) as u16,
            destination_port: ports as u16,
            protocol,
        }
    }

    /// Both addresses as one word, for sums and comparisons: as they are in memory.
    #[inline(always)]
    pub(crate) const fn addresses(self) -> u64 {
        u64::from_ne_bytes(self.addresses)
    }

    /// Both ports as one word, as they are in memory.
    #[inline(always)]
    pub(crate) const fn ports(self) -> u32 {
        u32::from_ne_bytes(self.ports)
    }

    /// The source's address, as it is in memory.
    #[inline(always)]
    pub(crate) const fn source(self) -> u32 {
        let [a, b, c, d, ..] = self.addresses;
        u32::from_ne_bytes([a, b, c, d])
    }

    /// Those of an answer, but to ICMP.
    #[inline(always)]
    pub(crate) const fn reversed(self) -> Self {
        Self {
            addresses: self.addresses().rotate_left(32).to_ne_bytes(),
            ports: self.ports().rotate_left(16).to_ne_bytes(),
        }
    }

    /// What a keyed hash takes.
    #[inline(always)]
    pub(super) const fn words(self, protocol: u8) -> [u32; 4] {
        let addresses = self.addresses();
        [
            addresses as u32,
            (addresses >> 32) as u32,
            self.ports(),
            protocol as u32,
        ]
    }
}

/// The next hop of one direction, kept so that an established packet needs no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop(u16);

impl Hop {
    /// Not looked up yet, or the firewall itself.
    pub(crate) const UNKNOWN: Self = Self(u16::MAX);

    pub(crate) const fn via(neighbour: crate::neighbour::Handle) -> Self {
        Self(neighbour.number())
    }

    /// Number of the neighbour's entry, which may be another's by now; past the last one if unknown.
    #[inline(always)]
    pub(crate) const fn number(self) -> usize {
        self.0 as usize
    }
}

/// A flow that is in the table.
pub(super) const LIVE: u8 = 1;
/// Packets came back.
pub(super) const REPLIED: u8 = 2;
/// They came back for long enough: such a flow is never evicted.
pub(super) const ASSURED: u8 = 4;

/// The origin that let a flow in, as the flow remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed(u32);

impl Passed {
    /// No flow.
    pub(crate) const NONE: Self = Self(0);

    /// Index of the origin.
    pub(crate) const fn origin(self) -> Option<u32> {
        match self {
            Self::NONE => None,
            Self(decided) => Some(decided >> Flow::ORIGIN_SHIFT),
        }
    }
}

/// A state that flows may be in at some time, as they remember it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(u32);

impl Moment {
    #[inline(always)]
    pub(super) const fn new(now: Tick, state: tcp::State) -> Self {
        Self(Deadline::at(now).word() | state as u32)
    }
}

/// What is added to a [`Moment`]: a time-out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime(u32);

impl Lifetime {
    pub(super) const fn of(ticks: u32) -> Self {
        Self(Deadline::at(Tick(ticks)).word())
    }
}

/// One flow. What a datagram asks for comes first, so that it is often in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Flow {
    /// As packets of the original and of the reply direction arrive: one array for each field of
    /// [`Ends`], so that a direction is an index that the processor scales.
    addresses: [[u8; 8]; 2],
    ports: [[u8; 4]; 2],
    pub(super) hops: [Hop; 2],
    /// A deadline, and TCP's state in the bits that it leaves free.
    expires: u32,
    /// 21 bits of origin, 3 of status, 8 of protocol.
    decided: u32,
    pub(super) tcp: Connection,
}

const _: () = assert!(size_of::<Flow>() == 84);

/// Largest number of an origin that a flow can remember.
pub(super) const ORIGIN_MAX: u32 = (1 << 21) - 1;

impl Flow {
    const ORIGIN_SHIFT: u32 = 11;
    const STATE: u32 = (1 << Deadline::FREE_BITS) - 1;

    pub(super) const FREE: Self = Self {
        addresses: [[0; 8]; 2],
        ports: [[0; 4]; 2],
        tcp: Connection::NONE,
        hops: [Hop::UNKNOWN; 2],
        expires: 0,
        decided: 0,
    };

    pub(super) fn new([original, reply]: [Ends; 2], protocol: u8, decided: u32) -> Self {
        Self {
            addresses: [original.addresses, reply.addresses],
            ports: [original.ports, reply.ports],
            decided: decided.min(ORIGIN_MAX) << Self::ORIGIN_SHIFT
                | u32::from(LIVE) << 8
                | u32::from(protocol),
            ..Self::FREE
        }
    }

    /// As packets of a direction arrive; 1 is that of replies.
    #[inline(always)]
    pub(super) const fn ends(&self, side: usize) -> Ends {
        Ends::new(self.addresses[side & 1], self.ports[side & 1])
    }

    #[inline(always)]
    pub(super) const fn protocol(&self) -> u8 {
        self.decided as u8
    }

    #[inline(always)]
    pub(super) const fn is(&self, status: u8) -> bool {
        self.decided >> 8 & status as u32 != 0
    }

    /// Whether it is one of UDP that has seen both directions.
    #[inline(always)]
    pub(super) const fn is_answered_udp(&self) -> bool {
        const ANSWERED: u32 = (REPLIED as u32) << 8;
        self.decided & (ANSWERED | u8::MAX as u32) == ANSWERED | UDP as u32
    }

    #[inline(always)]
    pub(super) fn mark(&mut self, status: u8) {
        self.decided |= u32::from(status) << 8;
    }

    /// Index of the origin that let it in.
    pub(super) const fn decided(&self) -> u32 {
        self.decided >> Self::ORIGIN_SHIFT
    }

    /// The same, without taking it apart; never [`Passed::NONE`].
    #[inline(always)]
    pub(super) const fn passed(&self) -> Passed {
        Passed(self.decided)
    }

    pub(super) const fn deadline(&self) -> Deadline {
        Deadline::of_word(self.expires)
    }

    pub(super) const fn state(&self) -> tcp::State {
        tcp::State::from_number((self.expires & Self::STATE) as u8)
    }

    pub(super) fn expire_at(&mut self, deadline: Deadline) {
        self.expires = deadline.word() | self.expires & Self::STATE;
    }

    pub(super) fn set_state(&mut self, state: tcp::State) {
        self.expires = self.deadline().word() | state as u32;
    }

    /// Whether it is in the state of a moment, and not over by then.
    #[inline(always)]
    pub(super) const fn lives_at(&self, moment: Moment) -> bool {
        // In another state, what is left of that is above all ticks.
        let left = self.expires.wrapping_sub(moment.0);
        left.rotate_right(Deadline::FREE_BITS).wrapping_sub(1) < Deadline::MAX_TICKS
    }

    /// From that moment on it lives for so long, in the same state.
    #[inline(always)]
    pub(super) const fn live_on(&mut self, moment: Moment, lifetime: Lifetime) {
        self.expires = moment.0.wrapping_add(lifetime.0);
    }

    /// UDP, which has no connection: from when on an answer makes it a stream.
    pub(super) const fn stream_from(&self) -> Tick {
        Tick(self.tcp.spare())
    }

    pub(super) fn set_stream_from(&mut self, tick: Tick) {
        self.tcp.set_spare(tick.0);
    }

    /// Of a free flow: the number of the next free one.
    pub(super) const fn next_free(&self) -> u32 {
        self.tcp.spare()
    }

    pub(super) fn set_next_free(&mut self, number: u32) {
        self.tcp.set_spare(number);
    }

    pub(super) fn progress(&self) -> tcp::Progress {
        if !self.is(REPLIED) {
            tcp::Progress::Unanswered
        } else if !self.is(ASSURED) {
            tcp::Progress::Answered
        } else {
            tcp::Progress::Assured
        }
    }
}

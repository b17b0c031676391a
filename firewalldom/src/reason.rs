//! Why a frame went no further: one name for each check, counted apart.

use core::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a frame was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// A short name for tables and statistics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// Shorter than an Ethernet header, or longer than its own buffer says.
    Truncated = "truncated frame",
    /// The Ethernet destination is another station.
    OtherHost = "not for this station",
    /// Neither IPv4 nor ARP nor IPv6.
    NotIp = "not IP",
    /// IPv6, which this version does not route.
    Ipv6 = "IPv6",
    /// An ARP packet that is not Ethernet and IPv4, or asks for the impossible.
    BadArp = "bad ARP",
    /// IPv4 version, header length or total length is wrong.
    BadHeader = "bad IPv4 header",
    /// The IPv4 header's checksum is wrong.
    BadHeaderChecksum = "bad IPv4 checksum",
    /// Malformed IPv4 options.
    BadOption = "bad IPv4 option",
    /// Loose or strict source routing.
    SourceRoute = "source route",
    /// An option that would have to be filled in on the way (record route, timestamp).
    RecordOption = "record route or timestamp",
    /// A source or destination that cannot be on any wire.
    Martian = "martian address",
    /// Claims to come from one of the firewall's own addresses.
    OwnSource = "own source address",
    /// Source and destination are the same address.
    Land = "land",
    /// A fragment that is empty, ends elsewhere than another of its packet, or is one too many.
    Fragment = "bad fragment",
    /// A fragment that overlaps another of its packet.
    FragmentOverlap = "overlapping fragment",
    /// A fragment that says nothing new.
    FragmentDuplicate = "duplicate fragment",
    /// A fragment that ends beyond the longest packet.
    FragmentTooLong = "fragments too long",
    /// A fragment whose others did not come within 30 seconds.
    FragmentTimeout = "fragments incomplete",
    /// A fragment that made room for those of another packet.
    FragmentsFull = "too many fragments",
    /// The TCP, UDP or ICMP header is cut short or contradicts the packet's length.
    BadTransport = "bad transport header",
    /// The checksum of the payload is wrong and the packet is for the firewall.
    BadChecksum = "bad checksum",
    /// Offload flags that fit no TCP or UDP packet.
    BadOffload = "bad offload",
    /// The payload could not be read from the sender's pages.
    Unreadable = "unreadable payload",
    /// No route leads back to the source by the interface it came in by (`routefilter`, `rpfilter`).
    ReversePath = "reverse path",
    /// Broadcast or multicast as a source (`nosmurfs`).
    Smurf = "smurf",
    /// Impossible TCP flags (`tcpflags`).
    TcpFlags = "TCP flags",
    /// Would leave where it came in, without `routeback`.
    Hairpin = "no routeback",
    /// A link-layer broadcast or multicast, or a directed broadcast, is not forwarded.
    Broadcast = "broadcast not forwarded",
    /// Multicast is not routed.
    Multicast = "multicast not routed",
    /// IP_FORWARDING is off.
    ForwardingOff = "forwarding off",
    /// Time to live ran out.
    TimeExceeded = "time to live exceeded",
    /// No route to the destination.
    NoRoute = "no route",
    /// Larger than the next link takes.
    TooBig = "larger than the MTU",
    /// A rule or policy dropped it.
    Dropped = "DROP",
    /// A rule or policy rejected it.
    Rejected = "REJECT",
    /// RELATED_DISPOSITION, INVALID_DISPOSITION or UNTRACKED_DISPOSITION dropped it.
    StateDisposition = "state disposition",
    /// The flow table is full of assured flows.
    TableFull = "flow table full",
    /// No free port is left for NAT.
    PortsExhausted = "NAT ports exhausted",
    /// The next hop did not answer ARP.
    Unresolved = "next hop unresolved",
    /// Too many frames wait for ARP already.
    ParkingFull = "too many frames wait for ARP",
    /// The queue of frames made by the engine is full.
    OutputFull = "output queue full",
    /// For the firewall, but not a protocol it speaks.
    NotSpoken = "protocol not spoken",
    /// A guest claims an address, of Ethernet or IPv4, that the toolstack did not give it.
    GuestSource = "not the guest's own address",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each reason struck.
#[derive(Clone, Debug)]
pub struct Drops([u64; Reason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; Reason::ALL.len()])
    }
}

impl Drops {
    pub(crate) fn count(&mut self, reason: Reason) {
        self.0[reason as usize] += 1;
    }

    pub(crate) fn add(&mut self, reason: Reason, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// Frames dropped for `reason`.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason that struck, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL
            .iter()
            .map(|&reason| (reason, self.of(reason)))
            .filter(|&(_, count)| count > 0)
    }

    /// Frames dropped for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

//! The maximum segment size that a SYN announces (RFC 9293, 3.7.1), lowered to what the way takes:
//! CLAMPMSS of shorewall.conf, and `mss=` of an interface.

use crate::checksum::{Difference, Sum, get16, put16};
use crate::firewall::Firewall;
use crate::frame::{Checksum, ETHERNET, Frame};
use crate::packet::flags::{RST, SYN};
use crate::packet::{Packet, TCP};
use crate::path::Way;
use crate::policy::{ClampMss, Host, InterfaceId, Policy};
use crate::ranges::prefix_bounds;
use crate::route::Route;
use alloc::boxed::Box;

const TCP_HEADER: usize = 20;
/// Longest TCP header, in bytes.
const TCP_HEADER_MAX: usize = 60;
const OPTION_NONE: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_LEN: usize = 4;
/// Bytes of IPv4 and TCP before a segment's data.
const OVERHEAD: u16 = 40;
/// What a sender must assume who got no option (RFC 9293, 3.7.1).
const DEFAULT_MSS: u16 = 536;

/// What becomes of a SYN that announces no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It gets an option: four bytes more.
    Add,
    Leave,
}

/// `mss=` of some of the hosts behind an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostLimit {
    interface: InterfaceId,
    /// First and last.
    addresses: (u32, u32),
    mss: u16,
}

impl HostLimit {
    /// Those of a policy.
    pub(crate) fn all(policy: &Policy) -> Box<[Self]> {
        let limited = |host: &Host| {
            Some(Self {
                interface: host.interface,
                addresses: prefix_bounds(host.prefix.address.to_bits(), host.prefix.length),
                mss: host.mss?,
            })
        };
        policy.hosts.iter().filter_map(limited).collect()
    }

    fn holds(&self, interface: InterfaceId, address: u32) -> bool {
        let (first, last) = self.addresses;
        self.interface == interface && (first..=last).contains(&address)
    }
}

impl Firewall {
    /// Lowers the segment size of a forwarded SYN to what the site wants, ahead of the rules: an
    /// interface's `mss=` takes the place of CLAMPMSS.
    pub(crate) fn clamp_mss(&self, frame: &mut Frame<'_>, packet: &mut Packet, way: &Way) {
        let (Some(from), Some(egress), true) = (way.from, way.egress, announces(packet)) else {
            return;
        };
        let site = &self.site;
        let mtu = |route: Route, address: u32, otherwise: InterfaceId| match route {
            Route::Via { egress, gateway } => {
                let next = if gateway == 0 { address } else { gateway };
                self.mtu(egress, next)
            }
            _ => site.ports[usize::from(otherwise.0)].mtu,
        };
        let of = |interface: InterfaceId| site.policy.interfaces[usize::from(interface.0)].mss;
        // In the order of the file `interfaces`.
        let limits = [of(from.min(egress)), of(from.max(egress))];
        match (site.policy.settings.clamp_mss, limits) {
            (None, limits) => {
                for limit in limits.into_iter().flatten() {
                    clamp(frame, packet, limit, Absent::Leave);
                }
            }
            (Some(_), [Some(limit), _] | [None, Some(limit)]) => {
                clamp(frame, packet, limit, Absent::Leave);
            }
            (Some(ClampMss::At(limit)), [None, None]) => {
                clamp(frame, packet, limit, Absent::Leave);
            }
            (Some(ClampMss::PathMtu), [None, None]) => {
                // Answers go where the routes say, whatever link this came by.
                let source = packet.tuple.source;
                let back = mtu(site.routes.get(source), source, from);
                let there = mtu(way.route, way.leaving.destination, egress);
                let limit = there.min(back).saturating_sub(OVERHEAD);
                clamp(frame, packet, limit, Absent::Add);
            }
        }
    }

    /// The same for `mss=` of hosts, which comes on top: in the chains of pairs of zones, so behind the
    /// checks of the interfaces' options, and not for hosts of no zone.
    #[inline(always)]
    pub(crate) fn clamp_mss_of_hosts(&self, frame: &mut Frame<'_>, packet: &Packet, way: &Way) {
        if !self.site.host_limits.is_empty() && announces(packet) {
            self.clamp_mss_of_some(frame, packet, way);
        }
    }

    fn clamp_mss_of_some(&self, frame: &mut Frame<'_>, packet: &Packet, way: &Way) {
        let (Some(from), Some(egress)) = (way.from, way.egress) else {
            return;
        };
        let known = self.site.policy.zones.len();
        let zones = self.zones(packet, way);
        if zones.iter().any(|zone| usize::from(zone.0) >= known) {
            return;
        }
        let mut packet = *packet;
        for host in &self.site.host_limits {
            if host.holds(from, packet.tuple.source) || host.holds(egress, way.leaving.destination)
            {
                clamp(frame, &mut packet, host.mss, Absent::Leave);
            }
        }
    }
}

/// Whether a segment may announce the size of those to come.
const fn announces(packet: &Packet) -> bool {
    packet.tuple.protocol == TCP && packet.tcp_flags & (SYN | RST) == SYN
}

/// Makes a SYN announce `limit` bytes at most; never more than it does.
pub(crate) fn clamp(frame: &mut Frame<'_>, packet: &mut Packet, limit: u16, absent: Absent) {
    let start = packet.transport;
    let head = frame.head.bytes();
    let header = usize::from(head[start + 12] >> 4) * 4;
    let options = start + TCP_HEADER..start + header;
    let end = ETHERNET + usize::from(packet.total);
    let before = sum(head, start, end);
    match find(&head[options.clone()]) {
        Some(at) => {
            let at = options.start + at;
            if get16(head, at) <= limit {
                return;
            }
            put16(frame.head.bytes_mut(), at, limit);
        }
        // With data it might no longer fit its way.
        None if absent == Absent::Add
            && start + header == end
            && head.len() == end
            && header + OPTION_LEN <= TCP_HEADER_MAX =>
        {
            let mss = limit.min(DEFAULT_MSS).to_be_bytes();
            let option = [OPTION_MSS, OPTION_LEN as u8, mss[0], mss[1]];
            if !frame.insert(options.start, option) {
                return;
            }
            packet.total += OPTION_LEN as u16;
            let head = frame.head.bytes_mut();
            head[start + 12] += 1 << 4;
            let (old, new) = (packet.total - OPTION_LEN as u16, packet.total);
            put16(head, ETHERNET + 2, new);
            let header_sum = get16(head, ETHERNET + 10);
            let header_sum = Difference::default().word(old, new).apply(header_sum);
            put16(head, ETHERNET + 10, header_sum);
        }
        None => return,
    }
    let end = ETHERNET + usize::from(packet.total);
    let head = frame.head.bytes_mut();
    let after = sum(head, start, end);
    let field = get16(head, start + 16);
    let field = match frame.checksum {
        Checksum::Blank => {
            // It covers the segment's length, and nothing else that changed.
            let length = |end: usize| (end - start) as u16;
            let old_end = if after.1 == before.1 {
                end
            } else {
                end - OPTION_LEN
            };
            let grown = Difference::default().word(length(old_end), length(end));
            grown.apply_to_sum(field)
        }
        _ => Difference::default()
            .word(before.0, after.0)
            .word(before.1, after.1)
            .apply(field),
    };
    put16(head, start + 16, field);
}

/// Sum of the segment's bytes in the head, its checksum left out; and its length.
fn sum(head: &[u8], start: usize, end: usize) -> (u16, u16) {
    let in_head = &head[start..end.min(head.len())];
    let sum = Sum::default().bytes(&in_head[..16]).bytes(&in_head[18..]);
    (sum.fold(), (end - start) as u16)
}

/// Offset of the value of the first option that gives a segment size. One without length is skipped
/// as a single byte.
fn find(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at + OPTION_LEN <= options.len() {
        let [kind, length] = [options[at], options[at + 1]];
        if [kind, length] == [OPTION_MSS, OPTION_LEN as u8] {
            return Some(at + 2);
        }
        at += match length {
            _ if kind <= OPTION_NONE => 1,
            0 => 1,
            length => usize::from(length),
        };
    }
    None
}

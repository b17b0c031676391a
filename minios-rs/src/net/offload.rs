//! What is left to do in a frame, for whoever sends it to a card or a domain that does not: where its transport
//! checksum is, filling it in, and the headers of segments.

#![forbid(unsafe_code)]

use super::{Checksum, Gso, GsoKind, Offload, Slice};
use crate::xen::SharedPage;

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const PROVIDER_VLAN: u16 = 0x88a8;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// VLAN tags that are looked behind.
const TAGS_MAX: usize = 2;

/// Where things are, in bytes from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The IP header.
    pub network: u16,
    /// The TCP or UDP header: the sum begins here.
    pub start: u16,
    /// The checksum's field.
    pub checksum: u16,
    /// Where TCP's payload begins; 0 for UDP.
    pub payload: u16,
    /// It is IPv4, and not IPv6.
    pub is_ipv4: bool,
}

fn word(head: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?]))
}

/// What a frame carries, and where that begins.
fn network(head: &[u8]) -> Option<(u16, usize)> {
    let mut at = 12;
    for _ in 0..TAGS_MAX {
        if !matches!(word(head, at)?, VLAN | PROVIDER_VLAN) {
            break;
        }
        at += 4;
    }
    Some((word(head, at)?, at + 2))
}

/// Whether a frame carries IPv6.
pub fn is_ipv6(head: &[u8]) -> bool {
    network(head).is_some_and(|(kind, _)| kind == IPV6)
}

/// Finds the transport header, if the frame has one that a card can fill in: TCP or UDP over IPv4 or
/// IPv6, no fragment, no extension headers, all of it in `head`.
pub fn transport(head: &[u8]) -> Option<Transport> {
    let word = |at: usize| word(head, at);
    let (kind, network) = network(head)?;
    let (start, protocol, is_ipv4) = match kind {
        IPV4 => {
            let first = *head.get(network)?;
            let length = usize::from(first & 0xf) * 4;
            if first >> 4 != 4 || length < 20 || word(network + 6)? & 0x3fff != 0 {
                return None;
            }
            (network + length, *head.get(network + 9)?, true)
        }
        IPV6 => (network + 40, *head.get(network + 6)?, false),
        _ => return None,
    };
    let (checksum, payload) = match protocol {
        TCP => {
            let length = usize::from(*head.get(start + 12)? >> 4) * 4;
            if length < 20 {
                return None;
            }
            (start + 16, start + length)
        }
        UDP => (start + 6, 0),
        _ => return None,
    };
    if checksum + 2 > head.len() {
        return None;
    }
    Some(Transport {
        network: network as u16,
        start: start as u16,
        checksum: checksum as u16,
        payload: payload as u16,
        is_ipv4,
    })
}

/// Where the packet ends that a transport header was found in, by its own word.
pub(super) fn end(head: &[u8], found: &Transport) -> usize {
    let network = usize::from(found.network);
    let place = network + if found.is_ipv4 { 2 } else { 4 };
    let said = usize::from(u16::from_be_bytes([head[place], head[place + 1]]));
    network + said + if found.is_ipv4 { 0 } else { 40 }
}

/// Whether what a frame of `len` bytes is said to leave to others can be true of it: whoever gets it believes
/// whom it has it from.
pub fn holds(head: &[u8], len: usize, offload: Offload) -> bool {
    if offload.checksum != Checksum::Blank {
        return offload.gso.is_none();
    }
    let Some(found) = transport(head) else {
        return false;
    };
    let (end, headers) = (end(head, &found), usize::from(found.payload));
    // A UDP header has its checksum last, TCP's has its length said.
    let least = headers.max(usize::from(found.checksum) + 2);
    let is_whole = least <= end && end <= len;
    is_whole
        && offload.gso.is_none_or(|gso| {
            let is_of_kind = (gso.kind == GsoKind::TcpV4) == found.is_ipv4;
            is_of_kind && gso.size > 0 && headers != 0 && headers <= head.len() && headers < end
        })
}

/// Whether the segments of a frame are no longer than a packet may be: `mtu` bytes.
pub fn segments_fit(head: &[u8], gso: Gso, mtu: u16) -> bool {
    transport(head).is_some_and(|found| {
        let headers = usize::from(found.payload).checked_sub(found.network.into());
        headers.is_some_and(|headers| headers + usize::from(gso.size) <= usize::from(mtu))
    })
}

/// The Internet's checksum (RFC 1071) of bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Sum {
    total: u64,
    /// The next byte is the second of its pair.
    is_odd: bool,
}

impl Sum {
    /// The next of them.
    pub fn add(&mut self, mut bytes: &[u8]) {
        if self.is_odd
            && let Some((&first, rest)) = bytes.split_first()
        {
            self.total += u64::from(first);
            self.is_odd = false;
            bytes = rest;
        }
        let mut pairs = bytes.chunks_exact(2);
        for pair in &mut pairs {
            self.total += u64::from(pair[0]) << 8 | u64::from(pair[1]);
        }
        if let [last] = pairs.remainder() {
            self.total += u64::from(*last) << 8;
            self.is_odd = true;
        }
    }

    /// The checksum: the complement of their sum.
    pub fn finish(self) -> u16 {
        let mut sum = self.total;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// Which segment of a frame one is: how much payload lies before it, how many segments do, and whether it is the
/// last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) offset: usize,
    pub(super) number: usize,
    pub(super) is_last: bool,
}

/// TCP's flags that only a frame's last segment has, FIN and PSH, and the one that only the first has, CWR.
const LAST_ONLY: u8 = 0x09;
const FIRST_ONLY: u8 = 0x80;

/// Makes the headers of a TCP frame, followed by a part of its payload, those of a segment with a blank checksum.
pub(super) fn make_segment(bytes: &mut [u8], found: &Transport, place: Place) {
    let (network, tcp) = (usize::from(found.network), usize::from(found.start));
    let len = bytes.len() - network;
    if found.is_ipv4 {
        put(bytes, network + 2, len as u16);
        let ident = word(bytes, network + 4).unwrap_or(0);
        put(bytes, network + 4, ident.wrapping_add(place.number as u16));
        put(bytes, network + 10, 0);
        let mut sum = Sum::default();
        sum.add(&bytes[network..tcp]);
        put(bytes, network + 10, sum.finish());
    } else {
        put(bytes, network + 4, (len - 40) as u16);
    }
    let sequence = &mut bytes[tcp + 4..tcp + 8];
    let first = u32::from_be_bytes([sequence[0], sequence[1], sequence[2], sequence[3]]);
    sequence.copy_from_slice(&first.wrapping_add(place.offset as u32).to_be_bytes());
    if !place.is_last {
        bytes[tcp + 13] &= !LAST_ONLY;
    }
    if place.number > 0 {
        bytes[tcp + 13] &= !FIRST_ONLY;
    }
    let sum = pseudo_header(bytes, found, (bytes.len() - tcp) as u16);
    put(bytes, found.checksum.into(), sum);
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The sum of a TCP packet's pseudo-header, as it stands in the place of a blank checksum.
pub fn pseudo_header(head: &[u8], found: &Transport, len: u16) -> u16 {
    let network = usize::from(found.network);
    let addresses = match found.is_ipv4 {
        true => network + 12..network + 20,
        false => network + 8..network + 40,
    };
    let mut sum = Sum::default();
    sum.add(&head[addresses]);
    sum.add(&[0, TCP]);
    sum.add(&len.to_be_bytes());
    !sum.finish()
}

/// Fills a blank checksum in that stands in `head`, over what follows in it and in `tail`. False: there is
/// none, or the packet is longer than the frame; then `head` is as it was.
pub fn fill<P: SharedPage>(head: &mut [u8], tail: &[Slice<P>]) -> bool {
    let Some(found) = transport(head) else {
        return false;
    };
    let end = end(head, &found);
    // What lies behind the packet is padding.
    let start = usize::from(found.start);
    let Some(mut left) = end.checked_sub(start) else {
        return false;
    };
    let mut sum = Sum::default();
    let here = &head[start..head.len().min(end)];
    sum.add(here);
    left -= here.len();
    let mut bytes = [0; 256];
    for slice in tail {
        let Some(page) = slice.buffer.page() else {
            return false;
        };
        let (mut at, mut len) = (usize::from(slice.offset), left.min(slice.len.into()));
        left -= len;
        while len > 0 {
            let part = len.min(bytes.len());
            page.read(at, &mut bytes[..part]);
            sum.add(&bytes[..part]);
            at += part;
            len -= part;
        }
    }
    if left > 0 {
        return false;
    }
    // To UDP, 0 says that there is none.
    let value = match (sum.finish(), found.payload) {
        (0, 0) => 0xffff,
        (value, _) => value,
    };
    let place = usize::from(found.checksum);
    head[place..place + 2].copy_from_slice(&value.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn frame(tags: usize, kind: u16, ip: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0, 0, 7]);
        }
        frame.extend(kind.to_be_bytes());
        frame.extend(ip);
        frame.extend([0x50; 40]);
        frame
    }

    fn ipv4(words: u8, protocol: u8) -> Vec<u8> {
        let mut ip = vec![0; usize::from(words) * 4];
        ip[0] = 0x40 | words;
        ip[9] = protocol;
        ip
    }

    #[test]
    fn tcp_and_udp_are_found_behind_options_and_tags() {
        let found = transport(&frame(0, IPV4, &ipv4(5, TCP))).unwrap();
        let wanted = Transport {
            network: 14,
            start: 34,
            checksum: 50,
            payload: 54,
            is_ipv4: true,
        };
        assert_eq!(found, wanted);
        let found = transport(&frame(1, IPV4, &ipv4(6, UDP))).unwrap();
        assert_eq!((found.start, found.checksum), (42, 48));
        let mut ip = vec![0x60; 40];
        ip[6] = UDP;
        let found = transport(&frame(2, IPV6, &ip)).unwrap();
        assert_eq!((found.network, found.start), (22, 62));
        assert!(!found.is_ipv4);
    }

    /// The sum as RFC 1071 has it, one pair after the other.
    fn reference(bytes: &[u8]) -> u16 {
        let pair =
            |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        let sum = bytes.chunks(2).map(pair).fold(0, |sum, pair| {
            let sum = sum + pair;
            (sum & 0xffff) + (sum >> 16)
        });
        !(sum as u16)
    }

    #[test]
    fn a_sum_in_pieces_is_the_sum_of_the_whole() {
        let bytes: Vec<u8> = (0..=254).collect();
        for cut in 0..bytes.len() {
            let mut sum = Sum::default();
            sum.add(&bytes[..cut]);
            sum.add(&bytes[cut..]);
            assert_eq!(sum.finish(), reference(&bytes));
        }
    }

    #[test]
    fn what_no_card_can_fill_in_is_left() {
        assert_eq!(transport(&frame(0, 0x0806, &ipv4(5, TCP))), None);
        assert_eq!(transport(&frame(0, IPV4, &ipv4(4, TCP))), None);
        assert_eq!(transport(&frame(0, IPV4, &ipv4(5, 1))), None);
        assert_eq!(transport(&frame(3, IPV4, &ipv4(5, TCP))), None);
        for (at, value) in [(6, 0x20), (7, 1)] {
            let mut fragment = ipv4(5, TCP);
            fragment[at] = value;
            assert_eq!(transport(&frame(0, IPV4, &fragment)), None);
        }
        let whole = frame(0, IPV4, &ipv4(5, TCP));
        for length in 0..52 {
            assert_eq!(transport(&whole[..length]), None, "{length}");
        }
        assert!(transport(&whole[..52]).is_some());
    }

    /// TCP over IPv4 or IPv6, with so many bytes of payload: 54 or 74 of headers.
    fn tcp(is_ipv4: bool, payload: usize) -> Vec<u8> {
        let mut frame = match is_ipv4 {
            true => frame(0, IPV4, &ipv4(5, TCP)),
            false => {
                let mut ip = vec![0x60; 40];
                ip[6] = TCP;
                frame(0, IPV6, &ip)
            }
        };
        let (place, start, said) = match is_ipv4 {
            true => (16, 34, 40 + payload),
            false => (18, 54, 20 + payload),
        };
        frame[place..place + 2].copy_from_slice(&(said as u16).to_be_bytes());
        frame.truncate(start + 20);
        frame[start + 12] = 0x50;
        frame
    }

    #[test]
    fn a_segment_has_a_length_a_sequence_number_and_flags_of_its_own() {
        const FLAGS: u8 = 0x80 | 0x10 | 0x08 | 0x01;
        for is_ipv4 in [true, false] {
            let mut head = tcp(is_ipv4, 250);
            let start = head.len() - 20;
            let addresses = match is_ipv4 {
                true => {
                    head[18..20].copy_from_slice(&[0xff, 0xff]);
                    26..34
                }
                false => 22..54,
            };
            for (number, byte) in head[addresses.clone()].iter_mut().enumerate() {
                *byte = number as u8 + 1;
            }
            head[start + 4..start + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0x9c]);
            head[start + 13] = FLAGS;
            let found = transport(&head).expect("it is TCP");
            for (number, len, flags) in [(0, 100, 0x90), (1, 100, 0x10), (2, 50, 0x19)] {
                let mut segment = head.clone();
                segment.resize(head.len() + len, 7);
                let place = Place {
                    number,
                    offset: number * 100,
                    is_last: number == 2,
                };
                make_segment(&mut segment, &found, place);
                let sequence = (100 * number as u32).wrapping_sub(100);
                assert_eq!(segment[start + 4..start + 8], sequence.to_be_bytes());
                assert_eq!(segment[start + 13], flags);
                if is_ipv4 {
                    assert_eq!(segment[16..18], (40 + len as u16).to_be_bytes());
                    let ident = 0xffff_u16.wrapping_add(number as u16);
                    assert_eq!(segment[18..20], ident.to_be_bytes());
                    assert_eq!(reference(&segment[14..34]), 0);
                } else {
                    assert_eq!(segment[18..20], (20 + len as u16).to_be_bytes());
                }
                let mut pseudo = segment[addresses.clone()].to_vec();
                pseudo.extend([0, TCP]);
                pseudo.extend((20 + len as u16).to_be_bytes());
                let blank = !reference(&pseudo);
                assert_eq!(segment[start + 16..start + 18], blank.to_be_bytes());
            }
        }
    }

    #[test]
    fn what_is_said_of_a_frame_has_to_be_possible() {
        let plain = Offload::default();
        let blank = Offload {
            checksum: Checksum::Blank,
            gso: None,
        };
        let cut = |kind, size| Offload {
            gso: Some(Gso { kind, size }),
            ..blank
        };
        let (four, six) = (GsoKind::TcpV4, GsoKind::TcpV6);
        for (is_ipv4, kind, other) in [(true, four, six), (false, six, four)] {
            let head = tcp(is_ipv4, 3000);
            let len = head.len() + 3000;
            assert!(holds(&head, len, plain) && holds(&head, len, blank));
            assert!(holds(&head, len + 6, blank), "padding is no lie");
            assert!(!holds(&head, len - 1, blank), "cut short");
            assert!(holds(&head, len, cut(kind, 1448)));
            assert!(!holds(&head, len, cut(kind, 0)));
            assert!(!holds(&head, len, cut(other, 1448)));
            let validated = Offload {
                checksum: Checksum::Validated,
                ..cut(kind, 1448)
            };
            assert!(!holds(&head, len, validated), "only what is blank is cut");
            assert!(!holds(&tcp(is_ipv4, 0), head.len(), cut(kind, 1448)));
            // Its options lie beyond what was looked at.
            let mut long = head.clone();
            long[if is_ipv4 { 46 } else { 66 }] = 0xf0;
            assert!(!holds(&long, len, cut(kind, 1448)));
        }
        let udp = frame(0, IPV4, &ipv4(5, UDP));
        let mut whole = udp.clone();
        whole[17] = 28;
        assert!(holds(&whole, whole.len(), blank));
        whole[17] = 27;
        assert!(!holds(&whole, whole.len(), blank), "a header has 8 bytes");
        whole[17] = 60;
        assert!(
            !holds(&whole, whole.len(), cut(four, 500)),
            "UDP is not cut"
        );
        let arp = frame(0, 0x0806, &[0; 28]);
        assert!(holds(&arp, arp.len(), plain) && !holds(&arp, arp.len(), blank));
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_checksum_inside_or_none(head in proptest::collection::vec(any::<u8>(), 0..128)) {
            if let Some(found) = transport(&head) {
                prop_assert!(usize::from(found.checksum) + 2 <= head.len());
                prop_assert!(found.network < found.start && found.start < found.checksum);
            }
        }
    }
}

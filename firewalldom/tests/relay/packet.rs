//! TCP segments as they lie in rings, and the answers to ARP that they wait for.

use minios_rs::abi::io::netif::{ExtraInfo, XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4};

/// Where headers begin in a frame.
pub(crate) const IP: usize = 14;
pub(crate) const TCP: usize = 34;
pub(crate) const PAYLOAD: usize = 54;

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

pub(crate) const GSO: ExtraInfo = ExtraInfo {
    kind: XEN_NETIF_EXTRA_TYPE_GSO,
    flags: 0,
    gso_size: 1448,
    gso_type: XEN_NETIF_GSO_TYPE_TCPV4,
    pad: 0,
    gso_features: 0,
};

/// What a segment's header says.
pub(crate) struct Segment {
    /// From and to.
    pub(crate) ports: [u16; 2],
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
}

/// A TCP segment that nobody summed up, between stations and addresses: to and from, from and to.
pub(crate) fn tcp(
    stations: [[u8; 6]; 2],
    addresses: [[u8; 4]; 2],
    segment: &Segment,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [&stations.concat()[..], &[8, 0, 0x45, 0]].concat();
    frame.extend((40 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(addresses.concat());
    let header = sum(&frame[IP..TCP]);
    frame[IP + 10..IP + 12].copy_from_slice(&(!header).to_be_bytes());
    frame.extend(segment.ports.map(u16::to_be_bytes).concat());
    frame.extend(segment.sequence.to_be_bytes());
    frame.extend(segment.acknowledged.to_be_bytes());
    frame.extend([0x50, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(payload);
    let pseudo = pseudo_header(&frame);
    frame[TCP + 16..TCP + 18].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

/// One's complement sum of RFC 1071.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The plain sum of a frame's TCP pseudo-header: what stands in a blank checksum.
pub(crate) fn pseudo_header(frame: &[u8]) -> u16 {
    let length = (frame.len() - TCP) as u16;
    sum(&[&frame[IP + 12..IP + 20], &[0, 6], &length.to_be_bytes()].concat())
}

pub(crate) fn is_arp(frame: &[u8]) -> bool {
    frame[12..14] == [8, 6]
}

/// The answer of a station to an ARP frame, if that asks for its address.
pub(crate) fn arp_reply(frame: &[u8], mac: [u8; 6], address: [u8; 4]) -> Option<Vec<u8>> {
    if frame[21] != 1 || frame[38..42] != address {
        return None;
    }
    let mut reply = [&frame[6..12], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
    reply.extend(mac);
    reply.extend(address);
    reply.extend(&frame[22..32]);
    Some(reply)
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 249) as u8).collect()
}

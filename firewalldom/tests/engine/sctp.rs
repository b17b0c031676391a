//! SCTP: what begins an association, whose tags it has, and how it is translated.

use crate::support::*;
use firewalldom::policy::{PortRange, SourceTarget};
use firewalldom::{Checksum, Reason};
use std::net::Ipv4Addr;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;

const CLIENT_TAG: u32 = 0x0102_0304;
const SERVER_TAG: u32 = 0x0a0b_0c0d;

/// CRC-32C bit by bit, written apart from the engine's.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// What the checksum of the packet in a frame should be.
fn wanted(frame: &[u8]) -> [u8; 4] {
    let mut packet = frame[34..].to_vec();
    packet[8..12].fill(0);
    crc32c(&packet).to_le_bytes()
}

/// A packet with one chunk of this type and value.
fn sctp(
    from: firewalldom::policy::InterfaceId,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    tag: u32,
    chunk: u8,
    value: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(source.1.to_be_bytes());
    packet.extend(destination.1.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([chunk, 0]);
    packet.extend((4 + value.len() as u16).to_be_bytes());
    packet.extend(value);
    let mut frame = ip(from, source.0, destination.0, 132, &packet);
    let checksum = wanted(&frame);
    frame[42..46].copy_from_slice(&checksum);
    frame
}

fn initiate(tag: u32) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    value
}

const PEER: (Ipv4Addr, u16) = (FAR, 3868);

fn from_client(tag: u32, chunk: u8, value: &[u8]) -> Vec<u8> {
    sctp(LOC, (CLIENT, 5000), PEER, tag, chunk, value)
}

fn from_peer(port: u16, tag: u32, chunk: u8, value: &[u8]) -> Vec<u8> {
    sctp(NET, PEER, (FW_NET, port), tag, chunk, value)
}

#[test]
fn an_association_passes_masqueraded_in_both_directions() {
    let mut site = Site::new(policy());
    let out = site
        .send(LOC, &from_client(0, INIT, &initiate(CLIENT_TAG)))
        .forwarded(NET);
    assert_eq!((source_of(&out), ports_of(&out)), (FW_NET, (5000, 3868)));
    assert_eq!(out[42..46], wanted(&out));
    let answer = from_peer(5000, CLIENT_TAG, INIT_ACK, &initiate(SERVER_TAG));
    let back = site.send(NET, &answer).forwarded(LOC);
    assert_eq!(destination_of(&back), CLIENT);
    site.send(LOC, &from_client(SERVER_TAG, COOKIE_ECHO, b"cookie"))
        .forwarded(NET);
    site.send(NET, &from_peer(5000, CLIENT_TAG, COOKIE_ACK, &[]))
        .forwarded(LOC);
    site.send(LOC, &from_client(SERVER_TAG, DATA, &[0; 1000]))
        .forwarded(NET);
    // Established: it lasts. And who does not know the tag is none of it.
    site.wait(200);
    site.send(NET, &from_peer(5000, CLIENT_TAG, DATA, &[0; 20]))
        .forwarded(LOC);
    site.send(NET, &from_peer(5000, CLIENT_TAG + 1, DATA, &[0; 20]))
        .dropped(Reason::Dropped);
    assert_eq!(site.firewall.flows().now, 1);
}

#[test]
fn a_port_that_is_taken_is_exchanged_and_the_checksum_is_right_again() {
    let mut policy = policy();
    policy.source_nat[0].target = SourceTarget::Masquerade {
        ports: Some(PortRange {
            first: 40_000,
            last: 40_999,
        }),
    };
    for length in [0, 1, 700] {
        let mut site = Site::new(policy.clone());
        let mut value = initiate(CLIENT_TAG);
        value.resize(16 + length, 0xab);
        let out = site.send(LOC, &from_client(0, INIT, &value)).forwarded(NET);
        let (port, _) = ports_of(&out);
        assert!((40_000..41_000).contains(&port));
        assert_eq!(out[42..46], wanted(&out), "{length} bytes");
        let back = site
            .send(NET, &from_peer(port, CLIENT_TAG, INIT_ACK, &initiate(2)))
            .forwarded(LOC);
        assert_eq!(ports_of(&back), (3868, 5000));
        assert_eq!(back[42..46], wanted(&back));
    }
}

#[test]
fn what_begins_no_association_is_invalid_and_not_translated() {
    let mut cut = from_client(0, INIT, &initiate(CLIENT_TAG)[..8]);
    let checksum = wanted(&cut);
    cut[42..46].copy_from_slice(&checksum);
    let mut damaged = from_client(0, INIT, &initiate(CLIENT_TAG));
    damaged[42] ^= 1;
    let mut endless = from_client(1, 3, &[]);
    endless[48..50].fill(0);
    let checksum = wanted(&endless);
    endless[42..46].copy_from_slice(&checksum);
    for frame in [
        from_client(0, DATA, &[0; 20]),
        from_client(1, INIT, &initiate(CLIENT_TAG)),
        from_client(0, INIT_ACK, &[]),
        ip(LOC, CLIENT, FAR, 132, &[0; 8]),
        ip(LOC, CLIENT, FAR, 132, &[0; 12]),
        cut,
        damaged.clone(),
        endless,
    ] {
        let mut site = Site::new(policy());
        let out = site.send(LOC, &frame).forwarded(NET);
        assert_eq!(source_of(&out), CLIENT, "{frame:?}");
        assert_eq!(site.firewall.flows().now, 0);
    }
    // Whoever is trusted with it vouches for the checksum.
    let mut site = Site::new(policy());
    site.send_with(LOC, &damaged, Checksum::Validated, None)
        .forwarded(NET);
    assert_eq!(site.firewall.flows().now, 1);
}

#[test]
fn an_init_nobody_answers_is_forgotten_in_ten_seconds_however_often_it_comes() {
    let mut site = Site::new(policy());
    let init = from_client(0, INIT, &initiate(CLIENT_TAG));
    site.send(LOC, &init).forwarded(NET);
    site.wait(8);
    site.send(LOC, &init).forwarded(NET);
    site.wait(3);
    let answer = from_peer(5000, CLIENT_TAG, INIT_ACK, &initiate(SERVER_TAG));
    site.send(NET, &answer).dropped(Reason::Dropped);
}

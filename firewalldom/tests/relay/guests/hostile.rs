//! A third guest that lies, while two others speak with each other and with the outside: they lose nothing.

use super::*;
use minios_rs::abi::io::netif::{
    NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, RxRequest, TxRequest, XEN_NETIF_EXTRA_FLAG_MORE,
    XEN_NETIF_EXTRA_TYPE_HASH, XEN_NETIF_GSO_TYPE_TCPV6,
};
use minios_rs::abi::io::ring::REQ_PROD;
use minios_rs::fake::netback::Which;

const LIAR: (DomId, [u8; 4], [u8; 6]) = (DomId(13), [10, 0, 3, 4], [0, 0x16, 0x3e, 0, 0, 0xc]);

/// Frames that each of the two sends in each way.
const ROUNDS: u8 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It loses its connection: the backend says so.
    Closed,
    /// What it says of itself is no state: it counts as one that has not come yet.
    Lost,
    /// It loses frames at most.
    Served,
}

impl Fate {
    /// Whether the guest has lost its connection, as it is to or not.
    fn has_come(self, front: &Netfront) -> bool {
        match self {
            Self::Closed => front.backend_state() == XenbusState::CLOSING,
            Self::Lost | Self::Served => front.backend_state() != XenbusState::CONNECTED,
        }
    }
}

/// Has the guest lie in every round, and looks that the other two lose nothing.
fn beside(what: &str, fate: Fate, mut lie: impl FnMut(&mut Netfront, &World)) {
    let mut lab = Lab::new();
    let (domain, address, mac) = LIAR;
    lab.announce(domain, address, mac);
    lab.fronts[2].connect(Shape::default());
    assert_eq!(lab.settle(), []);
    let small = lab.segment(Some(A), None, b"hello");
    assert!(lab.send(A, &small, &[]));
    lab.turn();
    assert_eq!(lab.outside().len(), 1);
    let limit = lab.domain.usage();
    let mut was_closed = false;
    for round in 0..ROUNDS {
        let payload = vec![round; 1400];
        let there = lab.segment(Some(A), Some(B), &payload);
        let back = lab.segment(Some(B), Some(A), &payload);
        let out = lab.segment(Some(A), None, &payload);
        assert!(lab.send(A, &there, &[]) && lab.send(B, &back, &[]) && lab.send(A, &out, &[]));
        if !was_closed {
            let world = lab.world.clone();
            lie(&mut lab.fronts[2], &world);
        }
        lab.turn();
        for guest in [A, B] {
            let got = lab.fronts[guest].receive(0);
            let whole = got.iter().filter(|frame| {
                let bytes = &frame.bytes;
                bytes.get(PAYLOAD..).is_some_and(|bytes| bytes == payload)
            });
            assert_eq!(whole.count(), 1, "{what}, round {round}, guest {guest}");
            lab.fronts[guest].post(0, 256);
            let answers = lab.fronts[guest].answers(0);
            let fine = |status| status == NETIF_RSP_OKAY || status == NETIF_RSP_NULL;
            assert!(answers.iter().all(|answer| fine(answer.status)), "{what}");
        }
        let outside = lab.outside();
        let arrived = outside.iter().any(|frame| frame[PAYLOAD..] == payload);
        assert!(arrived, "{what}, round {round}, outside");
        was_closed |= fate.has_come(&lab.fronts[2]);
        let usage = lab.domain.usage();
        assert!(
            usage.mapped <= limit.mapped && usage.ports <= limit.ports,
            "{what}: {usage:?}"
        );
        // Pages for what goes to a backend are taken when first needed.
        assert!(usage.pages <= limit.pages + 2 * 64, "{what}: {usage:?}");
    }
    // Who writes to xenstore without end may be in the way of what is to be published: then it is after a pause.
    lab.now = lab.now + Duration::from_secs(2);
    lab.settle();
    was_closed |= fate.has_come(&lab.fronts[2]);
    assert_eq!(was_closed, fate != Fate::Served, "{what}");
    let served = if was_closed { 2 } else { 3 };
    assert_eq!(lab.relay.guests().count(), served, "{what}");
    assert_eq!(lab.relay.losses().egress_full, 0, "{what}");
}

fn request(front: &mut Netfront, flags: u16, len: usize) -> TxRequest {
    TxRequest {
        flags,
        ..front.requests(0, &[&vec![0; len]], 0, 0)[0]
    }
}

#[test]
fn lies_about_rings_and_chains_cost_the_liar_alone() {
    for index in [257, 1 << 31, u32::MAX] {
        beside("an impossible index", Fate::Closed, |front, _| {
            front.poke(0, Which::Tx, REQ_PROD, index);
        });
        beside(
            "an impossible index of buffers",
            Fate::Closed,
            |front, _| {
                front.poke(0, Which::Rx, REQ_PROD, index);
                // An answer is what there is a buffer wanted for.
                front.send(0, &[&question(LIAR.1, LIAR.2, PUBLIC)], 0, &[]);
            },
        );
    }
    beside("an endless chain", Fate::Closed, |front, _| {
        let request = request(front, NETTXF_MORE_DATA, 100);
        front.push(0, &request);
        front.show(0);
    });
    beside("too many slots", Fate::Closed, |front, _| {
        let requests = front.requests(0, &[&[1; 50][..]; 30], 0, 0);
        requests.iter().for_each(|request| front.push(0, request));
        front.show(0);
    });
    beside("a slot across a page's end", Fate::Closed, |front, _| {
        let request = TxRequest {
            offset: 4090,
            ..request(front, 0, 100)
        };
        front.push(0, &request);
        front.show(0);
    });
    beside("extra infos without end", Fate::Closed, |front, _| {
        let request = request(front, NETTXF_EXTRA_INFO, 100);
        front.push(0, &request);
        for _ in 0..100 {
            front.push_extra(
                0,
                ExtraInfo {
                    kind: XEN_NETIF_EXTRA_TYPE_HASH,
                    flags: XEN_NETIF_EXTRA_FLAG_MORE,
                    ..ExtraInfo::default()
                },
            );
        }
        front.show(0);
    });
}

#[test]
fn lies_about_sizes_pieces_and_offloads_cost_the_liar_alone() {
    let (_, address, mac) = LIAR;
    let frame = |len: usize| {
        let addresses = [address, GUESTS[A].1];
        established([BACKEND_MAC, mac], addresses, &vec![7; len])
    };
    let blank = NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED;
    let whole = frame(1000);
    for len in [10, 241, 1000] {
        beside(
            "XSA-423, XSA-432: pieces of a byte",
            Fate::Served,
            |front, _| {
                let bytes = frame(len);
                let mut slots: Vec<&[u8]> = bytes[..17].chunks(1).collect();
                slots.push(&bytes[17..]);
                front.send(0, &slots, blank, &[]);
                front.answers(0);
            },
        );
    }
    for size in [0, 13, 100, u16::MAX] {
        beside("a size that is not its slots'", Fate::Served, |front, _| {
            // As much as fits its page, or the lie would be about that.
            let requests = front.requests(0, &[&whole, &[7; 200]], 0, blank);
            let first = TxRequest {
                size: size.min(4096 + 200),
                ..requests[0]
            };
            front.push(0, &first);
            front.push(0, &requests[1]);
            front.show(0);
            front.answers(0);
        });
    }
    for (what, info, flags, fate) in [
        (
            "segments of no size",
            (0, XEN_NETIF_GSO_TYPE_TCPV4),
            blank,
            Fate::Closed,
        ),
        ("segments of no known kind", (1448, 9), blank, Fate::Closed),
        (
            "segments over IPv6 of IPv4",
            (1448, XEN_NETIF_GSO_TYPE_TCPV6),
            blank,
            Fate::Served,
        ),
        (
            "segments of a byte",
            (1, XEN_NETIF_GSO_TYPE_TCPV4),
            blank,
            Fate::Served,
        ),
        (
            "segments that are too long",
            (u16::MAX, XEN_NETIF_GSO_TYPE_TCPV4),
            blank,
            Fate::Served,
        ),
        (
            "segments with a checksum",
            (1448, XEN_NETIF_GSO_TYPE_TCPV4),
            NETTXF_DATA_VALIDATED,
            Fate::Served,
        ),
    ] {
        beside(what, fate, |front, _| {
            let (gso_size, gso_type) = info;
            let extra = ExtraInfo {
                gso_size,
                gso_type,
                ..GSO
            };
            front.send(0, &[&whole], flags, &[extra]);
            front.answers(0);
        });
    }
    beside(
        "a blank checksum of what has none",
        Fate::Served,
        |front, _| {
            let mut bytes = frame(100);
            bytes[IP + 9] = 1;
            front.send(0, &[&bytes], blank, &[]);
            front.answers(0);
        },
    );
    beside("a checksum that is wrong", Fate::Served, |front, _| {
        front.send(0, &[&whole], 0, &[]);
        front.answers(0);
    });
}

#[test]
fn grants_that_are_none_cost_the_liar_alone() {
    beside("grants revoked in flight", Fate::Served, |front, _| {
        front.send(0, &[&[7; 2000]], 0, &[]);
        front.revoke_sent(0);
        front.answers(0);
    });
    beside("grants that never were", Fate::Closed, |front, _| {
        for number in 0..200 {
            let request = TxRequest {
                gref: 100_000 + number,
                size: 100,
                ..TxRequest::default()
            };
            front.push(0, &request);
        }
        front.show(0);
        front.answers(0);
    });
    beside("buffers that are none", Fate::Served, |front, _| {
        front.revoke_posted(0);
        for id in 0..8 {
            front.post_raw(
                0,
                RxRequest {
                    id,
                    pad: 0,
                    gref: 9,
                },
            );
        }
    });
    beside("frames changed in flight", Fate::Served, |front, _| {
        front.send(0, &[&[7; 4000]], 0, &[]);
        front.scribble_sent(0, 0xee);
        front.answers(0);
    });
}

#[test]
fn storms_and_standstill_cost_the_liar_alone() {
    beside("events without end", Fate::Served, |front, _| {
        (0..1000).for_each(|_| front.notify(0));
    });
    beside("watch events without end", Fate::Served, |front, _| {
        for _ in 0..20 {
            front.write("state", "4");
        }
    });
    beside("a ring that is never consumed", Fate::Served, |front, _| {
        // As many frames as fit, and no answer taken.
        while front.send(0, &[&[7; 1000]], 0, &[]) {}
    });
    let mut is_huge = false;
    beside("a huge state, and none", Fate::Lost, |front, world| {
        is_huge = !is_huge;
        match is_huge {
            true => front.write("state", [b'4'; 4096]),
            false => world.remove_node(&format!("{}/state", front.node())),
        }
        front.poke(0, Which::Tx, REQ_PROD, 5000);
    });
}

/// Who has `target`?
fn question(address: [u8; 4], mac: [u8; 6], target: [u8; 4]) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &mac, &[8, 6]].concat();
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

#[test]
fn questions_without_end_cost_nobody_else_an_answer() {
    const LIARS: u8 = 6;
    let guest = |number: u8| ([10, 0, 3, 10 + number], [0, 0x16, 0x3e, 2, 0, number]);
    let mut lab = Lab::without_guests();
    for number in 0..=LIARS {
        let (address, mac) = guest(number);
        lab.announce(DomId(100 + u16::from(number)), address, mac);
        lab.fronts[usize::from(number)].connect(Shape::default());
        assert_eq!(lab.settle(), []);
    }
    let honest = usize::from(LIARS);
    lab.outside();
    for liar in 0..LIARS {
        let (address, mac) = guest(liar);
        let asked = question(address, mac, PUBLIC);
        for host in 0..16 {
            // Three for the firewall, and one for a host that it has to ask for in turn: 64 in all.
            let addresses = [address, [192, 0, 2, 10 + 16 * liar + host]];
            let sent = established([BACKEND_MAC, mac], addresses, b"hello");
            let front = &mut lab.fronts[usize::from(liar)];
            for _ in 0..3 {
                assert!(front.send(0, &[&asked], 0, &[]));
            }
            let flags = NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED;
            assert!(front.send(0, &[&sent], flags, &[]));
        }
    }
    let (address, mac) = guest(LIARS);
    let asked = question(address, mac, PUBLIC);
    assert!(lab.fronts[honest].send(0, &[&asked], 0, &[]));
    lab.turn();
    assert_eq!(lab.fronts[honest].receive(0).len(), 1);
    let drops = &lab.relay.firewall().counters().drops;
    assert_eq!(drops.of(Reason::OutputFull), 0);
}

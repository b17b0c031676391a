//! Guests on a bridge of the firewall's: `bridge=` in their vifs, `bridge_ports none` in the site's files.

use super::*;

const SITE: [(&str, &str); 6] = [
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    ("shorewall/interfaces", "?FORMAT 2\nnet eth0\nloc br-lan\n"),
    // Nothing between guests, and they have no business with the firewall but ping.
    (
        "shorewall/policy",
        "loc net ACCEPT\nnet loc ACCEPT\nall all DROP\n",
    ),
    ("shorewall/rules", "?SECTION NEW\nPing(ACCEPT) loc $FW\n"),
    ("shorewall/snat", "?FORMAT 2\nMASQUERADE 10.0.3.0/24 eth0\n"),
    (
        "network/interfaces",
        "iface eth0 inet static\n  address 192.0.2.2/24\n\
         auto br-lan\niface br-lan inet static\n  address 10.0.3.1/24\n  bridge_ports none\n",
    ),
];

const GATEWAY: [u8; 4] = [10, 0, 3, 1];
const EVERYBODY: [u8; 6] = [0xff; 6];

/// A third guest, without `ip=` unless it is said to have it.
const C: usize = 2;
const THIRD: (DomId, [u8; 4], [u8; 6]) = (DomId(13), [10, 0, 3, 4], [0, 0x16, 0x3e, 0, 0, 0xc]);

fn empty() -> Lab {
    Lab::with(&SITE, &[OUTSIDE])
}

/// The two guests, held to their addresses, and a third that may have any.
fn three() -> Lab {
    let mut lab = empty();
    for (number, (domain, address, mac)) in [GUESTS[A], GUESTS[B], THIRD].into_iter().enumerate() {
        let more: &[(&str, &str)] = match number {
            C => &[("bridge", "br-lan"), ("ip", "")],
            _ => &[("bridge", "br-lan")],
        };
        lab.announce_with(domain, address, mac, more);
        lab.settle();
        lab.fronts[number].connect(Shape::default());
        assert_eq!(lab.settle(), []);
    }
    assert_eq!(lab.relay.guests().count(), 3);
    lab
}

/// ARP: a request (1) or reply (2) from one to another.
fn arp(to: [u8; 6], from: ([u8; 4], [u8; 6]), operation: u8, target: [u8; 4]) -> Vec<u8> {
    let (address, mac) = from;
    let kind = [8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
    let mut frame = [&to[..], &mac, &kind, &mac, &address].concat();
    frame.extend(match operation {
        1 => [0; 6],
        _ => to,
    });
    frame.extend(target);
    frame
}

fn of(guest: usize) -> ([u8; 4], [u8; 6]) {
    let (_, address, mac) = GUESTS.get(guest).copied().unwrap_or(THIRD);
    (address, mac)
}

fn asks(guest: usize, target: [u8; 4]) -> Vec<u8> {
    arp(EVERYBODY, of(guest), 1, target)
}

/// A segment between guests, with their own stations.
fn between(from: usize, to: usize, payload: &[u8]) -> Vec<u8> {
    let ((source, sender), (destination, receiver)) = (of(from), of(to));
    established([receiver, sender], [source, destination], payload)
}

/// What each of them has got where nothing was sent.
const NOTHING: [Vec<Vec<u8>>; 3] = [const { Vec::new() }; 3];

/// What each of the guests has got; they post new buffers for it.
fn got(lab: &mut Lab) -> [Vec<Vec<u8>>; 3] {
    [A, B, C].map(|guest| {
        let front = &mut lab.fronts[guest];
        let frames: Vec<_> = front.receive(0).into_iter().map(|it| it.bytes).collect();
        front.answers(0);
        front.post(0, 256);
        frames
    })
}

/// What each of them has got of what one sent.
fn said(lab: &mut Lab, guest: usize, frame: &[u8]) -> [Vec<Vec<u8>>; 3] {
    assert!(lab.fronts[guest].send(0, &[frame], 0, &[]));
    lab.turn();
    got(lab)
}

fn refused(lab: &Lab, reason: Reason) -> u64 {
    lab.relay.firewall().counters().drops.of(reason)
}

#[test]
fn from_port_to_port_a_frame_goes_as_it_is_and_xen_copies_it_once() {
    let mut lab = three();
    let payload = pattern(60_000);
    let frame = between(A, B, &payload);
    assert!(lab.send(A, &frame, &[GSO]));
    lab.turn();
    let arrived = lab.fronts[B].receive(0);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].bytes, frame, "not a byte is another");
    assert_eq!(arrived[0].gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
    let granted = lab.counters(B).granted_bytes as usize;
    assert_eq!(granted, frame.len() - HEAD_MAX);
    assert_eq!(lab.counters(A).fetched_bytes, 0);
    assert!(lab.fronts[C].receive(0).is_empty());
    // No rule was asked, and no flow begun.
    assert_eq!(lab.relay.firewall().flows().now, 0);
    assert_eq!(
        lab.relay
            .firewall()
            .counters()
            .drops
            .iter()
            .map(|(_, drops)| drops)
            .sum::<u64>(),
        0
    );
    lab.turn();
    lab.fronts[A].answers(0);
    assert_eq!(lab.fronts[A].outstanding(0), 0);
    // Nor is IP needed, between guests that are not held to addresses of it.
    let mut frame = [&of(A).1[..], &of(C).1, &[0x86, 0xdd]].concat();
    frame.extend(pattern(2000));
    assert_eq!(
        said(&mut lab, C, &frame)[A],
        [] as [Vec<u8>; 0],
        "longer than the bridge's MTU"
    );
    frame.truncate(1400);
    assert_eq!(said(&mut lab, C, &frame)[A], [frame]);
}

#[test]
fn no_guest_on_a_bridge_gets_a_frame_longer_than_its_mtu_not_even_one_for_all() {
    let mut lab = empty();
    for (number, ((domain, address, mac), mtu)) in
        [(GUESTS[A], "1500"), (GUESTS[B], "1000"), (THIRD, "1500")]
            .into_iter()
            .enumerate()
    {
        let more = [("bridge", "br-lan"), ("ip", ""), ("mtu", mtu)];
        lab.announce_with(domain, address, mac, &more);
        lab.settle();
        lab.fronts[number].connect(Shape::default());
        assert_eq!(lab.settle(), []);
    }
    let of_length = |len: usize| {
        let mut frame = [&EVERYBODY[..], &of(A).1, &[0x88, 0xb5]].concat();
        frame.extend(pattern(len - 14));
        frame
    };
    let [_, narrow, wide] = said(&mut lab, A, &of_length(1018));
    assert_eq!((narrow.len(), wide.len()), (1, 1));
    let before = lab.relay.losses().not_sendable;
    let [_, narrow, wide] = said(&mut lab, A, &of_length(1019));
    assert_eq!((narrow.len(), wide.len()), (0, 1));
    assert_eq!(lab.relay.losses().not_sendable, before + 1);
}

#[test]
fn through_the_firewall_the_engine_judges_as_from_the_bridge() {
    let mut lab = three();
    let [answer, heard, also] = said(&mut lab, A, &asks(A, GATEWAY));
    let reply = arp(of(A).1, (GATEWAY, BACKEND_MAC), 2, of(A).0);
    assert_eq!(answer, [reply], "its own question does not come back");
    assert_eq!([heard, also], [[asks(A, GATEWAY)], [asks(A, GATEWAY)]]);

    let first = lab.segment(Some(A), None, b"hello");
    assert!(lab.send(A, &first, &[]));
    lab.turn();
    assert_eq!(lab.outside().len(), 1, "it waited for ARP");
    let payload = pattern(3000);
    let out = lab.segment(Some(A), None, &payload);
    assert!(lab.send(A, &out, &[GSO]));
    lab.turn();
    let seen = lab.outside();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0][IP + 12..IP + 16], PUBLIC, "masqueraded");
    assert_eq!(seen[0][PAYLOAD..], payload[..]);
    // The policy: nothing from it to the firewall itself.
    let mut own = out.clone();
    own[IP + 16..IP + 20].copy_from_slice(&GATEWAY);
    assert!(lab.send(A, &own, &[GSO]));
    lab.turn();
    assert_eq!(got(&mut lab), NOTHING);

    // From outside, to one whose station nobody knows yet: all are asked, one answers, and gets it.
    let flags = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;
    let inward = lab.segment(None, Some(B), b"hello");
    assert!(lab.outside.deliver(&[&inward], 0, flags, &[]));
    lab.turn();
    let question = arp(EVERYBODY, (GATEWAY, BACKEND_MAC), 1, of(B).0);
    assert_eq!(got(&mut lab), NOTHING.map(|_| vec![question.clone()]));
    let reply = arp(BACKEND_MAC, of(B), 2, GATEWAY);
    let [none, whole, neither] = said(&mut lab, B, &reply);
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0][..12], [of(B).1, BACKEND_MAC].concat());
    assert_eq!(whole[0][PAYLOAD..], *b"hello");
    assert!(none.is_empty() && neither.is_empty());
}

#[test]
fn a_frame_of_any_length_waits_for_a_station_that_nobody_knows_yet() {
    let mut lab = three();
    let flags = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;
    let inward = lab.segment(None, Some(B), &pattern(60_000));
    let slots: Vec<&[u8]> = inward.chunks(4096).collect();
    assert!(lab.outside.deliver(&slots, 0, flags, &[GSO]));
    lab.turn();
    let question = arp(EVERYBODY, (GATEWAY, BACKEND_MAC), 1, of(B).0);
    assert_eq!(got(&mut lab), NOTHING.map(|_| vec![question.clone()]));
    let reply = arp(BACKEND_MAC, of(B), 2, GATEWAY);
    let [none, whole, neither] = said(&mut lab, B, &reply);
    assert_eq!(whole.len(), 1);
    assert!(whole[0][PAYLOAD..] == inward[PAYLOAD..]);
    assert!(none.is_empty() && neither.is_empty());
    assert_eq!(lab.relay.losses().not_sendable, 0);
}

#[test]
fn nobody_is_heard_in_anothers_name() {
    let mut lab = three();
    let segment = between(A, B, b"hello");
    let changed = |frame: &[u8], at: usize, bytes: &[u8]| {
        let mut frame = frame.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let six = changed(&segment, 12, &[0x86, 0xdd]);
    let tagged = changed(&segment, 12, &[0x81, 0x00]);
    let foreign = [10, 0, 3, 99];
    let lies = [
        // Who is held to its addresses.
        (A, changed(&segment, 6, &of(B).1)),
        (A, changed(&segment, 6, &[2, 0, 0, 0, 0, 1])),
        (A, changed(&segment, IP + 12, &foreign)),
        (A, six),
        (A, tagged),
        (A, arp(EVERYBODY, (of(B).0, of(A).1), 1, of(B).0)),
        (A, arp(of(B).1, (GATEWAY, of(A).1), 2, of(B).0)),
        (A, changed(&asks(A, GATEWAY), 22, &of(B).1)),
        // Who is not, but others are.
        (C, changed(&between(C, A, b"hello"), 6, &of(B).1)),
        (C, changed(&between(C, A, b"hello"), 6, &BACKEND_MAC)),
        (C, changed(&between(C, A, b"hello"), IP + 12, &of(B).0)),
        (C, arp(of(A).1, (of(B).0, of(C).1), 2, of(A).0)),
        (C, arp(of(A).1, (GATEWAY, of(C).1), 2, of(A).0)),
        (C, changed(&arp(of(A).1, of(C), 2, of(A).0), 22, &of(B).1)),
    ];
    let count = lies.len() as u64;
    for (guest, lie) in lies {
        assert_eq!(said(&mut lab, guest, &lie), NOTHING, "{lie:x?}");
    }
    assert_eq!(refused(&lab, Reason::GuestSource), count);
    // What none of them is: a probe, a question for DHCP, and of who may have any address, that one.
    let mut dhcp = [&EVERYBODY[..], &of(A).1, &[8, 0, 0x45, 0, 0, 40]].concat();
    dhcp.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    dhcp.extend([0, 68, 0, 67, 0, 20, 0, 0]);
    dhcp.extend([0; 12]);
    for (guest, frame) in [
        (A, arp(EVERYBODY, ([0; 4], of(A).1), 1, of(A).0)),
        (A, dhcp),
        (C, arp(EVERYBODY, (foreign, [2, 0, 0, 0, 0, 7]), 1, of(B).0)),
    ] {
        assert_eq!(said(&mut lab, guest, &frame)[B], [frame]);
    }
}

#[test]
fn what_a_guest_says_of_a_frame_and_cannot_be_reaches_nobody() {
    let mut lab = three();
    let blank = NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED;
    let mut six = between(C, B, &pattern(1000));
    six[12..14].copy_from_slice(&[0x86, 0xdd]);
    let mut long = between(C, B, &pattern(1000));
    long[IP + 2] = 0xff;
    let mut odd = between(C, B, &pattern(1000));
    odd[46] = 0xf0;
    odd.truncate(90);
    let mut udp = between(C, B, &pattern(3000));
    udp[IP + 9] = 17;
    for (frame, extras) in [
        (six, &[][..]),
        (long, &[]),
        (odd, &[]),
        (udp, &[GSO]),
        (between(C, B, &[])[..40].to_vec(), &[]),
    ] {
        assert!(lab.fronts[C].send(0, &[&frame], blank, extras));
        lab.turn();
        assert_eq!(got(&mut lab), NOTHING, "{frame:x?}");
    }
    assert_eq!(refused(&lab, Reason::BadTransport), 5);
}

#[test]
fn a_flood_of_stations_floods_its_own_port_and_the_others_learn_nothing_wrong() {
    let mut lab = three();
    for number in 0..2_000_u16 {
        let [high, low] = number.to_be_bytes();
        let mut frame = between(C, B, b"flood");
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, high, low]);
        assert!(lab.fronts[C].send(0, &[&frame], 0, &[]));
        lab.turn();
        let payload = number.to_be_bytes();
        assert!(lab.send(A, &between(A, B, &payload), &[]));
        lab.turn();
        let [none, arrived, echo] = got(&mut lab);
        assert!(none.is_empty() && echo.is_empty());
        assert_eq!(arrived.len(), 2, "C's may be sent as well");
        assert_eq!(arrived[1][PAYLOAD..], payload);
    }
    // A station that nobody knows may be behind C, and behind nobody who has no others.
    for frame in [&b"short"[..], &pattern(1400)] {
        let mut frame = between(A, B, frame);
        frame[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
        assert!(lab.send(A, &frame, &[]));
        lab.turn();
        assert_eq!(got(&mut lab), [vec![], vec![], vec![frame]]);
    }
}

#[test]
fn a_broadcast_longer_than_headers_reaches_every_port_whole() {
    let mut lab = three();
    let mut frame = between(A, B, &pattern(1400));
    frame[..6].copy_from_slice(&EVERYBODY);
    assert!(lab.send(A, &frame, &[]));
    lab.turn();
    assert_eq!(got(&mut lab), [vec![], vec![frame.clone()], vec![frame]]);
    lab.turn();
    lab.fronts[A].answers(0);
    assert_eq!(lab.fronts[A].outstanding(0), 0, "it has its pages back");
}

#[test]
fn a_loop_of_broadcasts_costs_nobody_what_is_for_it_alone() {
    let mut lab = three();
    let broadcast = asks(C, [10, 0, 3, 200]);
    for round in 0..300_u16 {
        // C sends whatever it hears again, and as much more as its ring takes.
        for _ in 0..200 {
            lab.fronts[C].send(0, &[&broadcast], 0, &[]);
        }
        let payload = round.to_be_bytes();
        assert!(lab.send(A, &between(A, B, &payload), &[]));
        assert!(lab.send(B, &between(B, A, &payload), &[]));
        let (mut to_a, mut to_b) = (0, 0);
        for _ in 0..8 {
            lab.turn();
            let [a, b, c] = got(&mut lab);
            let mine = |frame: &&Vec<u8>| frame.get(PAYLOAD..) == Some(&payload);
            to_a += a.iter().filter(mine).count();
            to_b += b.iter().filter(mine).count();
            for heard in c {
                lab.fronts[C].send(0, &[&heard], 0, &[]);
            }
        }
        assert_eq!((to_a, to_b), (1, 1), "round {round}");
    }
}

#[test]
fn a_guest_that_takes_nothing_holds_nobody_up_on_the_bridge() {
    let mut lab = three();
    let broadcast = asks(A, [10, 0, 3, 200]);
    for round in 0..600_u16 {
        assert!(lab.fronts[A].send(0, &[&broadcast], 0, &[]));
        let payload = round.to_be_bytes();
        assert!(lab.send(A, &between(A, C, &[0; 1000]), &[]));
        assert!(lab.send(A, &between(A, B, &payload), &[]));
        lab.turn();
        // B takes what comes; C never does.
        let frames = lab.fronts[B].receive(0);
        lab.fronts[B].post(0, 256);
        assert_eq!(frames.len(), 2, "round {round}");
        assert_eq!(frames[0].bytes, broadcast);
        assert_eq!(frames[1].bytes[PAYLOAD..], payload);
        lab.fronts[A].answers(0);
    }
    assert!(lab.relay.losses().egress_full > 0);
    let mut answered = 0;
    for _ in 0..1_200 {
        lab.turn();
        answered += lab.fronts[A].answers(0).len();
    }
    assert!(answered > 0, "what waited for C was given up");
    assert_eq!(lab.fronts[A].outstanding(0), 0);
}

#[test]
fn a_guest_that_left_is_sent_nothing_and_has_its_place_again() {
    let mut lab = three();
    let frame = between(A, B, b"hello");
    lab.fronts[B].vanish();
    lab.settle();
    lab.fronts[B].detach();
    for _ in 0..30 {
        lab.now = lab.now + Duration::from_millis(500);
        lab.turn();
    }
    assert_eq!(lab.relay.guests().count(), 2);
    assert!(lab.send(A, &frame, &[]));
    lab.turn();
    // Somebody behind C might be it.
    assert_eq!(lab.fronts[C].receive(0).len(), 1);
    let (domain, address, mac) = GUESTS[B];
    lab.announce_with(domain, address, mac, &[("bridge", "br-lan")]);
    lab.settle();
    lab.fronts[B] = lab.fronts.pop().expect("just announced");
    lab.fronts[B].connect(Shape::default());
    assert_eq!(lab.settle(), []);
    assert!(lab.send(A, &frame, &[]));
    lab.turn();
    let arrived = lab.fronts[B].receive(0);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].bytes, frame);
}

#[test]
fn a_vif_is_on_the_bridge_it_names_or_nowhere() {
    let mut lab = empty();
    let (domain, address, mac) = GUESTS[A];
    for (bridge, error) in [
        ("br-lam", GuestError::Bridge),
        // What the toolstack writes if nobody says, which is no bridge of this site's.
        ("xenbr0", GuestError::Interface),
        ("", GuestError::Interface),
    ] {
        lab.announce_with(domain, address, mac, &[("bridge", bridge)]);
        lab.settle();
        let number = lab.fronts.len() - 1;
        lab.fronts[number].connect(Shape::default());
        assert_eq!(lab.settle(), [error], "{bridge}");
        lab.fronts[number].vanish();
        lab.settle();
        lab.fronts[number].detach();
        for _ in 0..30 {
            lab.now = lab.now + Duration::from_millis(500);
            lab.turn();
        }
    }
    assert_eq!(lab.relay.guests().count(), 0);
}

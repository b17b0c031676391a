//! Two backends and two guests: what each of them can see, and what it can change.

use super::*;
use minios_rs::xen::{Access, SharedPage};

/// The backend of the firewall's second vif, behind which the servers are.
const SERVERS: DomId = DomId(4);
const INNER: [u8; 4] = [10, 0, 4, 2];

const TWO_BACKENDS: [(&str, &str); 6] = [
    (
        "shorewall/zones",
        "fw firewall\nnet ipv4\ndmz ipv4\nloc ipv4\n",
    ),
    (
        "shorewall/interfaces",
        "?FORMAT 2\nnet eth0\ndmz eth1\nloc vif+ routeback\n",
    ),
    ("shorewall/policy", "all+ all+ ACCEPT\n"),
    ("shorewall/rules", "?SECTION NEW\n"),
    ("shorewall/snat", "?FORMAT 2\nMASQUERADE 10.0.3.0/24 eth0\n"),
    (
        "network/interfaces",
        "iface eth0 inet static\n  address 192.0.2.2/24\niface eth1 inet static\n  address 10.0.4.1/24\n",
    ),
];

/// Those who must not see each other's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Guest(usize),
    Outside,
    Servers,
}

const PARTIES: [Party; 4] = [
    Party::Guest(A),
    Party::Guest(B),
    Party::Outside,
    Party::Servers,
];

impl Party {
    fn domain(self) -> DomId {
        match self {
            Self::Guest(guest) => GUESTS[guest].0,
            Self::Outside => OUTSIDE,
            Self::Servers => SERVERS,
        }
    }

    fn address(self) -> [u8; 4] {
        match self {
            Self::Guest(guest) => GUESTS[guest].1,
            Self::Outside => SERVER,
            Self::Servers => INNER,
        }
    }

    /// What only frames from here to there hold.
    fn mark(self, to: Self) -> Vec<u8> {
        format!("<{self:?} says to {to:?}>").into_bytes()
    }
}

fn lab() -> Lab {
    Lab::with(&TWO_BACKENDS, &[OUTSIDE, SERVERS]).attach_guests()
}

fn backend(lab: &mut Lab, party: Party) -> &mut Netback {
    match party {
        Party::Servers => &mut lab.others[0],
        _ => &mut lab.outside,
    }
}

/// A frame full of its mark, of `len` bytes of payload.
fn frame(lab: &Lab, from: Party, to: Party, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = from.mark(to).into_iter().cycle().take(len).collect();
    let own = |number: usize| lab.relay.fronts().nth(number).unwrap().1.mac().0;
    let stations = match from {
        Party::Guest(guest) => [BACKEND_MAC, GUESTS[guest].2],
        Party::Outside => [own(0), SERVER_MAC],
        Party::Servers => [own(1), SERVER_MAC],
    };
    established(stations, [from.address(), to.address()], &payload)
}

fn send(lab: &mut Lab, from: Party, bytes: &[u8]) -> bool {
    let extras: &[ExtraInfo] = if bytes.len() > 1514 { &[GSO] } else { &[] };
    match from {
        Party::Guest(guest) => lab.send(guest, bytes, extras),
        _ => {
            let slots: Vec<&[u8]> = bytes.chunks(4096).collect();
            let flags = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;
            backend(lab, from).deliver(&slots, 0, flags, extras)
        }
    }
}

/// What has arrived there.
fn receive(lab: &mut Lab, at: Party) -> Vec<Vec<u8>> {
    match at {
        Party::Guest(guest) => {
            lab.fronts[guest].answers(0);
            let frames = lab.fronts[guest].receive(0);
            lab.fronts[guest].post(0, 256);
            frames.into_iter().map(|frame| frame.bytes).collect()
        }
        _ => received(backend(lab, at), at.address()),
    }
}

/// Every page of the firewall's that the party may look at, and the pages that the firewall may write to.
fn pages_in_sight(lab: &Lab, party: Party) -> Vec<Vec<u8>> {
    let domain = lab.world.domain(party.domain());
    let mut pages = match party {
        Party::Guest(guest) => lab.fronts[guest].posted_bytes(0),
        _ => Vec::new(),
    };
    for reference in domain.readable_grants(FIREWALL) {
        let page = domain.map(FIREWALL, reference, Access::ReadOnly).unwrap();
        let mut bytes = vec![0; 4096];
        page.read(0, &mut bytes);
        pages.push(bytes);
    }
    pages
}

/// Every pair whose mark is somewhere in these bytes.
fn marks(bytes: &[u8]) -> Vec<(Party, Party)> {
    let all = PARTIES
        .into_iter()
        .flat_map(|from| PARTIES.map(|to| (from, to, from.mark(to))));
    let all: Vec<_> = all.collect();
    let mut found = Vec::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'<') {
        for (from, to, mark) in &all {
            if !found.contains(&(*from, *to)) && bytes[at..].starts_with(mark) {
                found.push((*from, *to));
            }
        }
    }
    found
}

/// Nobody sees a frame but who sent it and whom it was for.
fn look_around(lab: &Lab) {
    for party in PARTIES {
        for page in pages_in_sight(lab, party) {
            for (from, to) in marks(&page) {
                let is_own = from == party || to == party;
                assert!(is_own, "{party:?} sees what {from:?} says to {to:?}");
            }
        }
    }
}

/// Lets every neighbour be known.
fn meet(lab: &mut Lab) {
    for from in PARTIES {
        for to in PARTIES {
            if from != to && (from, to) != (Party::Outside, Party::Servers) {
                let hello = frame(lab, from, to, 40);
                send(lab, from, &hello);
            }
        }
    }
    for _ in 0..6 {
        lab.turn();
        for party in PARTIES {
            receive(lab, party);
        }
    }
}

#[test]
fn nobody_reads_a_frame_that_was_not_sent_to_it() {
    let mut lab = lab();
    meet(&mut lab);
    let mut arrived = 0;
    for round in 0..6 {
        // Every other round the backends keep what they were lent.
        lab.outside.hold_answers = round % 2 == 0;
        lab.others[0].hold_answers = round % 2 == 0;
        for (number, len) in [300, 1460, 9000, 60_000, 20, 4000].into_iter().enumerate() {
            for from in PARTIES {
                for to in PARTIES {
                    let is_turn = (number + round) % 3 == 0 || len < 5000;
                    if from == to || !is_turn {
                        continue;
                    }
                    let bytes = frame(&lab, from, to, len);
                    send(&mut lab, from, &bytes);
                    lab.turn();
                }
            }
            look_around(&lab);
            for party in PARTIES {
                for bytes in receive(&mut lab, party) {
                    arrived += 1;
                    for (from, to) in marks(&bytes) {
                        assert_eq!(to, party, "from {from:?}");
                    }
                }
            }
            look_around(&lab);
        }
        for back in [&mut lab.outside, &mut lab.others[0]] {
            back.hold_answers = false;
            back.answer_all();
        }
        lab.turn();
    }
    assert!(arrived > 200, "{arrived}");
    // No page of the firewall's was ever a guest's to look at.
    for guest in [A, B] {
        let domain = lab.world.domain(GUESTS[guest].0);
        assert!(domain.readable_grants(FIREWALL).is_empty());
    }
}

#[test]
fn what_a_guest_sent_to_a_backend_it_cannot_change_any_more() {
    for to in [Party::Outside, Party::Servers] {
        for len in [20, 300, 3000, 60_000] {
            let mut lab = lab();
            meet(&mut lab);
            let sent = frame(&lab, Party::Guest(A), to, len);
            assert!(send(&mut lab, Party::Guest(A), &sent));
            lab.turn();
            lab.fronts[A].scribble_sent(0, 0xee);
            let frames = receive(&mut lab, to);
            assert_eq!(frames.len(), 1, "{to:?} {len}");
            assert!(frames[0][PAYLOAD..] == sent[PAYLOAD..], "{to:?} {len}");
        }
    }
}

/// Lets a party write to every page of the firewall's that it still can write to.
fn scribble(lab: &Lab, party: Party) {
    let domain = lab.world.domain(party.domain());
    for reference in domain.readable_grants(FIREWALL) {
        let _ = domain.copy_to(FIREWALL, reference, 0, &[0xee; 4096]);
    }
}

/// The payload of what a backend sent stays in its pages, and is its own to change until it was sent on: nobody
/// decided on it. What was decided on, and what others sent, is not.
#[test]
fn what_was_judged_cannot_be_changed_while_it_waits_for_a_guest() {
    for from in [Party::Outside, Party::Servers] {
        for scribbler in PARTIES {
            let mut lab = lab();
            meet(&mut lab);
            let sent = frame(&lab, from, Party::Guest(A), 60_000);
            // More than the guest has buffers for: the rest waits in the pages it came in.
            for _ in 0..18 {
                assert!(send(&mut lab, from, &sent));
                lab.turn();
            }
            let at_once = lab.fronts[A].receive(0);
            assert_eq!(at_once.len(), 16);
            scribble(&lab, scribbler);
            lab.fronts[A].post(0, 256);
            lab.turn();
            let later = lab.fronts[A].receive(0);
            assert_eq!(later.len(), 2);
            for frame in later {
                let judged = frame.bytes[..128] == at_once[0].bytes[..128];
                assert!(judged, "{scribbler:?} changes what {from:?} sent");
                let whole = frame.bytes == at_once[0].bytes;
                assert!(whole || scribbler == from, "{scribbler:?}, {from:?}");
            }
        }
    }
}

//! Neighbours: asked for, waited for, given up.

use crate::support::*;
use firewalldom::policy::{InterfaceId, Prefix, Proxied, Route, RouteFilter};
use firewalldom::{Firewall, Reason, Verdict};
use std::net::Ipv4Addr;

const QUIET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
const QUIET_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

fn to_quiet(site: &mut Site) -> Outcome {
    let mut sent = udp(NET, (FAR, 53), (QUIET, 53), b"hello");
    sent[..6].copy_from_slice(&FW_MAC[0]);
    site.send(NET, &sent)
}

fn open_policy() -> firewalldom::policy::Policy {
    let mut policy = policy();
    policy.chains[NET_LOC].policy = firewalldom::policy::Disposition::Accept;
    policy
}

#[test]
fn own_addresses_are_announced_at_start() {
    let budget = firewalldom::Budget { flows: 10 };
    let now = firewalldom::time::Instant(0);
    let mut firewall = Firewall::new(&policy(), &links(), budget, [1; 32], now).unwrap();
    for (interface, address) in [(NET, FW_NET), (LOC, FW_LOC)] {
        let (egress, frame) = firewall.take_output().unwrap();
        assert_eq!(egress, interface);
        assert_eq!(frame.bytes[..6], [0xff; 6]);
        assert_eq!(frame.bytes[28..32], address.octets());
        assert_eq!(frame.bytes[38..42], address.octets());
    }
    assert_eq!(firewall.take_output(), None);
}

#[test]
fn another_link_is_announced_and_who_is_there_is_asked_again() {
    let mut site = Site::new(open_policy());
    let mac = [2, 0, 0, 0, 9, 9];
    let link = firewalldom::Link { mac, mtu: 1000 };
    let now = site.now;
    site.firewall.set_link(now, NET, &link).unwrap();
    let told = site.output(NET);
    assert_eq!(
        (&told[..12], &told[28..32]),
        (&[&[0xff; 6][..], &mac].concat()[..], &FW_NET.octets()[..])
    );
    assert_eq!(site.outputs(), []);
    // The router is still where it was, as far as anybody knows.
    let sent = udp(LOC, (CLIENT, 4000), (FAR, 53), b"hello");
    let forwarded = site.send(LOC, &sent).forwarded(NET);
    assert_eq!(forwarded[..12], [ROUTER_MAC, mac].concat()[..]);
    let asked = site.output(NET);
    assert_eq!(
        (&asked[..6], &asked[20..22]),
        (&ROUTER_MAC[..], &[0, 1][..])
    );
    // It is at the new address that frames come in now, by the short way too.
    let mut answer = udp(
        NET,
        (FAR, 53),
        (source_of(&forwarded), ports_of(&forwarded).0),
        b"hi",
    );
    for _ in 0..3 {
        answer[..6].copy_from_slice(&FW_MAC[0]);
        site.send(NET, &answer).dropped(Reason::OtherHost);
        answer[..6].copy_from_slice(&mac);
        site.send(NET, &answer).forwarded(LOC);
    }
    // What is longer than the new link takes is refused to its sender.
    let long = udp(LOC, (CLIENT, 4000), (FAR, 53), &[0; 1200]);
    site.send(LOC, &long).dropped(Reason::TooBig);
    let bad = firewalldom::Link {
        mac: [1, 0, 0, 0, 0, 1],
        mtu: 1000,
    };
    assert!(site.firewall.set_link(now, NET, &bad).is_err());
    assert_eq!(
        site.outputs()
            .iter()
            .filter(|(egress, _)| *egress == NET)
            .count(),
        0
    );
}

#[test]
fn own_addresses_are_answered_on_every_interface() {
    let mut site = Site::new(policy());
    for target in [FW_LOC, FW_NET] {
        site.send(LOC, &arp(CLIENT_MAC, 1, CLIENT, target));
        let reply = site.output(LOC);
        assert_eq!(reply[..6], CLIENT_MAC);
        assert_eq!(reply[20..22], [0, 2]);
        assert_eq!(reply[22..28], FW_MAC[1]);
        assert_eq!(reply[28..32], target.octets());
    }
    site.send(LOC, &arp(CLIENT_MAC, 1, CLIENT, SERVER));
    assert_eq!(site.outputs(), []);
}

/// Who answers a request of `asker`'s: the interface's own station, or nobody.
fn is_answered(site: &mut Site, on: InterfaceId, asker: Ipv4Addr, target: Ipv4Addr) -> bool {
    let mac = [ROUTER_MAC, CLIENT_MAC][usize::from(on.0)];
    site.send(on, &arp(mac, 1, asker, target));
    let outputs = site.outputs();
    for (egress, reply) in &outputs {
        assert_eq!(*egress, on);
        assert_eq!(reply.bytes[..6], mac);
        assert_eq!(reply.bytes[20..22], [0, 2]);
        assert_eq!(reply.bytes[22..28], FW_MAC[usize::from(on.0)]);
        assert_eq!(reply.bytes[28..32], target.octets());
    }
    !outputs.is_empty()
}

#[test]
fn with_proxyarp_whatever_lies_elsewhere_is_answered_for() {
    let mut policy = policy();
    policy.interfaces[1].proxy_arp = true;
    let mut site = Site::new(policy.clone());
    assert!(is_answered(&mut site, LOC, CLIENT, FAR));
    assert!(is_answered(&mut site, LOC, CLIENT, ROUTER));
    assert!(
        !is_answered(&mut site, LOC, CLIENT, QUIET),
        "on its own link"
    );
    let nowhere = Ipv4Addr::new(224, 0, 0, 9);
    assert!(!is_answered(&mut site, LOC, CLIENT, nowhere));
    assert!(
        !is_answered(&mut site, LOC, Ipv4Addr::UNSPECIFIED, FAR),
        "a probe"
    );
    assert!(
        !is_answered(&mut site, NET, ROUTER, CLIENT),
        "of another interface"
    );
    // It is who it says: no answer where its packets would be dropped.
    policy.interfaces[1].route_filter = RouteFilter::Strict;
    let mut site = Site::new(policy.clone());
    assert!(is_answered(&mut site, LOC, CLIENT, FAR));
    assert!(!is_answered(&mut site, LOC, ROUTER, FAR));
    policy.settings.forwarding = false;
    assert!(!is_answered(&mut Site::new(policy), LOC, CLIENT, FAR));
}

#[test]
fn a_reply_in_somebodys_name_is_no_reason_to_answer() {
    let mut policy = policy();
    policy.interfaces[1].proxy_arp = true;
    let mut site = Site::new(policy);
    site.send(LOC, &arp(CLIENT_MAC, 2, CLIENT, FAR));
    assert_eq!(site.outputs(), []);
}

#[test]
fn lines_of_proxyarp_are_answered_for_where_they_say() {
    let mut policy = open_policy();
    let host = Ipv4Addr::new(192, 0, 2, 9);
    policy.routes.push(Route {
        destination: Prefix {
            address: host,
            length: 32,
        },
        gateway: None,
        interface: LOC,
        metric: 0,
    });
    let mut proxied = [host, CLIENT, FAR].map(|address| Proxied {
        address,
        interface: NET,
    });
    proxied.sort();
    policy.proxied = proxied.to_vec();
    let mut site = Site::new(policy);
    assert!(is_answered(&mut site, NET, ROUTER, host));
    assert!(is_answered(&mut site, NET, ROUTER, CLIENT));
    assert!(!is_answered(&mut site, NET, ROUTER, QUIET), "no line");
    assert!(!is_answered(&mut site, NET, ROUTER, FAR), "it is out there");
    assert!(
        !is_answered(&mut site, LOC, CLIENT, FAR),
        "another interface"
    );
    // The host is a neighbour, though no prefix of the interface's has it.
    let mut sent = udp(NET, (FAR, 53), (host, 53), b"hello");
    sent[..6].copy_from_slice(&FW_MAC[0]);
    assert_eq!(site.send(NET, &sent), Outcome::Other(Verdict::Parked));
    assert_eq!(site.output(LOC)[38..42], host.octets());
    site.send(LOC, &arp(QUIET_MAC, 2, host, FW_LOC));
    assert_eq!(site.output(LOC)[..6], QUIET_MAC);
    site.send(NET, &sent).forwarded(LOC);
}

#[test]
fn a_probe_is_answered_and_teaches_nothing() {
    let mut site = Site::new(policy());
    site.send(LOC, &arp(QUIET_MAC, 1, Ipv4Addr::UNSPECIFIED, FW_LOC));
    assert_eq!(site.output(LOC)[20..22], [0, 2]);
}

#[test]
fn a_frame_waits_for_its_next_hop() {
    let mut site = Site::new(open_policy());
    assert_eq!(to_quiet(&mut site), Outcome::Other(Verdict::Parked));
    let request = site.output(LOC);
    assert_eq!(request[..6], [0xff; 6]);
    assert_eq!(request[28..32], FW_LOC.octets());
    assert_eq!(request[38..42], QUIET.octets());
    site.send(LOC, &arp(QUIET_MAC, 2, QUIET, FW_LOC));
    let released = site.output(LOC);
    assert_eq!(released[..6], QUIET_MAC);
    assert_eq!(released[6..12], FW_MAC[1]);
    assert_checksums(&released);
    to_quiet(&mut site).forwarded(LOC);
}

#[test]
fn only_so_many_frames_wait_for_a_neighbour() {
    let mut site = Site::new(open_policy());
    for _ in 0..64 {
        assert_eq!(to_quiet(&mut site), Outcome::Other(Verdict::Parked));
    }
    to_quiet(&mut site).dropped(Reason::ParkingFull);
}

#[test]
fn a_neighbour_that_never_answers_is_reported() {
    let mut site = Site::new(open_policy());
    to_quiet(&mut site);
    let mut requests = site.outputs().len();
    for _ in 0..2 {
        site.wait(1);
        site.firewall.poll(site.now);
        requests += site.outputs().len();
    }
    assert_eq!(requests, 3);
    site.wait(1);
    site.firewall.poll(site.now);
    let error = site.output(NET);
    assert_eq!((error[34], error[35], destination_of(&error)), (3, 1, FAR));
    assert_checksums(&error);
    assert_eq!(site.firewall.counters().drops.of(Reason::Unresolved), 1);
}

#[test]
fn the_report_about_a_masqueraded_frame_finds_the_client() {
    let mut policy = policy();
    policy.routes[0].gateway = Some(Ipv4Addr::new(192, 0, 2, 9));
    let mut site = Site::new(policy);
    let sent = udp(LOC, (CLIENT, 5000), (FAR, 53), b"?");
    assert_eq!(site.send(LOC, &sent), Outcome::Other(Verdict::Parked));
    for _ in 0..3 {
        site.outputs();
        site.wait(1);
        site.firewall.poll(site.now);
    }
    let error = site.output(LOC);
    assert_eq!(
        (error[34], error[35], destination_of(&error)),
        (3, 1, CLIENT)
    );
    assert_eq!(error[42 + 12..42 + 16], CLIENT.octets());
    assert_checksums(&error);
}

#[test]
fn a_reply_nobody_asked_for_teaches_nothing() {
    let mut site = Site::new(open_policy());
    site.send(LOC, &arp(QUIET_MAC, 2, QUIET, FW_LOC));
    assert_eq!(to_quiet(&mut site), Outcome::Other(Verdict::Parked));
}

#[test]
fn a_neighbour_that_moved_is_followed_by_open_flows() {
    let mut site = Site::new(policy());
    site.send(LOC, &udp(LOC, (CLIENT, 5000), (FAR, 53), b"?"))
        .forwarded(NET);
    let moved = [2, 0, 0, 0, 0, 0x55];
    site.send(NET, &arp(moved, 1, ROUTER, ROUTER));
    let out = site
        .send(LOC, &udp(LOC, (CLIENT, 5000), (FAR, 53), b"?"))
        .forwarded(NET);
    assert_eq!(out[..6], moved);
}

#[test]
fn a_claim_to_an_own_address_or_from_another_link_is_refused() {
    let mut site = Site::new(policy());
    site.send(LOC, &arp(CLIENT_MAC, 1, FW_LOC, FW_LOC))
        .dropped(Reason::OwnSource);
    for mac in [[0xff; 6], [0; 6], FW_MAC[1]] {
        site.send(LOC, &arp(mac, 1, CLIENT, FW_LOC))
            .dropped(Reason::BadArp);
    }
    // The router is not behind this link: it keeps its entry.
    site.send(LOC, &arp(CLIENT_MAC, 2, ROUTER, FW_LOC));
    let out = site
        .send(LOC, &udp(LOC, (CLIENT, 1), (FAR, 2), b""))
        .forwarded(NET);
    assert_eq!(out[..6], ROUTER_MAC);
}

#[test]
fn who_asks_is_remembered_only_as_a_neighbour() {
    let stranger = Ipv4Addr::new(172, 16, 0, 9);
    // By an address of a network that is elsewhere nobody makes himself the way there.
    let mut site = Site::new(open_policy());
    site.send(LOC, &arp(QUIET_MAC, 1, stranger, FW_LOC));
    assert_eq!(site.output(LOC)[..6], QUIET_MAC, "answered in any case");
    let sent = udp(LOC, (CLIENT, 53), (stranger, 53), b"hello");
    assert_eq!(site.send(LOC, &sent).forwarded(NET)[..6], ROUTER_MAC);
    let mut policy = open_policy();
    policy.routes.push(Route {
        destination: Prefix {
            address: stranger,
            length: 32,
        },
        gateway: None,
        interface: LOC,
        metric: 0,
    });
    // One with a route of its own is on the link.
    let mut site = Site::new(policy);
    site.send(LOC, &arp(QUIET_MAC, 1, stranger, FW_LOC));
    assert_eq!(site.output(LOC)[..6], QUIET_MAC);
    let sent = udp(NET, (FAR, 53), (stranger, 53), b"hello");
    assert_eq!(site.send(NET, &sent).forwarded(LOC)[..6], QUIET_MAC);
}

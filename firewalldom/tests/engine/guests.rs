//! Guests: who they are, and what they cannot claim to be.

use crate::support::*;
use firewalldom::policy::{ClampMss, Disposition, InterfacePrefix, Policy, Proxied};
use firewalldom::{Checksum, Frame, GuestError, GuestId, Head, Reason, Verdict};
use std::net::Ipv4Addr;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 2);
const GUEST_MAC: [u8; 6] = [0, 0x16, 0x3e, 0, 0, 2];
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 3);
const NEIGHBOUR_MAC: [u8; 6] = [0, 0x16, 0x3e, 0, 0, 3];

/// The site of the other tests, with guests behind its inner interface instead of a network.
fn guests() -> Policy {
    let mut policy = policy();
    policy.interfaces[1].name = "vif+".into();
    policy.interfaces[1].addresses.clear();
    policy
}

/// The same, where the firewall has an address on the guests' side.
fn guests_with_gateway() -> Policy {
    let mut policy = guests();
    policy.interfaces[1].addresses.push(InterfacePrefix {
        address: Ipv4Addr::new(10, 0, 9, 1),
        length: 24,
        broadcast: Some(Ipv4Addr::new(10, 0, 9, 255)),
    });
    policy
}

fn attach(site: &mut Site, address: Ipv4Addr, mac: [u8; 6]) -> Result<GuestId, GuestError> {
    site.firewall.attach_guest(LOC, mac, &[address], 1500)
}

fn send(site: &mut Site, guest: GuestId, bytes: &[u8]) -> Outcome {
    let mut head = Head::new();
    head.load(bytes);
    let mut frame = Frame {
        head: &mut head,
        len: bytes.len(),
        tail: &bytes,
        checksum: Checksum::Unknown,
        gso: None,
    };
    match site.firewall.ingress_from(site.now, guest, &mut frame) {
        Verdict::Forward { egress } => Outcome::Forwarded(egress, frame.head.bytes().to_vec()),
        verdict => Outcome::Other(verdict),
    }
}

/// A datagram as the guest with this Ethernet address sends it.
fn datagram(mac: [u8; 6], from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut frame = udp(LOC, (from, 4000), (to, 53), b"hello");
    frame[6..12].copy_from_slice(&mac);
    frame
}

#[test]
fn a_guest_is_reached_by_its_address_without_being_asked_for() {
    let mut site = Site::new(guests());
    let guest = attach(&mut site, GUEST, GUEST_MAC).unwrap();
    site.outputs();
    let Outcome::Forwarded(NET, out) = send(&mut site, guest, &datagram(GUEST_MAC, GUEST, FAR))
    else {
        panic!("out");
    };
    assert_eq!(out[26..30], FW_NET.octets());
    let translated = u16::from_be_bytes([out[34], out[35]]);
    let mut reply = udp(NET, (FAR, 53), (FW_NET, translated), b"hello");
    reply[..6].copy_from_slice(&FW_MAC[0]);
    let Outcome::Forwarded(LOC, back) = site.send(NET, &reply) else {
        panic!("back");
    };
    assert_eq!(back[..6], GUEST_MAC);
    assert_eq!(back[30..34], GUEST.octets());
    assert_eq!(site.outputs(), [], "nobody was asked");
}

#[test]
fn a_guest_that_is_gone_is_not_reached_until_it_comes_again() {
    let mut site = Site::new(guests());
    let guest = attach(&mut site, GUEST, GUEST_MAC).unwrap();
    let Outcome::Forwarded(NET, out) = send(&mut site, guest, &datagram(GUEST_MAC, GUEST, FAR))
    else {
        panic!("out");
    };
    let translated = u16::from_be_bytes([out[34], out[35]]);
    let reply = udp(NET, (FAR, 53), (FW_NET, translated), b"hello");
    // Once on the whole way and once on the short one.
    for _ in 0..2 {
        assert!(matches!(site.send(NET, &reply), Outcome::Forwarded(LOC, _)));
    }
    site.firewall.detach_guest(guest);
    // Its address is one like any other: the default route would take it back where it came from.
    let gone = site.send(NET, &reply);
    assert_eq!(gone, Outcome::Other(Verdict::Drop(Reason::Hairpin)));
    // Twice is as good as once.
    site.firewall.detach_guest(guest);
    let sent = send(&mut site, guest, &datagram(GUEST_MAC, GUEST, FAR));
    assert_eq!(sent, Outcome::Other(Verdict::Drop(Reason::GuestSource)));
    attach(&mut site, GUEST, NEIGHBOUR_MAC).unwrap();
    let Outcome::Forwarded(LOC, back) = site.send(NET, &reply) else {
        panic!("back");
    };
    assert_eq!(back[..6], NEIGHBOUR_MAC, "of the vif that is there now");
}

#[test]
fn a_guest_says_only_what_is_its_own() {
    let mut site = Site::new(guests());
    let guest = attach(&mut site, GUEST, GUEST_MAC).unwrap();
    attach(&mut site, NEIGHBOUR, NEIGHBOUR_MAC).unwrap();
    let refused = Outcome::Other(Verdict::Drop(Reason::GuestSource));
    for frame in [
        datagram(GUEST_MAC, NEIGHBOUR, FAR),
        datagram(NEIGHBOUR_MAC, GUEST, FAR),
        arp(GUEST_MAC, 2, NEIGHBOUR, FW_NET),
        arp(NEIGHBOUR_MAC, 2, GUEST, FW_NET),
        arp(GUEST_MAC, 1, CLIENT, FW_NET),
        vec![0; 13],
        datagram(GUEST_MAC, GUEST, FAR)[..29].to_vec(),
    ] {
        assert_eq!(send(&mut site, guest, &frame), refused, "{frame:x?}");
    }
    assert_eq!(site.firewall.counters().drops.of(Reason::GuestSource), 7);
    // Ethernet says the one, ARP the other.
    let mut forged = arp(GUEST_MAC, 2, GUEST, FW_NET);
    forged[22..28].copy_from_slice(&NEIGHBOUR_MAC);
    assert_eq!(send(&mut site, guest, &forged), refused);
}

#[test]
fn any_address_of_the_firewalls_is_a_guests_gateway() {
    let mut site = Site::new(guests_with_gateway());
    let guest = attach(&mut site, GUEST, GUEST_MAC).unwrap();
    site.outputs();
    for gateway in [FW_NET, Ipv4Addr::new(10, 0, 9, 1)] {
        for asks in [GUEST, Ipv4Addr::UNSPECIFIED] {
            send(&mut site, guest, &arp(GUEST_MAC, 1, asks, gateway));
            let reply = site.output(LOC);
            assert_eq!(reply[..6], GUEST_MAC);
            assert_eq!(reply[28..32], gateway.octets());
        }
    }
    // Of its neighbour it learns nothing here.
    send(&mut site, guest, &arp(GUEST_MAC, 1, GUEST, NEIGHBOUR));
    assert_eq!(site.outputs(), []);
}

#[test]
fn with_proxyarp_guests_share_the_subnet_outside() {
    let mut policy = guests();
    policy.interfaces[1].proxy_arp = true;
    let [web, mail, second] = [10, 11, 12].map(|last| Ipv4Addr::new(192, 0, 2, last));
    policy.proxied = vec![Proxied {
        address: web,
        interface: NET,
    }];
    let mut site = Site::new(policy);
    let guest = attach(&mut site, web, GUEST_MAC).unwrap();
    let neighbour = site
        .firewall
        .attach_guest(LOC, NEIGHBOUR_MAC, &[mail, second], 1500)
        .unwrap();
    site.outputs();
    // The provider's router is asked for as if it were on the same wire, and so is the other guest.
    for (asks, mac, from, target) in [
        (guest, GUEST_MAC, web, ROUTER),
        (guest, GUEST_MAC, web, mail),
        (neighbour, NEIGHBOUR_MAC, second, web),
    ] {
        send(&mut site, asks, &arp(mac, 1, from, target));
        let reply = site.output(LOC);
        assert_eq!(reply[..6], mac);
        assert_eq!(reply[22..28], FW_MAC[1]);
        assert_eq!(reply[28..32], target.octets());
    }
    // Not for itself, nor for whoever is not there.
    for target in [mail, second] {
        send(&mut site, neighbour, &arp(NEIGHBOUR_MAC, 1, mail, target));
        assert_eq!(site.outputs(), []);
    }
    for (target, is_answered) in [(web, true), (mail, false)] {
        site.send(NET, &arp(ROUTER_MAC, 1, ROUTER, target));
        assert_eq!(site.outputs().len(), usize::from(is_answered), "{target}");
    }
    // Nobody answers for a guest that is gone.
    site.firewall.detach_guest(guest);
    site.send(NET, &arp(ROUTER_MAC, 1, ROUTER, web));
    assert_eq!(site.outputs(), []);
}

#[test]
fn guests_reach_each_other_only_with_routeback_and_by_rule() {
    for (route_back, policy_between) in [
        (false, Disposition::Accept),
        (true, Disposition::Drop),
        (true, Disposition::Accept),
    ] {
        let mut policy = guests();
        policy.interfaces[1].route_back = route_back;
        policy.chains[7].policy = policy_between;
        let mut site = Site::new(policy);
        let guest = attach(&mut site, GUEST, GUEST_MAC).unwrap();
        attach(&mut site, NEIGHBOUR, NEIGHBOUR_MAC).unwrap();
        let sent = send(&mut site, guest, &datagram(GUEST_MAC, GUEST, NEIGHBOUR));
        match (route_back, policy_between) {
            (true, Disposition::Accept) => {
                let Outcome::Forwarded(LOC, out) = sent else {
                    panic!("{sent:?}");
                };
                assert_eq!(out[..6], NEIGHBOUR_MAC);
            }
            (true, _) => assert_eq!(sent, Outcome::Other(Verdict::Drop(Reason::Dropped))),
            (false, _) => assert_eq!(sent, Outcome::Other(Verdict::Drop(Reason::Hairpin))),
        }
    }
}

#[test]
fn what_no_guest_can_be_is_refused_and_changes_nothing() {
    let mut site = Site::new(guests_with_gateway());
    attach(&mut site, GUEST, GUEST_MAC).unwrap();
    let other = [0, 0x16, 0x3e, 0, 0, 9];
    for (address, mac, error) in [
        (GUEST, other, GuestError::AddressTaken),
        (NEIGHBOUR, GUEST_MAC, GuestError::MacTaken),
        (NEIGHBOUR, [0; 6], GuestError::Mac),
        (NEIGHBOUR, [0xff; 6], GuestError::Mac),
        (NEIGHBOUR, FW_MAC[1], GuestError::Mac),
        (FW_NET, other, GuestError::Address),
        (Ipv4Addr::new(10, 0, 9, 1), other, GuestError::Address),
        (Ipv4Addr::new(10, 0, 9, 255), other, GuestError::Address),
        (Ipv4Addr::UNSPECIFIED, other, GuestError::Address),
        (Ipv4Addr::LOCALHOST, other, GuestError::Address),
        (Ipv4Addr::new(224, 0, 0, 9), other, GuestError::Address),
        (Ipv4Addr::BROADCAST, other, GuestError::Address),
    ] {
        assert_eq!(attach(&mut site, address, mac), Err(error), "{address}");
    }
    let attach_guest = |site: &mut Site, interface, addresses: &[Ipv4Addr], mtu| {
        site.firewall.attach_guest(interface, other, addresses, mtu)
    };
    let two = [NEIGHBOUR, GUEST];
    assert_eq!(
        attach_guest(&mut site, NET, &[NEIGHBOUR], 1500),
        Err(GuestError::Interface)
    );
    assert_eq!(
        attach_guest(&mut site, LOC, &[], 1500),
        Err(GuestError::NoAddress)
    );
    assert_eq!(
        attach_guest(&mut site, LOC, &two, 1500),
        Err(GuestError::AddressTaken)
    );
    // None of them left anything behind.
    assert!(attach_guest(&mut site, LOC, &[NEIGHBOUR], 1500).is_ok());
}

#[test]
fn what_goes_to_a_guest_is_no_longer_than_its_mtu_and_its_neighbours_is_their_own() {
    let mut policy = guests_with_gateway();
    policy.settings.clamp_mss = Some(ClampMss::PathMtu);
    let mut site = Site::new(policy);
    let narrow = site
        .firewall
        .attach_guest(LOC, GUEST_MAC, &[GUEST], 1000)
        .unwrap();
    let wide = site
        .firewall
        .attach_guest(LOC, NEIGHBOUR_MAC, &[NEIGHBOUR], 9000)
        .unwrap();
    site.outputs();
    // Both begin a flow to the outside; a long answer reaches the one, the other's sender hears why not.
    for (guest, mac, address) in [(narrow, GUEST_MAC, GUEST), (wide, NEIGHBOUR_MAC, NEIGHBOUR)] {
        let asked = send(&mut site, guest, &datagram(mac, address, FAR)).forwarded(NET);
        let port = word(&asked, 34);
        let reply = |len| udp(NET, (FAR, 53), (FW_NET, port), &vec![7; len]);
        // By the long way, and by the short one.
        for _ in 0..2 {
            site.send(NET, &reply(972)).forwarded(LOC);
            if guest == narrow {
                site.send(NET, &reply(973)).dropped(Reason::TooBig);
            } else {
                site.send(NET, &reply(1472)).forwarded(LOC);
            }
        }
        let said = site.outputs();
        if guest == wide {
            assert_eq!(said.len(), 0);
            continue;
        }
        assert_eq!(said.len(), 2);
        let answer = &said[0].1.bytes;
        assert_eq!((answer[34], answer[35], word(answer, 40)), (3, 4, 1000));
        // What may be cut is.
        let mut long = reply(1400);
        long[20] = 0;
        fix_header(&mut long);
        assert_eq!(site.send(NET, &long), Outcome::Other(Verdict::Parked));
        let pieces = site.outputs();
        assert_eq!(pieces.len(), 2);
        assert!(
            pieces
                .iter()
                .all(|(_, piece)| piece.bytes.len() <= 14 + 1000)
        );
    }
    // Its connections are told of it when they begin.
    for (guest, mac, address, mss) in [
        (narrow, GUEST_MAC, GUEST, 960),
        (wide, NEIGHBOUR_MAC, NEIGHBOUR, 1460),
    ] {
        let mut syn = tcp_with(
            LOC,
            (address, 4001),
            (FAR, 80),
            SYN,
            (1, 0),
            &[2, 4, 5, 180],
        );
        syn[6..12].copy_from_slice(&mac);
        // What follows the header is an option.
        syn[46] = 0x60;
        fix_transport(&mut syn);
        let out = send(&mut site, guest, &syn).forwarded(NET);
        assert_eq!(word(&out, 56), mss);
    }
    // Who comes after it at that address is another.
    site.firewall.detach_guest(narrow);
    let next = attach(&mut site, GUEST, GUEST_MAC).unwrap();
    let asked = send(&mut site, next, &datagram(GUEST_MAC, GUEST, FAR)).forwarded(NET);
    let reply = udp(NET, (FAR, 53), (FW_NET, word(&asked, 34)), &[7; 1472]);
    site.send(NET, &reply).forwarded(LOC);
}

#[test]
fn a_bridge_takes_no_longer_packets_than_a_guest_on_it() {
    let mut policy = policy();
    policy.interfaces[1].bridge = true;
    policy.interfaces[1].name = "br0".into();
    let mut site = Site::new(policy);
    let long = udp(NET, (FAR, 53), (CLIENT, 4000), &[7; 1400]);
    let longest = |site: &mut Site| match site.send(NET, &long) {
        Outcome::Other(Verdict::Drop(Reason::TooBig)) => Some(word(&site.output(NET), 40)),
        _ => None,
    };
    assert_eq!(longest(&mut site), None);
    let attach = |site: &mut Site, number: u8, mtu| {
        let mac = [0, 0x16, 0x3e, 0, 0, number];
        site.firewall.attach_guest(LOC, mac, &[], mtu).unwrap()
    };
    let guests = [9000, 1200, 1300].map(|mtu| (mtu, attach(&mut site, (mtu / 100) as u8, mtu)));
    assert_eq!(longest(&mut site), Some(1200));
    site.firewall.detach_guest(guests[1].1);
    assert_eq!(longest(&mut site), Some(1300));
    site.firewall.detach_guest(guests[2].1);
    assert_eq!(longest(&mut site), None);
}

#[test]
fn there_are_so_many_guests_and_no_more_and_others_may_follow() {
    let mut site = Site::new(guests());
    let address = |number: u8| Ipv4Addr::new(10, 0, 9, number);
    let mac = |number: u8| [0, 0x16, 0x3e, 0, 1, number];
    let all: Vec<GuestId> = (0..firewalldom::GUESTS_MAX as u8)
        .map(|number| attach(&mut site, address(number), mac(number)).unwrap())
        .collect();
    let next = attach(&mut site, address(200), mac(200));
    assert_eq!(next, Err(GuestError::Full));
    // Their neighbours' entries are theirs, and are there again.
    for round in 0..30 {
        for (number, &guest) in all.iter().enumerate() {
            site.firewall.detach_guest(guest);
            let number = number as u8;
            let mac = [0, 0x16, 0x3e, round, 2, number];
            let again = attach(&mut site, address(number), mac).unwrap();
            assert_eq!(again, guest);
        }
    }
}

#[test]
fn a_vif_is_behind_the_first_interface_whose_name_fits() {
    let mut policy = guests();
    policy.interfaces[0].name = "vif-dmz+".into();
    let site = Site::new(policy);
    for (vif, interface) in [
        ("vif-dmz-web", Ok(NET)),
        ("vif-dmz", Ok(NET)),
        ("vif5.0", Ok(LOC)),
        ("vif-dm", Ok(LOC)),
        ("eth0", Err(GuestError::Interface)),
        ("", Err(GuestError::Interface)),
    ] {
        // Where there are no bridges, it says nothing which one a host has by default.
        for bridge in ["xenbr0", "br0", ""] {
            let found = site.firewall.interface_of_vif(vif, bridge);
            assert_eq!(found, interface, "{vif}");
        }
    }
}

#[test]
fn a_vif_is_on_the_bridge_that_it_names() {
    let mut policy = guests();
    policy.interfaces[0].name = "br-lan".into();
    policy.interfaces[0].bridge = true;
    let site = Site::new(policy);
    for (vif, bridge, interface) in [
        ("vif5.0", "br-lan", Ok(NET)),
        ("web", "br-lan", Ok(NET)),
        ("vif5.0", "xenbr0", Ok(LOC)),
        ("vif5.0", "", Ok(LOC)),
        ("vif5.0", "br-lam", Err(GuestError::Bridge)),
        ("br-lan", "", Err(GuestError::Interface)),
    ] {
        let found = site.firewall.interface_of_vif(vif, bridge);
        assert_eq!(found, interface, "{vif} {bridge}");
    }
}

#[test]
fn a_guest_on_a_bridge_may_have_any_address_but_not_the_firewalls_or_anothers() {
    let mut policy = guests_with_gateway();
    policy.interfaces[1].name = "br-lan".into();
    policy.interfaces[1].bridge = true;
    let mut site = Site::new(policy);
    let mut attach =
        |mac, addresses: &[Ipv4Addr]| site.firewall.attach_guest(LOC, mac, addresses, 1500);
    let other = [0, 0x16, 0x3e, 0, 0, 9];
    attach(GUEST_MAC, &[GUEST]).unwrap();
    attach(NEIGHBOUR_MAC, &[]).unwrap();
    for (mac, address, error) in [
        (other, GUEST, GuestError::AddressTaken),
        (other, Ipv4Addr::new(10, 0, 9, 1), GuestError::Address),
        (other, Ipv4Addr::new(10, 0, 9, 255), GuestError::Address),
        (NEIGHBOUR_MAC, NEIGHBOUR, GuestError::MacTaken),
        (FW_MAC[1], NEIGHBOUR, GuestError::Mac),
    ] {
        assert_eq!(attach(mac, &[address]), Err(error));
    }
    // The bridge looks who sent what, so nothing of it comes this way.
    let guest = attach(other, &[NEIGHBOUR]).unwrap();
    let sent = send(&mut site, guest, &datagram(other, NEIGHBOUR, FAR));
    assert_eq!(sent, Outcome::Other(Verdict::Drop(Reason::GuestSource)));
    site.firewall.detach_guest(guest);
    let again = site.firewall.attach_guest(LOC, other, &[NEIGHBOUR], 1500);
    assert!(again.is_ok());
}

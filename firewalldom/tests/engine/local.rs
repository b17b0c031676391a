//! What is addressed to the firewall itself.

use crate::support::*;
use firewalldom::{Checksum, PingOutcome, Reason, Verdict};
use std::net::Ipv4Addr;
use std::time::Duration;

#[test]
fn a_ping_that_a_rule_allows_is_answered_from_the_address_it_was_sent_to() {
    for address in [FW_LOC, FW_NET] {
        let mut site = Site::new(policy());
        let outcome = site.send(LOC, &echo(LOC, CLIENT, address, 8, 9));
        assert_eq!(outcome, Outcome::Other(Verdict::Local));
        let reply = site.output(LOC);
        assert_eq!(
            (source_of(&reply), destination_of(&reply)),
            (address, CLIENT)
        );
        assert_eq!((reply[34], word(&reply, 38), reply[22]), (0, 9, 64));
        assert_eq!(reply[..6], CLIENT_MAC);
        assert_checksums(&reply);
    }
}

#[test]
fn a_ping_that_no_rule_allows_is_not_answered() {
    let mut site = Site::new(policy());
    site.send(NET, &echo(NET, FAR, FW_NET, 8, 9))
        .dropped(Reason::Dropped);
    assert_eq!(site.outputs(), []);
}

#[test]
fn a_closed_port_answers_as_a_host_does() {
    let mut site = Site::new(policy());
    let outcome = site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FW_LOC, 22), SYN));
    assert_eq!(outcome, Outcome::Other(Verdict::Local));
    let reset = site.output(LOC);
    assert_eq!((reset[47] & RST, ports_of(&reset)), (RST, (22, 4000)));
    assert_checksums(&reset);
    site.send(LOC, &udp(LOC, (CLIENT, 4000), (FW_LOC, 5353), b"anyone?"));
    let error = site.output(LOC);
    assert_eq!((error[34], error[35], source_of(&error)), (3, 3, FW_LOC));
    assert_checksums(&error);
}

#[test]
fn a_blank_checksum_is_no_obstacle() {
    let mut site = Site::new(policy());
    let mut syn = tcp(LOC, (CLIENT, 4000), (FW_LOC, 22), SYN);
    syn[50..52].copy_from_slice(&[0x12, 0x34]);
    site.send_with(LOC, &syn, Checksum::Blank, None);
    assert_eq!(site.output(LOC)[47] & RST, RST);
}

#[test]
fn the_firewall_pings_by_its_own_rules() {
    let mut site = Site::new(policy());
    site.firewall.ping(site.now, FAR);
    let request = site.output(NET);
    assert_eq!(
        (source_of(&request), destination_of(&request)),
        (FW_NET, FAR)
    );
    assert_checksums(&request);
    site.now = firewalldom::time::Instant(site.now.0 + 3_000_000);
    site.send(NET, &echo(NET, FAR, FW_NET, 0, word(&request, 38)));
    let result = site.firewall.take_ping().unwrap();
    assert_eq!(result.address, FAR);
    assert_eq!(
        result.outcome,
        PingOutcome::Reply {
            after: Duration::from_millis(3)
        }
    );

    site.firewall.ping(site.now, FAR);
    site.outputs();
    site.wait(5);
    site.firewall.poll(site.now);
    assert_eq!(
        site.firewall.take_ping().unwrap().outcome,
        PingOutcome::TimedOut
    );
}

#[test]
fn a_ping_that_the_rules_forbid_is_refused() {
    let mut forbidding = policy();
    forbidding.chains[1].policy = firewalldom::policy::Disposition::Drop;
    let mut site = Site::new(forbidding);
    site.firewall.ping(site.now, FAR);
    assert_eq!(site.outputs(), []);
    assert_eq!(
        site.firewall.take_ping().unwrap().outcome,
        PingOutcome::Refused
    );
    site.firewall.ping(site.now, Ipv4Addr::BROADCAST);
    assert_eq!(
        site.firewall.take_ping().unwrap().outcome,
        PingOutcome::Refused
    );
}

#[test]
fn dhcp_reaches_the_firewall_where_the_option_says_so() {
    let offer = udp(NET, (ROUTER, 67), (FW_NET, 68), b"offer");
    Site::new(policy())
        .send(NET, &offer)
        .dropped(Reason::Dropped);
    let mut policy = policy();
    policy.interfaces[0].dhcp = true;
    assert_eq!(
        Site::new(policy).send(NET, &offer),
        Outcome::Other(Verdict::Local)
    );
}

#[test]
fn a_wrong_checksum_never_reaches_the_firewall_itself() {
    let mut site = Site::new(policy());
    let mut damaged = udp(LOC, (CLIENT, 4000), (FW_LOC, 5353), b"anyone?");
    damaged[45] ^= 1;
    site.send(LOC, &damaged).dropped(Reason::BadChecksum);
    assert_eq!(site.outputs(), []);
}

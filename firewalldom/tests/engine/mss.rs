//! CLAMPMSS and `mss=`: what a SYN announces, lowered, or added where nothing was announced.

use crate::support::*;
use firewalldom::policy::{ClampMss, Policy, Prefix};
use firewalldom::{Checksum, Verdict};

const CLIENT_PORT: u16 = 4000;

fn clamped(clamp: ClampMss) -> Policy {
    let mut policy = policy();
    policy.settings.clamp_mss = Some(clamp);
    policy
}

/// A SYN with these options, to be padded to words by the caller.
fn syn(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(CLIENT_PORT.to_be_bytes());
    segment.extend(80u16.to_be_bytes());
    segment.extend([0, 0, 3, 232, 0, 0, 0, 0]);
    segment.extend([
        (5 + options.len() as u8 / 4) << 4,
        flags,
        0x20,
        0,
        0,
        0,
        0,
        0,
    ]);
    segment.extend(options);
    segment.extend(payload);
    ip(LOC, CLIENT, FAR, 6, &segment)
}

const AT_1400: [u8; 4] = [2, 4, 5, 120];

#[test]
fn a_size_above_the_limit_is_lowered_and_one_below_stays() {
    for (announced, expected) in [(1460u16, 1400u16), (1401, 1400), (1400, 1400), (536, 536)] {
        for shift in 0..4 {
            // At any offset, odd ones included.
            let mut options = vec![1; shift];
            options.extend([2, 4]);
            options.extend(announced.to_be_bytes());
            options.resize(8, 1);
            let mut site = Site::new(clamped(ClampMss::At(1400)));
            let out = site.send(LOC, &syn(SYN, &options, b"")).forwarded(NET);
            assert_eq!(word(&out, 54 + shift + 2), expected);
            assert_checksums(&out);
        }
    }
}

#[test]
fn a_syn_that_announces_nothing_gets_an_option_of_536_at_most() {
    for (mtu, expected) in [(1500, 536), (540, 500)] {
        let sent = syn(SYN, &[3, 3, 7, 1], b"");
        let mut policy = clamped(ClampMss::PathMtu);
        policy.interfaces[0].mtu = Some(mtu);
        let mut site = Site::new(policy);
        let out = site.send(LOC, &sent).forwarded(NET);
        assert_eq!(out.len(), sent.len() + 4);
        assert_eq!((word(&out, 16), out[46] >> 4), (48, 7));
        assert_eq!(
            out[54..62],
            [
                &[2, 4, (expected >> 8) as u8, expected as u8][..],
                &[3, 3, 7, 1]
            ]
            .concat()
        );
        assert_checksums(&out);
    }
}

#[test]
fn a_blank_checksum_learns_of_the_new_length() {
    let sent = syn(SYN, &[], b"");
    let pseudo = |frame: &[u8]| {
        let length = (frame.len() as u16 - 34).to_be_bytes();
        !checksum(&[&frame[26..34], &[0, 6], &length])
    };
    let mut blank = sent.clone();
    let sum = pseudo(&sent);
    blank[50..52].copy_from_slice(&sum.to_be_bytes());
    let mut site = Site::new(clamped(ClampMss::PathMtu));
    let out = site
        .send_with(LOC, &blank, Checksum::Blank, None)
        .forwarded(NET);
    assert_eq!((out.len(), word(&out, 50)), (sent.len() + 4, pseudo(&out)));
    let mut blank = syn(SYN, &[2, 4, 5, 180], b"");
    let sum = pseudo(&blank);
    blank[50..52].copy_from_slice(&sum.to_be_bytes());
    let mut site = Site::new(clamped(ClampMss::At(1400)));
    let out = site
        .send_with(LOC, &blank, Checksum::Blank, None)
        .forwarded(NET);
    assert_eq!((word(&out, 56), word(&out, 50)), (1400, pseudo(&out)));
}

#[test]
fn the_smaller_mtu_of_both_directions_less_forty_bytes_is_the_limit_of_a_path() {
    for narrow in [0, 1] {
        let mut policy = clamped(ClampMss::PathMtu);
        policy.interfaces[narrow].mtu = Some(1280);
        let mut site = Site::new(policy);
        let out = site
            .send(LOC, &syn(SYN, &[2, 4, 5, 180], b""))
            .forwarded(NET);
        assert_eq!(word(&out, 56), 1240);
    }
}

#[test]
fn an_interface_lowers_what_comes_in_or_goes_out_and_adds_nothing() {
    for narrow in [0, 1] {
        let mut policy = policy();
        policy.interfaces[narrow].mss = Some(1400);
        let mut site = Site::new(policy);
        let out = site
            .send(LOC, &syn(SYN, &[2, 4, 5, 180], b""))
            .forwarded(NET);
        assert_eq!(out[54..58], AT_1400);
        let again = syn(SYN, &[], b"");
        assert_eq!(site.send(LOC, &again).forwarded(NET).len(), again.len());
    }
}

#[test]
fn an_interfaces_limit_takes_the_place_of_clampmss() {
    let mut policy = clamped(ClampMss::PathMtu);
    policy.interfaces[1].mss = Some(1400);
    policy.interfaces[0].mtu = Some(1280);
    let mut site = Site::new(policy);
    let out = site
        .send(LOC, &syn(SYN, &[2, 4, 5, 180], b""))
        .forwarded(NET);
    assert_eq!(out[54..58], AT_1400);
    let bare = syn(SYN, &[], b"");
    assert_eq!(site.send(LOC, &bare).forwarded(NET).len(), bare.len());
}

#[test]
fn hosts_have_limits_of_their_own() {
    let [a, b, c, _] = CLIENT.octets();
    for (last, length, limit) in [(0, 24, 1400), (255, 32, 1460)] {
        let mut policy = policy();
        let everybody = policy.hosts.clone();
        for host in &mut policy.hosts {
            if host.interface == LOC {
                host.mss = Some(1400);
                host.prefix = Prefix {
                    address: [a, b, c, last].into(),
                    length,
                };
            }
        }
        policy.hosts.extend(everybody);
        let mut site = Site::new(policy);
        let out = site
            .send(LOC, &syn(SYN, &[2, 4, 5, 180], b""))
            .forwarded(NET);
        assert_eq!(word(&out, 56), limit);
    }
}

#[test]
fn only_a_syn_is_touched_and_only_if_it_goes_on() {
    let mut narrow = clamped(ClampMss::PathMtu);
    narrow.interfaces[0].mtu = Some(1000);
    let mut site = Site::new(narrow);
    let plain = syn(ACK, &[2, 4, 5, 180], b"");
    assert_eq!(word(&site.send(LOC, &plain).forwarded(NET), 56), 1460);
    let with_data = syn(SYN, &[], b"early");
    assert_eq!(
        site.send(LOC, &with_data).forwarded(NET).len(),
        with_data.len()
    );
    let mut fixed = Site::new(clamped(ClampMss::At(500)));
    let bare = syn(SYN, &[], b"");
    assert_eq!(fixed.send(LOC, &bare).forwarded(NET).len(), bare.len());
    let full = syn(SYN, &[1; 40], b"");
    assert_eq!(site.send(LOC, &full).forwarded(NET).len(), full.len());
    let local = tcp(LOC, (CLIENT, 4001), (FW_LOC, 22), SYN);
    assert_eq!(site.send(LOC, &local), Outcome::Other(Verdict::Local));
}

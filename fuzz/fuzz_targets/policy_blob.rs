//! Any bytes as the policy blob of `ramdisk=`. Nobody guesses a checksum, so the body's is put right
//! first; what decodes then is what an engine must run on without a panic.

#![no_main]

use firewalldom::policy::{InterfaceId, blob};
use firewalldom::time::Instant;
use firewalldom::{Budget, Checksum, Firewall, Frame, Head, Link, NoTail};
use libfuzzer_sys::fuzz_target;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// An ARP request, a ping, a TCP SYN and a UDP datagram from 10.0.0.5.
const FRAMES: [&[u8]; 4] = [
    b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x21\x08\x06\0\x01\x08\0\x06\x04\0\x01\
      \x02\0\0\0\0\x21\x0a\0\0\x05\0\0\0\0\0\0\x0a\0\0\x01",
    b"\x02\0\0\0\0\x11\x02\0\0\0\0\x21\x08\0\x45\0\0\x1c\x12\x34\x40\0\x40\x01\x14\xaa\
      \x0a\0\0\x05\x0a\0\0\x01\x08\0\xf7\xff\0\0\0\0",
    b"\x02\0\0\0\0\x11\x02\0\0\0\0\x21\x08\0\x45\0\0\x28\x12\x34\x40\0\x40\x06\x95\x2d\
      \x0a\0\0\x05\xc6\x33\x64\x07\x04\xd2\0\x50\0\0\0\x01\0\0\0\0\x50\x02\xff\xff\0\0\0\0",
    b"\x02\0\0\0\0\x11\x02\0\0\0\0\x21\x08\0\x45\0\0\x1c\x12\x34\x40\0\x40\x11\x95\x2e\
      \x0a\0\0\x05\xc6\x33\x64\x07\x04\xd2\0\x35\0\x08\0\0",
];

fn with_header(body: &[u8]) -> Vec<u8> {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(body);
    let mut blob = blob::MAGIC.to_vec();
    blob.extend(blob::VERSION.to_le_bytes());
    blob.extend([0, 0]);
    blob.extend((body.len() as u32).to_le_bytes());
    blob.extend(hasher.finish().to_le_bytes());
    blob.extend(body);
    blob
}

fuzz_target!(|data: &[u8]| {
    let _ = blob::decode(data);
    let body = if data.starts_with(&blob::MAGIC) {
        data.get(blob::HEADER..).unwrap_or_default()
    } else {
        data
    };
    let Ok(policy) = blob::decode(&with_header(body)) else {
        return;
    };
    let written = blob::encode(&policy).expect("what was read can be written");
    assert_eq!(blob::decode(&written).as_ref(), Ok(&policy));

    let links: Vec<Link> = (0..policy.interfaces.len())
        .map(|number| Link {
            mac: [2, 0, 0, 0, 0, 0x10 + number as u8],
            mtu: 1500,
        })
        .collect();
    let budget = Budget { flows: 64 };
    let mut firewall = Firewall::new(&policy, &links, budget, [7; 32], Instant(1))
        .expect("a policy that decodes runs on as many links as it has interfaces");
    for number in 0..links.len() {
        for (second, bytes) in (1..).zip(FRAMES) {
            let mut head = Head::new();
            head.load(bytes);
            let mut frame = Frame {
                len: bytes.len(),
                head: &mut head,
                tail: &NoTail,
                checksum: Checksum::Validated,
                gso: None,
            };
            let now = Instant(second * 1_000_000_000);
            let _ = firewall.ingress(now, InterfaceId(number as u8), &mut frame);
            firewall.poll(now);
        }
    }
    while firewall.take_output().is_some() {}
    while firewall.take_log().is_some() {}
});

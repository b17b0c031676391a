//! For the targets of the engine: the firewall of the example, and what is checked of packets.

use firewalldom::policy::blob;
use firewalldom::time::Instant;
use firewalldom::{Budget, Firewall, Link};
use std::cell::Cell;

/// Flows that the firewall of [`with_firewall`] has room for.
pub const FLOWS: usize = 32;

/// The MAC addresses of [`with_firewall`]'s firewall: towards the net, and towards loc.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x10], [2, 0, 0, 0, 0, 0x11]];

/// The example that the project ships, compiled.
const POLICY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/site.policy"));

thread_local! {
    /// The example's tables, built once: each execution lends them to its firewall.
    static TABLES: Cell<Option<firewalldom::Site>> = Cell::new(Some({
        let links = MACS.map(|mac| Link { mac, mtu: 1500 });
        let stored = blob::open(POLICY).expect("what was written can be read");
        firewalldom::Site::new(stored, &links).expect("it runs on two links")
    }));
}

/// Does something with the example's firewall as it starts.
pub fn with_firewall(now: Instant, test: impl FnOnce(&mut Firewall)) {
    let site = TABLES.take().expect("nobody else has them");
    let mut firewall = Firewall::of(site, Budget { flows: FLOWS }, [7; 32], now);
    test(&mut firewall);
    TABLES.set(Some(firewall.into_site()));
}

/// The Internet checksum (RFC 1071): of bytes that hold their own, zero.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let total: u32 = words.sum();
    let folded = (total & 0xffff) + (total >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

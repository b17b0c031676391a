//! What an established packet costs on this machine: headers in cache to headers rewritten.
//!
//! `cargo run --release -p firewalldom --example forward [FLOWS [PACKETS [tcp|udp [nat|plain]]]]`.
//! Under `valgrind --tool=callgrind --toggle-collect='*measured_*'` the instructions of the packets
//! (those that open the flows included) are the figure that does not depend on the machine.

mod site;

use firewalldom::time::Instant;
use firewalldom::{AHEAD, Budget, Head, Verdict};
use site::{ACK, LOC, NET, Nat, Numbers, PAYLOAD, Transport};

/// Frames made beforehand, so that making them is not measured.
const FRAMES: u32 = 65_536;

/// Nanoseconds from one packet to the next.
const PACE_NS: u64 = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at)?.parse::<u32>().ok();
    let word = |at: usize| arguments.get(at).map(String::as_str);
    let flows = number(0).unwrap_or(65_536);
    let packets = number(1).unwrap_or(5_000_000);
    let transport = match word(2) {
        Some("udp") => Transport::Udp,
        _ => Transport::Tcp,
    };
    let nat = match word(3) {
        Some("plain") => Nat::None,
        _ => Nat::Masquerade,
    };
    let now = Instant(1_000_000_000);
    let mut firewall = site::firewall(nat, flows, now);
    let started = std::time::Instant::now();
    for number in 0..flows {
        site::open(&mut firewall, transport, number, now);
    }
    let per_new = started.elapsed().as_nanos() / u128::from(flows);

    // Flows in random order. A segment's number goes on from packet to packet, for all flows alike.
    let numbers = Numbers {
        flags: ACK,
        sequence: 1001,
        acknowledgement: 1001,
    };
    let mut state = 1u64;
    let mut frames: Vec<Vec<u8>> = (0..packets.min(FRAMES))
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            site::outwards(transport, (state >> 33) as u32 % flows, numbers)
        })
        .collect();
    let shortcuts = firewall.shortcuts_taken();
    let mut heads: [Head; AHEAD] = std::array::from_fn(|_| Head::new());
    let mut passed = 0;
    let started = std::time::Instant::now();
    for first in (0..packets).step_by(AHEAD) {
        let burst = first..packets.min(first + AHEAD as u32);
        let heads = &mut heads[..burst.len()];
        for (head, packet) in heads.iter_mut().zip(burst.clone()) {
            let frame = &mut frames[(packet % FRAMES) as usize];
            if transport == Transport::Tcp {
                frame[38..42].copy_from_slice(&(1001 + packet * PAYLOAD).to_be_bytes());
            }
            head.load(frame);
        }
        site::measured_look_ahead(&mut firewall, LOC, heads);
        for (head, packet) in heads.iter_mut().zip(burst) {
            let len = frames[(packet % FRAMES) as usize].len();
            let now = Instant(now.0 + u64::from(packet) * PACE_NS);
            let verdict = site::judge(&mut firewall, now, LOC, head, len);
            passed += u32::from(verdict == Verdict::Forward { egress: NET });
        }
    }
    let elapsed = started.elapsed();
    assert_eq!(passed, packets);
    assert_eq!(
        firewall.shortcuts_taken() - shortcuts,
        u64::from(packets),
        "all are established"
    );
    println!("flows                {flows:>12}");
    println!("bytes a flow         {:>12}", Budget::BYTES_PER_FLOW);
    println!("ns to open a flow    {per_new:>12}");
    println!(
        "ns a packet after    {:>12}",
        elapsed.as_nanos() / u128::from(packets.max(1))
    );
}

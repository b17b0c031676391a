//! What it costs to begin a flow, and to forget it when its time is over.
//!
//! `cargo run --release -p firewalldom --example new_flows [FLOWS [tcp|udp [nat|plain]]]`. Each flow
//! is one packet that matches no flow: routed, judged, translated, entered and sent on. Then time
//! passes, and the sweep forgets them all; then as many again come to a table that is full of flows
//! nobody answered, each of which makes room for one. Last, flows are opened by both sides, with four
//! packets each, made on the way.

mod site;

use firewalldom::time::Instant;
use firewalldom::{Firewall, Head, Verdict};
use site::{LOC, NET, Nat, Numbers, SYN, Transport};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| arguments.get(at).map(String::as_str);
    let flows: u32 = word(0)
        .and_then(|word| word.parse().ok())
        .unwrap_or(262_144);
    let transport = match word(1) {
        Some("udp") => Transport::Udp,
        _ => Transport::Tcp,
    };
    let nat = match word(2) {
        Some("plain") => Nat::None,
        _ => Nat::Masquerade,
    };
    let mut now = Instant(1_000_000_000);
    let mut firewall = site::firewall(nat, flows, now);
    site::hear(&mut firewall, 2 * flows, now);
    let numbers = Numbers {
        flags: SYN,
        sequence: 1000,
        acknowledgement: 0,
    };
    let frames: Vec<Vec<u8>> = (0..2 * flows)
        .map(|number| site::outwards(transport, number, numbers))
        .collect();
    let mut head = Head::new();
    let mut begin = |firewall: &mut Firewall, now, frames: &[Vec<u8>]| {
        let started = std::time::Instant::now();
        for frame in frames {
            let verdict = site::pass(firewall, now, LOC, &mut head, frame);
            assert_eq!(verdict, Verdict::Forward { egress: NET });
        }
        started.elapsed().as_nanos() / frames.len() as u128
    };
    let (first, second) = frames.split_at(flows as usize);
    println!("flows                {flows:>12}");
    let cost = begin(&mut firewall, now, first);
    println!("ns to begin one      {cost:>12}");
    assert_eq!(firewall.flows().now, flows as usize);

    now = Instant(now.0 + 600_000_000_000);
    let started = std::time::Instant::now();
    while firewall.flows().now > 0 {
        firewall.poll(now);
        // The table is swept once in so often, and not once a call.
        now = Instant(now.0 + 10_000_000);
    }
    let cost = started.elapsed().as_nanos() / u128::from(flows);
    println!("ns to forget one     {cost:>12}");

    site::hear(&mut firewall, 2 * flows, now);
    begin(&mut firewall, now, first);
    let cost = begin(&mut firewall, now, second);
    println!("ns to replace one    {cost:>12}");
    assert_eq!(firewall.flows().evicted, u64::from(flows));

    let mut firewall = site::firewall(nat, flows, now);
    let started = std::time::Instant::now();
    for number in 0..flows {
        site::open(&mut firewall, transport, number, now);
    }
    let cost = started.elapsed().as_nanos() / u128::from(flows);
    println!("ns to open one       {cost:>12}");
}

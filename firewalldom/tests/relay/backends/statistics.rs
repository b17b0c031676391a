//! What the relay tells about itself, and that telling it disturbs nothing.

use super::*;
use firewalldom::policy::blob::Identity;
use firewalldom::stat::{self, Statistics};
use minios_rs::stat::{ANSWERS_MAX, Report, Token, serve};
use minios_rs::task::Executor;
use minios_rs::xen::Xen;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What `stat` would be told.
fn statistics(lab: &Lab) -> (Report, Statistics) {
    let mut report = Report::default();
    stat::fill(&mut report, &lab.relay, Identity::default());
    let report = Report::decode(&report.encode()).unwrap();
    let statistics = Statistics::decode(report.detail.as_ref().unwrap()).unwrap();
    (report, statistics)
}

#[test]
fn statistics_tell_exactly_what_passed_and_what_did_not() {
    let mut lab = Lab::new();
    lab.connect();
    let (before, first) = statistics(&lab);
    let (mut passed, mut refused) = (0, 0);
    for number in 0..10 {
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
        passed += frame.len() as u64;
        let mut unasked = lab.tcp(NET, 2, number, 0, &[]);
        unasked[TCP..TCP + 2].copy_from_slice(&(7000 + number as u16).to_be_bytes());
        lab.deliver(NET, &unasked, BLANK, &[]);
        refused += unasked.len() as u64;
    }
    assert_eq!(lab.receive(NET).len(), 10);
    let (after, last) = statistics(&lab);
    let [net, loc] = [NET, LOC].map(|side| (&before.interfaces[side], &after.interfaces[side]));
    assert_eq!((net.1.name.as_str(), loc.1.name.as_str()), ("eth0", "eth1"));
    assert_eq!((net.1.backend, loc.1.backend), (OUTSIDE.0, INSIDE.0));
    for (was, is) in [net, loc] {
        assert_eq!(is.state, "open");
        assert_eq!(
            (was.received.errors.len(), is.received.errors.len()),
            (0, 0)
        );
    }
    assert_eq!(loc.1.received.frames - loc.0.received.frames, 10);
    assert_eq!(loc.1.received.bytes - loc.0.received.bytes, passed);
    assert_eq!(net.1.transmitted.frames - net.0.transmitted.frames, 10);
    assert_eq!(net.1.transmitted.bytes - net.0.transmitted.bytes, passed);
    assert_eq!(net.1.received.frames - net.0.received.frames, 10);
    assert_eq!(net.1.received.bytes - net.0.received.bytes, refused);
    assert_eq!(loc.1.transmitted.frames, loc.0.transmitted.frames);
    assert_eq!(last.forwarded - first.forwarded, 10);
    let drops = |statistics: &Statistics| {
        let counts = statistics.drops.iter().map(|drop| drop.count);
        counts.sum::<u64>()
    };
    assert_eq!(drops(&last) - drops(&first), 10);
    assert_eq!((last.flows.now, last.flows.capacity), (1, 1024));
    // The connection was let in by the policy's first line; nothing else ever was.
    let hit = |statistics: &Statistics, line: u32| {
        let of_line = |rule: &&stat::RuleHits| {
            statistics.file(rule) == "shorewall/policy" && rule.line == line
        };
        statistics
            .rules
            .iter()
            .find(of_line)
            .map_or(0, |rule| rule.hits)
    };
    assert_eq!((hit(&first, 1), hit(&last, 1)), (1, 1));
    assert_eq!((hit(&first, 2), hit(&last, 2)), (0, 10));
    lab.end();
}

#[test]
fn statistics_name_a_closed_interface_and_what_was_lost_to_it() {
    let mut lab = Lab::new();
    lab.connect();
    lab.relay.close(NET);
    let frame = lab.tcp(LOC, 16, 1001, 5001, &pattern(300));
    lab.deliver(LOC, &frame, BLANK, &[]);
    let (report, statistics) = statistics(&lab);
    assert_eq!(report.interfaces[NET].state, "closed");
    let lost = statistics
        .drops
        .iter()
        .map(|drop| (drop.name.as_str(), drop.count));
    assert!(
        lost.clone()
            .any(|drop| drop == ("not sendable on the egress ring", 1)),
        "{:?}",
        lost.collect::<Vec<_>>()
    );
    lab.end();
}

#[test]
fn a_thousand_requests_a_second_and_a_full_table_do_not_disturb_traffic() {
    const SECOND_MS: u32 = 1000;
    let mut lab = Lab::new();
    lab.connect();
    // Connections that nobody answers: they fill the table, and go before those that were.
    for port in 0..1100_u16 {
        let mut syn = lab.tcp(LOC, 2, 1, 0, &[]);
        syn[TCP..TCP + 2].copy_from_slice(&(10_000 + port).to_be_bytes());
        lab.deliver(LOC, &syn, BLANK, &[]);
    }
    while !lab.receive(NET).is_empty() {}
    let flows = lab.relay.firewall().flows();
    assert_eq!(flows.now, flows.capacity, "the table is full");
    let losses = lab.relay.losses();

    let executor = Executor::new(1);
    let (store, clock) = (lab.store.clone(), executor.clone());
    let (latest, reports) = (
        Rc::new(RefCell::new(Report::default())),
        Rc::new(Cell::new(0)),
    );
    let (shown, count) = (latest.clone(), reports.clone());
    executor
        .spawn(async move {
            let told = || {
                count.set(count.get() + 1);
                shown.borrow().clone()
            };
            serve(&store, &clock, told).await.unwrap();
        })
        .unwrap();

    let clock = lab.world.domain(FIREWALL);
    let home = format!("/local/domain/{}", FIREWALL.0);
    let mut passed = 0;
    for number in 0..SECOND_MS {
        let token = Token(u64::from(number));
        lab.world
            .write_node(&format!("{home}/{}", token.request_node()), "");
        lab.world.advance(Duration::from_millis(1));
        *latest.borrow_mut() = statistics(&lab).0;
        for _ in 0..4 {
            lab.store.pump();
            lab.world.serve_xenstore();
            lab.store.pump();
            executor.run_ready(clock.now());
        }
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
        passed += lab.receive(NET).len();
    }
    assert_eq!(passed, SECOND_MS as usize, "each in its turn");
    assert_eq!(lab.relay.losses(), losses);
    let answers = reports.get();
    assert!(
        (1..=ANSWERS_MAX + 1).contains(&answers),
        "{answers} reports"
    );
    drop((executor, lab));
}

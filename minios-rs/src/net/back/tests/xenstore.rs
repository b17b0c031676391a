//! What a frontend can write to xenstore: values that are missing, huge, no text, or change under way.

use super::*;

#[test]
fn a_value_that_is_not_utf8_is_refused_as_one() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    lab.fronts[number].publish(Shape::default(), &TAKES);
    lab.fronts[number].write("tx-ring-ref", [0xff, 0xfe]);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    let reason = lab
        .world
        .node("/local/domain/1/error/backend/vif/5/0/error");
    assert!(reason.is_some_and(|reason| reason.contains("tx-ring-ref")));
    lab.end();
}

#[test]
fn keys_that_are_missing_huge_or_somebody_elses_cost_the_connection() {
    for (key, value) in [
        ("tx-ring-ref", "99999999999"),
        ("rx-ring-ref", ""),
        ("event-channel", "4000"),
        ("event-channel", "-1"),
        ("tx-ring-ref", "12345"),
        ("multi-queue-num-queues", "2"),
        ("multi-queue-num-queues", "0"),
        ("multi-queue-num-queues", "4294967296"),
        ("request-rx-copy", "0"),
    ] {
        let mut lab = Lab::new();
        let number = lab.announce(GUEST, &[]);
        lab.fronts[number].publish(Shape::default(), &TAKES);
        lab.fronts[number].write(key, value);
        lab.fronts[number].switch_to(XenbusState::CONNECTED);
        lab.settle();
        assert_eq!(
            lab.fronts[number].backend_state(),
            XenbusState::CLOSING,
            "{key} {value}"
        );
        assert!(lab.backs.is_empty());
        assert_eq!(
            (lab.host.usage().mapped, lab.host.usage().ports),
            (0, lab.before.ports)
        );
        // It may think better of it.
        lab.fronts[number].switch_to(XenbusState::CLOSED);
        lab.settle();
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
        lab.fronts[number].write("multi-queue-num-queues", "1");
        lab.fronts[number].switch_to(XenbusState::INITIALISING);
        lab.settle();
        assert_eq!(
            lab.fronts[number].backend_state(),
            XenbusState::CLOSED,
            "not as often as it likes"
        );
        lab.advance(Duration::from_secs(1));
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::INIT_WAIT);
        lab.fronts[number].connect(Shape::default());
        lab.settle();
        assert_eq!(lab.backs.len(), 1, "{key} {value}");
        lab.end();
    }
}

#[test]
fn a_frontend_directory_of_another_domain_is_not_followed() {
    let mut lab = Lab::new();
    let settings = [("frontend", "/local/domain/6/device/vif/0")];
    let number = lab.announce(GUEST, &settings);
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    lab.end();
}

#[test]
fn a_frontend_that_hides_what_it_wrote_is_as_good_as_gone() {
    let mut lab = Lab::new();
    let hide = |lab: &Lab, unreadable| {
        lab.world.set_quirks(Quirks {
            unreadable,
            ..Quirks::default()
        });
    };
    let (number, other) = (lab.connect(GUEST), lab.connect(OTHER));
    hide(&lab, Some("/local/domain/5/device/vif/0/state"));
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    assert_eq!((lab.backs.len(), lab.host.usage().mapped), (1, 2));
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    hide(&lab, Some("/local/domain/5/device/vif/0/tx-ring-ref"));
    lab.fronts[number].drop_rings();
    lab.fronts[number].switch_to(XenbusState::INITIALISING);
    lab.advance(Duration::from_secs(1));
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    hide(&lab, None);
    lab.fronts[number].drop_rings();
    lab.fronts[number].switch_to(XenbusState::INITIALISING);
    lab.advance(Duration::from_secs(1));
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    for number in [number, other] {
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::CONNECTED);
    }
    lab.end();
}

/// The keys that are looked at.
const KEYS: [&str; 13] = [
    "tx-ring-ref",
    "rx-ring-ref",
    "event-channel",
    "event-channel-tx",
    "event-channel-rx",
    "multi-queue-num-queues",
    "request-rx-copy",
    "feature-sg",
    "feature-gso-tcpv4",
    "feature-no-csum-offload",
    "request-multicast-control",
    "queue-0/tx-ring-ref",
    "state",
];

#[derive(Clone, Debug)]
enum Value {
    Missing,
    Number(u64),
    Bytes(Vec<u8>),
    /// As long as a message of xenstored's may be.
    Huge(u8),
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Missing),
        (0..16_u64).prop_map(Value::Number),
        any::<u64>().prop_map(Value::Number),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
        any::<u8>().prop_map(Value::Huge),
    ]
}

fn write(lab: &Lab, number: usize, key: &str, value: &Value) {
    let front = &lab.fronts[number];
    match value {
        Value::Missing => lab.world.remove_node(&format!("{}/{key}", front.node())),
        Value::Number(number) => front.write(key, format!("{number}")),
        Value::Bytes(bytes) => front.write(key, bytes),
        Value::Huge(byte) => front.write(key, vec![*byte; 4096]),
    }
}

/// The keys one after the other, each taken away or overwritten while the one before is being read.
#[test]
fn a_key_that_goes_while_it_is_waited_for_costs_the_connection_and_no_more() {
    for key in &KEYS[..12] {
        for turns in 0..24 {
            let mut lab = Lab::with(SEVERAL);
            let number = lab.announce(GUEST, &[]);
            lab.fronts[number].publish(Shape::default(), &TAKES);
            lab.fronts[number].switch_to(XenbusState::CONNECTED);
            (0..turns).for_each(|_| lab.turn());
            write(&lab, number, key, &Value::Missing);
            lab.settle();
            let state = lab.fronts[number].backend_state();
            let connected = state == XenbusState::CONNECTED;
            assert!(connected || state == XenbusState::CLOSING, "{key} {turns}");
            assert_eq!(lab.backs.len(), usize::from(connected), "{key} {turns}");
            lab.end();
        }
    }
}

/// Whatever could be negotiated.
const SEVERAL: Config = Config {
    queues_max: 4,
    event_channels: EventChannels::Split,
    fetch_pages_max: 64,
    multicast: MulticastControl::Offered,
    ipv6_offloads: Ipv6Offloads::Offered,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 300 }, ..ProptestConfig::default() })]

    #[test]
    fn values_that_change_while_they_are_read_cost_nobody_else_a_frame(
        writes in prop::collection::vec((0..KEYS.len(), value()), 1..60),
    ) {
        let mut lab = Lab::with(SEVERAL);
        let (one, two) = (lab.connect(OTHER), lab.connect(THIRD));
        let liar = lab.announce(GUEST, &[]);
        let limit = lab.host.usage();
        lab.fronts[liar].publish(Shape::default(), &TAKES);
        lab.fronts[liar].switch_to(XenbusState::CONNECTED);
        for (round, (key, value)) in writes.iter().enumerate() {
            write(&lab, liar, KEYS[*key], value);
            let frame = frame_for(two, 1000, round as u8);
            prop_assert!(lab.fronts[one].send(0, &[&frame], 0, &[]));
            lab.turn();
            relay(&mut lab.backs);
            let received = lab.fronts[two].receive(0);
            prop_assert!(received.iter().any(|other| other.bytes == frame));
            lab.fronts[two].post(0, 256);
            prop_assert_eq!(lab.fronts[one].answers(0).len(), 1);
            let usage = lab.host.usage();
            // One queue's rings, ports, headers and staging pages.
            prop_assert!(usage.mapped <= limit.mapped + 2 && usage.ports <= limit.ports + 2, "{:?}", usage);
            prop_assert!(usage.watches == limit.watches && usage.pages <= limit.pages + 32, "{:?}", usage);
        }
        // It may think better of it, and is then served as anybody is.
        for key in KEYS {
            write(&lab, liar, key, &Value::Missing);
        }
        lab.fronts[liar].switch_to(XenbusState::CLOSED);
        lab.settle();
        lab.fronts[liar].drop_rings();
        lab.fronts[liar].switch_to(XenbusState::INITIALISING);
        lab.advance(Duration::from_secs(1));
        prop_assert_eq!(lab.fronts[liar].backend_state(), XenbusState::INIT_WAIT);
        lab.fronts[liar].connect(Shape::default());
        lab.settle();
        prop_assert_eq!(lab.fronts[liar].backend_state(), XenbusState::CONNECTED);
        lab.end();
    }
}

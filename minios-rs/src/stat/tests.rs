use super::*;
use crate::fake::{Domain, Quirks, World};
use crate::task::Executor;
use crate::xen::{DomId, Xen};
use crate::xenstore::{self, Client};
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;

const GUEST: DomId = DomId(4);
const HOME: &str = "/local/domain/4";

/// A domain that answers, and dom0's own connection.
struct Lab {
    world: World,
    guest: Client<Domain>,
    dom0: Client<Domain>,
    executor: Executor,
    /// How often a report was made.
    reports: Rc<Cell<u32>>,
    ended: Rc<RefCell<Option<Result<(), xenstore::Error>>>>,
}

impl Lab {
    /// `detail` bytes make the report longer.
    fn new(detail: usize) -> Self {
        let world = World::new();
        let domain = world.domain(GUEST);
        let guest = world.connect_xenstore(&domain);
        let dom0 = world.connect_xenstore(&world.domain(DomId(0)));
        let executor = Executor::new(2);
        let (reports, ended) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let (store, clock, count, end) = (
            guest.clone(),
            executor.clone(),
            reports.clone(),
            ended.clone(),
        );
        executor
            .spawn(async move {
                let outcome = serve(&store, &clock, || {
                    count.set(count.get() + 1);
                    sample(detail)
                })
                .await;
                *end.borrow_mut() = Some(outcome);
            })
            .unwrap();
        let lab = Self {
            world,
            guest,
            dom0,
            executor,
            reports,
            ended,
        };
        lab.turn();
        lab
    }

    fn turn(&self) {
        for _ in 0..60 {
            self.guest.pump();
            self.world.serve_xenstore();
            self.guest.pump();
            self.executor.run_ready(self.world.domain(GUEST).now());
        }
    }

    fn advance(&self, duration: Duration) {
        self.world.advance(duration);
        self.turn();
    }

    fn node(&self, path: &str) -> Option<String> {
        self.world.node(&format!("{HOME}/{path}"))
    }

    fn request(&self, token: Token) {
        let path = format!("{HOME}/{}", token.request_node());
        self.world.write_node(&path, "");
    }

    /// What dom0 sees below a node.
    fn read(&self, path: &str) -> Vec<u8> {
        let path = format!("{HOME}/{path}");
        let mut reading = pin!(self.dom0.read(&path));
        for _ in 0..20 {
            let polled = reading
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(value) = polled {
                return value.unwrap();
            }
            self.dom0.pump();
            self.world.serve_xenstore();
            self.dom0.pump();
        }
        panic!("xenstored does not answer");
    }

    fn answer(&self, token: Token) -> Option<Report> {
        let head: Head = self.node(&token.answer_node())?.parse().ok()?;
        let bytes: Vec<u8> = (0..head.parts())
            .flat_map(|part| self.read(&token.part_node(part)))
            .collect();
        assert_eq!(head, Head::Bytes(bytes.len()));
        Some(Report::decode(&bytes).unwrap())
    }

    fn answers(&self, tokens: impl IntoIterator<Item = u64>) -> usize {
        tokens
            .into_iter()
            .filter(|token| self.node(&Token(*token).answer_node()).is_some())
            .count()
    }
}

fn sample(detail: usize) -> Report {
    let direction = |frames| Direction {
        frames,
        bytes: frames * 1000,
        errors: vec![Count::new("runt", 3)],
    };
    Report {
        appliance: "firewalldom".to_string(),
        version: "0.1.0".to_string(),
        state: "forwarding".to_string(),
        uptime_ns: 5_000_000_000,
        memory: Memory {
            total: 8 << 20,
            free: 2 << 20,
            heap: 1 << 20,
            heap_used: 600_000,
            heap_used_max: 700_000,
        },
        hypercalls: vec![Count::new("sched_op", 1234)],
        interfaces: vec![Interface {
            name: "eth0".to_string(),
            mac: [0, 0x16, 0x3e, 1, 2, 3],
            backend: 0,
            mtu: 1500,
            state: "open".to_string(),
            received: direction(300),
            transmitted: direction(70_000),
            events_sent: 40,
            pages_lent: 2,
            pages_in_quarantine: 0,
        }],
        detail: Some(Detail {
            version: 1,
            bytes: vec![0xa5; detail],
        }),
    }
}

#[test]
fn who_asks_is_answered_and_the_request_is_gone() {
    let lab = Lab::new(10);
    assert_eq!(lab.node(VERSION_NODE).as_deref(), Some("1"));
    let token = Token(0x0123_4567_89ab_cdef);
    lab.request(token);
    lab.turn();
    assert_eq!(lab.answer(token), Some(sample(10)));
    assert_eq!(lab.node(&token.request_node()), None);
    assert_eq!(lab.node("data/stat/answer/0123456789abcdef/1"), None);
}

#[test]
fn a_long_answer_comes_in_parts_that_fit_xenstores_quota() {
    let lab = Lab::new(5 * PART_BYTES);
    lab.request(Token(1));
    lab.turn();
    assert_eq!(lab.answer(Token(1)), Some(sample(5 * PART_BYTES)));
    assert_eq!(lab.read(&Token(1).part_node(0)).len(), PART_BYTES);
}

#[test]
fn what_does_not_fit_is_said_to_be_too_long() {
    let lab = Lab::new(ANSWER_BYTES_MAX);
    lab.request(Token(1));
    lab.turn();
    let head = lab.node(&Token(1).answer_node());
    assert_eq!(head.as_deref(), Some("too-long"));
    assert_eq!(lab.node(&Token(1).part_node(0)), None);
}

#[test]
fn nothing_is_written_that_nobody_asked_for() {
    let lab = Lab::new(10);
    for _ in 0..10 {
        lab.advance(Duration::from_secs(60));
    }
    assert_eq!(lab.reports.get(), 0);
    assert_eq!(lab.node("data/stat/answer"), None);
    assert_eq!(lab.executor.next_deadline(), None, "not even woken");
}

#[test]
fn all_who_ask_at_once_are_answered_from_one_report() {
    let lab = Lab::new(10);
    (0..10).for_each(|token| lab.request(Token(token)));
    lab.turn();
    assert_eq!(lab.answers(0..10), 10);
    assert_eq!(lab.reports.get(), 1);
}

#[test]
fn an_answer_that_nobody_fetches_is_removed() {
    let lab = Lab::new(10);
    lab.request(Token(1));
    lab.turn();
    lab.advance(ANSWER_LIFE / 2);
    assert_eq!(lab.answers([1]), 1);
    lab.advance(ANSWER_LIFE);
    assert_eq!(lab.answers([1]), 0);
    assert_eq!(lab.node(&Token(1).part_node(0)), None);
    assert_eq!(lab.executor.next_deadline(), None);
}

#[test]
fn a_thousand_requests_a_second_get_sixteen_answers_and_the_rest_waits() {
    let lab = Lab::new(10);
    let mut events = 0;
    for request in 0..1000 {
        let before = lab.reports.get();
        lab.request(Token(request));
        lab.advance(Duration::from_millis(1));
        events += lab.reports.get() - before;
    }
    assert!(events <= 17, "{events} reports in a second");
    // While it waits it is not even told: xenstored has no watch of it.
    assert_eq!(lab.world.domain(GUEST).usage().watches, 0);
    // The flood ends, and who asks is served again.
    lab.world.remove_node(&format!("{HOME}/{REQUESTS_NODE}"));
    lab.advance(ANSWER_LIFE * 2);
    lab.request(Token(5000));
    lab.turn();
    assert_eq!(lab.answer(Token(5000)), Some(sample(10)));
}

#[test]
fn what_is_no_request_is_removed_and_counts_as_one() {
    let lab = Lab::new(10);
    for name in ["x", "0123456789ABCDEF", "01234567-9abcdef", "f"] {
        let path = format!("{HOME}/{REQUESTS_NODE}/{name}");
        lab.world.write_node(&path, [0xff; 2000]);
        // Things below it go with it.
        lab.world.write_node(&format!("{path}/a/b"), "c");
    }
    lab.turn();
    assert_eq!(lab.reports.get(), 0);
    for name in ["x", "0123456789ABCDEF", "01234567-9abcdef", "f"] {
        assert_eq!(lab.node(&format!("{REQUESTS_NODE}/{name}")), None, "{name}");
    }
    (0..16).for_each(|token| lab.request(Token(token)));
    lab.turn();
    assert_eq!(lab.answers(0..16), ANSWERS_MAX - 4);
    lab.advance(ANSWER_LIFE);
    assert_eq!(lab.answers(12..16), 4);
}

#[test]
fn more_requests_than_can_be_listed_are_thrown_away() {
    let lab = Lab::new(10);
    (0..600).for_each(|token| lab.request(Token(token)));
    lab.turn();
    assert_eq!(lab.node(&Token(0).request_node()), None);
    lab.request(Token(7777));
    lab.turn();
    assert_eq!(lab.answers([7777]), 1);
}

#[test]
fn a_domain_without_room_in_xenstore_gives_the_answer_up_and_goes_on() {
    let lab = Lab::new(5 * PART_BYTES);
    lab.world.set_quirks(Quirks {
        nodes_max: 7,
        ..Quirks::default()
    });
    lab.request(Token(1));
    lab.turn();
    assert_eq!(lab.answer(Token(1)), None);
    lab.world.set_quirks(Quirks::default());
    lab.advance(ANSWER_LIFE);
    assert_eq!(
        lab.node(&Token(1).answer_node()),
        None,
        "not even a part of it"
    );
    lab.request(Token(2));
    lab.turn();
    assert_eq!(lab.answers([2]), 1);
    assert_eq!(*lab.ended.borrow(), None);
}

#[test]
fn only_a_dead_connection_ends_it() {
    let lab = Lab::new(10);
    lab.guest.disconnect();
    lab.turn();
    assert_eq!(
        *lab.ended.borrow(),
        Some(Err(xenstore::Error::Disconnected))
    );
}

#[test]
fn tokens_and_heads_read_back_and_nothing_else_does() {
    for token in [Token(0), Token(u64::MAX), Token(0xabc)] {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
    for text in [
        "",
        "0",
        "+123456789abcdef",
        "0123456789abcdef0",
        "0123456789abcdeg",
    ] {
        assert_eq!(text.parse::<Token>(), Err(BadToken), "{text}");
    }
    for head in [Head::Bytes(1), Head::Bytes(ANSWER_BYTES_MAX), Head::TooLong] {
        assert_eq!(head.to_string().parse(), Ok(head));
    }
    for text in ["", "0", "49153", "-1", "1 ", "99999999999999999999999"] {
        assert_eq!(text.parse::<Head>(), Err(BadHead), "{text}");
    }
    assert_eq!(Head::Bytes(1).parts(), 1);
    assert_eq!(Head::Bytes(PART_BYTES).parts(), 1);
    assert_eq!(Head::Bytes(PART_BYTES + 1).parts(), 2);
    assert_eq!(Head::Bytes(ANSWER_BYTES_MAX).parts(), PARTS_MAX);
}

/// [`sample`] as the first release wrote it. It is never regenerated: what changes it is a new
/// version.
const SAMPLE_V1: &[u8] = include_bytes!("report-v1.bin");

#[test]
fn a_report_of_version_1_is_still_read() {
    assert_eq!(Report::decode(SAMPLE_V1), Ok(sample(4)));
}

#[test]
fn version_1_is_still_what_is_written() {
    assert_eq!(sample(4).encode(), SAMPLE_V1);
}

#[test]
fn another_version_is_named_and_damage_is_refused() {
    let mut bytes = sample(4).encode();
    for len in 0..bytes.len() {
        assert_eq!(Report::decode(&bytes[..len]), Err(DecodeError::Malformed));
    }
    bytes.push(0);
    assert_eq!(Report::decode(&bytes), Err(DecodeError::Malformed));
    bytes[0] = 2;
    assert_eq!(
        Report::decode(&bytes),
        Err(DecodeError::Version { found: 2 })
    );
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
        let _ = Report::decode(&bytes);
        let versioned = [&VERSION.to_le_bytes(), &bytes[..]].concat();
        let _ = Report::decode(&versioned);
    }

    #[test]
    fn a_changed_byte_does_no_harm(at in 0..SAMPLE_V1.len(), value: u8) {
        let mut bytes = SAMPLE_V1.to_vec();
        bytes[at] = value;
        if let Ok(report) = Report::decode(&bytes) {
            prop_assert!(report.encode().len() <= 2 * bytes.len());
        }
    }
}

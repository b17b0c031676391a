//! Against the domain's own side over the simulated xenstored, and against domains that lie.

use super::*;
use crate::document::document;
use crate::domains::{Domain, FindError, find};
use crate::table::table;
use minios_rs::fake::{self, World};
use minios_rs::stat::{ANSWER_BYTES_MAX, Count, Detail, serve};
use minios_rs::task::Executor;
use minios_rs::xen::Xen;
use minios_rs::xenstore::{self, Client, Refusal, Watch};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const GUEST: DomId = DomId(4);
const HOME: &str = "/local/domain/4";
const PATIENCE: Duration = Duration::from_secs(2);

/// What a guest does in each turn of the world.
type Guest = Box<dyn FnMut(&World)>;

/// Dom0's xenstore in a simulated world. Its clock moves only when nothing else does.
struct Dom0 {
    world: World,
    client: Client<fake::Domain>,
    watches: BTreeMap<String, Watch<fake::Domain>>,
    guest: Guest,
    /// So many second parts of answers are gone before they are read.
    expire_early: u32,
}

impl Dom0 {
    fn new(guest: impl FnOnce(&World) -> Guest) -> Self {
        let world = World::new();
        world.write_node("/local/domain/0/name", "Domain-0");
        world.write_node(&format!("{HOME}/name"), "firewalldom");
        let client = world.connect_xenstore(&world.domain(DomId(0)));
        let guest = guest(&world);
        let mut dom0 = Self {
            world,
            client,
            watches: BTreeMap::new(),
            guest,
            expire_early: 0,
        };
        dom0.turn();
        dom0
    }

    fn turn(&mut self) {
        for _ in 0..20 {
            self.client.pump();
            self.world.serve_xenstore();
            self.client.pump();
            (self.guest)(&self.world);
        }
    }

    fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..100 {
            let polled = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(value) = polled {
                return value;
            }
            self.turn();
        }
        panic!("xenstored does not answer");
    }

    fn ask(&mut self) -> Result<Report, AskError> {
        ask(self, GUEST, PATIENCE)
    }

    /// Everything that is left of asking.
    fn leftovers(&mut self) -> usize {
        ["data/stat/request", "data/stat/answer"]
            .iter()
            .map(|parent| {
                self.list(&format!("{HOME}/{parent}"))
                    .map_or(0, |names| names.len())
            })
            .sum()
    }
}

fn refusal(error: xenstore::Error) -> StoreError {
    match error {
        xenstore::Error::Refused(Refusal::NotFound) => StoreError::NotFound,
        error => StoreError::Refused(error.to_string()),
    }
}

impl Store for Dom0 {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, StoreError> {
        if self.expire_early > 0 && path.ends_with("/1") {
            self.expire_early -= 1;
            return Err(StoreError::NotFound);
        }
        let client = self.client.clone();
        self.run(client.read(path)).map_err(refusal)
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        let client = self.client.clone();
        self.run(client.directory(path)).map_err(refusal)
    }

    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), StoreError> {
        let client = self.client.clone();
        self.run(client.write(path, value)).map_err(refusal)
    }

    fn write_if_there(&mut self, guard: &str, path: &str, value: &[u8]) -> Result<(), StoreError> {
        let client = self.client.clone();
        let writing = client.transaction(async |transaction| {
            transaction.read(guard).await?;
            transaction.write(path, value).await
        });
        self.run(writing).map_err(refusal)
    }

    fn remove(&mut self, path: &str) -> Result<(), StoreError> {
        let client = self.client.clone();
        self.run(client.rm(path)).map_err(refusal)
    }

    fn watch(&mut self, path: &str) -> Result<(), StoreError> {
        let client = self.client.clone();
        let watch = self.run(client.watch(path)).map_err(refusal)?;
        self.watches.insert(path.to_owned(), watch);
        Ok(())
    }

    fn unwatch(&mut self, path: &str) -> Result<(), StoreError> {
        self.watches.remove(path);
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> Result<Waited, StoreError> {
        for _ in 0..20 {
            self.turn();
            for watch in self.watches.values_mut() {
                let polled = pin!(watch.next()).poll(&mut Context::from_waker(Waker::noop()));
                if polled.is_ready() {
                    return Ok(Waited::Changed);
                }
            }
        }
        self.world.advance(patience);
        Ok(Waited::TimedOut)
    }
}

/// A domain as it should be, whose report has `detail` bytes of an unknown kind.
fn honest(detail: usize) -> impl FnOnce(&World) -> Guest {
    move |world| {
        let domain = world.domain(GUEST);
        let store = world.connect_xenstore(&domain);
        let executor = Executor::new(1);
        let (client, clock) = (store.clone(), executor.clone());
        executor
            .spawn(async move {
                let _ = serve(&client, &clock, || sample(detail)).await;
            })
            .unwrap();
        Box::new(move |_| {
            store.pump();
            executor.run_ready(domain.now());
            store.pump();
        })
    }
}

fn sample(detail: usize) -> Report {
    Report {
        appliance: "stubdom".to_owned(),
        hypercalls: vec![Count::new("sched_op", 5)],
        detail: Some(Detail {
            version: 1,
            bytes: vec![7; detail],
        }),
        ..Report::default()
    }
}

/// A domain that writes `nodes`, below the answer to whoever asks, in one go.
fn lying(nodes: &'static [(&'static str, &'static [u8])]) -> impl FnOnce(&World) -> Guest {
    move |world| {
        world.write_node(&format!("{HOME}/{VERSION_NODE}"), "1");
        let domain = world.domain(GUEST);
        let store = world.connect_xenstore(&domain);
        let executor = Executor::new(1);
        let (client, _clock) = (store.clone(), executor.clone());
        executor
            .spawn(async move {
                let mut requests = client.watch("data/stat/request").await.unwrap();
                loop {
                    let path = requests.next().await.unwrap();
                    let Some(token) = path.strip_prefix("data/stat/request/") else {
                        continue;
                    };
                    if client.read(&path).await.is_err() {
                        continue;
                    }
                    for (node, value) in nodes {
                        let path = format!("data/stat/answer/{token}{node}");
                        client.write(&path, value).await.unwrap();
                    }
                }
            })
            .unwrap();
        Box::new(move |_| {
            store.pump();
            executor.run_ready(domain.now());
            store.pump();
        })
    }
}

/// A domain that has a version and says nothing.
fn paused(version: &'static str) -> impl FnOnce(&World) -> Guest {
    move |world| {
        world.write_node(&format!("{HOME}/{VERSION_NODE}"), version);
        Box::new(|_| {})
    }
}

#[test]
fn a_domain_answers_and_nothing_is_left() {
    for detail in [0, 10, 10_000] {
        let mut dom0 = Dom0::new(honest(detail));
        assert_eq!(dom0.ask().unwrap(), sample(detail));
        assert_eq!(dom0.leftovers(), 0);
        assert_eq!(dom0.ask().unwrap(), sample(detail), "again");
    }
}

#[test]
fn a_domain_is_found_by_its_name_or_number() {
    let mut dom0 = Dom0::new(honest(0));
    let expected = Domain {
        id: GUEST,
        name: "firewalldom".to_owned(),
    };
    assert_eq!(find(&mut dom0, "firewalldom").unwrap(), expected);
    assert_eq!(find(&mut dom0, "4").unwrap(), expected);
}

#[test]
fn a_domain_that_is_not_there_is_named_with_those_that_are() {
    let mut dom0 = Dom0::new(honest(0));
    let error = find(&mut dom0, "firewaldom\x1b[2J").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no domain is called `firewaldom\\u{1b}[2J`; there are: Domain-0, firewalldom"
    );
    for number in ["5", "65536", "99999999999999999999"] {
        let error = find(&mut dom0, number).unwrap_err();
        assert!(matches!(error, FindError::NoSuchNumber { .. }), "{error}");
    }
}

#[test]
fn a_domain_of_another_kind_is_not_asked() {
    let mut dom0 = Dom0::new(|_| Box::new(|_| {}));
    let error = dom0.ask().unwrap_err();
    assert!(matches!(error, AskError::NotOurs { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("domain 4 keeps no statistics")
    );
    assert_eq!(dom0.leftovers(), 0);
}

#[test]
fn a_paused_domain_is_given_up_and_finds_no_request_when_it_wakes() {
    let mut dom0 = Dom0::new(paused("1"));
    let error = dom0.ask().unwrap_err();
    assert!(matches!(error, AskError::Silent { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "domain 4 has not answered for 2 s: it is paused or hangs (`xl list` shows its state), or \
         many ask at a time"
    );
    assert_eq!(dom0.leftovers(), 0);
}

#[test]
fn a_domain_of_a_later_version_is_not_asked() {
    let mut dom0 = Dom0::new(paused("2"));
    let error = dom0.ask().unwrap_err();
    assert!(matches!(error, AskError::Newer { found: 2 }), "{error}");
    assert_eq!(dom0.leftovers(), 0);
}

#[test]
fn a_domain_that_goes_is_gone_and_is_not_made_again() {
    // Before it is asked, and while.
    let mut dom0 = Dom0::new(paused("1"));
    dom0.world.remove_node(HOME);
    let error = dom0.ask().unwrap_err();
    assert!(matches!(error, AskError::Gone(GUEST)), "{error}");

    let mut dom0 = Dom0::new(paused("1"));
    let dies = RefCell::new(false);
    dom0.guest = Box::new(move |world| {
        let requests = world.node(&format!("{HOME}/data/stat/request"));
        if requests.is_some() && !dies.replace(true) {
            world.remove_node(HOME);
            world.write_node(RELEASED, "");
        }
    });
    let error = dom0.ask().unwrap_err();
    assert!(matches!(error, AskError::Gone(GUEST)), "{error}");
    assert_eq!(dom0.world.node(HOME), None);
}

#[test]
fn several_can_ask_at_once() {
    // Requests of others that are never fetched, as many as the domain answers in a second.
    let mut dom0 = Dom0::new(honest(100));
    for other in 0..10 {
        let path = format!("{HOME}/{}", Token(other).request_node());
        dom0.world.write_node(&path, "");
    }
    assert_eq!(dom0.ask().unwrap(), sample(100));
    let head = format!("{HOME}/{}", Token(3).answer_node());
    assert!(dom0.world.node(&head).is_some(), "the others' stay");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for version in ["", "0", "one", "-1", "70000", "1\n", "\u{ff}"] {
        let error = Dom0::new(paused(version)).ask().unwrap_err();
        assert!(
            matches!(error, AskError::Nonsense(_)),
            "{version:?}: {error}"
        );
    }
    let long = ANSWER_BYTES_MAX.to_string();
    let long: &'static [u8] = Box::leak(long.into_bytes().into_boxed_slice());
    type Nodes = &'static [(&'static str, &'static [u8])];
    let short: Nodes = Vec::leak(vec![("/0", &[0; 1536][..]), ("", long)]);
    let lies: Vec<Nodes> = vec![
        &[("", b"x")],
        &[("", b"0")],
        &[("", b"\xff\xff")],
        &[("", b"99999999999")],
        &[("", b"4")],
        &[("/0", b"12345"), ("", b"4")],
        &[("/0", b"\x01\x00\xff\xff"), ("", b"4")],
        &[("/0", &[1; 1536]), ("", b"1537")],
        &[("/0", &[1; 1535]), ("/1", b"aa"), ("", b"1537")],
        // Version 0.
        &[("/0", b"\x00\x00\xff\xff"), ("", b"4")],
        short,
    ];
    for nodes in lies {
        let mut dom0 = Dom0::new(lying(nodes));
        let error = dom0.ask().unwrap_err();
        let is_refused = matches!(error, AskError::Nonsense(_) | AskError::Torn);
        assert!(is_refused, "{nodes:?}: {error}");
        assert_eq!(dom0.leftovers(), 0);
    }
    let newer = Dom0::new(lying(&[("/0", b"\x02\x00\xff\xff"), ("", b"4")])).ask();
    assert!(matches!(newer, Err(AskError::Newer { found: 2 })));
    let more = Dom0::new(lying(&[("", b"too-long")])).ask();
    assert!(matches!(more, Err(AskError::TooLong)));
}

#[test]
fn an_answer_that_was_gone_too_soon_is_asked_for_again() {
    for (lost, comes) in [(1, true), (u32::MAX, false)] {
        let mut dom0 = Dom0::new(honest(4000));
        dom0.expire_early = lost;
        match dom0.ask() {
            Ok(report) => assert!(comes && report == sample(4000)),
            // Not for ever.
            Err(error) => assert!(!comes && matches!(error, AskError::Torn)),
        }
        assert_eq!(dom0.leftovers(), 0);
    }
}

#[test]
fn parts_without_an_end_are_no_answer() {
    let mut dom0 = Dom0::new(lying(&[("/0", b"1234")]));
    let error = dom0.ask().unwrap_err();
    assert!(matches!(error, AskError::Silent { .. }), "{error}");
    assert_eq!(dom0.leftovers(), 0);
}

proptest! {
    /// Whatever decodes can be shown, and shows nothing that moves a terminal's cursor.
    #[test]
    fn any_report_can_be_shown(bytes: Vec<u8>, name: String, hits: u64) {
        let report = Report::decode(&[&[1, 0], &bytes[..]].concat()).unwrap_or_else(|_| Report {
            appliance: name.clone(),
            state: name.clone(),
            uptime_ns: hits,
            hypercalls: vec![Count::new(&name, hits), Count::new(&name, u64::MAX)],
            ..Report::default()
        });
        let domain = Domain { id: GUEST, name };
        let text = table(&domain, &report);
        prop_assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{:?}", text);
        let document = serde_json::to_string(&document(&domain, &report)).unwrap();
        let read: serde_json::Value = serde_json::from_str(&document).unwrap();
        prop_assert_eq!(&read["domid"], 4);
    }
}

use super::*;
use crate::fake::{Domain, Fault, Quirks, Usage, World};
use crate::time::Instant;
use crate::xen::DomId;
use alloc::rc::Rc;
use core::cell::RefCell;

const OURS: DomId = DomId(1);
const REASON: &str = "nobody here does that";

struct Lab {
    world: World,
    domain: Domain,
    store: Client<Domain>,
    executor: Executor,
    now: Instant,
    ended: Rc<RefCell<Option<Error>>>,
}

impl Lab {
    fn new() -> Self {
        let world = World::new();
        Self::of(world)
    }

    fn of(world: World) -> Self {
        let domain = world.domain(OURS);
        let store = world.connect_xenstore(&domain);
        let executor = Executor::new(4);
        let ended = Rc::<RefCell<_>>::default();
        let (told, task) = (ended.clone(), (store.clone(), executor.clone()));
        executor
            .spawn(async move {
                let (store, executor) = task;
                let ended = refuse_backends(store, executor, &["vif"], REASON).await;
                *told.borrow_mut() = ended.err();
            })
            .expect("it fits");
        let mut lab = Self {
            world,
            domain,
            store,
            executor,
            now: Instant(0),
            ended,
        };
        lab.settle();
        lab
    }

    fn settle(&mut self) {
        for _ in 0..1500 {
            self.executor.run_ready(self.now);
            self.store.pump();
            self.world.serve_xenstore();
            self.store.pump();
        }
    }

    fn advance(&mut self, milliseconds: u64) {
        self.now = self.now.after(Duration::from_millis(milliseconds));
        self.settle();
    }

    fn usage(&self) -> Usage {
        self.domain.usage()
    }

    fn state(&self, device: &str) -> Option<String> {
        self.world.node(&format!("{}/state", home(device)))
    }

    fn said(&self, device: &str) -> Option<String> {
        self.world
            .node(&format!("/local/domain/1/error/backend/{device}/error"))
    }
}

fn home(device: &str) -> String {
    format!("/local/domain/1/backend/{device}")
}

/// As libxl does it.
fn attach(world: &World, device: &str) {
    let (home, frontend) = (home(device), "/local/domain/5/device/vbd/0");
    for (key, value) in [("frontend", frontend), ("online", "1"), ("state", "1")] {
        world.write_node(&format!("{home}/{key}"), value);
    }
}

/// As libxl does it: one that is Closed stays so.
fn detach(world: &World, device: &str) {
    let home = home(device);
    world.write_node(&format!("{home}/online"), "0");
    if world.node(&format!("{home}/state")).as_deref() != Some("6") {
        world.write_node(&format!("{home}/state"), "5");
    }
}

#[test]
fn a_device_is_refused_by_name_and_its_directory_goes_when_the_toolstack_could_read_closed() {
    let mut lab = Lab::new();
    let before = lab.usage();
    for device in ["vbd/5/51712", "vkbd/5/0"] {
        attach(&lab.world, device);
        lab.settle();
        assert_eq!(lab.state(device).as_deref(), Some("6"));
        assert_eq!(
            lab.said(device).as_deref(),
            Some("95 nobody here does that")
        );
        lab.advance(60_000);
        assert_eq!(
            lab.state(device).as_deref(),
            Some("6"),
            "it is not ours to take away"
        );
        detach(&lab.world, device);
        lab.settle();
        assert_eq!(lab.state(device).as_deref(), Some("6"));
        lab.advance(900);
        assert_eq!(lab.state(device).as_deref(), Some("6"));
        lab.advance(100);
        assert_eq!(lab.state(device), None);
        assert_eq!(lab.world.nodes_below(&home(device)), 0);
    }
    assert_eq!(
        lab.world.nodes_below("/local/domain/1/error/backend"),
        2,
        "the classes are few"
    );
    assert_eq!(lab.usage(), before);
}

#[test]
fn what_was_there_before_is_refused_as_well_and_classes_that_are_served_are_left_alone() {
    let world = World::new();
    attach(&world, "vbd/5/51712");
    attach(&world, "vif/5/0");
    // This is none of that class.
    attach(&world, "vbd/vif/0");
    // It came and went without an answer.
    attach(&world, "vbd/6/51712");
    detach(&world, "vbd/6/51712");
    let mut lab = Lab::of(world);
    assert_eq!(lab.state("vbd/5/51712").as_deref(), Some("6"));
    assert_eq!(lab.state("vif/5/0").as_deref(), Some("1"));
    assert_eq!(lab.state("vbd/vif/0").as_deref(), Some("6"));
    attach(&lab.world, "vif/5/1");
    lab.advance(1000);
    assert_eq!(lab.state("vif/5/1").as_deref(), Some("1"));
    assert_eq!(lab.state("vbd/6/51712"), None);
}

#[test]
fn a_device_that_comes_again_while_the_one_before_leaves_is_another() {
    let mut lab = Lab::new();
    attach(&lab.world, "vbd/5/0");
    lab.settle();
    detach(&lab.world, "vbd/5/0");
    lab.settle();
    lab.advance(500);
    attach(&lab.world, "vbd/5/0");
    lab.settle();
    lab.advance(60_000);
    assert_eq!(lab.state("vbd/5/0").as_deref(), Some("6"));
    detach(&lab.world, "vbd/5/0");
    lab.settle();
    lab.advance(1000);
    assert_eq!(lab.state("vbd/5/0"), None);
}

#[test]
fn many_that_leave_at_once_leave_in_time() {
    let mut lab = Lab::new();
    let devices: Vec<String> = (0..16).map(|index| format!("vbd/5/{index}")).collect();
    devices.iter().for_each(|device| attach(&lab.world, device));
    lab.settle();
    devices.iter().for_each(|device| detach(&lab.world, device));
    lab.settle();
    lab.advance(1000);
    let left = devices.iter().filter(|device| lab.state(device).is_some());
    assert_eq!(left.count(), 0);
}

#[test]
fn what_xenstored_cannot_answer_once_is_made_up_for() {
    for skip in 0..40 {
        let mut lab = Lab::new();
        lab.world.fail(Fault::Xenstore, skip);
        attach(&lab.world, "vbd/5/0");
        lab.settle();
        detach(&lab.world, "vbd/5/0");
        lab.settle();
        (0..4).for_each(|_| lab.advance(1000));
        assert_eq!(lab.state("vbd/5/0"), None, "{skip}");
        if lab.world.clear_fault(Fault::Xenstore) {
            assert!(skip > 10, "{skip}");
            return;
        }
    }
    panic!("it asks xenstored without end");
}

#[test]
fn full_quotas_do_not_keep_a_device_from_leaving() {
    let mut lab = Lab::new();
    lab.world.set_quirks(Quirks {
        nodes_max: 1,
        ..Quirks::default()
    });
    attach(&lab.world, "vbd/5/0");
    lab.settle();
    assert_eq!(lab.said("vbd/5/0"), None);
    detach(&lab.world, "vbd/5/0");
    lab.settle();
    lab.advance(1000);
    assert_eq!(lab.state("vbd/5/0"), None);
}

#[test]
fn it_ends_with_xenstore() {
    let mut lab = Lab::new();
    assert_eq!(*lab.ended.borrow(), None);
    lab.store.disconnect();
    lab.settle();
    assert!(matches!(*lab.ended.borrow(), Some(Error::Xenstore(_))));
}

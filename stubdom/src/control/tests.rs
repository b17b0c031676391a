use super::*;
use crate::arguments::{Drive, Kind, Medium, Place};
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::RefCell;
use minios_rs::fake::vchan::Client as Proxy;
use minios_rs::fake::{Domain, World};
use minios_rs::task::Executor;

const STUB: DomId = DomId(4);
const HOME: &str = "/local/domain/4";
const ARGV: &str = "/vm/0b0e/image/dm-argv";
const STATUS: Status = Status {
    is_running: false,
    vcpus: 1,
};

/// A stub domain as libxl makes it, for guest 3.
struct Lab {
    world: World,
    domain: Domain,
    store: Client<Domain>,
    executor: Executor,
}

impl Lab {
    fn new(arguments: &[&str]) -> Self {
        let world = World::new();
        let domain = world.domain(STUB);
        let store = world.connect_xenstore(&domain);
        world.write_node(&format!("{HOME}/target"), "3");
        world.write_node("/local/domain/3/vm", "/vm/0b0e");
        world.write_node(&format!("{HOME}/device-model/3"), "");
        world.write_node(&format!("{HOME}/device/vbd/768/backend-id"), "0");
        for (index, argument) in arguments.iter().enumerate() {
            world.write_node(&format!("{ARGV}/{:03}", index + 1), argument);
        }
        Self {
            world,
            domain,
            store,
            executor: Executor::new(2),
        }
    }

    /// Runs what waits for xenstore to its end.
    fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let outcome = Rc::new(RefCell::new(None));
        let place = outcome.clone();
        self.executor
            .spawn(async move {
                let value = future.await;
                *place.borrow_mut() = Some(value);
            })
            .unwrap();
        for _ in 0..4000 {
            self.executor.run_ready(self.domain.now());
            self.store.pump();
            self.world.serve_xenstore();
            self.store.pump();
            if let Some(value) = outcome.borrow_mut().take() {
                return value;
            }
        }
        panic!("it waits for what does not come");
    }

    fn read(&self) -> Result<(Guest, Description), Error> {
        let store = self.store.clone();
        self.run(async move { Guest::read(&store).await })
    }

    fn node(&self, path: &str) -> Option<String> {
        self.world.node(&format!("{HOME}/device-model/3/{path}"))
    }

    /// A control channel that has been announced.
    fn announced(&self) -> Control<Domain> {
        let (guest, _) = self.read().unwrap();
        let control = Control::new(&self.domain).unwrap();
        let store = self.store.clone();
        assert_eq!(self.node("qmp-vchan/ring-ref"), None);
        self.run(async move {
            control.announce(&store, guest).await.unwrap();
            control
        })
    }

    fn connect(&self) -> Proxy {
        let node = format!("{HOME}/device-model/3/qmp-vchan");
        Proxy::connect(&self.world, STUB, &node).expect("announced")
    }
}

const PLAIN: &[&str] = &[
    "-xen-domid",
    "3",
    "-name",
    "sg",
    "-m",
    "256",
    "-drive",
    "file=/dev/xvda,if=ide,index=0,media=disk,format=host_device,cache=writeback",
];

fn said(proxy: &Proxy) -> String {
    String::from_utf8(proxy.read()).unwrap()
}

#[test]
fn what_libxl_wrote_is_read_and_understood() {
    let lab = Lab::new(PLAIN);
    let (guest, description) = lab.read().unwrap();
    assert_eq!(guest.domid, DomId(3));
    assert_eq!((&*description.name, description.memory_mib), ("sg", 256));
    let medium = Some(Medium {
        vbd: 768,
        is_read_only: false,
    });
    let place = Place::Ide {
        channel: 0,
        unit: 0,
    };
    let kind = Kind::Disk;
    assert_eq!(
        description.drives,
        [Drive {
            place,
            kind,
            medium
        }]
    );
    assert_eq!(lab.node("error"), None);
    assert_eq!(lab.node("state"), None, "not before it is");
}

#[test]
fn many_arguments_are_read_in_the_order_of_their_numbers() {
    let mut many: Vec<&str> = ["-nodefaults"].repeat(990);
    many.extend(["-m", "1", "-boot", "d", "-m", "2", "-m", "64"]);
    let lab = Lab::new(&many);
    assert_eq!(lab.read().unwrap().1.memory_mib, 64);
    let lab = Lab::new(&["-nodefaults"].repeat(1001));
    assert_eq!(lab.read(), Err(Error::TooManyArguments));
}

#[test]
fn refusals_stand_in_xenstore_for_the_administrator() {
    let lab = Lab::new(&["-m", "64", "-device", "VGA,vgamem_mb=16", "-usb"]);
    assert!(matches!(lab.read(), Err(Error::Refused(refusals)) if refusals.len() == 2));
    let reason = lab.node("error").unwrap();
    assert!(
        reason.contains("VGA") && reason.contains("; USB"),
        "{reason}"
    );
    assert_eq!(lab.node("state"), None);
}

#[test]
fn a_long_list_of_refusals_fits_a_node() {
    let lab = Lab::new(&["-m", "64", "ä"].repeat(60));
    assert!(lab.read().is_err());
    let reason = lab.node("error").unwrap();
    assert!((900..=1024).contains(&reason.len()), "{}", reason.len());
}

#[test]
fn a_domain_that_is_nobodys_stub_domain_says_so() {
    let lab = Lab::new(&[]);
    assert_eq!(lab.read(), Err(Error::NoArguments));
    assert!(lab.node("error").unwrap().contains("device_model_version"));
    lab.world.remove_node(&format!("{HOME}/target"));
    assert_eq!(lab.read(), Err(Error::NoTarget));
}

#[test]
fn xl_finds_it_when_it_is_ready_and_its_commands_are_done() {
    let lab = Lab::new(PLAIN);
    let mut control = lab.announced();
    assert_eq!(lab.node("state").as_deref(), Some("running"));
    assert_eq!(control.turn(&STATUS), Turn::Idle);
    for _ in 0..3 {
        // Each command comes by a connection of its own, the last one's end unseen.
        let proxy = lab.connect();
        assert_eq!(control.turn(&STATUS), Turn::Idle);
        assert!(said(&proxy).starts_with("{\"QMP\":"));
        proxy.write(b"{\"execute\":\"qmp_capabilities\",\"id\":1}\r\n");
        assert_eq!(control.turn(&STATUS), Turn::Idle);
        assert_eq!(said(&proxy), "{\"return\":{},\"id\":1}\r\n");
        proxy.write(b"{\"execute\":\"cont\",\"id\":2}\r\n");
        let Turn::ToDo(ticket, Command::Continue) = control.turn(&STATUS) else {
            panic!("cont");
        };
        assert_eq!(control.turn(&STATUS), Turn::Idle);
        control.answer(ticket, Ok(()));
        assert_eq!(control.turn(&STATUS), Turn::Idle);
        assert_eq!(said(&proxy), "{\"return\":{},\"id\":2}\r\n");
    }
}

#[test]
fn an_answer_longer_than_the_ring_arrives_in_parts() {
    let lab = Lab::new(PLAIN);
    let mut control = lab.announced();
    let status = Status {
        vcpus: 128,
        ..STATUS
    };
    let proxy = lab.connect();
    proxy
        .write(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-cpus-fast\",\"id\":1}\n");
    control.turn(&status);
    // What was written before the greeting belonged to nobody.
    said(&proxy);
    proxy
        .write(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-cpus-fast\",\"id\":1}\n");
    let mut text = String::new();
    for _ in 0..4 {
        assert_eq!(control.turn(&status), Turn::Idle);
        text += &said(&proxy);
    }
    assert!(text.len() > 2048 && text.ends_with("{\"cpu-index\":127}],\"id\":1}\r\n"));
}

#[test]
fn a_client_that_never_stops_does_not_hold_the_guest_up() {
    let lab = Lab::new(PLAIN);
    let mut control = lab.announced();
    let proxy = lab.connect();
    control.turn(&STATUS);
    said(&proxy);
    proxy.write(b"x\n".repeat(512).as_slice());
    let (mut answers, mut turns, mut interrupted) = (0, 0, 0);
    while answers < 512 {
        turns += 1;
        interrupted += u32::from(control.turn(&STATUS) == Turn::More);
        answers += said(&proxy).lines().count();
        assert!(turns < 512, "each turn gets on");
    }
    assert!(interrupted > 0 && turns > 4);
    assert_eq!(control.turn(&STATUS), Turn::Idle);
}

#[test]
fn one_that_breaks_its_rings_is_left_alone_until_the_next() {
    use core::sync::atomic::Ordering;
    use minios_rs::xen::SharedPage;
    let lab = Lab::new(PLAIN);
    let mut control = lab.announced();
    let proxy = lab.connect();
    control.turn(&STATUS);
    proxy.page().word(4).store(77_777, Ordering::SeqCst);
    assert_eq!(control.turn(&STATUS), Turn::Idle);
    assert_eq!(control.turn(&STATUS), Turn::Idle);
    drop(proxy);
    let proxy = lab.connect();
    assert_eq!(control.turn(&STATUS), Turn::Idle);
    assert!(said(&proxy).starts_with("{\"QMP\":"));
}

//! A stub domain as libxl makes it, with its guest, its disk and its consoles, all simulated.

use super::*;
use alloc::rc::Rc;
use core::cell::RefCell;
use minios_rs::abi::hvm::ioreq::{FLAGS_DATA_IS_PTR, FLAGS_DIR, IOREQ_TYPE_PIO, Ioreq};
use minios_rs::fake::blkback::{Blkback, Offers};
use minios_rs::fake::console::ConsoleBack;
use minios_rs::fake::hvm::{Access, Hvm};
use minios_rs::fake::vchan::Client as Proxy;
use minios_rs::fake::{Domain, World};
use minios_rs::xen::{DomId, Xen};
use minios_rs::xenbus::XenbusState;

const STUB: DomId = DomId(4);
const GUEST: DomId = DomId(3);
const HOME: &str = "/local/domain/4";
const SECTORS: usize = 64;
const COM1: u64 = 0x3f8;

const ARGUMENTS: [&str; 8] = [
    "-xen-domid",
    "3",
    "-m",
    "1",
    "-serial",
    "/dev/hvc3",
    "-drive",
    "file=/dev/xvda,if=ide,index=0,media=disk,format=host_device,cache=writeback",
];

struct Lab {
    world: World,
    domain: Domain,
    store: Client<Domain>,
    executor: Executor,
    vcpu: Hvm,
    disk: Blkback,
    serial: ConsoleBack,
    save: ConsoleBack,
    restore: ConsoleBack,
}

impl Lab {
    fn new(more: &[&str]) -> Self {
        let world = World::new();
        let domain = world.domain(STUB);
        let store = world.connect_xenstore(&domain);
        world.write_node(&format!("{HOME}/target"), "3");
        world.write_node("/local/domain/3/vm", "/vm/0b0e");
        world.write_node(&format!("{HOME}/device-model/3"), "");
        for (index, argument) in ARGUMENTS.iter().chain(more).enumerate() {
            let node = format!("/vm/0b0e/image/dm-argv/{:03}", index + 1);
            world.write_node(&node, argument);
        }
        let console = |index| ConsoleBack::announce(&world, STUB, index);
        Self {
            vcpu: world.hvm(GUEST, STUB, 1, 64),
            disk: Blkback::announce(&world, DomId(0), STUB, 768, SECTORS, Offers::default()),
            serial: console(3),
            save: console(1),
            restore: console(2),
            world,
            domain,
            store,
            executor: Executor::new(16),
        }
    }

    fn pump(&mut self) {
        self.executor.run_ready(self.domain.now());
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        self.disk.step();
        self.disk.serve();
    }

    /// What xl waits for, or why it waits in vain. A state that is to be restored comes in.
    fn start(&mut self, state: &[u8]) -> Result<Model<Domain>, Error> {
        let outcome = Rc::new(RefCell::new(None));
        let place = outcome.clone();
        let (domain, store, executor) = (
            self.domain.clone(),
            self.store.clone(),
            self.executor.clone(),
        );
        let starting = async move {
            let started = Model::start(Place {
                xen: domain,
                store,
                executor,
                bundle: &[],
            });
            *place.borrow_mut() = Some(started.await);
        };
        self.executor.spawn(starting).unwrap();
        let mut given = 0;
        for _ in 0..30_000 {
            self.pump();
            let published = format!("{HOME}/device/console/2/port");
            if given < state.len() && self.world.node(&published).is_some() {
                if given == 0 {
                    self.restore.join();
                }
                // As much as surely fits, since the last of it was taken.
                let some = (state.len() - given).min(100);
                self.restore.input(&state[given..given + some]);
                given += some;
            }
            let is_left = self.restore.frontend_state() == Some(XenbusState::CLOSED);
            // Once: each write disturbs the transactions of others.
            if is_left && self.restore.has_joined() {
                self.restore.leave();
                self.restore.switch_to(XenbusState::CLOSED);
            }
            if let Some(started) = outcome.borrow_mut().take() {
                return started;
            }
            if let Some(next) = self.executor.next_deadline() {
                self.world.advance(next.since(self.domain.now()));
            }
        }
        panic!("it waits for what does not come");
    }

    /// An access of the guest's, and what it is answered with.
    fn access(&mut self, model: &mut Model<Domain>, request: Ioreq) -> u64 {
        assert_eq!(self.vcpu.raise(0, request), Access::Waits);
        self.turn(model);
        self.vcpu.complete(0).expect("it is answered")
    }

    fn turn(&mut self, model: &mut Model<Domain>) {
        for _ in 0..8 {
            model.turn(self.domain.now());
            self.pump();
        }
    }

    fn outb(&mut self, model: &mut Model<Domain>, port: u64, value: u64) {
        self.access(model, port_access(0, port, 1, 1, value));
    }

    fn inb(&mut self, model: &mut Model<Domain>, port: u64) -> u8 {
        self.access(model, port_access(FLAGS_DIR, port, 1, 1, 0)) as u8
    }

    fn connect(&self) -> Proxy {
        let node = format!("{HOME}/device-model/3/qmp-vchan");
        Proxy::connect(&self.world, STUB, &node).expect("announced")
    }

    /// Does all that can be done without time going by.
    fn settle(&mut self, model: &mut Model<Domain>) {
        for _ in 0..8 {
            self.turn(model);
        }
    }

    /// The next moment comes that somebody waits for.
    fn advance(&self) {
        if let Some(next) = self.executor.next_deadline() {
            self.world.advance(next.since(self.domain.now()));
        }
    }

    /// dom0's end of the save stream does what the other end asks for; whether it is connected.
    fn follow_save(&mut self) -> bool {
        match self.save.frontend_state() {
            Some(XenbusState::INITIALISED) if !self.save.has_joined() => self.save.join(),
            Some(XenbusState::CLOSED) if self.save.has_joined() => {
                self.save.leave();
                self.save.switch_to(XenbusState::CLOSED);
            }
            Some(XenbusState::INITIALISING) => self.save.switch_to(XenbusState::INIT_WAIT),
            _ => {}
        }
        self.save.has_joined()
    }

    /// The guest's state, which xl has saved.
    fn save(&mut self, model: &mut Model<Domain>, proxy: &Proxy) -> Vec<u8> {
        let mut said = self.command(model, proxy, SAVE_COMMAND);
        let mut state = Vec::new();
        while said.is_empty() {
            self.settle(model);
            if self.follow_save() {
                state.extend(self.save.output());
            }
            self.settle(model);
            self.advance();
            said = String::from_utf8(proxy.read()).unwrap();
        }
        assert!(said.contains("\"return\""), "{said}");
        state
    }

    /// What xl's command is answered with.
    fn command(&mut self, model: &mut Model<Domain>, proxy: &Proxy, line: &str) -> String {
        proxy.read();
        assert_eq!(proxy.write(line.as_bytes()), line.len());
        self.turn(model);
        String::from_utf8(proxy.read()).unwrap()
    }
}

fn port_access(flags: u8, port: u64, size: u32, count: u32, data: u64) -> Ioreq {
    Ioreq {
        addr: port,
        data,
        count,
        size,
        flags,
        kind: IOREQ_TYPE_PIO,
        ..Ioreq::default()
    }
}

const SAVE_COMMAND: &str = "{\"execute\":\"xen-save-devices-state\",\"id\":7,\"arguments\":{\"filename\":\"/dev/fdset/1\",\"live\":false}}\r\n";

#[test]
fn a_guest_writes_to_its_disk_and_reads_it_back() {
    let mut lab = Lab::new(&[]);
    let mut model = lab.start(&[]).unwrap();
    let state = format!("{HOME}/device-model/3/state");
    assert_eq!(lab.world.node(&state).as_deref(), Some("running"));
    let sector: Vec<u8> = (0..512).map(|at| (at % 251) as u8).collect();
    lab.vcpu.poke(0x3000, &sector);
    for (command, flags, address) in [
        (0x30, FLAGS_DATA_IS_PTR, 0x3000),
        (0x20, FLAGS_DATA_IS_PTR | FLAGS_DIR, 0x5000),
    ] {
        for (port, value) in [
            (0x1f6, 0xe0),
            (0x1f2, 1),
            (0x1f3, 9),
            (0x1f4, 0),
            (0x1f5, 0),
            (0x1f7, command),
        ] {
            lab.outb(&mut model, port, value);
        }
        lab.turn(&mut model);
        assert_eq!(lab.inb(&mut model, 0x1f7) & 0x89, 0x08, "data, no error");
        lab.access(&mut model, port_access(flags, 0x1f0, 2, 256, address));
        lab.turn(&mut model);
        assert_eq!(lab.inb(&mut model, 0x1f7) & 0x89, 0, "done");
    }
    let mut read = [0; 512];
    lab.vcpu.peek(0x5000, &mut read);
    assert_eq!(read[..], sector);
}

#[test]
fn a_serial_port_is_a_console_both_ways_and_waits_only_a_moment_for_who_does_not_read() {
    let mut lab = Lab::new(&[]);
    let mut model = lab.start(&[]).unwrap();
    lab.serial.join();
    for byte in *b"hello" {
        lab.outb(&mut model, COM1, byte.into());
    }
    assert_eq!(lab.serial.output(), b"hello");
    lab.serial.input(b"a");
    lab.turn(&mut model);
    assert_eq!(lab.inb(&mut model, COM1), b'a');

    // Nobody reads: as much as there is room for is kept, then the port says that it is busy.
    let is_empty = |lab: &mut Lab, model: &mut Model<Domain>| lab.inb(model, COM1 + 5) & 0x20 != 0;
    let mut printed = 0;
    while is_empty(&mut lab, &mut model) {
        lab.outb(&mut model, COM1, b'x'.into());
        printed += 1;
        assert!(printed < 10_000, "it never waits");
    }
    // It comes again by itself, and what nobody wants is gone.
    let again = model.turn(lab.domain.now()).expect("a moment");
    lab.world.advance(again.since(lab.domain.now()));
    lab.turn(&mut model);
    assert!(is_empty(&mut lab, &mut model));
    for _ in 0..10_000 {
        assert!(is_empty(&mut lab, &mut model));
        lab.outb(&mut model, COM1, b'y'.into());
    }
    // Who reads again sees what comes then.
    lab.serial.output();
    lab.outb(&mut model, COM1, b'z'.into());
    assert_eq!(lab.serial.output().last(), Some(&b'z'));
}

#[test]
fn a_saved_guest_goes_on_where_it_was_and_is_saved_as_often_as_one_likes() {
    let mut lab = Lab::new(&[]);
    let mut model = lab.start(&[]).unwrap();
    let proxy = lab.connect();
    lab.turn(&mut model);
    proxy.read();
    proxy.write(b"{\"execute\":\"qmp_capabilities\",\"id\":1}\r\n");
    lab.turn(&mut model);
    let before = lab.domain.usage();
    let mut state = Vec::new();
    for scratch in [0x11, 0x5a] {
        lab.outb(&mut model, COM1 + 7, scratch);
        state = lab.save(&mut model, &proxy);
        assert_eq!(
            lab.domain.usage(),
            before,
            "the console is there while it is needed"
        );
    }

    let restored = ["-incoming", "$STUBDOM_RESTORE_INCOMING_ARG"];
    let mut lab = Lab::new(&restored);
    let mut model = lab.start(&state).unwrap();
    assert_eq!(lab.inb(&mut model, COM1 + 7), 0x5a);

    // One that was cut off is not started with, and xl finds out why.
    let mut lab = Lab::new(&restored);
    let cut = &state[..state.len() - 1];
    let error = lab.start(cut).err();
    assert!(matches!(error, Some(Error::Stream(StreamError::NoState))));
    let error = lab.world.node(&format!("{HOME}/device-model/3/error"));
    assert!(error.unwrap().contains("ends before it is whole"));
}

#[test]
fn a_state_that_nobody_takes_is_not_saved_and_the_next_one_may_be() {
    let mut lab = Lab::new(&[]);
    let mut model = lab.start(&[]).unwrap();
    let proxy = lab.connect();
    lab.turn(&mut model);
    proxy.write(b"{\"execute\":\"qmp_capabilities\",\"id\":1}\r\n");
    lab.turn(&mut model);
    assert_eq!(lab.command(&mut model, &proxy, SAVE_COMMAND), "");
    let mut said = String::new();
    while said.is_empty() {
        lab.settle(&mut model);
        lab.follow_save();
        lab.settle(&mut model);
        lab.advance();
        said = String::from_utf8(proxy.read()).unwrap();
    }
    assert!(said.contains("nobody takes the state"), "{said}");
    lab.save(&mut model, &proxy);
}

#[test]
fn a_kernel_that_dom0_did_not_give_along_is_missed_before_the_guest_starts() {
    let mut lab = Lab::new(&["-kernel", "/boot/vmlinuz"]);
    assert!(matches!(lab.start(&[]), Err(Error::Bundle(_))));
    let node = |name| lab.world.node(&format!("{HOME}/device-model/3/{name}"));
    assert_eq!(node("state"), None);
    assert!(node("error").unwrap().contains("stubdomain_ramdisk"));
    assert_eq!(lab.vcpu.servers(), 0);
}

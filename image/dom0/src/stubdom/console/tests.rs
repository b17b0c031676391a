use super::*;
use crate::store::Waited;
use crate::stubdom::ring::tests::{Front, TestPage};
use crate::stubdom::sink::{Output, RESTORE, SAVE};
use minios_rs::abi::io::console::ConsoleInterface;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::mem::offset_of;
use std::time::Duration;

/// Xenstore without a daemon.
#[derive(Default)]
struct Nodes(BTreeMap<String, String>);

impl Store for Nodes {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, StoreError> {
        let value = self.0.get(path).ok_or(StoreError::NotFound)?;
        Ok(value.clone().into_bytes())
    }

    fn list(&mut self, _: &str) -> Result<Vec<String>, StoreError> {
        unreachable!("nobody lists")
    }

    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), StoreError> {
        let value = String::from_utf8(value.to_vec()).unwrap();
        self.0.insert(path.to_owned(), value);
        Ok(())
    }

    fn write_if_there(&mut self, guard: &str, path: &str, value: &[u8]) -> Result<(), StoreError> {
        self.read(guard)?;
        self.write(path, value)
    }

    fn remove(&mut self, path: &str) -> Result<(), StoreError> {
        self.0.retain(|node, _| !node.starts_with(path));
        Ok(())
    }

    fn watch(&mut self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn unwatch(&mut self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn wait(&mut self, _: Duration) -> Result<Waited, StoreError> {
        Ok(Waited::TimedOut)
    }
}

/// A stub domain with one page, granted as 8, and one port, 3, which is 40 here.
#[derive(Default)]
struct Domain {
    front: Front,
    bound: RefCell<Vec<Port>>,
    rung: RefCell<usize>,
}

impl Peer for Domain {
    type Page = TestPage;

    fn map(&self, reference: GrantRef) -> io::Result<TestPage> {
        match reference {
            GrantRef(8) => Ok(self.front.page.clone()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn bind(&self, remote: Port) -> io::Result<Port> {
        if remote != Port(3) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.bound.borrow_mut().push(Port(40));
        Ok(Port(40))
    }

    fn unbind(&self, port: Port) {
        let mut bound = self.bound.borrow_mut();
        let at = bound.iter().position(|bound| *bound == port);
        bound.remove(at.expect("what is unbound was bound"));
    }

    fn notify(&self, port: Port) {
        assert!(self.bound.borrow().contains(&port), "rung and not bound");
        *self.rung.borrow_mut() += 1;
    }
}

const FRONTEND: &str = "/local/domain/5/device/console/1";
const BACKEND: &str = "/local/domain/0/backend/console/5/1";

struct Scene {
    store: Nodes,
    domain: Domain,
    console: Console<Domain>,
}

impl Scene {
    fn new(number: u32, sink: Sink) -> Self {
        let mut store = Nodes::default();
        for (node, value) in [("frontend", FRONTEND), ("state", "1"), ("online", "1")] {
            store
                .0
                .insert(format!("{BACKEND}/{node}"), value.to_owned());
        }
        store.0.insert(format!("{FRONTEND}/state"), "1".to_owned());
        Self {
            store,
            domain: Domain::default(),
            console: Console::device(number, FRONTEND.to_owned(), BACKEND.to_owned(), sink),
        }
    }

    /// The domain writes these, its state last; what we say and are then.
    fn after(&mut self, nodes: &[(&str, &str)]) -> (String, Option<String>) {
        for (node, value) in nodes {
            let path = format!("{FRONTEND}/{node}");
            self.store.0.insert(path, (*value).to_owned());
        }
        self.step()
    }

    fn step(&mut self) -> (String, Option<String>) {
        let said = self.console.step(&mut self.store, &self.domain).unwrap();
        let state = self.store.0[&format!("{BACKEND}/state")].clone();
        (state, said.map(|said| said.to_string()))
    }

    fn pump(&mut self) {
        assert_eq!(self.console.pump(&self.domain), None);
    }
}

const CONNECT: [(&str, &str); 3] = [("ring-ref", "8"), ("port", "3"), ("state", "3")];

fn quiet(state: &str) -> (String, Option<String>) {
    (state.to_owned(), None)
}

#[test]
fn a_console_is_connected_and_connected_again() {
    let mut scene = Scene::new(4, Sink::Nothing);
    for _ in 0..2 {
        assert_eq!(scene.after(&[("state", "1")]), quiet("2"));
        assert!(!scene.console.has_room());
        assert_eq!(scene.after(&CONNECT), quiet("4"));
        assert_eq!(scene.after(&[("state", "4")]), quiet("4"));
        assert_eq!(*scene.domain.bound.borrow(), [Port(40)]);
        assert_eq!(scene.console.port(), Some(Port(40)));
        assert!(scene.console.has_room());
        assert_eq!(scene.after(&[("state", "5")]), quiet("6"));
        assert_eq!(*scene.domain.bound.borrow(), []);
        assert_eq!(scene.after(&[("state", "6")]), quiet("6"));
    }
}

#[test]
fn what_was_printed_before_anybody_rang_is_there_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("save");
    let mut scene = Scene::new(SAVE, Output::File(path.clone()).open(SAVE).unwrap());
    scene.domain.front.print(b"first");
    assert_eq!(scene.after(&CONNECT), quiet("4"));
    assert_eq!(fs::read(&path).unwrap(), b"first");
    scene.domain.front.print(b" and more");
    scene.pump();
    assert_eq!(fs::read(&path).unwrap(), b"first and more");
    // Room that was given back is only given back once it is in the file.
    assert_eq!(*scene.domain.rung.borrow(), 2);
    // The next save.
    scene.after(&[("state", "6")]);
    scene.after(&[("state", "1")]);
    scene.domain.front.print(b"second");
    assert_eq!(scene.after(&CONNECT), quiet("4"));
    assert_eq!(fs::read(&path).unwrap(), b"second");
}

#[test]
fn a_stream_is_typed_as_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resume");
    let saved: Vec<u8> = (0..5000u32).map(|at| (at % 253) as u8).collect();
    fs::write(&path, &saved).unwrap();
    let mut scene = Scene::new(RESTORE, Output::Stream(path).open(RESTORE).unwrap());
    scene.after(&CONNECT);
    let mut read = Vec::new();
    for _ in 0..10 {
        read.extend(scene.domain.front.read());
        scene.pump();
    }
    assert_eq!(read, saved);
}

#[test]
fn what_cannot_be_connected_is_closed_with_a_word() {
    let cases = [
        (("ring-ref", "9"), "cannot map its ring"),
        (("port", "4"), "cannot bind its event channel"),
        (("port", "-1"), "names no ring"),
        (("ring-ref", "x"), "names no ring"),
    ];
    for (wrong, part) in cases {
        let mut scene = Scene::new(4, Sink::Nothing);
        let mut nodes = CONNECT.to_vec();
        nodes.insert(2, wrong);
        let (state, said) = scene.after(&nodes);
        let said = said.unwrap();
        assert!(
            said.starts_with("console 4: ") && said.contains(part),
            "{said}"
        );
        assert_eq!(state, "6");
        // Not again and again, unless it begins anew.
        assert_eq!(scene.step(), quiet("6"));
        assert_eq!(scene.after(&[("state", "1")]), quiet("2"));
        assert_eq!(scene.after(&CONNECT), quiet("4"));
    }
}

#[test]
fn a_ring_that_makes_no_sense_is_given_up() {
    let mut scene = Scene::new(4, Sink::Nothing);
    scene.after(&CONNECT);
    let out_prod = offset_of!(ConsoleInterface, out_prod);
    scene.domain.front.store(out_prod, 5000);
    let said = scene.console.pump(&scene.domain).unwrap().to_string();
    assert!(said.contains("makes no sense"), "{said}");
    assert_eq!(*scene.domain.bound.borrow(), []);
    scene.domain.front.store(out_prod, 0);
    assert_eq!(scene.step(), quiet("6"));
    assert_eq!(scene.after(&[("state", "1")]), quiet("6"));
    assert_eq!(scene.after(&CONNECT), quiet("6"));
}

#[test]
fn a_device_that_the_toolstack_takes_away_is_closed_and_not_made_again() {
    let mut scene = Scene::new(4, Sink::Nothing);
    scene.after(&CONNECT);
    scene
        .store
        .write(&format!("{BACKEND}/state"), b"5")
        .unwrap();
    assert_eq!(scene.step(), quiet("6"));
    let mut scene = Scene::new(4, Sink::Nothing);
    scene.after(&CONNECT);
    scene.store.0.clear();
    let said = scene.console.step(&mut scene.store, &scene.domain).unwrap();
    assert_eq!(said, None);
    assert!(scene.store.0.is_empty(), "{:?}", scene.store.0);
    assert_eq!(*scene.domain.bound.borrow(), []);
}

proptest! {
    /// Whatever the domain writes, and whenever: no panic, and one channel at most.
    #[test]
    fn any_states_in_any_order_are_borne(
        steps in prop::collection::vec((0..8u32, 6..10u32, 2..5u32, any::<[u32; 2]>()), 0..60),
    ) {
        let mut scene = Scene::new(4, Sink::Nothing);
        for (state, reference, port, [produced, consumed]) in steps {
            scene.after(&[
                ("ring-ref", &reference.to_string()),
                ("port", &port.to_string()),
                ("state", &state.to_string()),
            ]);
            scene.domain.front.store(offset_of!(ConsoleInterface, out_prod), produced % 4096);
            scene.domain.front.store(offset_of!(ConsoleInterface, in_cons), consumed % 4096);
            scene.console.pump(&scene.domain);
            prop_assert!(scene.domain.bound.borrow().len() <= 1);
        }
    }
}

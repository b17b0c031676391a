//! A backend of a console to meet the frontend in tests, and able to write whatever a hostile one
//! could.

#![forbid(unsafe_code)]

use super::{Domain, Foreign, World};
use crate::abi::io::console::ConsoleInterface;
use crate::xen::{Access, BoundPort, DomId, GrantRef, Port, SharedPage};
use crate::xenbus::XenbusState;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

/// Domain 0's end of a console.
pub struct ConsoleBack {
    domain: Domain,
    front: DomId,
    own: String,
    theirs: String,
    joined: Option<(Foreign, BoundPort<Domain>)>,
}

impl ConsoleBack {
    /// Makes both halves in xenstore, as the toolstack does.
    pub fn announce(world: &World, front: DomId, index: u32) -> Self {
        let own = format!("/local/domain/0/backend/console/{}/{index}", front.0);
        let theirs = format!("/local/domain/{}/device/console/{index}", front.0);
        for (node, other, id) in [(&theirs, &own, "backend"), (&own, &theirs, "frontend")] {
            let domid = if id == "backend" { 0 } else { front.0 };
            world.write_node(&format!("{node}/{id}"), other);
            world.write_node(&format!("{node}/{id}-id"), domid.to_string());
            world.write_node(&format!("{node}/state"), "1");
        }
        Self {
            domain: world.domain(DomId(0)),
            front,
            own,
            theirs,
            joined: None,
        }
    }

    /// Writes its state.
    pub fn switch_to(&self, state: XenbusState) {
        let node = format!("{}/state", self.own);
        self.domain.world().write_node(&node, state.0.to_string());
    }

    /// The frontend's state.
    pub fn frontend_state(&self) -> Option<XenbusState> {
        self.number("state").map(XenbusState)
    }

    /// Takes the ring, which must be there.
    pub fn join(&mut self) {
        let reference = GrantRef(self.number("ring-ref").expect("published"));
        let port = Port(self.number("port").expect("published"));
        let page = self
            .domain
            .map(self.front, reference, Access::ReadWrite)
            .expect("the ring is granted");
        let port = BoundPort::bind(&self.domain, self.front, port).expect("the port is for it");
        self.joined = Some((page, port));
        self.switch_to(XenbusState::CONNECTED);
    }

    /// Lets go of the ring.
    pub fn leave(&mut self) {
        self.joined = None;
    }

    /// Whether it has the ring.
    pub fn has_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// The shared page.
    pub fn page(&self) -> &Foreign {
        &self.joined.as_ref().expect("joined").0
    }

    /// Whether the frontend sent an event since this was last asked.
    pub fn take_event(&self) -> bool {
        let (_, port) = self.joined.as_ref().expect("joined");
        self.domain.take_event(port.number())
    }

    /// Takes all that was printed.
    pub fn output(&self) -> Vec<u8> {
        let cons = self.word(offset_of!(ConsoleInterface, out_cons));
        let prod = self.word(offset_of!(ConsoleInterface, out_prod));
        let mut bytes = vec![0; prod.wrapping_sub(cons) as usize];
        for (index, byte) in (cons as usize..).zip(&mut bytes) {
            let at = offset_of!(ConsoleInterface, output) + index % 2048;
            self.page().read(at, core::slice::from_mut(byte));
        }
        self.set_word(offset_of!(ConsoleInterface, out_cons), prod);
        self.notify();
        bytes
    }

    /// Types; it must fit.
    pub fn input(&self, bytes: &[u8]) {
        let prod = self.word(offset_of!(ConsoleInterface, in_prod));
        for (index, byte) in (prod as usize..).zip(bytes) {
            self.page().write(index % 1024, &[*byte]);
        }
        let prod = prod.wrapping_add(bytes.len() as u32);
        self.set_word(offset_of!(ConsoleInterface, in_prod), prod);
        self.notify();
    }

    fn notify(&self) {
        let (_, port) = self.joined.as_ref().expect("joined");
        let _ = port.notify();
    }

    fn word(&self, offset: usize) -> u32 {
        self.page().word(offset).load(Ordering::SeqCst)
    }

    fn set_word(&self, offset: usize, value: u32) {
        self.page().word(offset).store(value, Ordering::SeqCst);
    }

    fn number(&self, key: &str) -> Option<u32> {
        let world = self.domain.world();
        world.node(&format!("{}/{key}", self.theirs))?.parse().ok()
    }
}

//! A xen-pciback to meet pcifront in tests: correct unless told otherwise.

#![forbid(unsafe_code)]

use super::pci::{Card, Model};
use super::{Domain, Foreign, World};
use crate::abi::io::pciif::{
    AER_OP, AerOp, FLAGS, MSIX_ENTRIES, MsixEntry, OP, Op, SH_INFO_MAX_VEC,
    XEN_PCI_ERR_DEV_NOT_FOUND, XEN_PCI_ERR_INVALID_OFFSET, XEN_PCI_ERR_NOT_IMPLEMENTED,
    XEN_PCI_ERR_OP_FAILED, XEN_PCI_ERR_SUCCESS, XEN_PCI_MAGIC, XEN_PCI_OP_CONF_READ,
    XEN_PCI_OP_CONF_WRITE, XEN_PCI_OP_DISABLE_MSI, XEN_PCI_OP_DISABLE_MSIX, XEN_PCI_OP_ENABLE_MSI,
    XEN_PCI_OP_ENABLE_MSIX, XEN_PCIB_ACTIVE, XEN_PCIB_AERHANDLER, XEN_PCIF_ACTIVE,
};
use crate::pci::{Address, Command, capability};
use crate::xen::{Access, DomId, GrantRef, Port, SharedPage, Xen};
use crate::xenbus::XenbusState;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// Changes an answer before the frontend sees it.
pub type Tamper = Box<dyn FnMut(&mut Op, &mut [MsixEntry])>;

struct Function {
    card: usize,
    address: Address,
    /// Taken away.
    is_gone: bool,
}

/// The backend of one domain's cards.
pub struct Pciback {
    domain: Domain,
    front: DomId,
    own: String,
    theirs: String,
    functions: Vec<Function>,
    connected: Option<(Foreign, Port)>,
    /// Answers nothing while this is set.
    pub is_silent: bool,
    /// What is done to answers.
    pub tamper: Option<Tamper>,
    /// Operations served.
    pub served: u64,
}

impl Pciback {
    /// Plugs cards in and makes both halves in xenstore, as libxl does for `pci=[…]`.
    pub fn plug<M: Model + 'static>(
        world: &World,
        front: DomId,
        models: impl IntoIterator<Item = M>,
    ) -> (Self, Vec<Card<M>>) {
        let models = models.into_iter();
        let cards: Vec<Card<M>> = models.map(|model| world.plug(front, model)).collect();
        let numbers: Vec<usize> = cards.iter().map(Card::number).collect();
        (Self::announce(world, front, &numbers), cards)
    }

    /// Makes both halves in xenstore, for cards that are plugged in.
    pub fn announce(world: &World, front: DomId, cards: &[usize]) -> Self {
        let own = format!("/local/domain/0/backend/pci/{}/0", front.0);
        let theirs = format!("/local/domain/{}/device/pci/0", front.0);
        world.write_node(&format!("{theirs}/backend"), &own);
        world.write_node(&format!("{theirs}/backend-id"), "0");
        world.write_node(&format!("{theirs}/state"), "1");
        world.write_node(&format!("{own}/frontend"), &theirs);
        world.write_node(&format!("{own}/frontend-id"), front.0.to_string());
        world.write_node(&format!("{own}/online"), "1");
        let mut back = Self {
            domain: world.domain(DomId(0)),
            front,
            own,
            theirs,
            functions: Vec::new(),
            connected: None,
            is_silent: false,
            tamper: None,
            served: 0,
        };
        for card in cards {
            back.list(*card);
        }
        back.switch_to(XenbusState::INITIALISED);
        back
    }

    /// Its directory in xenstore.
    pub fn node(&self) -> &str {
        &self.own
    }

    /// The frontend's.
    pub fn frontend_node(&self) -> &str {
        &self.theirs
    }

    fn list(&mut self, card: usize) {
        let number = self.functions.len();
        let address = Address {
            segment: 0,
            bus: 0,
            devfn: (number as u8) << 3,
        };
        self.functions.push(Function {
            card,
            address,
            is_gone: false,
        });
        let world = self.domain.world();
        world.write_node(
            &format!("{}/vdev-{number}", self.own),
            format!("0000:00:{number:02x}.00"),
        );
        world.write_node(&format!("{}/state-{number}", self.own), "3");
        let count = (number + 1).to_string();
        world.write_node(&format!("{}/num_devs", self.own), count);
    }

    /// Passes another card, as `xl pci-attach` does.
    pub fn attach(&mut self, card: usize) {
        self.list(card);
        self.switch_to(XenbusState::RECONFIGURING);
    }

    /// Passes one again that was taken away, under its old number.
    pub fn come_back(&mut self, number: usize) {
        self.functions[number].is_gone = false;
        let state = format!("{}/state-{number}", self.own);
        self.domain.world().write_node(&state, "3");
        self.switch_to(XenbusState::RECONFIGURING);
    }

    /// Begins to take one away, as `xl pci-detach` does.
    pub fn detach(&mut self, number: usize) {
        let state = format!("{}/state-{number}", self.own);
        self.domain.world().write_node(&state, "5");
        self.switch_to(XenbusState::RECONFIGURING);
    }

    /// Writes its state.
    pub fn switch_to(&self, state: XenbusState) {
        self.domain
            .world()
            .write_node(&format!("{}/state", self.own), state.0.to_string());
    }

    /// Its state, or the frontend's.
    pub fn state(&self, directory: &str) -> XenbusState {
        let text = self.domain.world().node(&format!("{directory}/state"));
        XenbusState(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Does the next step, as Linux's backend does.
    pub fn step(&mut self) {
        let own = self.state(&self.own);
        match self.state(&self.theirs) {
            XenbusState::INITIALISED if own == XenbusState::INITIALISED => self.join(),
            XenbusState::RECONFIGURING if own == XenbusState::RECONFIGURING => {
                for number in 0..self.functions.len() {
                    let state = format!("{}/state-{number}", self.own);
                    if self.domain.world().node(&state).as_deref() == Some("5") {
                        self.functions[number].is_gone = true;
                        self.domain.world().write_node(&state, "6");
                    }
                }
                self.switch_to(XenbusState::RECONFIGURED);
            }
            XenbusState::CONNECTED if own == XenbusState::RECONFIGURED => {
                self.switch_to(XenbusState::CONNECTED);
            }
            XenbusState::CLOSING
                if own == XenbusState::CONNECTED || own == XenbusState::INITIALISED =>
            {
                self.switch_to(XenbusState::CLOSING);
            }
            XenbusState::CLOSED if own != XenbusState::CLOSED => {
                self.leave();
                self.switch_to(XenbusState::CLOSED);
            }
            _ => {}
        }
        self.serve();
    }

    fn join(&mut self) {
        let world = self.domain.world().clone();
        let key = |name: &str| world.node(&format!("{}/{name}", self.theirs));
        assert_eq!(key("magic").as_deref(), Some(XEN_PCI_MAGIC));
        let number = |name: &str| -> u32 {
            let value = key(name).and_then(|text| text.parse().ok());
            value.expect("the frontend has published a number")
        };
        let reference = GrantRef(number("pci-op-ref"));
        let page = self
            .domain
            .map(self.front, reference, Access::ReadWrite)
            .expect("the page is granted");
        let port = Port(number("event-channel"));
        let port = self.domain.bind_port(self.front, port);
        self.connected = Some((page, port.expect("the port is ours")));
        self.switch_to(XenbusState::CONNECTED);
    }

    /// Lets go of the page.
    pub fn leave(&mut self) {
        if let Some((_, port)) = self.connected.take() {
            self.domain.close_port(port);
        }
    }

    /// Reports an error on the bus; the frontend's answer, once [`Pciback::step`]s have passed, is in
    /// [`Pciback::reported`].
    pub fn report(&self, cmd: u32) {
        let (page, port) = self.connected.as_ref().expect("connected");
        let report = AerOp {
            cmd,
            ..AerOp::default()
        };
        page.write(AER_OP, report.as_bytes());
        let flags = page.word(FLAGS).fetch_or(XEN_PCIB_ACTIVE, Ordering::AcqRel);
        assert!(
            flags & XEN_PCIB_AERHANDLER != 0,
            "Linux' backend ends a domain that does not answer reports"
        );
        self.domain.notify(*port).expect("the port is bound");
    }

    /// What the frontend answered to a report; `None` while it has not.
    pub fn reported(&self) -> Option<i32> {
        let (page, _) = self.connected.as_ref().expect("connected");
        if page.word(FLAGS).load(Ordering::Acquire) & XEN_PCIB_ACTIVE != 0 {
            return None;
        }
        let mut bytes = [0; size_of::<AerOp>()];
        page.read(AER_OP, &mut bytes);
        AerOp::read_from_bytes(&bytes).ok().map(|report| report.err)
    }

    fn serve(&mut self) {
        let Some((page, port)) = self.connected.take() else {
            return;
        };
        let active = page.word(FLAGS).load(Ordering::Acquire) & XEN_PCIF_ACTIVE != 0;
        if active && !self.is_silent {
            let mut bytes = [0; size_of::<Op>()];
            page.read(OP, &mut bytes);
            let mut op = Op::read_from_bytes(&bytes).expect("any bytes are one");
            let mut entries = vec![MsixEntry::default(); SH_INFO_MAX_VEC];
            page.read(MSIX_ENTRIES, entries.as_mut_slice().as_mut_bytes());
            self.answer(&mut op, &mut entries);
            if let Some(tamper) = &mut self.tamper {
                tamper(&mut op, &mut entries);
            }
            page.write(OP, op.as_bytes());
            page.write(MSIX_ENTRIES, entries.as_slice().as_bytes());
            page.word(FLAGS)
                .fetch_and(!XEN_PCIF_ACTIVE, Ordering::AcqRel);
            self.domain.notify(port).expect("the port is bound");
            self.served += 1;
        }
        self.connected = Some((page, port));
    }

    fn answer(&self, op: &mut Op, entries: &mut [MsixEntry]) {
        let found = self.functions.iter().find(|function| {
            let address = function.address;
            !function.is_gone
                && (op.domain, op.bus, op.devfn)
                    == (
                        address.segment.into(),
                        address.bus.into(),
                        address.devfn.into(),
                    )
        });
        let Some(card) = found.map(|function| function.card) else {
            op.err = XEN_PCI_ERR_DEV_NOT_FOUND;
            return;
        };
        let world = self.domain.world();
        op.err = XEN_PCI_ERR_SUCCESS;
        let (offset, size) = (op.offset as usize, op.size as usize);
        match op.cmd {
            XEN_PCI_OP_CONF_READ | XEN_PCI_OP_CONF_WRITE
                if !matches!(size, 1 | 2 | 4)
                    || !(0..256).contains(&op.offset)
                    || !offset.is_multiple_of(size) =>
            {
                op.err = XEN_PCI_ERR_INVALID_OFFSET;
            }
            XEN_PCI_OP_CONF_READ => op.value = world.config_read(card, offset, size),
            XEN_PCI_OP_CONF_WRITE => world.config_write(card, offset, size, op.value),
            XEN_PCI_OP_ENABLE_MSI => match has(world, card, capability::MSI) {
                true => op.value = world.give_messages(card, 1)[0].0,
                false => op.err = XEN_PCI_ERR_OP_FAILED,
            },
            XEN_PCI_OP_ENABLE_MSIX => {
                // Linux: -ENXIO before the card decodes memory, in which its table lies.
                let command = world.config_read(card, 4, 2) as u16;
                let decodes = Command::from_bits_retain(command).contains(Command::MEMORY);
                if !has(world, card, capability::MSIX) || !decodes {
                    op.err = -6;
                    return;
                }
                let pirqs = world.give_messages(card, op.value as usize);
                for (entry, pirq) in entries.iter_mut().zip(pirqs) {
                    entry.vector = pirq.0 as u16;
                }
                op.value = 0;
            }
            XEN_PCI_OP_DISABLE_MSI | XEN_PCI_OP_DISABLE_MSIX => world.take_messages(card),
            _ => op.err = XEN_PCI_ERR_NOT_IMPLEMENTED,
        }
    }
}

fn has(world: &World, card: usize, id: u8) -> bool {
    let mut at = world.config_read(card, 0x34, 1) as usize;
    while at != 0 {
        if world.config_read(card, at, 1) as u8 == id {
            return true;
        }
        at = world.config_read(card, at + 1, 1) as usize;
    }
    false
}

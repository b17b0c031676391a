//! PCI cards for the simulated Xen: a [`Model`] behind registers, DMA through an IOMMU, interrupts.
//!
//! As strict as the rest: registers answer only while the card decodes memory, and only to the domain
//! it is passed to; a card that is no bus master, or names an address that is no page of that domain's
//! (any more), transfers nothing and is counted ([`World::dma_faults`]).

#![forbid(unsafe_code)]

extern crate std;

use super::{Binding, Channel, Domain, Fault, Page, World};
use crate::abi::errno::{EBUSY, ENOMEM, EPERM};
use crate::abi::xen::nr;
use crate::hardware::{self, Hardware, MapError, Pirq, Sharing};
use crate::pci::Command;
use crate::xen::{DomId, Errno, PAGE_SIZE, Port};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

/// Where cards' registers begin.
const REGISTERS_BASE: u64 = 0xf000_0000;
/// The physical interrupt of the first card's line.
const LINE_BASE: u32 = 32;
/// The first physical interrupt that is a message.
const MESSAGE_BASE: u32 = 200;

/// A base address register of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarSpec {
    /// None.
    Unused,
    /// Registers in memory, below 4 GiB.
    Memory(u32),
    /// Registers in memory, anywhere; takes the next one as well.
    Memory64(u32),
    /// I/O ports.
    Ports(u32),
}

/// What a model's configuration space says.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Vendor and device.
    pub id: (u16, u16),
    /// Class, subclass, programming interface.
    pub class: u32,
    /// Its base address registers.
    pub bars: [BarSpec; 6],
    /// Number and body (what follows number and link) of each capability.
    pub capabilities: Vec<(u8, Vec<u8>)>,
    /// Whether it has an interrupt line.
    pub has_line: bool,
}

/// A card's inside.
pub trait Model {
    /// What it says it is.
    fn configuration(&self) -> Configuration;
    /// A register is read.
    fn read(&mut self, bar: usize, offset: usize, size: usize, bus: &CardBus) -> u32;
    /// A register is written.
    fn write(&mut self, bar: usize, offset: usize, size: usize, value: u32, bus: &CardBus);
    /// Whether it pulls its interrupt line now.
    fn line(&self) -> bool {
        false
    }
}

struct Slot {
    domain: DomId,
    model: Rc<RefCell<dyn Model>>,
    specs: [BarSpec; 6],
    bases: [u64; 6],
    config: Vec<u8>,
    line: Option<Pirq>,
    /// Messages it may send, by number.
    messages: Vec<Pirq>,
    dma_faults: u64,
    is_gone: bool,
}

#[derive(Default)]
struct Wire {
    domain: Option<DomId>,
    port: Option<Port>,
    /// It came and was not ended yet.
    in_service: bool,
    /// A message came meanwhile.
    again: bool,
}

#[derive(Default)]
pub(super) struct Cards {
    slots: Vec<Slot>,
    wires: BTreeMap<Pirq, Wire>,
    next_base: u64,
}

/// A card in the machine, for tests to reach its model from the other side.
pub struct Card<M> {
    world: World,
    number: usize,
    model: Rc<RefCell<M>>,
}

/// What a card reaches.
pub struct CardBus {
    world: World,
    number: usize,
}

impl World {
    /// Puts a card in and passes it to a domain.
    pub fn plug<M: Model + 'static>(&self, domain: DomId, model: M) -> Card<M> {
        let configuration = model.configuration();
        let model = Rc::new(RefCell::new(model));
        let mut cards = self.inner.cards.borrow_mut();
        let number = cards.slots.len();
        let mut bases = [0; 6];
        for (base, spec) in bases.iter_mut().zip(configuration.bars) {
            if let BarSpec::Memory(length) | BarSpec::Memory64(length) = spec {
                let step = u64::from(length).max(PAGE_SIZE as u64);
                *base = (REGISTERS_BASE + cards.next_base).next_multiple_of(step);
                cards.next_base = *base + step - REGISTERS_BASE;
            }
        }
        let line = Pirq(LINE_BASE + number as u32);
        let line = configuration.has_line.then_some(line);
        if let Some(line) = line {
            let wire = Wire {
                domain: Some(domain),
                ..Wire::default()
            };
            cards.wires.insert(line, wire);
        }
        let config = header(&configuration, &bases, line);
        cards.slots.push(Slot {
            domain,
            model: model.clone(),
            specs: configuration.bars,
            bases,
            config,
            line,
            messages: Vec::new(),
            dma_faults: 0,
            is_gone: false,
        });
        drop(cards);
        Card {
            world: self.clone(),
            number,
            model,
        }
    }

    /// Transfers that a card tried and the IOMMU refused.
    pub fn dma_faults(&self, number: usize) -> u64 {
        self.inner.cards.borrow().slots[number].dma_faults
    }

    pub(super) fn config_read(&self, number: usize, offset: usize, size: usize) -> u32 {
        let cards = self.inner.cards.borrow();
        let mut bytes = [0; 4];
        bytes[..size].copy_from_slice(&cards.slots[number].config[offset..offset + size]);
        u32::from_le_bytes(bytes)
    }

    /// Command and base address registers can be written, and of the latter the bits that choose.
    pub(super) fn config_write(&self, number: usize, offset: usize, size: usize, value: u32) {
        let mut cards = self.inner.cards.borrow_mut();
        let slot = &mut cards.slots[number];
        match offset {
            4 => slot.config[4..6].copy_from_slice(&(value as u16).to_le_bytes()),
            0x10..0x28 if size == 4 => {
                let bar = (offset - 0x10) / 4;
                let value = slot.bar_value(bar, value == u32::MAX);
                slot.config[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
            }
            _ => {}
        }
        drop(cards);
        self.settle(number);
    }

    /// Gives a card messages, and the domain the right to them.
    pub(super) fn give_messages(&self, number: usize, count: usize) -> Vec<Pirq> {
        let mut cards = self.inner.cards.borrow_mut();
        let domain = cards.slots[number].domain;
        let first = MESSAGE_BASE + 16 * number as u32;
        let pirqs: Vec<Pirq> = (first..).take(count).map(Pirq).collect();
        for pirq in &pirqs {
            let wire = cards.wires.entry(*pirq).or_default();
            wire.domain = Some(domain);
        }
        cards.slots[number].messages.clone_from(&pirqs);
        pirqs
    }

    pub(super) fn take_messages(&self, number: usize) {
        let mut cards = self.inner.cards.borrow_mut();
        for pirq in core::mem::take(&mut cards.slots[number].messages) {
            if let Some(wire) = cards.wires.get_mut(&pirq) {
                wire.domain = None;
            }
        }
    }

    /// Has the line of a card come, if it pulls it.
    fn settle(&self, number: usize) {
        let (line, model) = {
            let cards = self.inner.cards.borrow();
            let slot = &cards.slots[number];
            let command = slot.command();
            let line = slot
                .line
                .filter(|_| !slot.is_gone && !command.contains(Command::NO_LINE));
            (line, slot.model.clone())
        };
        let pulls = model.try_borrow().is_ok_and(|model| model.line());
        if let Some(line) = line.filter(|_| pulls) {
            self.raise(line, false);
        }
    }

    fn raise(&self, pirq: Pirq, is_message: bool) {
        let mut cards = self.inner.cards.borrow_mut();
        let Some(wire) = cards.wires.get_mut(&pirq) else {
            return;
        };
        let (Some(domain), Some(port)) = (wire.domain, wire.port) else {
            return;
        };
        if wire.in_service {
            wire.again |= is_message;
            return;
        }
        wire.in_service = true;
        drop(cards);
        self.domain(domain).with(domain, |state| {
            if let Some(channel) = state.channels.get_mut(&port.0) {
                channel.pending = true;
                channel.received += 1;
            }
        });
    }
}

impl Slot {
    fn command(&self) -> Command {
        Command::from_bits_retain(u16::from_le_bytes([self.config[4], self.config[5]]))
    }

    fn bar_value(&self, bar: usize, is_probe: bool) -> u32 {
        let value = |base: u64, length: u32, flags: u32| match is_probe {
            true => length.wrapping_neg() | flags,
            false => base as u32 | flags,
        };
        match self.specs[bar] {
            BarSpec::Memory(length) => value(self.bases[bar], length, 0),
            BarSpec::Memory64(length) => value(self.bases[bar], length, 4),
            BarSpec::Ports(length) => value(0xc000, length, 1),
            // The upper half of the one before.
            BarSpec::Unused if bar > 0 && matches!(self.specs[bar - 1], BarSpec::Memory64(_)) => {
                match is_probe {
                    true => u32::MAX,
                    false => (self.bases[bar - 1] >> 32) as u32,
                }
            }
            BarSpec::Unused => 0,
        }
    }
}

/// Configuration space as it is after the firmware.
fn header(configuration: &Configuration, bases: &[u64; 6], line: Option<Pirq>) -> Vec<u8> {
    let mut config = vec![0; 256];
    let (vendor, device) = configuration.id;
    config[0..2].copy_from_slice(&vendor.to_le_bytes());
    config[2..4].copy_from_slice(&device.to_le_bytes());
    config[8..12].copy_from_slice(&(configuration.class << 8).to_le_bytes());
    for (bar, base) in bases.iter().enumerate() {
        let flags = match configuration.bars[bar] {
            BarSpec::Memory64(_) => 4,
            BarSpec::Ports(_) => 0xc001,
            _ => 0,
        };
        let value = *base as u32 | flags;
        config[0x10 + 4 * bar..0x14 + 4 * bar].copy_from_slice(&value.to_le_bytes());
    }
    if let Some(line) = line {
        config[0x3c] = line.0 as u8;
        config[0x3d] = 1;
    }
    let mut link = 0x34;
    let mut at = 0x40;
    for (id, body) in &configuration.capabilities {
        config[6] |= 0x10;
        config[link] = at as u8;
        config[at] = *id;
        config[at + 2..at + 2 + body.len()].copy_from_slice(body);
        link = at + 1;
        at = (at + 2 + body.len()).next_multiple_of(4);
    }
    config
}

impl<M: Model> Card<M> {
    /// Its number in the machine.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Reaches its model from outside, as what is on its wire does.
    pub fn with<T>(&self, what: impl FnOnce(&mut M, &CardBus) -> T) -> T {
        let bus = CardBus {
            world: self.world.clone(),
            number: self.number,
        };
        let done = what(&mut self.model.borrow_mut(), &bus);
        self.world.settle(self.number);
        done
    }

    /// Writes a byte of configuration space as only the card can.
    pub fn set_config(&self, offset: usize, value: u8) {
        self.world.inner.cards.borrow_mut().slots[self.number].config[offset] = value;
    }

    /// Takes it out of the machine: it answers nothing, and transfers nothing.
    pub fn pull(&self) {
        self.world.inner.cards.borrow_mut().slots[self.number].is_gone = true;
    }
}

impl CardBus {
    /// What a page of the machine is, if this card may reach it.
    fn page(&self, address: u64) -> Option<Rc<super::page::Memory>> {
        let mut cards = self.world.inner.cards.borrow_mut();
        let slot = &mut cards.slots[self.number];
        let frames = self.world.inner.frames.borrow();
        let page = frames.pages.get(&(address / PAGE_SIZE as u64));
        let page = page.filter(|(owner, _)| *owner == slot.domain);
        let page = page.and_then(|(_, memory)| memory.upgrade());
        let is_master = !slot.is_gone && slot.command().contains(Command::MASTER);
        let page = page.filter(|_| is_master);
        if page.is_none() {
            slot.dma_faults += 1;
        }
        page
    }

    /// Reads memory. False: it may not, and got nothing.
    pub fn read(&self, address: u64, into: &mut [u8]) -> bool {
        for (at, byte) in (address..).zip(into) {
            let Some(page) = self.page(at) else {
                return false;
            };
            page.read(at as usize % PAGE_SIZE, core::slice::from_mut(byte));
        }
        true
    }

    /// Writes memory. False: it may not, and changed nothing more.
    pub fn write(&self, address: u64, from: &[u8]) -> bool {
        for (at, byte) in (address..).zip(from) {
            let Some(page) = self.page(at) else {
                return false;
            };
            page.write(at as usize % PAGE_SIZE, core::slice::from_ref(byte));
        }
        true
    }

    /// Sends the message of that number, if the card was given so many.
    pub fn message(&self, number: usize) {
        let pirq = self.world.inner.cards.borrow().slots[self.number]
            .messages
            .get(number)
            .copied();
        if let Some(pirq) = pirq {
            self.world.raise(pirq, true);
        }
    }
}

/// Registers of a card, mapped.
pub struct Registers {
    domain: Domain,
    number: usize,
    bar: usize,
    start: usize,
    length: usize,
}

impl Drop for Registers {
    fn drop(&mut self) {
        let id = self.domain.id;
        self.domain.with(id, |domain| domain.registers -= 1);
    }
}

impl Registers {
    /// The model, if the card answers at its registers now.
    fn model(&self, offset: usize, width: usize) -> Option<Rc<RefCell<dyn Model>>> {
        assert!(
            offset.is_multiple_of(width) && offset + width <= self.length,
            "no such register"
        );
        let cards = self.domain.world.inner.cards.borrow();
        let slot = &cards.slots[self.number];
        let answers = !slot.is_gone && slot.command().contains(Command::MEMORY);
        answers.then(|| slot.model.clone())
    }

    fn bus(&self) -> CardBus {
        CardBus {
            world: self.domain.world.clone(),
            number: self.number,
        }
    }

    fn read(&self, offset: usize, width: usize) -> u32 {
        let Some(model) = self.model(offset, width) else {
            return u32::MAX;
        };
        let value = model
            .borrow_mut()
            .read(self.bar, self.start + offset, width, &self.bus());
        self.domain.world.settle(self.number);
        value
    }

    fn write(&self, offset: usize, width: usize, value: u32) {
        if let Some(model) = self.model(offset, width) {
            let at = self.start + offset;
            model
                .borrow_mut()
                .write(self.bar, at, width, value, &self.bus());
            self.domain.world.settle(self.number);
        }
    }
}

impl hardware::Registers for Registers {
    fn length(&self) -> usize {
        self.length
    }

    fn read8(&self, offset: usize) -> u8 {
        self.read(offset, 1) as u8
    }

    fn read16(&self, offset: usize) -> u16 {
        self.read(offset, 2) as u16
    }

    fn read32(&self, offset: usize) -> u32 {
        self.read(offset, 4)
    }

    fn write8(&self, offset: usize, value: u8) {
        self.write(offset, 1, value.into());
    }

    fn write16(&self, offset: usize, value: u16) {
        self.write(offset, 2, value.into());
    }

    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, 4, value);
    }
}

impl Domain {
    pub(super) fn unbind_interrupt(&self, pirq: Pirq) {
        let mut cards = self.world.inner.cards.borrow_mut();
        if let Some(wire) = cards.wires.get_mut(&pirq) {
            wire.port = None;
            wire.in_service = false;
            wire.again = false;
        }
    }
}

impl Hardware for Domain {
    type Registers = Registers;

    fn map_registers(&self, address: u64, length: usize) -> Result<Registers, MapError> {
        if self.world.inner.fails(Fault::Registers) {
            return Err(MapError::Refused(ENOMEM));
        }
        if address == 0 || length == 0 || length > hardware::REGISTERS_MAX {
            return Err(MapError::Range);
        }
        let cards = self.world.inner.cards.borrow();
        for (number, slot) in cards.slots.iter().enumerate() {
            for (bar, spec) in slot.specs.iter().enumerate() {
                let (BarSpec::Memory(size) | BarSpec::Memory64(size)) = *spec else {
                    continue;
                };
                let end = slot.bases[bar] + u64::from(size);
                let is_inside =
                    (slot.bases[bar]..end).contains(&address) && address + length as u64 <= end;
                if is_inside && slot.domain == self.id {
                    self.with(self.id, |domain| domain.registers += 1);
                    return Ok(Registers {
                        domain: self.clone(),
                        number,
                        bar,
                        start: (address - slot.bases[bar]) as usize,
                        length,
                    });
                }
            }
        }
        Err(MapError::Refused(EPERM))
    }

    fn machine_address(&self, page: &Page) -> u64 {
        assert_eq!(page.0.owner, self.id, "a domain names its own pages");
        page.0.frame * PAGE_SIZE as u64
    }

    fn bind_interrupt(&self, pirq: Pirq, _: Sharing) -> Result<Port, Errno> {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        if self.world.inner.fails(Fault::Interrupt) {
            return Err(ENOMEM);
        }
        let port = self.free_port()?;
        let mut cards = self.world.inner.cards.borrow_mut();
        let wire = cards.wires.get_mut(&pirq).ok_or(EPERM)?;
        if wire.domain != Some(self.id) {
            return Err(EPERM);
        }
        if wire.port.is_some() {
            return Err(EBUSY);
        }
        wire.port = Some(port);
        drop(cards);
        let channel = Channel {
            binding: Binding::Pirq { pirq },
            pending: false,
            received: 0,
        };
        self.with(self.id, |domain| domain.channels.insert(port.0, channel));
        Ok(port)
    }

    fn take_interrupt(&self, port: Port) -> bool {
        self.take_event(port)
    }

    fn end_interrupt(&self, pirq: Pirq) {
        self.count_hypercall(nr::PHYSDEV_OP);
        let mut cards = self.world.inner.cards.borrow_mut();
        let again = cards.wires.get_mut(&pirq).is_some_and(|wire| {
            wire.in_service = false;
            core::mem::take(&mut wire.again)
        });
        let line_of = cards.slots.iter().position(|slot| slot.line == Some(pirq));
        drop(cards);
        if again {
            self.world.raise(pirq, true);
        } else if let Some(number) = line_of {
            self.world.settle(number);
        }
    }
}

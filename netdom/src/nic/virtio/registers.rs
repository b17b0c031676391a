//! A virtio card's registers: what they are, and where the card's capabilities say that they lie.

use crate::nic::Error;
use alloc::rc::Rc;
use alloc::vec::Vec;
use minios_rs::hardware::{Hardware, REGISTERS_MAX, Registers};
use minios_rs::pci::{Function, capability};

/// Places of the common registers.
pub(super) mod common {
    pub(crate) const DEVICE_FEATURE_SELECT: usize = 0;
    pub(crate) const DEVICE_FEATURE: usize = 4;
    pub(crate) const DRIVER_FEATURE_SELECT: usize = 8;
    pub(crate) const DRIVER_FEATURE: usize = 12;
    pub(crate) const CONFIG_VECTOR: usize = 16;
    pub(crate) const STATUS: usize = 20;
    pub(crate) const QUEUE_SELECT: usize = 22;
    pub(crate) const QUEUE_SIZE: usize = 24;
    pub(crate) const QUEUE_VECTOR: usize = 26;
    pub(crate) const QUEUE_ENABLE: usize = 28;
    pub(crate) const QUEUE_NOTIFY: usize = 30;
    pub(crate) const QUEUE_DESCRIPTORS: usize = 32;
    pub(crate) const QUEUE_AVAILABLE: usize = 40;
    pub(crate) const QUEUE_USED: usize = 48;
    pub(crate) const LENGTH: usize = 56;
}

pub(super) mod status {
    pub(crate) const ACKNOWLEDGE: u8 = 1;
    pub(crate) const DRIVER: u8 = 2;
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const NEEDS_RESET: u8 = 0x40;
    /// What one that is gone reads as.
    pub(crate) const GONE: u8 = 0xff;
}

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Features: u64 {
        const CHECKSUM = 1 << 0;
        const GUEST_CHECKSUM = 1 << 1;
        const MAC = 1 << 5;
        const GUEST_TSO4 = 1 << 7;
        const GUEST_TSO6 = 1 << 8;
        const HOST_TSO4 = 1 << 11;
        const HOST_TSO6 = 1 << 12;
        const MERGED_BUFFERS = 1 << 15;
        const STATUS = 1 << 16;
        const VERSION_1 = 1 << 32;
        const ACCESS_PLATFORM = 1 << 33;
    }
}

/// No interrupt of the table.
pub(super) const NO_VECTOR: u16 = 0xffff;

/// A stretch of registers that a capability names.
pub(super) struct Window<X: Hardware> {
    registers: Rc<X::Registers>,
    offset: usize,
}

impl<X: Hardware> Window<X> {
    pub(super) fn read8(&self, at: usize) -> u8 {
        self.registers.read8(self.offset + at)
    }
    pub(super) fn read16(&self, at: usize) -> u16 {
        self.registers.read16(self.offset + at)
    }
    pub(super) fn read32(&self, at: usize) -> u32 {
        self.registers.read32(self.offset + at)
    }
    pub(super) fn write8(&self, at: usize, value: u8) {
        self.registers.write8(self.offset + at, value);
    }
    pub(super) fn write16(&self, at: usize, value: u16) {
        self.registers.write16(self.offset + at, value);
    }
    pub(super) fn write32(&self, at: usize, value: u32) {
        self.registers.write32(self.offset + at, value);
    }
    pub(super) fn write64(&self, at: usize, value: u64) {
        self.write32(at, value as u32);
        self.write32(at + 4, (value >> 32) as u32);
    }
}

/// The four stretches that are used.
pub(super) struct Windows<X: Hardware> {
    pub(super) common: Window<X>,
    pub(super) notify: Window<X>,
    pub(super) notify_length: usize,
    pub(super) notify_step: usize,
    pub(super) interrupt: Window<X>,
    pub(super) device: Window<X>,
}

/// What one of the capabilities says.
struct Stretch {
    bar: u16,
    offset: usize,
    length: usize,
}

impl<X: Hardware> Windows<X> {
    /// Finds and maps the first capability of each kind.
    pub(super) async fn find(function: &Function<X>) -> Result<Self, Error> {
        let mut stretches: [Option<Stretch>; 4] = [None, None, None, None];
        let mut notify_step = 0;
        for place in function.capabilities().await? {
            if place.id != capability::VENDOR {
                continue;
            }
            let at = u16::from(place.offset);
            let kind = usize::from(function.read8(at + 3).await?);
            let Some(stretch) = kind.checked_sub(1).and_then(|kind| stretches.get_mut(kind)) else {
                continue;
            };
            let bar = u16::from(function.read8(at + 4).await?);
            // Others are reserved, and to be ignored.
            if stretch.is_some() || bar > 5 {
                continue;
            }
            *stretch = Some(Stretch {
                bar,
                offset: function.read32(at + 8).await? as usize,
                length: function.read32(at + 12).await? as usize,
            });
            if kind == 2 {
                notify_step = function.read32(at + 16).await? as usize;
            }
        }
        let mut bars: Vec<(u16, Rc<X::Registers>)> = Vec::new();
        let [common, notify, interrupt, device] = stretches;
        let notify_length = notify.as_ref().map_or(0, |stretch| stretch.length);
        let mut windows: Vec<Window<X>> = Vec::new();
        // The device's own: address and status.
        let lengths = [common::LENGTH, 2, 1, 8];
        for (stretch, least) in [common, notify, interrupt, device].into_iter().zip(lengths) {
            let missing = minios_rs::pci::Error::Missing("virtio registers");
            let stretch = stretch.ok_or(missing)?;
            let known = bars.iter().find(|(bar, _)| *bar == stretch.bar);
            let registers = match known {
                Some((_, registers)) => registers.clone(),
                None => {
                    let mapped = function.map(stretch.bar, least, REGISTERS_MAX).await?;
                    let mapped = Rc::new(mapped);
                    bars.push((stretch.bar, mapped.clone()));
                    mapped
                }
            };
            let end = stretch.offset.checked_add(stretch.length);
            let is_inside = end.is_some_and(|end| end <= registers.length());
            if !is_inside || stretch.length < least || !stretch.offset.is_multiple_of(4) {
                return Err(missing.into());
            }
            windows.push(Window {
                registers,
                offset: stretch.offset,
            });
        }
        let mut windows = windows.into_iter();
        let mut next = || windows.next().expect("four were pushed");
        Ok(Self {
            common: next(),
            notify: next(),
            notify_length,
            notify_step,
            interrupt: next(),
            device: next(),
        })
    }
}

//! The firmware configuration device of QEMU's machines (its docs/specs/fw_cfg): items of bytes by
//! number or by name, from which firmware has the kernel of a direct boot.
//!
//! A guest reads them byte by byte, or has them copied into its memory: the copy is bounded by the
//! item, whatever length the guest asks for.

use crate::bus::Width;
use crate::memory::{GuestMemory, Outside};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Its first and its last port: the selector, the data behind it, and from 0x514 on the address of a
/// description of a copy.
pub const PORTS: (u16, u16) = (0x510, 0x51b);

const SELECTOR: usize = 0;
const DATA: usize = 1;
const ADDRESS_HIGH: usize = 4;
const ADDRESS_LOW: usize = 8;
/// What the address registers read as: "QEMU CFG".
const ADDRESS_SIGNATURE: [u8; 8] = *b"QEMU CFG";

/// "QEMU": the device is there.
const KEY_SIGNATURE: u16 = 0x00;
/// What it can do.
const KEY_ID: u16 = 0x01;
/// There is no screen: the first serial port is it.
pub const KEY_NO_GRAPHIC: u16 = 0x04;
/// The names of items that have one.
const KEY_DIRECTORY: u16 = 0x19;
/// Where numbers of items with a name begin.
const KEY_FILES: u16 = 0x20;
/// Byte by byte, and by copy.
const FEATURES: u32 = 0b11;

/// Bytes of a name in the directory, its end included.
const NAME: usize = 56;

const CONTROL_ERROR: u32 = 1 << 0;
const CONTROL_READ: u32 = 1 << 1;
const CONTROL_SKIP: u32 = 1 << 2;
const CONTROL_SELECT: u32 = 1 << 3;
const CONTROL_WRITE: u32 = 1 << 4;
/// Bytes of the description of a copy: control, length, address, all of them big-endian.
const DESCRIPTION: usize = 16;
/// Zeros that are copied behind the end of an item, at most: more is an error.
const ZEROS_MAX: usize = 4096;

/// An item.
#[derive(Clone, Debug)]
struct Item {
    key: u16,
    content: Cow<'static, [u8]>,
}

/// Where the guest is in which item: what has to be kept when it moves to another host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    selector: u16,
    offset: u32,
    address_high: u32,
}

/// The device.
#[derive(Clone, Debug)]
pub struct FwCfg {
    items: Vec<Item>,
    names: Vec<(&'static str, u16)>,
    state: State,
    copy: Option<u64>,
}

impl Default for FwCfg {
    fn default() -> Self {
        Self::new()
    }
}

impl FwCfg {
    /// The device without any items but those that say what it is.
    pub fn new() -> Self {
        let mut new = Self {
            items: Vec::new(),
            names: Vec::new(),
            state: State::default(),
            copy: None,
        };
        new.add(KEY_SIGNATURE, &b"QEMU"[..]);
        new.add(KEY_ID, FEATURES.to_le_bytes().to_vec());
        new.add(KEY_DIRECTORY, 0_u32.to_be_bytes().to_vec());
        new
    }

    /// Adds an item, or replaces it.
    pub fn add(&mut self, key: u16, content: impl Into<Cow<'static, [u8]>>) {
        let content = content.into();
        match self.items.iter_mut().find(|item| item.key == key) {
            Some(item) => item.content = content,
            None => self.items.push(Item { key, content }),
        }
    }

    /// Adds an item with a name, which is shorter than 56 bytes.
    pub fn add_file(&mut self, name: &'static str, content: impl Into<Cow<'static, [u8]>>) {
        assert!(name.len() < NAME, "a name of the directory");
        let key = KEY_FILES + self.names.len() as u16;
        self.add(key, content);
        self.names.push((name, key));
        // Sorted, as those who wrote it do.
        self.names.sort_unstable();
        let mut directory = (self.names.len() as u32).to_be_bytes().to_vec();
        for &(name, key) in &self.names {
            directory.extend((self.content(key).len() as u32).to_be_bytes());
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let mut padded = [0; NAME];
            padded[..name.len()].copy_from_slice(name.as_bytes());
            directory.extend(padded);
        }
        self.add(KEY_DIRECTORY, directory);
    }

    /// Reads registers.
    pub fn read(&mut self, offset: usize, width: Width) -> u32 {
        match (offset, width) {
            (DATA, Width::Byte) => {
                let mut byte = [0];
                self.take(&mut byte);
                byte[0].into()
            }
            (ADDRESS_HIGH..=ADDRESS_LOW, _) | (9..12, _) => width.gather(|at| {
                ADDRESS_SIGNATURE
                    .get(offset - ADDRESS_HIGH + at)
                    .copied()
                    .unwrap_or(0)
            }),
            _ => 0,
        }
    }

    /// Writes registers.
    pub fn write(&mut self, offset: usize, width: Width, value: u32) {
        match (offset, width) {
            (SELECTOR, Width::Word) => self.select(value as u16),
            (ADDRESS_HIGH, Width::Dword) => self.state.address_high = value.swap_bytes(),
            (ADDRESS_LOW, Width::Dword) => {
                let high = core::mem::take(&mut self.state.address_high);
                self.copy = Some(u64::from(high) << 32 | u64::from(value.swap_bytes()));
            }
            _ => {}
        }
    }

    /// Where the description of the copy lies that the guest wants.
    pub fn take_copy(&mut self) -> Option<u64> {
        self.copy.take()
    }

    /// Carries out the copy described at `address`, and writes there how it ended: 0, or an error.
    pub fn copy(&mut self, address: u64, memory: &mut impl GuestMemory) {
        // Read once: it lies where the guest can write.
        let mut description = [0; DESCRIPTION];
        if memory.read(address, &mut description).is_err() {
            return;
        }
        let description = u128::from_be_bytes(description);
        let (control, length) = ((description >> 96) as u32, (description >> 64) as u32);
        let ended = match self.carry_out(control, length, description as u64, memory) {
            Ok(()) => 0,
            Err(Outside) => CONTROL_ERROR,
        };
        // Who put the description outside has nowhere to look for an answer.
        let _ = memory.write(address, &ended.to_be_bytes());
    }

    fn carry_out(
        &mut self,
        control: u32,
        length: u32,
        to: u64,
        memory: &mut impl GuestMemory,
    ) -> Result<(), Outside> {
        if control & CONTROL_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        if control & CONTROL_READ != 0 {
            let content = self.content(self.state.selector);
            let rest = content.get(self.state.offset as usize..).unwrap_or(&[]);
            let bytes = &rest[..rest.len().min(length as usize)];
            let zeros = length as usize - bytes.len();
            if zeros > ZEROS_MAX {
                return Err(Outside);
            }
            memory.write(to, bytes)?;
            let end = to.checked_add(bytes.len() as u64).ok_or(Outside)?;
            memory.write(end, &[0; ZEROS_MAX][..zeros])?;
            self.skip(length);
            Ok(())
        } else if control & CONTROL_WRITE != 0 {
            // Nothing here may be written.
            Err(Outside)
        } else {
            if control & CONTROL_SKIP != 0 {
                self.skip(length);
            }
            Ok(())
        }
    }

    /// Where the guest is, to be kept.
    pub fn state(&self) -> State {
        self.state
    }

    /// Goes on from there.
    pub fn restore(&mut self, state: State) {
        self.state = state;
    }

    fn select(&mut self, key: u16) {
        self.state.selector = key;
        self.state.offset = 0;
    }

    fn skip(&mut self, bytes: u32) {
        self.state.offset = self.state.offset.saturating_add(bytes);
    }

    fn take(&mut self, to: &mut [u8]) {
        let content = self.content(self.state.selector);
        let rest = content.get(self.state.offset as usize..).unwrap_or(&[]);
        for (to, from) in to.iter_mut().zip(rest) {
            *to = *from;
        }
        self.skip(to.len() as u32);
    }

    /// What an item holds: nothing, where there is none.
    fn content(&self, key: u16) -> &[u8] {
        self.items
            .iter()
            .find(|item| item.key == key)
            .map_or(&[], |item| &item.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Ram;
    use proptest::prelude::*;

    fn bytes(device: &mut FwCfg, key: u16, count: usize) -> Vec<u8> {
        device.write(SELECTOR, Width::Word, key.into());
        (0..count)
            .map(|_| device.read(DATA, Width::Byte) as u8)
            .collect()
    }

    fn start(device: &mut FwCfg, address: u32) -> u64 {
        device.write(ADDRESS_LOW, Width::Dword, address.swap_bytes());
        device.take_copy().unwrap()
    }

    fn describe(ram: &mut Ram, at: usize, control: u32, length: u32, to: u64) {
        let description = [
            &control.to_be_bytes()[..],
            &length.to_be_bytes(),
            &to.to_be_bytes(),
        ]
        .concat();
        ram.bytes[at..at + DESCRIPTION].copy_from_slice(&description);
    }

    fn ended(ram: &Ram, at: usize) -> u32 {
        u32::from_be_bytes(ram.bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn firmware_finds_the_device_and_what_it_can_do() {
        let mut device = FwCfg::new();
        assert_eq!(bytes(&mut device, 0x0000, 5), b"QEMU\0");
        assert_eq!(bytes(&mut device, 0x0001, 4), [3, 0, 0, 0]);
        assert_eq!(bytes(&mut device, 0x7777, 3), [0; 3]);
        assert_eq!(
            device.read(ADDRESS_HIGH, Width::Dword).swap_bytes(),
            0x5145_4d55
        );
        assert_eq!(
            device.read(ADDRESS_LOW, Width::Dword).swap_bytes(),
            0x2043_4647
        );
    }

    #[test]
    fn items_with_a_name_are_in_the_directory() {
        let mut device = FwCfg::new();
        device.add_file("genroms/linux", vec_of(1024));
        device.add_file("bootorder", &b"/rom@genroms/linux\0"[..]);
        let directory = bytes(&mut device, 0x19, 4 + 2 * 64);
        assert_eq!(directory[..4], [0, 0, 0, 2]);
        assert_eq!(directory[4..8], [0, 0, 0, 19]);
        assert_eq!(&directory[12..22], b"bootorder\0");
        assert_eq!(directory[68..72], [0, 0, 4, 0]);
        assert_eq!(&directory[76..90], b"genroms/linux\0");
        // Numbered from 20h on, in the order in which they came.
        assert_eq!(
            (&directory[8..10], &directory[72..74]),
            (&[0, 0x21][..], &[0, 0x20][..])
        );
        let key = u16::from_be_bytes([directory[8], directory[9]]);
        assert_eq!(bytes(&mut device, key, 19), b"/rom@genroms/linux\0");
    }

    fn vec_of(length: usize) -> Vec<u8> {
        (0..length).map(|at| at as u8).collect()
    }

    #[test]
    fn an_item_is_copied_into_memory() {
        let mut device = FwCfg::new();
        device.add(0x11, vec_of(100));
        let mut ram = Ram::new(0x1000);
        describe(&mut ram, 0x100, 0x0011_000a, 60, 0x800);
        let at = start(&mut device, 0x100);
        device.copy(at, &mut ram);
        assert_eq!(ended(&ram, 0x100), 0);
        assert_eq!(ram.bytes[0x800..0x83c], vec_of(100)[..60]);
        assert_eq!(ram.bytes[0x83c], 0);
        // Onwards, after a gap, and over the end.
        describe(&mut ram, 0x100, CONTROL_SKIP, 30, 0);
        device.copy(0x100, &mut ram);
        ram.bytes[0x900..0x920].fill(0xff);
        describe(&mut ram, 0x100, CONTROL_READ, 16, 0x900);
        device.copy(0x100, &mut ram);
        assert_eq!(ended(&ram, 0x100), 0);
        assert_eq!(ram.bytes[0x900..0x90a], vec_of(100)[90..]);
        assert_eq!(ram.bytes[0x90a..0x911], [0, 0, 0, 0, 0, 0, 0xff]);
    }

    #[test]
    fn what_is_only_selected_is_read_from_its_beginning() {
        let mut device = FwCfg::new();
        device.add(0x11, vec_of(100));
        let mut ram = Ram::new(0x4000);
        describe(&mut ram, 0x100, 0x0011_0008, 50, 0);
        device.copy(0x100, &mut ram);
        assert_eq!(ended(&ram, 0x100), 0);
        // All of it, and as many zeros as there may be.
        let length = 100 + ZEROS_MAX as u32;
        describe(&mut ram, 0x100, CONTROL_READ, length, 0x800);
        device.copy(0x100, &mut ram);
        assert_eq!(ended(&ram, 0x100), 0);
        assert_eq!(ram.bytes[0x800..0x864], vec_of(100));
    }

    #[test]
    fn a_copy_that_cannot_be_says_so() {
        let mut device = FwCfg::new();
        device.add(0x11, vec_of(100));
        let mut ram = Ram::new(0x1000);
        for (control, length, to) in [
            (0x0011_000a, 100, 0xff0),
            (0x0011_000a, 100, u64::MAX - 10),
            (0x0011_000a, u32::MAX, 0),
            (0x0011_0018, 10, 0),
        ] {
            describe(&mut ram, 0x800, control, length, to);
            device.copy(0x800, &mut ram);
            assert_eq!(ended(&ram, 0x800), 1, "{control:#x} {length} {to:#x}");
        }
        device.copy(0xff8, &mut ram);
        device.copy(u64::MAX, &mut ram);
    }

    #[test]
    fn an_address_has_64_bits_and_its_upper_half_serves_once() {
        let mut device = FwCfg::new();
        device.write(ADDRESS_HIGH, Width::Dword, 1_u32.swap_bytes());
        assert_eq!(start(&mut device, 0x10), 0x1_0000_0010);
        assert_eq!(start(&mut device, 0x10), 0x10);
        assert_eq!(device.take_copy(), None);
    }

    proptest! {
        #[test]
        fn whatever_a_guest_describes_it_ends(
            steps in proptest::collection::vec(
                (0..14_usize, 0..3_usize, any::<u32>(), any::<[u8; DESCRIPTION]>()), 0..64)
        ) {
            let mut device = FwCfg::new();
            device.add(0x11, vec_of(5000));
            let mut ram = Ram::new(0x4000);
            for (offset, width, value, description) in steps {
                ram.bytes[0x40..0x50].copy_from_slice(&description);
                device.write(offset, Width::ALL[width], value);
                device.read(offset, Width::ALL[width]);
                if let Some(address) = device.take_copy() {
                    device.copy(address, &mut ram);
                }
                device.copy(0x40, &mut ram);
            }
            prop_assert_eq!(bytes(&mut device, 0, 4), b"QEMU");
        }
    }
}

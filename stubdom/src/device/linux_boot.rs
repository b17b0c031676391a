//! Booting a kernel without a disk: `kernel=`, `ramdisk=` and `cmdline=` of the guest's configuration.
//!
//! Firmware finds an option ROM among the items of [`FwCfg`] and boots from it first. The ROM has the
//! pieces copied to where Linux's boot protocol (Documentation/arch/x86/boot.rst) wants them, and jumps
//! into the kernel's real-mode part. Everything is known when the ROM is made, so it holds no more
//! than a table of copies:
//!
//! ```text
//! 0x010000  real-mode part of the kernel, its heap and its stack
//! 0x020000  command line
//! 0x100000  the kernel
//!           ...
//! below the top of memory under 4 GiB: the ramdisk
//! ```

use crate::device::fw_cfg::FwCfg;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use thiserror::Error;

/// Numbers of the items, as QEMU has them: whoever brings another boot ROM finds what it looks for.
const KEY_KERNEL_ADDR: u16 = 0x07;
const KEY_KERNEL_SIZE: u16 = 0x08;
const KEY_INITRD_ADDR: u16 = 0x0a;
const KEY_INITRD_SIZE: u16 = 0x0b;
const KEY_KERNEL_DATA: u16 = 0x11;
const KEY_INITRD_DATA: u16 = 0x12;
const KEY_CMDLINE_ADDR: u16 = 0x13;
const KEY_CMDLINE_SIZE: u16 = 0x14;
const KEY_CMDLINE_DATA: u16 = 0x15;
const KEY_SETUP_ADDR: u16 = 0x16;
const KEY_SETUP_SIZE: u16 = 0x17;
const KEY_SETUP_DATA: u16 = 0x18;

const SETUP: u32 = 0x1_0000;
const CMDLINE: u32 = 0x2_0000;
const KERNEL: u32 = 0x10_0000;
/// From the start of the real-mode part: where its heap ends and its stack begins.
const HEAP_END: u16 = 0xe000;
/// Memory at the top that firmware keeps its tables in.
const FIRMWARE: u32 = 1 << 20;

const SECTOR: usize = 512;
/// Fields of the header.
const SETUP_SECTS: usize = 0x1f1;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const HEAP_END_PTR: usize = 0x224;
const CMD_LINE_PTR: usize = 0x228;
const INITRD_ADDR_MAX: usize = 0x22c;
const CMDLINE_SIZE: usize = 0x238;
const LOADED_HIGH: u8 = 1 << 0;
const CAN_USE_HEAP: u8 = 1 << 7;
/// A loader that has no number.
const UNDEFINED_LOADER: u8 = 0xff;
/// 2.06: a command line longer than 255 bytes.
const VERSION_CMDLINE_SIZE: u16 = 0x0206;
/// 2.03: a ramdisk wherever there is memory.
const VERSION_INITRD_MAX: u16 = 0x0203;
const INITRD_MAX_BEFORE: u32 = 0x37ff_ffff;

/// What is to be booted.
#[derive(Clone, Debug)]
pub struct Linux<'a> {
    /// The kernel, as a bzImage.
    pub kernel: &'static [u8],
    /// The ramdisk; empty without one.
    pub ramdisk: &'static [u8],
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Where the guest's memory ends that is below 4 GiB.
    pub low_memory_end: u32,
}

/// Why a kernel cannot be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It has no header of a bzImage.
    #[error("the kernel is not a bzImage of Linux 2.6 or later")]
    Kernel,
    /// A command line longer than the kernel reads.
    #[error("the command line has {0} bytes, and this kernel reads {1}")]
    CommandLine(usize, usize),
    /// Kernel and ramdisk do not fit.
    #[error("kernel and ramdisk do not fit into the guest's memory below 4 GiB")]
    Memory,
}

/// Puts a kernel among the items, and the ROM that boots it.
///
/// # Errors
/// [`Refusal`].
pub fn add(linux: &Linux<'_>, items: &mut FwCfg) -> Result<(), Refusal> {
    let kernel = linux.kernel;
    if !kernel
        .get(HEADER..)
        .is_some_and(|rest| rest.starts_with(b"HdrS"))
    {
        return Err(Refusal::Kernel);
    }
    let sectors = match kernel[SETUP_SECTS] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let setup_length = (1 + sectors) * SECTOR;
    if kernel.len() <= setup_length.max(CMDLINE_SIZE + 4) {
        return Err(Refusal::Kernel);
    }
    let (setup, body) = kernel.split_at(setup_length);
    let u32_at = |at: usize| {
        setup.get(at..at + 4).map_or(0, |bytes| {
            u32::from_le_bytes(bytes.try_into().unwrap_or_default())
        })
    };
    let version = u32_at(VERSION) as u16;
    if setup[LOADFLAGS] & LOADED_HIGH == 0 {
        return Err(Refusal::Kernel);
    }

    let cmdline_max = match version {
        VERSION_CMDLINE_SIZE.. => u32_at(CMDLINE_SIZE) as usize,
        _ => 255,
    }
    // What lies between it and the EBDA is enough for any that there is.
    .min(0x1_0000);
    let length = linux.command_line.len();
    if length > cmdline_max {
        return Err(Refusal::CommandLine(length, cmdline_max));
    }
    let mut command_line = linux.command_line.as_bytes().to_vec();
    command_line.push(0);

    let ramdisk_max = match version {
        VERSION_INITRD_MAX.. => u32_at(INITRD_ADDR_MAX),
        _ => INITRD_MAX_BEFORE,
    };
    let end = linux
        .low_memory_end
        .saturating_sub(FIRMWARE)
        .min(ramdisk_max.saturating_add(1));
    let place = (linux.ramdisk.len() <= end as usize)
        .then(|| (end - linux.ramdisk.len() as u32) & !0xfff)
        // A kernel unpacks itself over several times its size.
        .filter(|place| *place as usize >= KERNEL as usize + body.len())
        .ok_or(Refusal::Memory)?;

    let mut setup = setup.to_vec();
    let mut set = |at: usize, bytes: &[u8]| setup[at..at + bytes.len()].copy_from_slice(bytes);
    set(TYPE_OF_LOADER, &[UNDEFINED_LOADER]);
    set(LOADFLAGS, &[kernel[LOADFLAGS] | CAN_USE_HEAP]);
    set(HEAP_END_PTR, &(HEAP_END - 0x200).to_le_bytes());
    set(CMD_LINE_PTR, &CMDLINE.to_le_bytes());
    if !linux.ramdisk.is_empty() {
        set(RAMDISK_IMAGE, &place.to_le_bytes());
        set(RAMDISK_SIZE, &(linux.ramdisk.len() as u32).to_le_bytes());
    }

    let pieces = [
        Piece {
            keys: [KEY_SETUP_DATA, KEY_SETUP_ADDR, KEY_SETUP_SIZE],
            to: SETUP,
            content: setup.into(),
        },
        Piece {
            keys: [KEY_CMDLINE_DATA, KEY_CMDLINE_ADDR, KEY_CMDLINE_SIZE],
            to: CMDLINE,
            content: command_line.into(),
        },
        Piece {
            keys: [KEY_KERNEL_DATA, KEY_KERNEL_ADDR, KEY_KERNEL_SIZE],
            to: KERNEL,
            content: body.into(),
        },
        Piece {
            keys: [KEY_INITRD_DATA, KEY_INITRD_ADDR, KEY_INITRD_SIZE],
            to: place,
            content: linux.ramdisk.into(),
        },
    ];
    let copies: Vec<Copy> = pieces
        .iter()
        .filter(|piece| !piece.content.is_empty())
        .map(|piece| Copy {
            key: piece.keys[0],
            length: piece.content.len() as u32,
            to: piece.to,
        })
        .collect();
    for piece in pieces {
        let [data, address, size] = piece.keys;
        let length = piece.content.len() as u32;
        items.add(address, piece.to.to_le_bytes().to_vec());
        items.add(size, length.to_le_bytes().to_vec());
        items.add(data, piece.content);
    }
    items.add_file("genroms/linux", rom(&copies));
    items.add_file("bootorder", &b"/rom@genroms/linux\0"[..]);
    Ok(())
}

/// Something that has to be in memory when the kernel starts.
struct Piece {
    /// Of its bytes, of where they go, and of how many there are.
    keys: [u16; 3],
    to: u32,
    content: Cow<'static, [u8]>,
}

/// One copy that the ROM asks for.
struct Copy {
    key: u16,
    length: u32,
    to: u32,
}

/// Bytes of the ROM: a multiple of 512.
const ROM: usize = 512;
/// Where in it is what.
const PNP: usize = 0x20;
const BOOT: usize = 0x40;
const TABLE: usize = 0xc0;
/// Where in memory the ROM puts its table: free while firmware boots, and writable, for the device
/// answers there.
const SCRATCH: u16 = 0x7000;

/// What the ROM does, assembled by hand for the processor's 16-bit mode.
fn boot_code(copies: usize) -> Vec<u8> {
    let words = ((copies * 16 / 2) as u16).to_le_bytes();
    let table = (TABLE as u16).to_le_bytes();
    let scratch = SCRATCH.to_le_bytes();
    let count = (copies as u16).to_le_bytes();
    let segment = ((SETUP >> 4) as u16).to_le_bytes();
    let entry = ((SETUP >> 4) as u16 + 0x20).to_le_bytes();
    let stack = HEAP_END.to_le_bytes();
    [
        // cli; cld
        &[0xfa, 0xfc][..],
        // push cs; pop ds
        &[0x0e, 0x1f],
        // xor ax, ax; mov es, ax
        &[0x31, 0xc0, 0x8e, 0xc0],
        // mov si, table; mov di, scratch; mov cx, words; rep movsw
        &[0xbe],
        &table,
        &[0xbf],
        &scratch,
        &[0xb9],
        &words,
        &[0xf3, 0xa5],
        // mov di, scratch; mov cx, copies
        &[0xbf],
        &scratch,
        &[0xb9],
        &count,
        // next: xor eax, eax; mov dx, 0x514; out dx, eax
        &[0x66, 0x31, 0xc0, 0xba, 0x14, 0x05, 0x66, 0xef],
        // mov dx, 0x518; mov ax, di; bswap eax; out dx, eax
        &[0xba, 0x18, 0x05, 0x89, 0xf8, 0x66, 0x0f, 0xc8, 0x66, 0xef],
        // wait: cmp dword es:[di], 0; je done
        &[0x26, 0x66, 0x83, 0x3d, 0x00, 0x74, 0x09],
        // test byte es:[di + 3], 1; jz wait
        &[0x26, 0xf6, 0x45, 0x03, 0x01, 0x74, 0xf2],
        // int 0x18: not from here
        &[0xcd, 0x18],
        // done: add di, 16; loop next
        &[0x83, 0xc7, 0x10, 0xe2, 0xd9],
        // mov ax, setup's segment; mov ds, es, fs, gs and ss, ax
        &[0xb8],
        &segment,
        &[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8, 0x8e, 0xd0],
        // mov esp, stack
        &[0x66, 0xbc],
        &stack,
        &[0, 0],
        // jmp setup's entry
        &[0xea, 0, 0],
        &entry,
    ]
    .concat()
}

/// An option ROM (BIOS Boot Specification) with one boot entry.
fn rom(copies: &[Copy]) -> Vec<u8> {
    let mut rom = [0; ROM].to_vec();
    let mut set = |at: usize, bytes: &[u8]| rom[at..at + bytes.len()].copy_from_slice(bytes);
    // The signature, the length in units of 512, and what firmware calls first: nothing to do.
    set(0, &[0x55, 0xaa, (ROM / 512) as u8, 0xcb]);
    set(0x1a, &(PNP as u16).to_le_bytes());
    // Expansion header: revision 1.0, two units of 16 bytes; a name; class "bootable"; and where to boot.
    set(PNP, b"$PnP\x01\x02");
    set(PNP + 0x10, &(NAME as u16).to_le_bytes());
    set(PNP + 0x15, &[0x40]);
    set(PNP + 0x1a, &(BOOT as u16).to_le_bytes());
    set(NAME, NAME_TEXT);
    set(BOOT, &boot_code(copies.len()));
    for (at, copy) in copies.iter().enumerate() {
        // Select the item and read it.
        let control = u32::from(copy.key) << 16 | 0b1010;
        let place = TABLE + 16 * at;
        set(place, &control.to_be_bytes());
        set(place + 4, &copy.length.to_be_bytes());
        set(place + 8, &u64::from(copy.to).to_be_bytes());
    }
    checksum(&mut rom, PNP..PNP + 0x20, PNP + 0x09);
    checksum(&mut rom, 0..ROM, ROM - 1);
    rom
}

/// What firmware's menu shows.
const NAME: usize = 0x100;
const NAME_TEXT: &[u8] = b"Linux (kernel= of the guest's configuration)\0";

/// Makes the bytes of a range add up to 0.
fn checksum(rom: &mut [u8], range: core::ops::Range<usize>, at: usize) {
    rom[at] = 0;
    let sum = rom[range]
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    rom[at] = sum.wrapping_neg();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Width;
    use crate::memory::{GuestMemory, Ram};
    use alloc::vec;

    /// The header of a kernel with two setup sectors, and a body of `length` bytes.
    fn kernel(length: usize) -> Vec<u8> {
        let mut kernel = vec![0x90; 3 * SECTOR];
        let mut set = |at: usize, bytes: &[u8]| kernel[at..at + bytes.len()].copy_from_slice(bytes);
        set(SETUP_SECTS, &[2]);
        set(HEADER, b"HdrS");
        set(VERSION, &0x020f_u16.to_le_bytes());
        set(LOADFLAGS, &[LOADED_HIGH]);
        set(INITRD_ADDR_MAX, &0x7fff_ffff_u32.to_le_bytes());
        set(CMDLINE_SIZE, &2047_u32.to_le_bytes());
        kernel.extend((0..length).map(|at| at as u8));
        kernel
    }

    fn linux(length: usize, ramdisk: usize) -> Linux<'static> {
        Linux {
            kernel: kernel(length).leak(),
            ramdisk: vec![0x55; ramdisk].leak(),
            command_line: "root=/dev/xvda quiet",
            low_memory_end: 8 << 20,
        }
    }

    fn item(items: &mut FwCfg, key: u16, length: usize) -> Vec<u8> {
        items.write(0, Width::Word, key.into());
        (0..length)
            .map(|_| items.read(1, Width::Byte) as u8)
            .collect()
    }

    fn number(items: &mut FwCfg, key: u16) -> u32 {
        u32::from_le_bytes(item(items, key, 4).try_into().unwrap())
    }

    /// The first item with a name: "bootorder" comes before "genroms/linux", and the numbers are as
    /// they were added.
    fn option_rom(items: &mut FwCfg) -> Vec<u8> {
        item(items, 0x20, ROM)
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn the_copies_of_the_rom_put_each_piece_in_its_place() {
        let mut items = FwCfg::new();
        let linux = linux(5000, 3000);
        add(&linux, &mut items).unwrap();
        let rom = option_rom(&mut items);
        let mut ram = Ram::new(8 << 20);
        for at in 0..4 {
            let copy = &rom[TABLE + 16 * at..][..16];
            ram.write(0x7000, copy).unwrap();
            items.copy(0x7000, &mut ram);
            assert_eq!(ram.bytes[0x7000..0x7004], [0; 4]);
        }
        let setup = &ram.bytes[SETUP as usize..][..3 * SECTOR];
        assert_eq!(setup[TYPE_OF_LOADER], 0xff);
        assert_eq!(setup[LOADFLAGS], 0x81);
        assert_eq!(setup[HEAP_END_PTR..][..2], [0x00, 0xde]);
        assert_eq!(setup[CMD_LINE_PTR..][..4], CMDLINE.to_le_bytes());
        assert_eq!(setup[RAMDISK_SIZE..][..4], 3000_u32.to_le_bytes());
        // A whole page below what firmware keeps.
        assert_eq!(setup[RAMDISK_IMAGE..][..4], 0x6f_f000_u32.to_le_bytes());
        assert_eq!(ram.bytes[0x6f_f000..][..3000], [0x55; 3000]);
        assert_eq!(
            &ram.bytes[CMDLINE as usize..][..21],
            b"root=/dev/xvda quiet\0"
        );
        assert_eq!(
            ram.bytes[KERNEL as usize..][..5000],
            linux.kernel[3 * SECTOR..]
        );
    }

    #[test]
    fn another_boot_rom_finds_the_items_by_their_numbers() {
        let mut items = FwCfg::new();
        add(&linux(5000, 0), &mut items).unwrap();
        assert_eq!(number(&mut items, KEY_KERNEL_ADDR), KERNEL);
        assert_eq!(number(&mut items, KEY_KERNEL_SIZE), 5000);
        assert_eq!(number(&mut items, KEY_SETUP_ADDR), SETUP);
        assert_eq!(number(&mut items, KEY_SETUP_SIZE), 3 * SECTOR as u32);
        assert_eq!(number(&mut items, KEY_CMDLINE_ADDR), CMDLINE);
        assert_eq!(number(&mut items, KEY_CMDLINE_SIZE), 21);
        assert_eq!(number(&mut items, KEY_INITRD_SIZE), 0);
    }

    #[test]
    fn firmware_finds_a_sound_rom_with_one_boot_entry() {
        let mut items = FwCfg::new();
        add(&linux(5000, 1), &mut items).unwrap();
        let rom = option_rom(&mut items);
        assert_eq!(rom[..4], [0x55, 0xaa, 1, 0xcb]);
        assert_eq!(sum(&rom), 0);
        let pnp = &rom[usize::from(rom[0x1a])..][..0x20];
        assert_eq!(&pnp[..6], b"$PnP\x01\x02");
        assert_eq!(sum(pnp), 0);
        assert_eq!(pnp[0x16..0x18], [0, 0], "no boot connection vector");
        assert_eq!(pnp[0x1a..0x1c], [BOOT as u8, 0]);
        let name = usize::from(u16::from_le_bytes([pnp[0x10], pnp[0x11]]));
        assert!(rom[name..].starts_with(b"Linux"));
        assert!(boot_code(4).len() <= TABLE - BOOT);
        // How many words of the table it takes to where it can be written, how many copies it asks for, and
        // where it jumps: 200h behind the start of the kernel's real-mode part.
        let code = boot_code(4);
        let has = |part: &[u8]| code.windows(part.len()).any(|window| window == part);
        assert!(has(&[0xb9, 32, 0, 0xf3, 0xa5]));
        assert!(has(&[0xb9, 4, 0, 0x66, 0x31, 0xc0]));
        assert!(code.ends_with(&[0xea, 0, 0, 0x20, 0x10]));
        assert_eq!(SETUP, 0x1_0000);
    }

    #[test]
    fn what_cannot_be_booted_is_refused() {
        let refusal = |linux: &Linux<'_>| add(linux, &mut FwCfg::new()).unwrap_err();
        let good = linux(5000, 0);
        for kernel in [&[][..], &good.kernel[..0x204], &good.kernel[..3 * SECTOR]] {
            let linux = Linux {
                kernel,
                ..good.clone()
            };
            assert_eq!(refusal(&linux), Refusal::Kernel);
        }
        let mut low = kernel(5000);
        low[LOADFLAGS] = 0;
        let low = Linux {
            kernel: low.leak(),
            ..good.clone()
        };
        assert_eq!(refusal(&low), Refusal::Kernel);
        let long = "x".repeat(2048);
        let talkative = Linux {
            command_line: &long,
            ..good.clone()
        };
        assert_eq!(refusal(&talkative), Refusal::CommandLine(2048, 2047));
        assert_eq!(refusal(&linux(5000, 6 << 20)), Refusal::Memory);
        assert_eq!(refusal(&linux(7 << 20, 0)), Refusal::Memory);
        let empty = Linux {
            low_memory_end: 0,
            ..good
        };
        assert_eq!(refusal(&empty), Refusal::Memory);
    }
}

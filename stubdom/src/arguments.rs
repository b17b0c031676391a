//! What xl wants of the device model: the arguments it would start QEMU with, one xenstore node each.
//!
//! libxl writes them for a program that has every device there is (`libxl_dm.c`, 4.17 to 4.20), and
//! a user may add more (`device_model_args_hvm`). Each is understood here, is of no consequence in a
//! domain of its own, or is refused by name: a guest never runs on a machine that is less than what
//! its configuration says. All refusals are found at once.

mod drive;
mod options;
mod refusal;

pub use drive::{AHCI_PORTS, Drive, Kind, Medium, Place};
pub use refusal::Refusal;

use alloc::string::String;
use alloc::vec::Vec;
use drive::Drives;
use options::{Options, number};

/// vCPUs a guest may have, as Xen has it (`HVM_MAX_VCPUS`).
pub const VCPUS_MAX: u32 = 128;
/// Serial ports a PC has places for.
pub const SERIALS_MAX: usize = 4;
/// The first of the stub domain's consoles that is a serial port of the guest's; those before it are
/// the log and the two streams of saved state.
pub const FIRST_SERIAL_CONSOLE: u32 = 3;

/// What libxl writes for a guest that is restored, and a shell in a Linux stub domain would replace.
const RESTORE: &str = "$STUBDOM_RESTORE_INCOMING_ARG";

/// What to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// A floppy disk: there is none, but xl's own order names it.
    Floppy,
    /// The first disk.
    Disk,
    /// The first CD-ROM drive.
    Cd,
    /// A network card.
    Network,
}

/// A kernel that is started without a boot loader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its path in dom0, from which the ramdisk bundle was made.
    pub path: String,
    /// The same of its initial ramdisk.
    pub initrd: Option<String>,
    /// Its command line.
    pub append: String,
}

/// The machine that xl describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The guest's name.
    pub name: String,
    /// Its memory, without what a screen has.
    pub memory_mib: u64,
    /// vCPUs that it starts with.
    pub vcpus: u32,
    /// vCPUs that it may have.
    pub vcpus_max: u32,
    /// What to boot from, the first that can be.
    pub boot: Vec<Boot>,
    /// The stub domain's console of each serial port, from COM1 on.
    pub serials: Vec<u32>,
    /// Every drive, by place.
    pub drives: Vec<Drive>,
    /// Whether there is an AHCI controller.
    pub has_ahci: bool,
    /// Whether there is the xen-platform device (`xen_platform_pci`).
    pub has_platform_device: bool,
    /// Whether the BIOS shows what it would show on a screen on the first serial port, and reads keys there
    /// (`nographic`).
    pub has_serial_firmware: bool,
    /// Whether there is power management (`acpi`).
    pub has_acpi: bool,
    /// Where memory below 4 GiB ends, if the hole behind it is not the usual one (`mmio_hole`).
    pub low_memory_end: Option<u64>,
    /// A kernel to start.
    pub kernel: Option<Kernel>,
    /// Whether a saved state comes in by console 2.
    pub is_restored: bool,
}

impl Description {
    /// Reads what xl wrote for guest `target`, given the numbers of the stub domain's own vbds.
    ///
    /// # Errors
    /// Every [`Refusal`].
    pub fn parse(arguments: &[String], target: u16, vbds: &[u32]) -> Result<Self, Vec<Refusal>> {
        let mut reader = Reader {
            target,
            description: Self {
                name: String::new(),
                memory_mib: 0,
                vcpus: 1,
                vcpus_max: 1,
                boot: Vec::from([Boot::Disk]),
                serials: Vec::new(),
                drives: Vec::new(),
                has_ahci: false,
                has_platform_device: true,
                has_serial_firmware: false,
                has_acpi: true,
                low_memory_end: None,
                kernel: None,
                is_restored: false,
            },
            initrd: None,
            append: None,
            drives: Drives::default(),
            refusals: Vec::new(),
        };
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(option) = arguments.next() {
            if let Err(refusal) = reader.option(option, &mut arguments) {
                reader.refusals.push(refusal);
            }
        }
        reader.finish(vbds)
    }
}

struct Reader<'a> {
    target: u16,
    description: Description,
    initrd: Option<&'a str>,
    append: Option<&'a str>,
    drives: Drives<'a>,
    refusals: Vec<Refusal>,
}

impl<'a> Reader<'a> {
    fn option(
        &mut self,
        option: &'a str,
        rest: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), Refusal> {
        let description = &mut self.description;
        match option {
            // A domain of its own has no defaults, no files and nobody to run as, and reaches no
            // guest but its own.
            "-no-shutdown" | "-nodefaults" | "-no-user-config" | "-S" | "-xen-domid-restrict" => {
                return Ok(());
            }
            "-nographic" => {
                description.has_serial_firmware = true;
                return Ok(());
            }
            "-no-acpi" => {
                description.has_acpi = false;
                return Ok(());
            }
            "-usb" => return Err(refusal::usb(option)),
            "-sdl" => return Err(refusal::screen(option)),
            _ => {}
        }
        // All others have a value.
        let known = refusal::KNOWN.contains(&option);
        if !known && !option.starts_with('-') {
            return Err(Refusal::unknown(option, ""));
        }
        let value = match rest.next() {
            Some(value) => value,
            None if known => return Err(Refusal::malformed(option, "", "a value")),
            None => return Err(Refusal::unknown(option, "")),
        };
        match option {
            "-chroot" | "-runas" | "-run-with" | "-k" => {}
            "-name" => description.name = value.into(),
            "-xen-domid" if value.parse() == Ok(self.target) => {}
            "-xen-domid" => return Err(Refusal::malformed(option, value, "this domain's guest")),
            "-m" => description.memory_mib = number(option, value, 1, u64::MAX >> 20)?,
            "-smp" => self.vcpus(value)?,
            "-boot" => description.boot = boot(value)?,
            "-rtc" => clock(value)?,
            "-serial" => self.serial(value)?,
            "-machine" => self.machine(value)?,
            "-kernel" => {
                let kernel = description.kernel.get_or_insert_default();
                kernel.path = value.into();
            }
            "-initrd" => self.initrd = Some(value),
            "-append" => self.append = Some(value),
            "-incoming" if value == RESTORE => description.is_restored = true,
            "-incoming" => return Err(Refusal::malformed(option, value, RESTORE)),
            "-drive" => self.drives.drive(value)?,
            "-cdrom" => self.drives.cdrom(value),
            "-device" => self.device(value)?,
            "-display" | "-vnc" | "-net" | "-monitor" | "-parallel" if value == "none" => {}
            // The card that hangs off it has been refused already.
            "-netdev" if value.starts_with("type=tap,") => {}
            _ => return Err(refusal::of_option(option, value)),
        }
        Ok(())
    }

    fn vcpus(&mut self, value: &str) -> Result<(), Refusal> {
        let (first, rest) = value.split_once(',').unwrap_or((value, ""));
        let vcpus = number("-smp", first, 1, u64::from(VCPUS_MAX))? as u32;
        let mut max = vcpus;
        for (key, value) in Options::new(rest) {
            match key {
                "maxcpus" => max = number("-smp", value, 1, u64::from(VCPUS_MAX))? as u32,
                _ => return Err(Refusal::unknown("-smp", key)),
            }
        }
        if max < vcpus {
            return Err(Refusal::malformed("-smp", value, "maxcpus not below it"));
        }
        self.description.vcpus = vcpus;
        self.description.vcpus_max = max;
        Ok(())
    }

    fn serial(&mut self, value: &str) -> Result<(), Refusal> {
        let console = value.strip_prefix("/dev/hvc");
        let console = console.and_then(|console| console.parse().ok());
        let Some(console) = console.filter(|console| *console >= FIRST_SERIAL_CONSOLE) else {
            let expected =
                "what serial= in the guest's configuration makes of it, /dev/hvc3 and up";
            return Err(Refusal::malformed("-serial", value, expected));
        };
        let serials = &mut self.description.serials;
        if serials.contains(&console) {
            return Err(Refusal::malformed("-serial", value, "another one for each"));
        }
        if serials.len() == SERIALS_MAX {
            return Err(Refusal::unsupported(
                "more than four serial ports",
                "",
                "a PC has places for four: shorten serial=[…]",
            ));
        }
        serials.push(console);
        Ok(())
    }

    fn machine(&mut self, value: &str) -> Result<(), Refusal> {
        for (index, (key, value)) in Options::new(value).enumerate() {
            match (key, value) {
                ("xenfv", "") if index == 0 => self.description.has_platform_device = true,
                ("pc", "") if index == 0 => self.description.has_platform_device = false,
                ("accel", "xen") | ("suppress-vmdesc", "on") => {}
                ("max-ram-below-4g", end) => {
                    let end = number("-machine", end, 1 << 20, 1 << 32)?;
                    self.description.low_memory_end = Some(end);
                }
                ("igd-passthru", _) => {
                    return Err(Refusal::unsupported(
                        "a graphics card of the host's",
                        "",
                        "leave out gfx_passthru=",
                    ));
                }
                _ => return Err(Refusal::unknown("-machine", key)),
            }
        }
        Ok(())
    }

    fn device(&mut self, value: &'a str) -> Result<(), Refusal> {
        let (driver, properties) = value.split_once(',').unwrap_or((value, ""));
        match driver {
            "ahci" if properties == "id=ahci0" => {
                self.description.has_ahci = true;
                Ok(())
            }
            "ide-hd" => self.drives.device(Kind::Disk, driver, properties),
            "ide-cd" => self.drives.device(Kind::Cd, driver, properties),
            _ => Err(refusal::of_device(driver, value)),
        }
    }

    fn finish(mut self, vbds: &[u32]) -> Result<Description, Vec<Refusal>> {
        let mut description = self.description;
        description.drives = self
            .drives
            .finish(description.has_ahci, vbds, &mut self.refusals);
        if description.memory_mib == 0 {
            self.refusals
                .push(Refusal::malformed("-m", "", "the guest's memory"));
        }
        match &mut description.kernel {
            Some(kernel) => {
                kernel.initrd = self.initrd.map(String::from);
                kernel.append = self.append.unwrap_or_default().into();
            }
            None if self.initrd.is_some() || self.append.is_some() => {
                self.refusals.push(Refusal::unsupported(
                    "an initial ramdisk or a command line without a kernel",
                    "",
                    "write kernel= as well, or leave out ramdisk=, cmdline=, root= and extra=",
                ));
            }
            None => {}
        }
        match self.refusals.is_empty() {
            true => Ok(description),
            false => Err(self.refusals),
        }
    }
}

/// `-boot order=cda`, or the letters alone.
fn boot(value: &str) -> Result<Vec<Boot>, Refusal> {
    let letters = match value.split_once('=') {
        None => value,
        Some(("order", letters)) => letters,
        Some((key, _)) => return Err(Refusal::unknown("-boot", key)),
    };
    let mut order = Vec::new();
    for letter in letters.chars() {
        let device = match letter {
            'a' | 'b' => Boot::Floppy,
            'c' => Boot::Disk,
            'd' => Boot::Cd,
            'n'..='p' => Boot::Network,
            _ => {
                let expected = "of the letters a (floppy), c (disk), d (CD-ROM), n (network)";
                return Err(Refusal::malformed("-boot", value, expected));
            }
        };
        if !order.contains(&device) {
            order.push(device);
        }
    }
    Ok(order)
}

/// The clock is Xen's; only what it does anyway can be asked for.
fn clock(value: &str) -> Result<(), Refusal> {
    for (key, value) in Options::new(value) {
        match (key, value) {
            ("base", "utc") | ("clock", "host") | ("driftfix", "none") => {}
            ("base", "localtime") => {
                return Err(Refusal::unsupported(
                    "-rtc base=localtime",
                    "",
                    "the clock is Xen's: write localtime=1 in the guest's configuration",
                ));
            }
            ("base", _) => {
                return Err(Refusal::unsupported(
                    "-rtc base=",
                    value,
                    "the clock is Xen's: write rtc_timeoffset= in the guest's configuration",
                ));
            }
            _ => return Err(Refusal::unknown("-rtc", key)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! What cannot be done, named as the administrator knows it.

use super::Options;
use alloc::string::String;
use thiserror::Error;

/// Bytes of an argument that a refusal shows: a name, not a novel.
const SHOWN_MAX: usize = 96;

/// Why the guest cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such thing here.
    #[error("{what} cannot be had in a stub domain of this kind: {instead}")]
    Unsupported {
        /// What it is.
        what: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// Nobody here knows what it means.
    #[error(
        "\"{0}\" is an argument for QEMU that means nothing here: leave it out of device_model_args"
    )]
    Unknown(String),
    /// Its value is none.
    #[error("\"{argument}\" is not {expected}")]
    Malformed {
        /// The argument.
        argument: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Two drives want to be in one place.
    #[error("two drives at {0}")]
    SamePlace(super::Place),
    /// A drive's disk is not among this domain's.
    #[error(
        "there is no disk for \"{0}\" among those of the stub domain: it must be in the guest's disk=[…]"
    )]
    NoDisk(String),
    /// A drive of no controller, or a controller's drive that is not there.
    #[error("the drive \"{0}\" is attached to nothing, or what is attached to it is not there")]
    Loose(String),
}

/// `option value`, cut to a length that a log line takes.
pub(super) fn shown(option: &str, value: &str) -> String {
    let mut text = String::new();
    let space = match option.is_empty() || option.ends_with('=') || value.is_empty() {
        true => "",
        false => " ",
    };
    let words = [option, space, value];
    for character in words.iter().flat_map(|word| word.chars()) {
        if text.len() >= SHOWN_MAX {
            text.push('…');
            break;
        }
        text.push(if character.is_control() {
            '?'
        } else {
            character
        });
    }
    text
}

impl Refusal {
    pub(super) fn unsupported(what: &str, value: &str, instead: &'static str) -> Self {
        let what = shown(what, value);
        Self::Unsupported { what, instead }
    }

    pub(super) fn unknown(option: &str, value: &str) -> Self {
        Self::Unknown(shown(option, value))
    }

    pub(super) fn malformed(option: &str, value: &str, expected: &'static str) -> Self {
        let argument = shown(option, value);
        Self::Malformed { argument, expected }
    }
}

/// Options with a value that this file or its parent knows.
pub(super) const KNOWN: &[&str] = &[
    "-append",
    "-boot",
    "-cdrom",
    "-chardev",
    "-chroot",
    "-device",
    "-display",
    "-drive",
    "-fda",
    "-fdb",
    "-incoming",
    "-initrd",
    "-k",
    "-kernel",
    "-m",
    "-machine",
    "-monitor",
    "-name",
    "-net",
    "-netdev",
    "-object",
    "-parallel",
    "-rtc",
    "-run-with",
    "-runas",
    "-serial",
    "-smp",
    "-soundhw",
    "-spice",
    "-usbdevice",
    "-vga",
    "-vnc",
    "-xen-domid",
];

/// Whether an option's value has a key whose value begins like this.
fn has(value: &str, key: &str, begins: &str) -> bool {
    Options::new(value).any(|(other, value)| other == key && value.starts_with(begins))
}

pub(super) fn usb(name: &str) -> Refusal {
    let instead = "leave out usb=, usbdevice= and usbversion=; keyboard and PV devices need none";
    Refusal::unsupported("USB:", name, instead)
}

pub(super) fn screen(name: &str) -> Refusal {
    let instead = "write vga=\"none\" and use a serial console (serial=\"pty\")";
    Refusal::unsupported("a screen:", name, instead)
}

fn network(name: &str) -> Refusal {
    let instead = "write type=vif in vif=[…], for the guest's own PV driver";
    Refusal::unsupported("an emulated network card:", name, instead)
}

fn sound(name: &str) -> Refusal {
    Refusal::unsupported("sound:", name, "leave out soundhw=")
}

fn scsi(name: &str) -> Refusal {
    let instead = "name the disks hda to hdd, or xvda and up, not sda";
    Refusal::unsupported("SCSI:", name, instead)
}

fn spice(name: &str) -> Refusal {
    Refusal::unsupported("SPICE:", name, "leave out spice=")
}

fn colo(name: &str) -> Refusal {
    let instead = "leave out what begins with colo_";
    Refusal::unsupported("COLO:", name, instead)
}

/// Refuses an option that was not understood, or not with this value.
pub(super) fn of_option(option: &str, value: &str) -> Refusal {
    let name = shown(option, value);
    match option {
        "-usbdevice" => usb(&name),
        "-vga" | "-vnc" | "-display" => screen(&name),
        "-net" | "-netdev" => network(&name),
        "-soundhw" => sound(&name),
        "-spice" => spice(&name),
        "-fda" | "-fdb" => Refusal::unsupported("a floppy disk:", &name, "use a disk or a CD-ROM"),
        "-chardev" if value.starts_with("spicevmc") => spice(&name),
        "-chardev" if has(value, "id", "libxl-channel") => {
            let instead = "leave out channel=[…]; a serial port does as well";
            Refusal::unsupported("a channel:", &name, instead)
        }
        "-chardev" if value.starts_with("socket,") && has(value, "host", "") => colo(&name),
        "-object" if value.starts_with("filter-") || value.starts_with("colo-") => colo(&name),
        "-object" if has(value, "id", "colo-") => colo(&name),
        _ => Refusal::unknown(option, value),
    }
}

/// Refuses a device.
pub(super) fn of_device(driver: &str, value: &str) -> Refusal {
    let name = shown("", driver);
    match driver {
        "VGA" | "cirrus-vga" | "qxl-vga" | "qxl" | "bochs-display" => screen(&name),
        "lsi53c895a" => scsi(&name),
        "AC97" | "ES1370" | "sb16" | "adlib" | "gus" | "cs4231a" => sound(&name),
        "virtio-serial" | "virtserialport" => spice(&name),
        "xen-pvdevice" => Refusal::unsupported("the device", &name, "leave out vendor_device="),
        "xen-pci-passthrough" => {
            Refusal::unsupported("a PCI card of the host's", "", "leave out pci=[…]")
        }
        _ if driver.starts_with("scsi-") => scsi(&name),
        _ if driver.split('-').any(|word| word == "usb") => usb(&name),
        _ if driver.split('-').any(|word| word == "hda") => sound(&name),
        _ if has(value, "netdev", "") => network(&name),
        _ => Refusal::unknown("-device", driver),
    }
}

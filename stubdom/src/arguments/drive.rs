//! Drives: `-drive` says which disk, `-device` where in the machine, or `-drive` both.

use super::refusal::shown;
use super::{Options, Refusal, number};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Ports of the AHCI controller.
pub const AHCI_PORTS: u8 = 6;

/// Where in the machine a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the IDE controller.
    Ide {
        /// 0 or 1.
        channel: u8,
        /// 0 or 1.
        unit: u8,
    },
    /// On the AHCI controller.
    Ahci {
        /// Below [`AHCI_PORTS`].
        port: u8,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ide { channel, unit } => write!(f, "ide.{channel}, unit {unit}"),
            Self::Ahci { port } => write!(f, "ahci0.{port}"),
        }
    }
}

/// What a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A hard disk.
    Disk,
    /// A CD-ROM drive.
    Cd,
}

/// What is in a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium {
    /// The number of the stub domain's vbd.
    pub vbd: u32,
    /// Nothing is ever written to it.
    pub is_read_only: bool,
}

/// A drive of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drive {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
    /// What is in it; a CD-ROM drive may be empty.
    pub medium: Option<Medium>,
}

/// `-drive`: a disk.
#[derive(Clone, Copy)]
struct Source<'a> {
    id: &'a str,
    file: Option<&'a str>,
    is_read_only: bool,
}

/// `-device ide-…`: a place.
struct Seat<'a> {
    kind: Kind,
    place: Place,
    drive: &'a str,
}

#[derive(Default)]
pub(super) struct Drives<'a> {
    /// Of those with `if=none`, by `id`.
    sources: Vec<Source<'a>>,
    seats: Vec<Seat<'a>>,
    /// Those that say both, by place.
    seated: Vec<(Kind, Place, Source<'a>)>,
}

impl<'a> Drives<'a> {
    pub(super) fn drive(&mut self, value: &'a str) -> Result<(), Refusal> {
        let mut source = Source {
            id: "",
            file: None,
            is_read_only: false,
        };
        let (mut interface, mut index, mut kind) = ("ide", None, Kind::Disk);
        for (key, value) in Options::new(value) {
            match (key, value) {
                ("file", file) => source.file = Some(file),
                ("id", id) => source.id = id,
                ("if", "none" | "ide") => interface = value,
                ("index", value) => index = Some(number("-drive", value, 0, 3)? as u8),
                ("media", "disk") => kind = Kind::Disk,
                ("media", "cdrom") => kind = Kind::Cd,
                ("readonly", "on") => source.is_read_only = true,
                ("readonly", "off") => source.is_read_only = false,
                // Whose flushes reach the disk is as safe as any of them.
                ("format", "host_device" | "raw") | ("cache" | "discard", _) => {}
                ("format", format) => {
                    return Err(Refusal::unsupported(
                        "a disk image of the format",
                        format,
                        "convert it: qemu-img convert -O raw",
                    ));
                }
                ("driver", driver) => {
                    return Err(Refusal::unsupported(
                        "the disk driver",
                        driver,
                        "leave out what begins with colo",
                    ));
                }
                _ => return Err(Refusal::unknown("-drive", key)),
            }
        }
        if interface == "none" {
            self.sources.push(source);
            return Ok(());
        }
        // Its own id, if any, is of no use to anybody.
        let index = index.ok_or_else(|| Refusal::malformed("-drive", value, "one with index="))?;
        self.seat(kind, ide(index), source);
        Ok(())
    }

    /// `-cdrom FILE`: where a PC has it.
    pub(super) fn cdrom(&mut self, file: &'a str) {
        let source = Source {
            id: "",
            file: Some(file),
            is_read_only: true,
        };
        self.seat(Kind::Cd, ide(2), source);
    }

    pub(super) fn device(
        &mut self,
        kind: Kind,
        driver: &str,
        properties: &'a str,
    ) -> Result<(), Refusal> {
        let (mut bus, mut unit, mut drive) = ("", 0, "");
        for (key, value) in Options::new(properties) {
            match key {
                "bus" => bus = value,
                "unit" => unit = number("-device", value, 0, 1)? as u8,
                "drive" => drive = value,
                "id" => {}
                _ => return Err(Refusal::unknown(driver, key)),
            }
        }
        let below = |bus: &str, limit| {
            let number: Option<u8> = bus.parse().ok();
            number.filter(|number| *number < limit)
        };
        let ide = bus.strip_prefix("ide.").and_then(|bus| below(bus, 2));
        let ahci = bus
            .strip_prefix("ahci0.")
            .and_then(|bus| below(bus, AHCI_PORTS));
        let place = match (ide, ahci) {
            (Some(channel), _) => Place::Ide { channel, unit },
            (_, Some(port)) if unit == 0 => Place::Ahci { port },
            _ => {
                let expected = "one of ide.0, ide.1 and ahci0.0 to ahci0.5";
                return Err(Refusal::malformed("bus=", bus, expected));
            }
        };
        self.seats.push(Seat { kind, place, drive });
        Ok(())
    }

    /// Keeps them in order: there are ten at most, and a sort would be kilobytes.
    fn seat(&mut self, kind: Kind, place: Place, source: Source<'a>) {
        let at = self.seated.partition_point(|(_, other, _)| *other <= place);
        self.seated.insert(at, (kind, place, source));
    }

    /// Brings disks and places together.
    pub(super) fn finish(
        mut self,
        has_ahci: bool,
        vbds: &[u32],
        refusals: &mut Vec<Refusal>,
    ) -> Vec<Drive> {
        let mut sources = core::mem::take(&mut self.sources);
        for seat in core::mem::take(&mut self.seats) {
            let source = sources.iter().position(|source| source.id == seat.drive);
            let source = match source {
                Some(at) => sources.swap_remove(at),
                None if seat.drive.is_empty() && seat.kind == Kind::Cd => Source {
                    id: "",
                    file: None,
                    is_read_only: true,
                },
                None => {
                    refusals.push(Refusal::Loose(shown("", seat.drive)));
                    continue;
                }
            };
            self.seat(seat.kind, seat.place, source);
        }
        for source in sources {
            refusals.push(Refusal::Loose(shown("", source.id)));
        }
        let mut drives: Vec<Drive> = Vec::new();
        for (kind, place, source) in self.seated {
            if drives.last().is_some_and(|drive| drive.place == place) {
                refusals.push(Refusal::SamePlace(place));
            } else if matches!(place, Place::Ahci { .. }) && !has_ahci {
                refusals.push(Refusal::unsupported(
                    "a drive of the AHCI controller",
                    "",
                    "write hdtype=\"ahci\" as well",
                ));
            } else {
                match medium(kind, source, vbds) {
                    Ok(medium) => drives.push(Drive {
                        place,
                        kind,
                        medium,
                    }),
                    Err(refusal) => refusals.push(refusal),
                }
            }
        }
        drives
    }
}

fn ide(index: u8) -> Place {
    Place::Ide {
        channel: index / 2,
        unit: index % 2,
    }
}

fn medium(kind: Kind, source: Source<'_>, vbds: &[u32]) -> Result<Option<Medium>, Refusal> {
    let Some(file) = source.file else {
        return match kind {
            Kind::Cd => Ok(None),
            Kind::Disk => Err(Refusal::Loose(shown("", source.id))),
        };
    };
    let Some(disk) = file.strip_prefix("/dev/xvd").and_then(disk_of_letters) else {
        return Err(Refusal::unsupported(
            "a file of dom0's as a drive:",
            file,
            "add it to disk=[…], as xvde or later, and name it here /dev/xvde",
        ));
    };
    let vbd = vbds_of_disk(disk)
        .into_iter()
        .flatten()
        .find(|vbd| vbds.contains(vbd))
        .ok_or_else(|| Refusal::NoDisk(String::from(file)))?;
    Ok(Some(Medium {
        vbd,
        is_read_only: source.is_read_only || kind == Kind::Cd,
    }))
}

/// The number of a disk from its letters: a to z, aa and on.
fn disk_of_letters(letters: &str) -> Option<u32> {
    if letters.is_empty() || letters.len() > 3 {
        return None;
    }
    let mut disk = 0;
    for letter in letters.bytes() {
        if !letter.is_ascii_lowercase() {
            return None;
        }
        disk = disk * 26 + u32::from(letter - b'a') + 1;
    }
    Some(disk - 1)
}

/// The vbds that libxl calls disk number `disk`: named xvd… in the guest's configuration, or hd….
/// (docs/man/xen-vbd-interface.7)
fn vbds_of_disk(disk: u32) -> [Option<u32>; 2] {
    let xvd = match disk {
        0..16 => 202 << 8 | disk << 4,
        _ => 1 << 28 | disk << 8,
    };
    let hd = match disk {
        0..2 => Some(3 << 8 | disk << 6),
        2..4 => Some(22 << 8 | (disk - 2) << 6),
        _ => None,
    };
    [Some(xvd), hd]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_the_numbers_that_the_toolstack_gives_them() {
        for (letters, disk, vbds) in [
            ("a", 0, [Some(51712), Some(768)]),
            ("b", 1, [Some(51728), Some(832)]),
            ("c", 2, [Some(51744), Some(5632)]),
            ("d", 3, [Some(51760), Some(5696)]),
            ("e", 4, [Some(51776), None]),
            ("p", 15, [Some(51952), None]),
            ("q", 16, [Some(268439552), None]),
            ("z", 25, [Some(268441856), None]),
            ("aa", 26, [Some(268442112), None]),
        ] {
            assert_eq!(disk_of_letters(letters), Some(disk), "{letters}");
            assert_eq!(vbds_of_disk(disk), vbds, "{letters}");
        }
        for letters in ["", "A", "a1", "aaaa", "é"] {
            assert_eq!(disk_of_letters(letters), None, "{letters}");
        }
    }
}

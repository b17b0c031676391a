//! Its disks: those that only QEMU would serve become others.

use std::path::Path;

use super::super::disk::Disk;
use super::Converter;
use crate::xlcfg::{Text, quoted};

impl Converter<'_> {
    pub(super) fn disks(&mut self) {
        let is_ahci = self.word("hdtype").is_some_and(|text| text.text == "ahci");
        let emulated = if is_ahci { 6 } else { 4 };
        let mut disks = Vec::new();
        for text in self.words("disk") {
            match Disk::parse(&text.text) {
                Ok(disk) => disks.push((text, disk)),
                Err(why) => self.error(
                    "xl does not understand this disk",
                    &text.place,
                    &why,
                    "xl-disk-configuration(5) says how disks are written",
                ),
            }
        }
        let mut taken: Vec<u32> = disks.iter().filter_map(|(_, disk)| disk.number()).collect();
        let mut arguments = Vec::new();
        for (text, disk) in disks {
            if !self.is_servable(text, &disk, emulated) {
                continue;
            }
            if !disk.is_cdrom {
                if disk.backendtype.as_deref() == Some("qdisk") {
                    let now = Disk {
                        backendtype: None,
                        ..disk
                    };
                    let why = "qdisk is QEMU, and there is none: xl finds what serves it";
                    self.replace(&text.place, quoted(&now.render()), why);
                }
                continue;
            }
            let Some(number) = disk.number() else {
                continue;
            };
            let Some(free) = (emulated..26).find(|free| !taken.contains(free)) else {
                self.error(
                    "too many disks",
                    &text.place,
                    "no place is left",
                    "leave one out",
                );
                continue;
            };
            taken.push(free);
            let letter = char::from(b'a' + free as u8);
            let now = Disk {
                vdev: format!("xvd{letter}"),
                format: "raw".to_owned(),
                access: "ro".to_owned(),
                is_cdrom: false,
                backendtype: None,
                ..disk
            };
            self.replace(
                &text.place,
                quoted(&now.render()),
                "only QEMU serves xl's own CD drives: this is the same file as a disk, which the guest sees as a CD drive \
                 by device_model_args_hvm",
            );
            let index = arguments.len() / 4;
            let bus = match is_ahci {
                true => format!("bus=ahci0.{number}"),
                false => format!("bus=ide.{},unit={}", number / 2, number % 2),
            };
            arguments.extend([
                "-drive".to_owned(),
                format!("if=none,id=cd{index},file=/dev/xvd{letter},media=cdrom,readonly=on"),
                "-device".to_owned(),
                format!("ide-cd,drive=cd{index},{bus}"),
            ]);
        }
        self.arguments(&arguments);
    }

    /// Whether a disk can be had without QEMU; if not, it is said.
    fn is_servable(&mut self, text: &Text, disk: &Disk, emulated: u32) -> bool {
        let place = &text.place;
        let number = disk.number();
        if matches!(disk.format.as_str(), "qcow" | "qcow2" | "vhd" | "qed") {
            let raw = Path::new(&disk.target).with_extension("raw");
            let raw = raw.display();
            let from = match disk.format.as_str() {
                "vhd" => "vpc",
                format => format,
            };
            self.error(
                format!("only QEMU reads `{}`", disk.format),
                place,
                "not a raw disk",
                &format!(
                    "make it one: qemu-img convert -f {from} -O raw {} {raw}, and write format=raw,target={raw}",
                    disk.target
                ),
            );
        } else if disk.vdev.starts_with("fd") {
            self.error(
                "a stub domain has no floppy drive",
                place,
                "a floppy",
                "make its image a disk: vdev=xvde, or whichever is free",
            );
        } else if disk.backendtype.as_deref() == Some("tap") {
            self.error(
                "there is no blktap",
                place,
                "backendtype=tap",
                "leave backendtype out; a disk that is not raw has to be made so",
            );
        } else if disk.vdev.starts_with("sd") {
            self.error(
                "a stub domain has no SCSI controller",
                place,
                "an emulated SCSI disk",
                "write hda to hdd, with hdtype=\"ahci\" or without; or xvde for a disk that only Xen's driver sees",
            );
        } else if disk.is_cdrom && disk.target.is_empty() {
            self.error(
                "an empty CD drive stays empty",
                place,
                "no disc",
                "leave it out, or name an ISO: xl changes no discs of a guest with a stub domain",
            );
        } else if disk.is_cdrom && number.is_none_or(|number| number >= emulated) {
            self.error(
                "a CD drive has no place there",
                place,
                &format!("`{}` is not emulated", disk.vdev),
                "write hda to hdd (to hdf with hdtype=\"ahci\")",
            );
        } else if !disk.is_cdrom
            && disk.is_read_only()
            && number.is_some_and(|number| number < emulated)
        {
            let free = if emulated == 6 { "xvdg" } else { "xvde" };
            self.error(
                "xl refuses a read-only disk at an emulated place",
                place,
                "read-only",
                &format!(
                    "write vdev={free} or beyond, where only Xen's driver sees it; or access=rw"
                ),
            );
        } else {
            return true;
        }
        false
    }

    /// Tells the stub domain of its CD drives.
    fn arguments(&mut self, arguments: &[String]) {
        const KEY: &str = "device_model_args_hvm";
        let present = self.words(KEY);
        // What stands there after a conversion may stay.
        let is_ours = |text: &&&Text| {
            let text = text.text.as_str();
            matches!(text, "-drive" | "-device")
                || text.starts_with("if=none,id=cd")
                || text.starts_with("ide-cd,drive=cd")
        };
        let stranger = present.iter().find(|text| !is_ours(text));
        if let Some(stranger) = stranger {
            self.error(
                "the stub domain is no QEMU",
                &stranger.place,
                "a word of QEMU's",
                "leave it out: the stub domain would refuse it, and the guest not start",
            );
        } else if !arguments.is_empty() {
            if let Some(first) = present.first() {
                self.error(
                    "there are CD drives of both kinds",
                    &first.place,
                    "named here already",
                    "leave device_model_args_hvm out, and write all of them as devtype=cdrom",
                );
                return;
            }
            let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
            let lines: String = words
                .chunks(2)
                .map(|pair| format!("    {},\n", pair.join(", ")))
                .collect();
            self.added.push((
                format!("{KEY} = [\n{lines}]"),
                "which disks the guest sees as CD drives",
            ));
        }
    }
}

//! The device model of HVM guests, outside dom0: the files of `build stubdom`, and guests' configurations changed
//! to use them.

mod convert;
mod disk;

pub use crate::build::STUBDOM_HELPER as HELPER;
pub use convert::{Change, Conversion, Place, convert};

/// The image's name.
pub const IMAGE: &str = "stubdom.xen";
/// Of what may stand beside it.
pub const RAMDISK: &str = "stubdom.ramdisk";
/// Of its symbols.
pub const DEBUG: &str = "stubdom.debug";
/// Of the example.
pub const EXAMPLE: &str = "guest.cfg";

/// A guest's configuration to start from, with the files in a folder of dom0's.
pub(crate) fn example(place: &Place) -> String {
    let file = |name: &str| place.file(name);
    format!(
        "\
# An HVM guest whose device model is a domain of its own, instead of a QEMU in dom0. Name its disk and its bridge,
# and start it in dom0 with `xl create {EXAMPLE}`. What each line may say: xl.cfg(5). A guest that you have already:
# `xen-image stubdom-convert YOURS.cfg --out NEW.cfg`.

name = \"guest\"
type = \"hvm\"
memory = 512
vcpus = 1

# hda to hdd are emulated, for the BIOS and for whoever has no driver of Xen's; the guest's own driver has them as
# xvda to xvdd. All of them raw: a file, or a device such as a logical volume.
disk = [
    \"format=raw,vdev=hda,access=rw,target=/srv/guest.img\",
    #\"format=raw,vdev=xvde,access=ro,target=/srv/debian.iso\",
]
# Makes the read-only xvde above a CD drive: the second channel's first.
#device_model_args_hvm = [
#    \"-drive\", \"if=none,id=cd0,file=/dev/xvde,media=cdrom,readonly=on\",
#    \"-device\", \"ide-cd,drive=cd0,bus=ide.1,unit=0\",
#]
boot = \"cd\"

# By Xen's own driver, which Linux and the BSDs bring along: there is no emulated card yet.
vif = [
    \"type=vif,bridge=xenbr0\",
]

# There is no screen yet: the guest's console is its serial port, `xl console guest`. GRUB and Linux are told to use
# it by `console=ttyS0`, or, where Linux has Xen's drivers, `console=hvc0`. With nographic=1 it is the BIOS' screen and
# keyboard too, and so that of a boot loader that was told nothing.
#nographic = 1
serial = \"pty\"
vga = \"none\"
vnc = 0

# The device model, and MiB for it beside the guest's own; its ramdisk is in them. Change the paths when you move the files.
device_model_version = \"qemu-xen\"
device_model_stubdomain_override = 1
stubdomain_kernel = {image}
stubdomain_ramdisk = {ramdisk}
stubdomain_memory = {memory}

# xl starts this in dom0 where it would start QEMU. It serves the consoles of the device model, as nobody.
device_model_override = {helper}

on_poweroff = \"destroy\"
on_reboot = \"restart\"
on_crash = \"destroy\"
",
        image = file(IMAGE),
        ramdisk = file(RAMDISK),
        helper = file(HELPER),
        memory = place.memory_mib(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Findings;
    use shorewall::Style;
    use std::path::PathBuf;

    /// What stands in the example is what a conversion makes of a guest; so is what is a comment there.
    #[test]
    fn the_example_is_a_guest_that_needs_no_conversion() {
        let place = Place {
            folder: PathBuf::from("/srv/a \"folder\""),
            ramdisk_bytes: 44 << 20,
        };
        let example = example(&place);
        assert!(example.contains("\nstubdomain_memory = 76\n"), "{example}");
        let uncommented = example
            .replace("    #\"", "    \"")
            .replace("\n#device_model_args_hvm", "\ndevice_model_args_hvm")
            .replace("\n#    ", "\n    ")
            .replace("\n#]", "\n]")
            .replace("\n#nographic", "\nnographic");
        assert_ne!(uncommented, example);
        for text in [example, uncommented] {
            let mut findings = Findings::default();
            let conversion = convert(EXAMPLE, &text, &place, &mut findings)
                .unwrap_or_else(|| panic!("{}", findings.render(Style::Plain)));
            assert_eq!(conversion.changes, []);
            assert_eq!(conversion.text, text);
            assert!(findings.is_empty());
        }
    }
}

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

/// One argument a word, as the nodes are; `~` stands for a blank.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.replace("~", " "))
        .collect()
}

fn parse(text: &str, vbds: &[u32]) -> Result<Description, Vec<Refusal>> {
    Description::parse(&words(text), 3, vbds)
}

/// What is refused, and what it says.
fn refused(text: &str) -> Vec<String> {
    let text = format!("-m 64 {text}");
    let refusals = parse(&text, &[768, 51776]).expect_err("refused");
    refusals.iter().map(ToString::to_string).collect()
}

const DISK: Drive = Drive {
    place: Place::Ide {
        channel: 0,
        unit: 0,
    },
    kind: Kind::Disk,
    medium: Some(Medium {
        vbd: 768,
        is_read_only: false,
    }),
};

fn plain() -> Description {
    Description {
        name: "sg".into(),
        memory_mib: 256,
        vcpus: 1,
        vcpus_max: 1,
        boot: vec![Boot::Disk, Boot::Cd, Boot::Floppy],
        serials: vec![3],
        drives: vec![DISK],
        has_ahci: false,
        has_platform_device: true,
        has_serial_firmware: false,
        has_acpi: true,
        low_memory_end: None,
        kernel: None,
        is_restored: false,
    }
}

/// As libxl 4.17 wrote them on Debian 12.
const SEEN: &str = "-xen-domid 3 -no-shutdown -nodefaults -no-user-config -name sg -display none \
    -serial /dev/hvc3 -nographic -boot order=cda -net none -machine xenfv,suppress-vmdesc=on -m 256 \
    -drive file=/dev/xvda,if=ide,index=0,media=disk,format=host_device,cache=writeback";

#[test]
fn what_debians_xl_writes_for_a_plain_guest_is_understood() {
    let seen = Description {
        has_serial_firmware: true,
        ..plain()
    };
    assert_eq!(parse(SEEN, &[768]), Ok(seen));
    let xvda = parse(SEEN, &[51712]).unwrap();
    assert_eq!(xvda.drives[0].medium.unwrap().vbd, 51712);
}

#[test]
fn ahci_disks_and_a_cd_on_either_controller_have_their_places() {
    let described = parse(
        "-xen-domid 3 -name sg -display none -boot order=d -smp 2,maxcpus=4 -net none \
         -machine pc,accel=xen,suppress-vmdesc=on,max-ram-below-4g=3221225472 \
         -drive if=none,id=cd0,file=/dev/xvdg,media=cdrom,readonly=on \
         -device ide-cd,drive=cd0,bus=ahci0.4 \
         -drive if=none,id=cd1,file=/dev/xvdh,media=cdrom,readonly=on \
         -device ide-cd,drive=cd1,bus=ide.1,unit=0 -m 4096 -device ahci,id=ahci0 \
         -drive file=/dev/xvda,if=none,id=ahcidisk-0,format=host_device,cache=writeback \
         -device ide-hd,bus=ahci0.0,unit=0,drive=ahcidisk-0 \
         -drive file=/dev/xvdf,if=none,id=ahcidisk-5,format=host_device,cache=writeback \
         -device ide-hd,bus=ahci0.5,unit=0,drive=ahcidisk-5 -runas xen-qemuuser-range-base",
        &[768, 51712 + 5 * 16, 51712 + 6 * 16, 51712 + 7 * 16],
    )
    .unwrap();
    let drive = |place, kind, vbd, is_read_only| Drive {
        place,
        kind,
        medium: Some(Medium { vbd, is_read_only }),
    };
    let expected = [
        drive(
            Place::Ide {
                channel: 1,
                unit: 0,
            },
            Kind::Cd,
            51824,
            true,
        ),
        drive(Place::Ahci { port: 0 }, Kind::Disk, 768, false),
        drive(Place::Ahci { port: 4 }, Kind::Cd, 51808, true),
        drive(Place::Ahci { port: 5 }, Kind::Disk, 51792, false),
    ];
    assert_eq!(described.drives, expected);
    assert_eq!((described.vcpus, described.vcpus_max), (2, 4));
    assert_eq!(described.low_memory_end, Some(3 << 30));
    assert!(!described.has_platform_device && described.has_ahci);
    assert_eq!(described.boot, [Boot::Cd]);
}

#[test]
fn a_kernel_its_ramdisk_and_a_command_line_with_blanks_are_taken() {
    let described = parse(
        "-name sg -kernel /boot/vmlinuz -initrd /boot/initrd.img -append root=/dev/xvda1~quiet,x=1 \
         -serial /dev/hvc3 -serial /dev/hvc4 -no-acpi -rtc base=utc,clock=host \
         -incoming $STUBDOM_RESTORE_INCOMING_ARG -m 64 -smp 128",
        &[],
    )
    .unwrap();
    let kernel = described.kernel.unwrap();
    assert_eq!(kernel.path, "/boot/vmlinuz");
    assert_eq!(kernel.initrd.as_deref(), Some("/boot/initrd.img"));
    assert_eq!(kernel.append, "root=/dev/xvda1 quiet,x=1");
    assert_eq!(described.serials, [3, 4]);
    assert_eq!((described.vcpus, described.vcpus_max), (128, 128));
    assert!(described.is_restored && !described.has_acpi);
}

#[test]
fn cd_roms_of_every_spelling_are_drives() {
    let cd = |unit, channel, medium| Drive {
        place: Place::Ide { channel, unit },
        kind: Kind::Cd,
        medium,
    };
    let medium = Some(Medium {
        vbd: 51776,
        is_read_only: true,
    });
    for (text, expected) in [
        // As libxl writes them: with a medium, and without one.
        (
            "-drive if=none,readonly=on,id=ide-5632,file=/dev/xvde,format=host_device \
             -device ide-cd,id=ide-5632,drive=ide-5632,bus=ide.1,unit=0",
            cd(0, 1, medium),
        ),
        (
            "-drive if=none,readonly=on,id=ide-832 -device ide-cd,id=ide-832,drive=ide-832,bus=ide.0,unit=1",
            cd(1, 0, None),
        ),
        // As users do.
        ("-cdrom /dev/xvde", cd(0, 1, medium)),
        ("-device ide-cd,bus=ide.1,unit=1", cd(1, 1, None)),
        (
            "-drive file=/dev/xvde,index=1,media=cdrom",
            cd(1, 0, medium),
        ),
    ] {
        let described = parse(&format!("-m 64 {text}"), &[51776]).unwrap();
        assert_eq!(described.drives, [expected], "{text}");
    }
}

#[test]
fn what_libxl_can_write_and_is_not_here_is_refused_by_name() {
    for (text, name, instead) in [
        ("-device VGA,vgamem_mb=16", "a screen: VGA", "vga=\"none\""),
        (
            "-device cirrus-vga,vgamem_mb=8",
            "a screen: cirrus-vga",
            "vga=\"none\"",
        ),
        (
            "-device qxl-vga,vram_size_mb=64,ram_size_mb=64",
            "a screen: qxl-vga",
            "vga=\"none\"",
        ),
        (
            "-device rtl8139,id=nic0,netdev=net0,mac=00:16:3e:00:00:01 \
             -netdev type=tap,id=net0,ifname=vif3.0-emu,br=xenbr0,script=no,downscript=no",
            "an emulated network card: rtl8139",
            "type=vif",
        ),
        (
            "-device e1000,id=nic1,netdev=net1,mac=00:16:3e:00:00:02",
            "an emulated network card: e1000",
            "type=vif",
        ),
        ("-device lsi53c895a", "SCSI: lsi53c895a", "hda"),
        ("-usb", "USB: -usb", "usb="),
        ("-usbdevice tablet", "USB: -usbdevice tablet", "usbdevice="),
        (
            "-device piix3-usb-uhci,id=usb",
            "USB: piix3-usb-uhci",
            "usbversion=",
        ),
        (
            "-device ich9-usb-ehci1,id=usb,addr=0x1d.0x7,multifunction=on",
            "USB: ich9-usb-ehci1",
            "usb",
        ),
        ("-device nec-usb-xhci,id=usb", "USB: nec-usb-xhci", "usb"),
        (
            "-device usb-redir,chardev=usbrc1,id=usbrc1",
            "USB: usb-redir",
            "usb",
        ),
        (
            "-chardev spicevmc,name=usbredir,id=usbrc1",
            "SPICE: -chardev spicevmc",
            "spice=",
        ),
        ("-device intel-hda", "sound: intel-hda", "soundhw="),
        ("-device hda-duplex", "sound: hda-duplex", "soundhw="),
        ("-device AC97", "sound: AC97", "soundhw="),
        (
            "-device xen-pvdevice,device-id=0xc000",
            "the device xen-pvdevice",
            "vendor_device=",
        ),
        (
            "-device xen-pci-passthrough,hostaddr=0000:00:19.0",
            "a PCI card of the host's",
            "pci=",
        ),
        (
            "-machine xenfv,suppress-vmdesc=on,igd-passthru=on",
            "a graphics card",
            "gfx_passthru=",
        ),
        (
            "-chardev pty,id=libxl-channel0",
            "a channel: -chardev pty",
            "channel=",
        ),
        (
            "-chardev socket,id=libxl-channel1,path=/run/x,server=on,wait=off",
            "a channel:",
            "channel=",
        ),
        (
            "-chardev socket,id=m0,host=10.0.0.1,port=9000,server=on,wait=off",
            "COLO:",
            "colo_",
        ),
        (
            "-object filter-mirror,id=m1,netdev=net0,queue=tx,outdev=m0",
            "COLO:",
            "colo_",
        ),
        (
            "-object iothread,id=colo-compare-iothread-1",
            "COLO:",
            "colo_",
        ),
        (
            "-append quiet",
            "an initial ramdisk or a command line without",
            "kernel=",
        ),
        ("-fda floppy.img", "a floppy disk: -fda", "CD-ROM"),
        ("-rtc base=localtime", "-rtc base=localtime", "localtime=1"),
        (
            "-rtc base=2026-01-01",
            "-rtc base=2026-01-01",
            "rtc_timeoffset=",
        ),
    ] {
        let refusals = refused(text);
        assert_eq!(refusals.len(), 1, "{text}: {refusals:?}");
        assert!(refusals[0].starts_with(name), "{text}: {refusals:?}");
        assert!(refusals[0].contains(instead), "{text}: {refusals:?}");
    }
}

#[test]
fn disks_that_cannot_be_are_refused_by_name() {
    let seat = "-device ide-hd,drive=a,bus=ide.0,unit=0";
    for (text, says) in [
        (
            "-cdrom /root/debian.iso",
            "a file of dom0's as a drive: /root/debian.iso",
        ),
        ("-cdrom /dev/xvdf", "there is no disk for \"/dev/xvdf\""),
        (
            "-drive file=/dev/xvda,index=0,format=qcow2",
            "disk image of the format qcow2",
        ),
        (
            "-drive if=ide,index=0,media=disk,driver=quorum,id=x",
            "the disk driver quorum",
        ),
        (
            "-drive file=/dev/xvda,index=4",
            "\"-drive 4\" is not a number that can be",
        ),
        ("-drive file=/dev/xvda", "is not one with index="),
        (
            "-drive file=/dev/xvda,index=0,snapshot=on",
            "\"-drive snapshot\"",
        ),
        (
            "-drive file=/dev/xvda,if=none,id=a",
            "the drive \"a\" is attached to nothing",
        ),
        (seat, "the drive \"a\" is attached to nothing"),
        ("-drive index=1,media=disk", "is attached to nothing"),
        (
            "-device ide-cd,bus=ide.2,unit=0",
            "\"bus=ide.2\" is not one of ide.0",
        ),
        (
            "-device ide-cd,bus=ahci0.6",
            "\"bus=ahci0.6\" is not one of",
        ),
        (
            "-device ide-cd,bus=ahci0.1,unit=1",
            "\"bus=ahci0.1\" is not one of",
        ),
        (
            "-device ide-cd,bus=ahci0.1",
            "a drive of the AHCI controller",
        ),
        (
            "-device ide-cd,bus=ide.1 -device ide-cd,bus=ide.1",
            "two drives at ide.1, unit 0",
        ),
        ("-device ide-cd,bus=ide.1,serial=1", "\"ide-cd serial\""),
    ] {
        let refusals = refused(text);
        assert_eq!(refusals.len(), 1, "{text}: {refusals:?}");
        assert!(refusals[0].contains(says), "{text}: {refusals:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (text, says) in [
        (
            "-frobnicate",
            "\"-frobnicate\" is an argument for QEMU that means nothing here",
        ),
        ("-frobnicate 7", "\"-frobnicate 7\""),
        ("stray", "\"stray\""),
        ("-device frob,x=1", "\"-device frob\""),
        ("-boot menu=on", "\"-boot menu\""),
        ("-boot order=x", "\"-boot order=x\" is not of the letters"),
        ("-smp 129", "\"-smp 129\""),
        ("-smp 4,maxcpus=2", "maxcpus not below it"),
        ("-smp 2,cores=2", "\"-smp cores\""),
        ("-m many", "\"-m many\""),
        ("-machine q35", "\"-machine q35\""),
        (
            "-xen-domid 4",
            "\"-xen-domid 4\" is not this domain's guest",
        ),
        ("-serial pty", "\"-serial pty\" is not what serial="),
        ("-serial /dev/hvc2", "\"-serial /dev/hvc2\""),
        (
            "-serial /dev/hvc3 -serial /dev/hvc3",
            "not another one for each",
        ),
        (
            "-serial /dev/hvc3 -serial /dev/hvc4 -serial /dev/hvc5 -serial /dev/hvc6 -serial /dev/hvc7",
            "more than four serial ports",
        ),
        ("-incoming fd:3", "\"-incoming fd:3\""),
        ("-vnc :0", "a screen: -vnc :0"),
        ("-name", "\"-name\" is not a value"),
    ] {
        let refusals = refused(text);
        assert_eq!(refusals.len(), 1, "{text}: {refusals:?}");
        assert!(refusals[0].contains(says), "{text}: {refusals:?}");
    }
    let nothing = Description::parse(&[], 3, &[]).unwrap_err();
    assert_eq!(nothing[0].to_string(), "\"-m\" is not the guest's memory");
}

#[test]
fn all_refusals_are_found_at_once_and_none_is_long() {
    let long = "x".repeat(4000);
    let text = format!("-device VGA -usb -device {long} -drive if=none,id={long}");
    let refusals = refused(&text);
    assert_eq!(refusals.len(), 4, "{refusals:?}");
    assert!(refusals.iter().all(|refusal| refusal.len() < 400));
}

fn argument() -> impl Strategy<Value = String> {
    let known = SEEN
        .split_whitespace()
        .chain(refusal::KNOWN.iter().copied())
        .chain([
            "-device",
            "ide-cd,bus=ide.1",
            "ide-hd,drive=a",
            "if=none,id=a,file=/dev/xvda",
        ])
        .map(String::from)
        .collect::<Vec<_>>();
    prop_oneof![prop::sample::select(known), ".{0,40}", "[a-z=,./0-9]{0,40}"]
}

proptest! {
    #[test]
    fn any_arguments_give_a_sound_machine_or_refusals(
        arguments in prop::collection::vec(argument(), 0..24),
        vbds in prop::collection::vec(prop::sample::select(vec![768, 832, 51712, 51776]), 0..4),
    ) {
        match Description::parse(&arguments, 3, &vbds) {
            Ok(described) => {
                prop_assert!(described.memory_mib > 0);
                prop_assert!((1..=VCPUS_MAX).contains(&described.vcpus));
                prop_assert!(described.vcpus <= described.vcpus_max);
                prop_assert!(described.serials.len() <= SERIALS_MAX);
                prop_assert!(described.drives.is_sorted_by(|a, b| a.place < b.place));
                for medium in described.drives.iter().filter_map(|drive| drive.medium) {
                    prop_assert!(vbds.contains(&medium.vbd));
                }
            }
            Err(refusals) => prop_assert!(!refusals.is_empty()),
        }
    }
}

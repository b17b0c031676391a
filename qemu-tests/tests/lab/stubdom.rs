//! HVM guests whose computer is stubdom's, and with whom no QEMU runs in dom0.

mod converted;
mod grub;
mod linux;
mod terminal;

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::helper;
use crate::hvm::is_hvm;
use crate::images;
use anyhow::Result;
use image::build::TargetChoice;
use qemu_tests::{Command, DebianGuest, GuestType, Machine, READY, Tier, boot_sector_disk};

pub(crate) fn tests() -> Vec<LabTest> {
    let mut tests = vec![LabTest::new(
        "stubdom::a_bios_starts_what_a_disk_holds",
        a_bios_starts_what_a_disk_holds,
    )];
    // A boot loader and a kernel that unpacks itself take minutes.
    if Tier::current() == Tier::Full {
        tests.push(LabTest::new(
            "stubdom::linux_finds_its_own_drivers",
            linux_finds_its_own_drivers,
        ));
        tests.extend(grub::tests());
        tests.extend(linux::tests());
    }
    tests
}

/// What the BIOS reads from the disk.
const TEXT: &str = "read by the BIOS\r\n";

/// What a guest's configuration says beside what it would say with QEMU.
pub(crate) fn lines(machine: &Machine) -> Result<String> {
    lines_with(machine, "stubdom", "stubdom")
}

/// The same with another stub domain: a package's binary.
pub(crate) fn lines_with(machine: &Machine, package: &str, binary: &str) -> Result<String> {
    helper::install(machine)?;
    let kernel = images::put(machine, package, binary, TargetChoice::Auto)?;
    Ok(format!(
        "device_model_version = 'qemu-xen'\ndevice_model_stubdomain_override = 1\n\
         device_model_override = '{}'\nstubdomain_kernel = '{kernel}'\n\
         stubdomain_ramdisk = '{kernel}'\nstubdomain_memory = 12\nserial = 'pty'\n",
        helper::HELPER
    ))
}

/// A serial terminal in dom0, a BIOS, an IDE disk, a power button, and a reset button.
fn a_bios_starts_what_a_disk_holds(setup: &Setup) -> Result<()> {
    const NAME: &str = "sector";
    let machine = &setup.machine;
    let more = lines(machine)?;
    machine.put(&format!("/tmp/{NAME}.disk"), &boot_sector_disk(TEXT)?)?;
    let config = format!(
        "name = '{NAME}'\ntype = 'hvm'\nmemory = 64\ncpuid = 'host,xsave=0'\nvga = 'none'\nvnc = 0\n\
         disk = [ 'format=raw,vdev=hda,access=rw,target=/tmp/{NAME}.disk' ]\n{more}"
    );
    machine.put(&format!("/tmp/{NAME}.cfg"), config.as_bytes())?;
    let tried = machine.check(
        &Command::bash(format!(
            "set -e
             # What the guest says on its serial port from here on.
             listen() {{
                 stub=$(xenstore-read /local/domain/$(xl domid {NAME})/image/device-model-domid)
                 exec 3<>$(xenstore-read /local/domain/$stub/device/console/3/tty)
                 stty raw -echo <&3
                 cat <&3 >/tmp/{NAME}.serial &
                 heard=$!
                 dom0-agent await /tmp/{NAME}.serial '{READY}' >/dev/null
             }}
             rm -f /var/log/xen/qemu-dm-{NAME}.log
             xl create -q /tmp/{NAME}.cfg
             listen
             printf xr >&3
             dom0-agent await /tmp/{NAME}.serial done >/dev/null
             cat /tmp/{NAME}.serial
             test -z \"$(ps | grep '[q]emu-system')\"
             # Another guest, another stub domain, the same disk.
             before=$(xl domid {NAME})
             printf b >&3
             kill $heard
             until after=$(xl domid {NAME} 2>/dev/null) && test $after != $before &&
                 xenstore-exists /local/domain/$(xenstore-read /local/domain/$after/image/device-model-domid)/device/console/3/tty
             do sleep 0.3; done
             listen
             printf o >&3
             kill $heard
             while xl list | grep -q {NAME}; do sleep 0.3; done"
        ))
        .limit(PATIENCE),
    );
    let log = machine.dom0(&format!(
        "cat /var/log/xen/qemu-dm-{NAME}.log; xl destroy {NAME} 2>/dev/null; rm -f /tmp/{NAME}.*"
    ))?;
    let said = tried.map_err(|error| error.context(log))?;
    expect(said.contains(&format!("x{TEXT}")), || said.clone())
}

/// GRUB reads Linux from an emulated disk; Linux has it taken away, and uses Xen's.
fn linux_finds_its_own_drivers(setup: &Setup) -> Result<()> {
    const NAME: &str = "pvhvm";
    let Setup { lab, machine } = setup;
    let more = lines(machine)?;
    machine.dom0(
        "ip link add br-stub type bridge && ip addr add 10.0.8.1/24 dev br-stub && ip link set br-stub up",
    )?;
    let guest = DebianGuest {
        name: NAME.to_owned(),
        kind: GuestType::HvmWithStub,
        memory_mib: 192,
        vif: "type=vif,bridge=br-stub".to_owned(),
        address: "10.0.8.2/24".to_owned(),
        gateway: "10.0.8.1".to_owned(),
        more,
    };
    let tried = machine.start_debian_guest(lab, &guest).and_then(|guest| {
        is_hvm(&guest)?;
        guest.check("ping -c 2 -W 20 10.0.8.1")?;
        // Its disk is Xen's own, and holds what it started from.
        let disks = guest.check(
            "modprobe xen-blkfront; until [ -e /dev/xvda ]; do sleep 0.2; done; ls /sys/block; \
             dd if=/dev/xvda bs=512 count=1 | tail -c 2 | od -An -tx1",
        )?;
        let is_so = disks.contains("xvda") && disks.contains("55 aa") && !disks.contains("sda");
        expect(is_so, || disks.clone())?;
        machine.dom0(&format!(
            "set -e
             test -z \"$(ps | grep '[q]emu-system')\"
             xl shutdown -w {NAME}
             while xl list | grep -q {NAME}; do sleep 0.3; done"
        ))
    });
    let log = machine.dom0(&format!(
        "cat /var/log/xen/qemu-dm-{NAME}.log; xl destroy {NAME} 2>/dev/null; ip link del br-stub"
    ))?;
    tried.map(drop).map_err(|error| error.context(log))
}

/// No QEMU runs beside it.
fn is_the_only_device_model(machine: &Machine) -> Result<()> {
    let emulators = machine.dom0("ps | grep '[q]emu-system'; true")?;
    expect(emulators.is_empty(), || emulators.clone())
}

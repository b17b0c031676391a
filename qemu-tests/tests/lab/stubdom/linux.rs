//! Debian's Linux, started by `kernel=` and `ramdisk=`.

use super::converted::Files;
use super::is_the_only_device_model;
use super::terminal::Terminal;
use crate::bench::{LabTest, PATIENCE, Setup, expect};
use anyhow::{Context, Result};
use qemu_tests::{Command, Machine};
use std::fs;
use stubdom::bundle::Kind;

pub(super) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "stubdom::linux::is_started_without_a_boot_loader",
        is_started_without_a_boot_loader,
    )]
}

/// A shell on the serial line.
const INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin PS1= PS2=
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec <>/dev/ttyS0 >&0 2>&0
stty -echo
echo 'shell: ready'
exec sh
";

/// The drivers of a computer without Xen, and of one with it.
const MODULES: [&str; 6] = [
    "ahci",
    "ata_piix",
    "sd_mod",
    "sr_mod",
    "xen-blkfront",
    "xen-netfront",
];

/// Bytes that are written to each disk: as many as it has.
const WRITTEN: u32 = 64 << 20;

/// Bytes on the CD.
const CD: u32 = 8 << 20;

/// A guest as it would be with QEMU in dom0: a disk, a CD drive, a network card.
struct Guest {
    name: &'static str,
    /// `hdtype`, and the place of its CD drive.
    controller: (&'static str, &'static str),
    /// What Linux is told beside where its console is.
    cmdline: &'static str,
}

impl Guest {
    fn config(&self) -> String {
        let Self {
            name,
            controller: (controller, cd),
            cmdline,
        } = self;
        format!(
            "name = '{name}'\ntype = 'hvm'\nmemory = 256\ncpuid = 'host,xsave=0'\n\
             kernel = '/boot/vmlinuz'\nramdisk = '/boot/initrd.img'\n\
             cmdline = 'console=ttyS0 quiet panic=1 {cmdline}'\nhdtype = '{controller}'\n\
             disk = [ '/tmp/{name}.disk,raw,hda,rw', '/tmp/{name}.iso,raw,{cd},r,cdrom' ]\n\
             vif = [ 'bridge=br-linux' ]\nserial = 'pty'\non_crash = 'destroy'\non_reboot = 'destroy'\n"
        )
    }

    /// Starts it, runs `told` in its shell, and has it shut down.
    fn run(
        &self,
        machine: &Machine,
        files: &Files,
        told: impl FnOnce(&mut Terminal<'_>) -> Result<()>,
    ) -> Result<()> {
        let name = self.name;
        let config = files.convert(machine, name, &self.config())?;
        machine.dom0(&format!(
            "truncate -s {WRITTEN} /tmp/{name}.disk; head -c {CD} /dev/urandom > /tmp/{name}.iso"
        ))?;
        let tried = machine
            .check(&Command::new(["xl", "create", "-q", &config]).limit(PATIENCE))
            .and_then(|_| {
                let mut terminal = Terminal::open(machine, name)?;
                terminal.read_until("shell: ready")?;
                told(&mut terminal)?;
                is_the_only_device_model(machine)?;
                terminal.enter("poweroff -f\n")?;
                machine.check(
                    &Command::bash(format!(
                        "while xl list | grep -q '{name}'; do sleep 0.3; done"
                    ))
                    .limit(PATIENCE),
                )
            });
        let log = machine.dom0(&format!(
            "cat /var/log/xen/qemu-dm-{name}.log; tail -n 40 /tmp/{name}.screen; xl vcpu-list
             xl destroy {name} 2>/dev/null; rm -f /tmp/{name}.*"
        ))?;
        tried.map(drop).map_err(|error| error.context(log))
    }
}

fn is_started_without_a_boot_loader(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    let kernel = fs::read(lab.linux()?)?;
    let initrd = lab.initrd(INIT, &MODULES)?;
    let inside = [
        (Kind::Kernel, kernel.as_slice()),
        (Kind::Initrd, initrd.as_slice()),
    ];
    let files = Files::build(machine, "linux-stub", &inside)?;
    machine.dom0(
        "ip link add br-linux type bridge && ip addr add 10.0.9.1/24 dev br-linux && ip link set br-linux up",
    )?;
    let tried = own_drivers(machine, &files);
    machine.dom0("ip link del br-linux")?;
    files.remove(machine)?;
    tried
}

/// It has the emulated disks taken away, and uses Xen's; its network card is Xen's anyway.
fn own_drivers(machine: &Machine, files: &Files) -> Result<()> {
    let guest = Guest {
        name: "own-drivers",
        controller: ("ahci", "hdc"),
        cmdline: "",
    };
    guest.run(machine, files, |terminal| {
        let said = terminal.run(
            "modprobe -a xen-blkfront xen-netfront ahci sd_mod; cat /sys/hypervisor/guest_type
             until [ -e /dev/xvda ] && [ -e /sys/class/net/eth0 ]; do sleep 0.2; done; ls /sys/block
             ip addr add 10.0.9.2/24 dev eth0; ip link set eth0 up; ping -c 2 -W 20 10.0.9.1",
        )?;
        let is_so = said.contains("HVM") && said.contains("xvda") && !said.contains("sda");
        expect(is_so, || said.clone())?;
        keeps(machine, terminal, guest.name, "xvda")
    })
}

/// What a guest writes is what it reads back from the disk, and what dom0 finds in the disk's file.
fn keeps(machine: &Machine, terminal: &mut Terminal<'_>, name: &str, disk: &str) -> Result<()> {
    // A megabyte of noise again and again, each time somewhere else in its sectors: no two of them are the same.
    terminal.run(&format!(
        "dd if=/dev/urandom of=/noise bs=1000000 count=1 iflag=fullblock status=none; number=0
         while [ $number -lt 70 ]; do echo $number; cat /noise; number=$((number + 1)); done > /written
         truncate -s {WRITTEN} /written"
    ))?;
    let hash = terminal.run("md5sum < /written")?;
    terminal.run(&format!(
        "dd if=/written of=/dev/{disk} bs=1M status=none; sync; echo 3 > /proc/sys/vm/drop_caches"
    ))?;
    let read = terminal.run(&format!("md5sum < /dev/{disk}"))?;
    expect(read == hash, || format!("{hash}{read}"))?;
    is_hash_of(machine, &hash, &format!("/tmp/{name}.disk"))
}

fn is_hash_of(machine: &Machine, said: &str, file: &str) -> Result<()> {
    let hash = said.split_whitespace().next().context("no hash")?;
    let found = machine.dom0(&format!("sync; md5sum < {file}"))?;
    expect(found.starts_with(hash), || format!("{said}{found}"))
}

//! GRUB's rescue image, driven over the serial line.

use super::converted::Files;
use super::is_the_only_device_model;
use super::terminal::Terminal;
use crate::bench::{LabTest, PATIENCE, Setup, expect};
use anyhow::{Context, Result};
use qemu_tests::{Command, Machine};
use std::io::Write;
use std::process::Stdio;

pub(super) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "stubdom::grub::is_driven_over_the_serial_line",
        is_driven_over_the_serial_line,
    )]
}

/// What GRUB reads at its start, in the image of the package.
const SAMPLE: &[u8] = b"#\n# Sample GRUB configuration file\n";

/// What it reads here: to use its own driver of the serial port, and no menu.
const SERIAL: &[u8] =
    b"serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n";

/// Sectors that GRUB is told to read.
const READ: usize = 200;
const SECTOR: usize = 512;

fn is_driven_over_the_serial_line(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    let files = Files::build(machine, "grub-stub", &[])?;
    let disk = with_serial_line(&lab.grub_rescue()?)?;
    let tried = is_driven(machine, &files, &disk);
    files.remove(machine)?;
    tried
}

/// The image with another configuration in the place of the sample.
fn with_serial_line(image: &[u8]) -> Result<Vec<u8>> {
    let begin = image
        .windows(SAMPLE.len())
        .position(|bytes| bytes == SAMPLE)
        .context("GRUB's rescue image has no configuration as it is known here")?;
    let length = image[begin..].iter().position(|byte| *byte == 0);
    let place = begin..begin + length.context("its configuration has no end")?;
    let mut changed = image.to_vec();
    changed[place.clone()].fill(b'\n');
    changed[place][..SERIAL.len()].copy_from_slice(SERIAL);
    Ok(changed)
}

fn is_driven(machine: &Machine, files: &Files, disk: &[u8]) -> Result<()> {
    const NAME: &str = "grub-disk";
    std::fs::write(machine.share().join(NAME), disk)?;
    machine.dom0(&format!(
        "cp /share/{NAME} /tmp/{NAME}.image; rm /share/{NAME}"
    ))?;
    // The BIOS reads IDE's a word at a time.
    let config = format!(
        "name = '{NAME}'\ntype = 'hvm'\nmemory = 64\ncpuid = 'host,xsave=0'\nhdtype = 'ahci'\n\
         disk = [ '/tmp/{NAME}.image,raw,hda,rw' ]\nserial = 'pty'\n\
         on_crash = 'destroy'\non_reboot = 'destroy'\n"
    );
    let config = files.convert(machine, NAME, &config)?;
    let tried = machine
        .check(&Command::new(["xl", "create", "-q", &config]).limit(PATIENCE))
        .and_then(|_| {
            let mut terminal = Terminal::open(machine, NAME)?;
            terminal.read_until("device or file completions")?;
            let place = format!("(hd0)0+{READ}");
            terminal.enter_slowly(&format!("md5sum {place}"))?;
            let hash = md5(&disk[..READ * SECTOR])?;
            terminal.enter("\r")?;
            let said = terminal.read_until(&format!("  {place}"))?;
            expect(said.contains(&hash), || format!("not {hash}: {said}"))?;
            is_the_only_device_model(machine)?;
            // By ACPI's tables.
            terminal.enter_slowly("halt")?;
            terminal.enter("\r")?;
            machine.check(
                &Command::bash(format!(
                    "while xl list | grep -q '{NAME}'; do sleep 0.3; done"
                ))
                .limit(PATIENCE),
            )
        });
    let log = machine.dom0(&format!(
        "cat /var/log/xen/qemu-dm-{NAME}.log; xl destroy {NAME} 2>/dev/null; rm -f /tmp/{NAME}.*"
    ))?;
    tried.map(drop).map_err(|error| error.context(log))
}

/// What GRUB calls the hash of these bytes.
fn md5(bytes: &[u8]) -> Result<String> {
    let mut program = std::process::Command::new("md5sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = program.stdin.take().context("no pipe")?;
    stdin.write_all(bytes)?;
    drop(stdin);
    let said = String::from_utf8(program.wait_with_output()?.stdout)?;
    Ok(said.split(' ').next().unwrap_or_default().to_owned())
}

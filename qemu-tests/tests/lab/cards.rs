//! Network cards, passed through to domains of ours by Debian's own xen-pciback and `xl`: on a machine with
//! an IOMMU, which is another than the one the other tests share.

use crate::bench::{LabTest, PATIENCE, expect};
use crate::images;
use anyhow::Result;
use image::build::TargetChoice;
use qemu_tests::{Iommu, Lab, Machine, Options};

/// A card: what QEMU calls it, what the driver says of it, how its interrupt comes.
pub(crate) struct Card {
    pub(crate) device: &'static str,
    pub(crate) model: &'static str,
    interrupt: &'static str,
}

pub(crate) const CARDS: [Card; 3] = [
    Card {
        device: "e1000",
        model: "Intel 8254x (e1000)",
        interrupt: "INTx",
    },
    Card {
        device: "e1000e",
        model: "Intel 82574 (e1000e)",
        interrupt: "MSI-X",
    },
    Card {
        device: "virtio-net-pci,disable-legacy=on,iommu_platform=on",
        model: "virtio-net",
        interrupt: "MSI-X",
    },
];

impl Card {
    /// A word for the domain's name.
    pub(crate) fn name(&self) -> &str {
        self.device.split(',').next().unwrap_or(self.device)
    }
}

pub(crate) fn tests() -> Vec<LabTest> {
    vec![LabTest::own(
        "cards::netdom_drives_cards_that_are_passed_to_it",
        passed_through,
    )]
}

pub(crate) fn mac(number: usize) -> String {
    format!("52:54:00:12:34:{:02x}", 0x60 + number)
}

pub(crate) fn bdf(number: usize) -> String {
    format!("00:{:02x}.0", 3 + number)
}

fn passed_through(lab: &Lab) -> Result<()> {
    let mut qemu_arguments = Vec::new();
    for (number, card) in CARDS.iter().enumerate() {
        let (device, mac, slot) = (card.device, mac(number), 3 + number);
        qemu_arguments.extend([
            "-netdev".to_owned(),
            format!("user,id=wire{number}"),
            "-device".to_owned(),
            format!("{device},netdev=wire{number},mac={mac},addr={slot:02x}.0"),
        ]);
    }
    let options = Options {
        name: "cards".to_owned(),
        iommu: Iommu::VtD,
        qemu_arguments,
        ..Options::default()
    };
    let machine = Machine::start(lab, &options)?;
    let outcome = on(&machine);
    if outcome.is_err() {
        eprintln!("{}", machine.dom0("xl dmesg | tail -40; dmesg | tail -20")?);
    }
    outcome?;
    machine.stop()
}

fn on(machine: &Machine) -> Result<()> {
    machine.dom0("modprobe xen-pciback")?;
    let netdom = images::put(machine, "netdom", "netdom", TargetChoice::Auto)?;
    let guest = images::put(machine, "guests", "card-guest", TargetChoice::Auto)?;
    // One card's trouble is not the others': all are tried before anything is said.
    let mut troubles = Vec::new();
    for (number, card) in CARDS.iter().enumerate() {
        machine.dom0(&format!("xl pci-assignable-add {}", bdf(number)))?;
        let tried = taken_and_let_go(machine, &netdom, number, card)
            .and_then(|()| asks_the_wire(machine, &guest, number, card));
        if let Err(error) = tried {
            troubles.push(format!("{}: {error:#}", card.name()));
            machine.dom0(
                "for name in $(xl list | awk 'NR > 2 { print $1 }'); do xl destroy $name || true; done",
            )?;
        }
    }
    expect(troubles.is_empty(), || troubles.join("\n"))?;
    // Nothing was tried that the IOMMU had to stop.
    let log = machine.dom0("xl dmesg")?;
    expect(!log.contains("DMAR:[DMA"), || log.clone())?;
    is_kept_from_others_memory(machine, &guest)
}

/// What a domain tells its card to do elsewhere the IOMMU refuses: nothing is transferred, and Xen says whose card it
/// was.
fn is_kept_from_others_memory(machine: &Machine, kernel: &str) -> Result<()> {
    let (name, bdf) = ("strayer", bdf(0));
    let more = format!("pci = [ '{bdf}' ]\nextra = 'ring=elsewhere'");
    start(machine, name, kernel, &more)?;
    let console = machine.wait_for_console(name, "Test result: ", PATIENCE)?;
    expect(console.contains("Test result: SUCCESS"), || console.clone())?;
    // It stays: one that does not answer when it is to let go of its card is waited for.
    let log = machine.dom0("xl dmesg")?;
    let fault = format!("DMAR:[DMA Read] Request device [0000:{bdf}] fault addr 1000000");
    expect(log.contains(&fault), || log.clone())
}

fn start(machine: &Machine, name: &str, kernel: &str, more: &str) -> Result<()> {
    let config = format!(
        "name = '{name}'\ntype = 'pv'\nkernel = '{kernel}'\nmemory = 8\non_crash = 'preserve'\n{more}\n"
    );
    machine.put("/tmp/card.cfg", config.as_bytes())?;
    machine.dom0("xl create -q /tmp/card.cfg").map(drop)
}

/// netdom finds the card, says what it is, and gives it back when it is asked to, and takes it again.
fn taken_and_let_go(machine: &Machine, kernel: &str, number: usize, card: &Card) -> Result<()> {
    let name = format!("netdom-{}", card.name());
    let bdf = bdf(number);
    let more = format!("pci = [ '{bdf}' ]\npassthrough = 'enabled'");
    start(machine, &name, kernel, &more)?;
    let console = machine.wait_for_console(&name, "link up", PATIENCE)?;
    let said = format!("{}, {}, {}", card.model, mac(number), card.interrupt);
    expect(console.contains(&said), || console.clone())?;
    let_go(machine, &name, &bdf)?;
    machine.forget_guest_console(&name)?;
    machine.dom0(&format!("xl pci-attach {name} {bdf}"))?;
    let console = machine.wait_for_console(&name, "link up", PATIENCE)?;
    expect(console.contains(&said), || console.clone())?;
    let_go(machine, &name, &bdf)?;
    machine.dom0(&format!("xl shutdown -w {name}")).map(drop)
}

/// Takes a card away from a domain that lives: from a dead one `xl` waits for it ten seconds.
fn let_go(machine: &Machine, name: &str, bdf: &str) -> Result<()> {
    machine.dom0(&format!("xl pci-detach {name} {bdf}"))?;
    let console = machine.wait_for_console(name, "let go", PATIENCE)?;
    let is_in_order = !["error:", "warning:", "CRASH"]
        .iter()
        .any(|word| console.contains(word));
    expect(is_in_order, || console.clone())
}

/// Frames go out and come in whole.
fn asks_the_wire(machine: &Machine, kernel: &str, number: usize, card: &Card) -> Result<()> {
    let name = format!("asker-{}", card.name());
    start(
        machine,
        &name,
        kernel,
        &format!("pci = [ '{}' ]", bdf(number)),
    )?;
    let console = machine.wait_for_console(&name, "Test result: ", PATIENCE)?;
    expect(console.contains("Test result: SUCCESS"), || console.clone())?;
    let_go(machine, &name, &bdf(number))?;
    machine.dom0(&format!("xl destroy {name}"))?;
    eprintln!(
        "{}: {}",
        card.name(),
        console.lines().rev().nth(1).unwrap_or_default()
    );
    Ok(())
}

//! What a guest finds in its computer, emulated by Debian's QEMU in dom0 and by stubdom: configuration spaces, what the
//! BARs decode, the ACPI tables, the ports and lines that Linux' drivers took.

use crate::bench::{LabTest, Setup, expect};
use crate::stubdom;
use anyhow::{Context, Result, ensure};
use qemu_tests::{DebianGuest, GuestType, RunningGuest, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

pub(crate) fn tests() -> Vec<LabTest> {
    // A boot loader and a kernel that unpacks itself take minutes, and here it is two of them.
    match Tier::current() {
        Tier::Short => Vec::new(),
        Tier::Full => vec![LabTest::new(
            "inventory::a_guest_finds_the_computer_that_qemu_makes",
            finds_the_computer_that_qemu_makes,
        )],
    }
}

/// What both have at least: the functions of the bus, tables, a driver's ports. That nothing was found is no likeness.
const THERE: [(&str, &str); 10] = [
    ("config", "00:00.0"),
    ("config", "00:01.0"),
    ("config", "00:01.1"),
    ("config", "00:01.3"),
    ("config", "00:02.0"),
    ("config", "00:03.0"),
    ("acpi", "DSDT"),
    ("acpi", "FACP"),
    ("port", "03f8-03ff"),
    ("serio", "serio0"),
];

/// How long a guest may take to say it: a console's ring takes what its reader on a busy host lets it.
const LIMIT: Duration = Duration::from_secs(600);

/// What the guest says: a line for each thing, its kind, its name, and what it is.
const SCRIPT: &str = r#"hex() { od -An -v -tx1 "$1" | tr -d ' \n'; };
for device in /sys/bus/pci/devices/*; do
  name=${device##*/0000:};
  echo "config $name $(hex $device/config)";
  echo "resource $name $(tr '\n' ' ' <$device/resource)";
done;
for table in $(find /sys/firmware/acpi/tables -maxdepth 1 -type f); do echo "acpi ${table##*/} $(sha256sum <$table)"; done;
sed 's/^ *//; s/ : / /; s/^/port /' /proc/ioports;
grep -v Kernel /proc/iomem | sed 's/^ *//; s/ : / /; s/^/memory /';
for serio in /sys/bus/serio/devices/*; do echo "serio ${serio##*/} $(cat $serio/description)"; done;
sed -n 's/^\([0-9]*\): \(uart:[^ ]* port:[^ ]* irq:[^ ]*\).*/uart \1 \2/p' /proc/tty/driver/serial;
echo end"#;

/// By kind and name.
type Inventory = BTreeMap<(String, String), String>;

fn finds_the_computer_that_qemu_makes(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    machine.dom0("ip link add br-found type bridge && ip link set br-found up")?;
    let mut inventories = Vec::new();
    for (name, kind, more) in [
        ("found-qemu", GuestType::Hvm, "serial = 'pty'\n".to_owned()),
        (
            "found-stub",
            GuestType::HvmWithStub,
            stubdom::lines(machine)?,
        ),
    ] {
        let guest = DebianGuest {
            name: name.to_owned(),
            kind,
            memory_mib: 192,
            vif: "type=vif,bridge=br-found".to_owned(),
            address: "10.0.8.2/24".to_owned(),
            gateway: "10.0.8.1".to_owned(),
            more,
        };
        let found = machine
            .start_debian_guest(lab, &guest)
            .and_then(|guest| inventory(&guest));
        machine.dom0(&format!("xl destroy {name} 2>/dev/null; true"))?;
        inventories.push(found?);
    }
    machine.dom0("ip link del br-found")?;
    let [theirs, ours] = [&inventories[0], &inventories[1]];
    for (kind, name) in THERE {
        let key = (kind.to_owned(), name.to_owned());
        ensure!(theirs.contains_key(&key), "no {kind} {name} in {theirs:?}");
    }
    let found = differences(theirs, ours);
    expect(found.is_empty(), || {
        found.iter().fold(
            "| what | with QEMU | with stubdom |\n|---|---|---|\n".to_owned(),
            |mut said, (what, (theirs, ours))| {
                let _ = writeln!(said, "| `{what}` | {theirs} | {ours} |");
                said
            },
        )
    })
}

fn inventory(guest: &RunningGuest<'_>) -> Result<Inventory> {
    // A command is a line.
    let (said, _) = guest.run(&SCRIPT.replace('\n', " "), LIMIT)?;
    ensure!(said.lines().any(|line| line.trim() == "end"), "{said}");
    let mut inventory = Inventory::new();
    for line in said.lines().map(str::trim).filter(|line| *line != "end") {
        let mut words = line.splitn(3, ' ');
        let mut next = || {
            words
                .next()
                .map(str::to_owned)
                .with_context(|| line.to_owned())
        };
        let key = (next()?, next()?);
        inventory.insert(key, words.next().unwrap_or_default().trim().to_owned());
    }
    Ok(inventory)
}

/// What is different, by what it is: stock QEMU's, ours.
fn differences(theirs: &Inventory, ours: &Inventory) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let keys: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for key in keys {
        let what = format!("{} {}", key.0, key.1);
        let nothing = || "none".to_owned();
        match (theirs.get(key), ours.get(key)) {
            (Some(theirs), Some(ours)) if theirs == ours => {}
            (Some(theirs), Some(ours)) if key.0 == "config" => {
                registers(&what, theirs, ours, &mut found);
            }
            (theirs, ours) => {
                let said = |one: Option<&String>| {
                    one.map_or_else(nothing, |one| one.chars().take(600).collect())
                };
                found.insert(what, (said(theirs), said(ours)));
            }
        }
    }
    found
}

/// The same of configuration space, by doublewords.
fn registers(what: &str, theirs: &str, ours: &str, found: &mut BTreeMap<String, (String, String)>) {
    const DIGITS: usize = 8;
    let longest = theirs.len().max(ours.len());
    for at in (0..longest).step_by(DIGITS) {
        let part = |text: &str| {
            text.get(at..text.len().min(at + DIGITS))
                .unwrap_or("none")
                .to_owned()
        };
        let (theirs, ours) = (part(theirs), part(ours));
        if theirs != ours {
            found.insert(format!("{what} {:#04x}", at / 2), (theirs, ours));
        }
    }
}

//! The driver domain at work: dom0 has no driver for any card, and guests have their network by netdom.

use crate::bench::{LabTest, expect};
use crate::cards::{CARDS, bdf, mac};
use crate::guests::UP;
use anyhow::{Context, Result};
use image::appliance::{Bare, build_bare};
use image::build::TargetChoice;
use image::workspace::Workspace;
use qemu_tests::{Command, DebianGuest, GuestType, Iommu, Lab, Machine, Options, RunningGuest};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const NETDOM: &str = "netdom";

/// Bytes of the file that is fetched.
const BYTES: usize = 20 << 20;

/// Where QEMU's user networks have it.
const SERVER: &str = "10.0.2.100";

const PATIENCE: Duration = Duration::from_secs(60);

/// How long a file may take, by a wire that is emulated.
const FETCH: Duration = Duration::from_secs(150);

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::own("netdom::guests_reach_the_wire_through_any_card", any_card),
        LabTest::own(
            "netdom::guests_on_a_bridge_reach_each_other_and_the_wire",
            two_guests,
        ),
    ]
}

/// A file that every connection to [`SERVER`] gets, and its hash; at port 81 bytes are counted that come.
struct Served {
    folder: tempfile::TempDir,
}

impl Served {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // No two pages alike, and none that a compression would find.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = (0..BYTES / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        std::fs::write(folder.path().join("file"), words.collect::<Vec<u8>>())?;
        // What it leaves unread of the question would be an error, and cost the answer's end.
        let script = folder.path().join("serve");
        let mut file = std::fs::File::create(&script)?;
        let data = folder.path().join("file");
        writeln!(
            file,
            "#!/bin/sh\nwhile read -r line && [ ${{#line}} -gt 1 ]; do :; done\nprintf 'HTTP/1.0 200 OK\\r\\nContent-Length: {BYTES}\\r\\n\\r\\n'\nexec cat {}",
            data.display()
        )?;
        let count = "#!/bin/sh\nhead -c 4194304 | wc -c\n";
        std::fs::write(folder.path().join("count"), count)?;
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn hash(&self) -> Result<String> {
        let output = std::process::Command::new("sha256sum")
            .arg(self.path().join("file"))
            .output()?;
        let said = String::from_utf8(output.stdout)?;
        let hash = said.split_whitespace().next().context("no hash")?;
        Ok(hash.to_owned())
    }

    /// QEMU's arguments for a card with a network of its own, in which the file is served.
    fn card(&self, number: usize) -> [String; 4] {
        let (device, mac, slot) = (CARDS[number].device, mac(number), 3 + number);
        let serve = self.path().join("serve");
        [
            "-netdev".to_owned(),
            format!(
                "user,id=wire{number},guestfwd=tcp:{SERVER}:80-cmd:sh {},guestfwd=tcp:{SERVER}:81-cmd:sh {}",
                serve.display(),
                self.path().join("count").display()
            ),
            "-device".to_owned(),
            format!("{device},netdev=wire{number},mac={mac},addr={slot:02x}.0"),
        ]
    }
}

/// Runs `tries` on a machine with these cards, netdom has all of them.
fn beside_netdom(
    lab: &Lab,
    cards: &[usize],
    served: &Served,
    tries: impl FnOnce(&Machine) -> Result<()>,
) -> Result<()> {
    let options = Options {
        name: NETDOM.to_owned(),
        iommu: Iommu::VtD,
        qemu_arguments: cards.iter().flat_map(|card| served.card(*card)).collect(),
        ..Options::default()
    };
    let machine = Machine::start(lab, &options)?;
    let tried = start_netdom(&machine, cards).and_then(|()| tries(&machine));
    let tried = tried.with_context(|| {
        let console = machine.guest_console(NETDOM).unwrap_or_default();
        let log = machine.dom0("xl dmesg | tail -20; dmesg | tail -20");
        format!("netdom's console:\n{console}{}", log.unwrap_or_default())
    });
    let ended = tried.and_then(|()| {
        let console = machine.guest_console(NETDOM)?;
        let is_in_order = !["error:", "CRASH"]
            .iter()
            .any(|word| console.contains(word));
        expect(is_in_order, || console.clone())?;
        let log = machine.dom0("xl dmesg")?;
        expect(!log.contains("DMAR:[DMA"), || log.clone())
    });
    machine.stop()?;
    ended
}

fn start_netdom(machine: &Machine, cards: &[usize]) -> Result<()> {
    // dom0 knows no card: it has not even the drivers.
    let links = machine.dom0("ls /sys/class/net; lsmod")?;
    let knows = ["e1000", "virtio_net", "eth0"]
        .iter()
        .any(|word| links.contains(word));
    expect(!knows, || links.clone())?;
    let bdfs: Vec<String> = cards
        .iter()
        .map(|card| format!("'{}'", bdf(*card)))
        .collect();
    let workspace = Workspace::find()?;
    let out = workspace.target().join("image/netdom");
    let image_options = image::options::Options::default();
    let target = TargetChoice::Auto;
    let built = build_bare(&workspace, Bare::Netdom, &out, &image_options, target)?;
    let kernel = out.join("netdom.xen");
    std::fs::copy(&kernel, machine.share().join("netdom.xen"))?;
    let written = std::fs::read_to_string(&built.config)?;
    let config = written
        .replace("\"0000:03:00.0\",", &bdfs.join(", "))
        .replace(&kernel.display().to_string(), "/share/netdom.xen");
    expect(config != written, || written.clone())?;
    machine.put("/tmp/netdom.cfg", config.as_bytes())?;
    let add: Vec<String> = cards
        .iter()
        .map(|card| format!("xl pci-assignable-add {}", bdf(*card)))
        .collect();
    machine.dom0(&format!(
        "modprobe xen-pciback; {}; xl create -q /tmp/netdom.cfg",
        add.join("; ")
    ))?;
    for number in 0..cards.len() {
        // By the numbers that they have in netdom, one after the other.
        let wire = format!("{number:02x}.0 is the wire of xenbr{number}");
        machine.wait_for_console(NETDOM, &wire, PATIENCE)?;
    }
    Ok(())
}

fn guest(name: &str, bridge: usize, kind: GuestType) -> DebianGuest {
    DebianGuest {
        name: name.to_owned(),
        kind,
        memory_mib: 160,
        vif: format!("backend={NETDOM},bridge=xenbr{bridge}"),
        address: String::new(),
        gateway: String::new(),
        more: String::new(),
    }
}

/// Fetches the file, and compares what came.
fn fetch(guests: &[RunningGuest<'_>], served: &Served) -> Result<()> {
    let line = format!("wget -q -O - http://{SERVER}/file | sha256sum");
    let hash = served.hash()?;
    let mut told = Vec::new();
    for guest in guests {
        guest.check(UP)?;
        told.push(guest.begin(&line)?);
    }
    for (guest, told) in guests.iter().zip(&told) {
        let (said, _) = guest.finish(told, FETCH)?;
        expect(said.contains(&hash), || format!("{}: {said}", guest.name()))?;
    }
    Ok(())
}

/// One netdom with a card of each model, and a Debian guest behind each.
fn any_card(lab: &Lab) -> Result<()> {
    let served = Served::new()?;
    beside_netdom(lab, &[0, 1, 2], &served, |machine| {
        let mut guests = Vec::new();
        for (number, card) in CARDS.iter().enumerate() {
            let name = format!("by-{}", card.name());
            let kind = if number == 1 {
                GuestType::Pvh
            } else {
                GuestType::Pv
            };
            guests.push(machine.start_debian_guest(lab, &guest(&name, number, kind))?);
        }
        fetch(&guests, &served)?;
        dom0_as_a_client(machine, &served)?;
        for guest in &guests {
            machine.dom0(&format!("xl destroy {}", guest.name()))?;
        }
        machine.dom0(&format!("xl shutdown -w {NETDOM}")).map(drop)
    })
}

/// dom0 has no card, and its network by a vif of netdom's.
fn dom0_as_a_client(machine: &Machine, served: &Served) -> Result<()> {
    machine.dom0(&format!(
        "modprobe xen-netfront
         xl network-attach 0 backend={NETDOM} bridge=xenbr2
         for attempt in $(seq 100); do [ -e /sys/class/net/eth0 ] && break; sleep 0.1; done
         ip link set eth0 up
         printf '#!/bin/sh\\n[ \"$1\" = bound ] && ip addr replace $ip/$mask dev $interface\\n' > /tmp/lease
         chmod +x /tmp/lease
         busybox udhcpc -i eth0 -n -q -t 20 -T 1 -s /tmp/lease"
    ))?;
    let fetch = format!("busybox wget -q -O - http://{SERVER}/file | sha256sum");
    let said = machine.check(&Command::bash(fetch).limit(FETCH))?;
    expect(said.contains(&served.hash()?), || said.clone())?;
    machine.dom0("xl network-detach 0 0").map(drop)
}

/// Two guests on one bridge: the wire at once, and each other.
fn two_guests(lab: &Lab) -> Result<()> {
    let served = Served::new()?;
    beside_netdom(lab, &[1], &served, |machine| {
        let start = |name| machine.start_debian_guest(lab, &guest(name, 0, GuestType::Pv));
        let guests = [start("one")?, start("two")?];
        fetch(&guests, &served)?;
        let [one, two] = &guests;
        let address = two.check("ip -4 -o addr show eth0")?;
        let address = address
            .split_whitespace()
            .find(|word| word.starts_with("10.0.2."));
        let address = address
            .and_then(|word| word.split('/').next())
            .context("no address")?;
        two.check("iperf3 --server --daemon && mkdir -p /srv && head -c 8388608 /dev/urandom > /srv/file && busybox httpd -p 80 -h /srv")?;
        let hash = two.check("sha256sum < /srv/file")?;
        let hash = hash.split_whitespace().next().context("no hash")?;
        let fetched = one.check(&format!("wget -q -O - http://{address}/file | sha256sum"))?;
        expect(fetched.contains(hash), || fetched.clone())?;
        for more in ["", "--reverse"] {
            let line =
                format!("iperf3 --client {address} --time 3 --format m {more} | grep receiver");
            let (said, fine) = one.run(&line, PATIENCE)?;
            println!("guest to guest {more}: {}", said.trim());
            expect(fine && said.contains("Mbits/sec"), || said.clone())?;
        }
        // What a guest sends to the wire: segments that the card cuts.
        let line = format!("head -c 4194304 /dev/zero | nc -w 5 {SERVER} 81 | head -c 100");
        let (said, _) = one.run(&line, FETCH)?;
        expect(said.contains("4194304"), || said.clone())?;
        println!("{}", machine.dom0("xl list")?);
        Ok(())
    })
}

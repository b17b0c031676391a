//! The driver domain at work: dom0 has no driver for any card, and guests have their network by netdom.

use crate::bench::{LabTest, expect};
use crate::cards::{CARDS, bdf, mac};
use crate::guests::UP;
use anyhow::{Context, Result};
use image::appliance::{Bare, build_bare, build_netdom};
use image::build::TargetChoice;
use image::workspace::Workspace;
use qemu_tests::{Command, DebianGuest, GuestType, Iommu, Lab, Machine, Options, RunningGuest};
use std::io::{Read, Write};
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

    fn monitor(&self) -> std::path::PathBuf {
        self.path().join("monitor")
    }

    /// Pulls a card's cable, or puts it in.
    fn set_link(&self, card: &str, state: &str) -> Result<()> {
        let mut monitor = std::os::unix::net::UnixStream::connect(self.monitor())?;
        writeln!(monitor, "set_link {card} {state}")?;
        // It has read that when it asks for the next.
        let mut said = Vec::new();
        monitor.set_read_timeout(Some(Duration::from_secs(5)))?;
        while String::from_utf8_lossy(&said).matches("(qemu) ").count() < 2 {
            let mut part = [0; 512];
            let read = monitor.read(&mut part)?;
            expect(read > 0, || "QEMU's monitor is closed".to_owned())?;
            said.extend(&part[..read]);
        }
        Ok(())
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
    let cards_there = cards.iter().flat_map(|card| served.card(*card));
    let options = Options {
        name: NETDOM.to_owned(),
        iommu: Iommu::VtD,
        qemu_arguments: cards_there.chain(trunk(served)).collect(),
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

/// Cards at one cable: two of a trunk's, and one at its other end. And who pulls it out.
const TRUNK: [(&str, &str, &str); 3] = [
    ("own", "e1000e", "00:0a.0"),
    ("standby", "e1000", "00:0b.0"),
    ("peer", "e1000e", "00:0c.0"),
];

fn trunk(served: &Served) -> impl Iterator<Item = String> {
    let cards = TRUNK.iter().flat_map(|(id, device, bdf)| {
        let slot = &bdf[3..];
        [
            "-netdev".to_owned(),
            format!("hubport,id=cable-{id},hubid=1"),
            "-device".to_owned(),
            format!("{device},id={id},netdev=cable-{id},addr={slot}"),
        ]
    });
    let monitor = format!("unix:{},server=on,wait=off", served.monitor().display());
    cards.chain(["-monitor".to_owned(), monitor])
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
        machine.dom0(&format!(
            "xl destroy one; xl destroy two; xl shutdown -w {NETDOM}
             for attempt in $(seq 100); do xl domid {NETDOM} || exit 0; sleep 0.1; done"
        ))?;
        configured(machine, &served)
    })
}

/// Two bridges at one cable: VLAN 20 with a card that stands by, and whatever comes.
const BRIDGES: &str = "
[bridge.office]
card = \"0000:00:00.0\"
standby = 2
vlan = 20
mtu = 9000
[bridge.peer]
card = 3
mtu = 9000
";

/// netdom with a configuration: a trunk, long frames, a cable that is pulled. dom0 is at both ends, once where no
/// tags are and once where they are its own.
fn configured(machine: &Machine, served: &Served) -> Result<()> {
    let workspace = Workspace::find()?;
    let out = workspace.target().join("image/netdom-configured");
    let mut findings = image::findings::Findings::default();
    let bridges = image::netdom::read("netdom.toml", BRIDGES, &mut findings);
    let bridges = bridges.context("the configuration is wrong")?;
    let options = image::options::Options::default();
    let built = build_netdom(&workspace, &bridges, &out, &options, TargetChoice::Auto)?;
    for file in ["netdom.xen", "netdom.policy"] {
        std::fs::copy(out.join(file), machine.share().join(file))?;
    }
    let bdfs = TRUNK.map(|(_, _, bdf)| bdf);
    let config = std::fs::read_to_string(&built.config)?
        .replace("\"0000:03:00.0\",", &format!("'{}'", bdfs.join("', '")))
        .replace(&format!("{}/", out.canonicalize()?.display()), "/share/");
    machine.put("/tmp/netdom.cfg", config.as_bytes())?;
    machine.dom0(&format!(
        "for card in {}; do xl pci-assignable-add $card; done; xl create -q /tmp/netdom.cfg",
        bdfs.join(" ")
    ))?;
    machine.wait_for_console(NETDOM, "stands by for office", PATIENCE)?;
    machine.wait_for_console(NETDOM, "is the wire of peer", PATIENCE)?;
    // Their own cards' addresses have to differ, or the kernel would answer itself.
    machine.dom0(&format!(
        "modprobe xen-netfront; modprobe 8021q
         for bridge in office peer; do xl network-attach 0 backend={NETDOM} bridge=$bridge mtu=9000; done
         for attempt in $(seq 100); do [ -e /sys/class/net/eth1 ] && break; sleep 0.1; done
         ip netns add far
         ip link set eth1 netns far
         ip link set eth0 mtu 9000 up
         ip addr add 10.20.0.1/24 dev eth0
         ip netns exec far sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore'
         ip netns exec far ip link set eth1 mtu 9000 up
         ip netns exec far ip link add link eth1 name eth1.20 type vlan id 20
         ip netns exec far ip link set eth1.20 up
         ip netns exec far ip addr add 10.20.0.2/24 dev eth1.20
         ip netns exec far ip link add link eth1 name eth1.30 type vlan id 30
         ip netns exec far ip link set eth1.30 up
         ip netns exec far ip addr add 10.20.0.3/24 dev eth1.30"
    ))?;
    let ping = |address: &str, bytes: usize| {
        machine.dom0(&format!(
            "for attempt in $(seq 5); do busybox ping -c 1 -W 2 -s {bytes} {address} && exit; done; false"
        ))
    };
    ping("10.20.0.2", 56)?;
    ping("10.20.0.2", 8900).context("long frames")?;
    let other = machine.dom0("busybox ping -c 1 -W 2 -I eth0 10.20.0.3 || echo nobody")?;
    expect(other.contains("nobody"), || other.clone())?;
    for (state, active) in [("off", "00:01.0"), ("on", "00:00.0")] {
        served.set_link("own", state)?;
        machine.wait_for_console(
            NETDOM,
            &format!("{active} is the wire of office now"),
            PATIENCE,
        )?;
        ping("10.20.0.2", 56).with_context(|| format!("the cable is {state}"))?;
        ping("10.20.0.2", 8900).with_context(|| format!("the cable is {state}, long frames"))?;
    }
    Ok(())
}

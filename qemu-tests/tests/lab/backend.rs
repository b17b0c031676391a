//! firewalldom as the backend of vifs: what it refuses and how those leave, how much may be sent, that nothing is
//! left of those that come and go (behind netdom as well), and that one firewall may be behind another.

use crate::behind::{Behind, SINK, SINK_ADDRESS, report, type_to};
use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::guests::{FIREWALL, UP, beside_firewall, guest, install};
use crate::holdings::Holdings;
use crate::netdom::NETDOM;
use crate::stat;
use anyhow::{Context, Result};
use qemu_tests::{DebianGuest, Machine, RunningGuest, Tier};
use std::time::{Duration, Instant};

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new(
            "guests::have_no_place_where_no_interface_is_for_them",
            have_no_place,
        ),
        LabTest::new(
            "guests::are_held_to_what_xl_says_or_refused_by_name",
            are_held_to_what_xl_says,
        ),
        LabTest::new("guests::come_and_go_and_leave_nothing_behind", come_and_go),
        LabTest::new(
            "guests::come_and_go_behind_netdom_and_leave_nothing_behind",
            come_and_go_behind_netdom,
        )
        .long(),
        LabTest::new(
            "guests::hang_off_a_firewall_behind_a_firewall",
            hang_off_a_firewall_behind_a_firewall,
        )
        .long(),
    ]
}

const GUESTS: &str = "examples/xen-guests";

/// Where a vif is in the firewall's part of xenstore.
fn node(client: &str, vif: u32) -> String {
    format!("/local/domain/$(xl domid {FIREWALL})/backend/vif/$(xl domid {client})/{vif}")
}

/// The states in which the firewall has a client's first two vifs, a line each.
pub(crate) fn states(machine: &Machine, client: &str) -> Result<String> {
    let [first, second] = [0, 1].map(|vif| node(client, vif));
    machine.dom0(&format!(
        "xenstore-read {first}/state; xenstore-read {second}/state"
    ))
}

/// What the toolstack says, if it is asked to be wordy, when a device has not gone of itself within 10 s.
const FORCED: &str = "initiating forced remove";

/// Detaches a vif, and looks that the toolstack did not have to force it.
pub(crate) fn detach(machine: &Machine, client: &str, vif: u32) -> Result<()> {
    let said = machine.dom0(&format!("xl -vvv network-detach {client} {vif} 2>&1"))?;
    expect(said.contains("domid"), || {
        format!("it says nothing: {said}")
    })?;
    expect(!said.contains(FORCED), || said.clone())?;
    machine.dom0(&format!(
        "! xenstore-exists {} && ! xenstore-exists /local/domain/$(xl domid {client})/device/vif/{vif}",
        node(client, vif)
    ))?;
    // What was said of it is gone with it, and where nothing is said any more nothing is left.
    machine.dom0(&format!(
        "said=/local/domain/$(xl domid {FIREWALL})/error/backend/vif/$(xl domid {client})
         ! xenstore-exists $said/{vif} && {{ ! xenstore-exists $said || xenstore-list $said | grep -q .; }}"
    ))?;
    Ok(())
}

/// Why a vif was refused, as soon as it says so.
fn reason(machine: &Machine, client: &str, vif: u32) -> Result<String> {
    machine.dom0(&format!(
        "error=/local/domain/$(xl domid {FIREWALL})/error/backend/vif/$(xl domid {client})/{vif}/error
         until xenstore-exists $error; do sleep 0.1; done
         xenstore-read $error"
    ))
}

/// dom0, as `xl domid` knows it.
const DOM0: &str = "Domain-0";

/// A firewall that is nobody's backend: dom0 asks it all the same.
fn have_no_place(setup: &Setup) -> Result<()> {
    let machine = &*setup.machine;
    machine.dom0("ip link add br-loc type bridge; ip link set br-loc up")?;
    let tried = beside_firewall(machine, "examples/two-interfaces", &[], || {
        for _ in 0..2 {
            let said = machine.dom0(&format!(
                "xl network-attach {DOM0} backend={FIREWALL} 2>&1; echo status $?"
            ))?;
            println!("xl network-attach: {}", said.trim());
            expect(!said.contains("status 0"), || said.clone())?;
            let reason = reason(machine, DOM0, 0)?;
            expect(reason.contains("serves guests' vifs only"), || {
                reason.clone()
            })?;
            detach(machine, DOM0, 0)?;
        }
        machine.dom0("ip netns exec out ping -c 2 -i 0.2 -W 20 192.0.2.2")?;
        Ok(())
    });
    machine.dom0("ip link del br-loc")?;
    tried
}

fn are_held_to_what_xl_says(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    beside_firewall(machine, GUESTS, &["desk"], || {
        let said = ",rate=4Mb/s@50ms,mtu=1400,vifname=vif-loc-desk,bridge=br-none";
        let desk = guest("desk", "10.0.3.2", "10.0.3.1", said);
        let desk = machine.start_debian_guest(lab, &desk)?;
        desk.check(UP)?;
        // What xenstored counts: whoever wrote it, the first of a node's rights names its owner.
        let nodes = machine.dom0(&format!(
            "id=$(xl domid {FIREWALL}); xenstore-ls -fp /local/domain/$id/backend | grep -E \"\\([nrwb]$id[,)]\""
        ))?;
        let count = nodes.lines().count();
        println!("{count} nodes:\n{nodes}");
        expect(count > 8 && count <= 13, || nodes.clone())?;
        sends_no_more_than_its_rate(machine, &desk)?;
        // What came to it was no longer than its vif takes: who sent more was told, through the address translation.
        let route = machine.dom0("ip netns exec out ip route get 192.0.2.2")?;
        machine.dom0("ip netns exec out ip route flush cache")?;
        expect(route.contains("mtu 1400"), || route)?;
        // By the netback: the toolstack gives up after its 10 s each, all of them at the same time.
        let refused = [
            ("ip=fe80::1", "ip= is not a list"),
            ("mtu=67", "mtu= is not between"),
            ("ip=10.0.3.9 vifname=vif/9", "vifname= is not the name"),
        ];
        for (number, (vif, why)) in (1..).zip(refused) {
            machine.dom0(&format!(
                "(xl network-attach desk backend={FIREWALL} {vif}; echo status $?) >/tmp/attach-{number} 2>&1 &"
            ))?;
            is_refused(machine, number, vif, why)?;
        }
        for (number, (vif, _)) in (1..).zip(refused) {
            let said = machine.dom0(&format!("dom0-agent await /tmp/attach-{number} status"))?;
            expect(!said.contains("status 0"), || format!("{vif}: {said}"))?;
            detach(machine, "desk", number)?;
        }
        // By the engine, when the frontend has connected.
        for (vif, why) in [
            ("ip=10.0.3.9 vifname=eth7", "no interface of the firewall's"),
            (
                "ip=10.0.3.2 vifname=vif-loc-2",
                "ip= is another guest's already",
            ),
        ] {
            let said = machine.dom0(&format!(
                "xl network-attach desk backend={FIREWALL} {vif} 2>&1; true"
            ))?;
            println!("{vif}: {}", said.trim());
            is_refused(machine, 1, vif, why)?;
            detach(machine, "desk", 1)?;
        }
        // The one that is served did not notice.
        desk.check("ping -c 2 -i 0.2 -W 20 192.0.2.1")?;
        Ok(())
    })
}

/// Looks that a vif of desk's was refused for this.
fn is_refused(machine: &Machine, vif: u32, said: &str, why: &str) -> Result<()> {
    let reason = reason(machine, "desk", vif)?;
    expect(reason.contains(why), || format!("{said}: {reason}"))
}

/// What of it arrives never exceeds the rate. How much less it may be is up to how busy the machine is: the stream is
/// repeated until it shows that neither the credit nor a rate of before holds it back.
fn sends_no_more_than_its_rate(machine: &Machine, desk: &RunningGuest<'_>) -> Result<()> {
    const TRIES: u32 = 8;
    machine.dom0("ip netns exec out iperf3 --server --daemon --pidfile /tmp/iperf3.pid")?;
    // The last under another rate, written while it is served: 16 Mb/s.
    for (way, rate, least, most) in [
        ("", None, 2.0, 5.0),
        ("--reverse", None, 5.5, 10_000.0),
        ("", Some("100000,50000"), 5.5, 20.0),
    ] {
        if let Some(rate) = rate {
            machine.dom0(&format!("xenstore-write {}/rate {rate}", node("desk", 0)))?;
        }
        let mut fastest = 0.0;
        for _ in 0..TRIES {
            let (said, fine) = desk.run(
                &format!("iperf3 --client 192.0.2.1 --time 5 --format m {way} | grep receiver"),
                Duration::from_secs(120),
            )?;
            println!("{} {way}: {}", rate.unwrap_or("rate=4Mb/s"), said.trim());
            let words: Vec<&str> = said.split_whitespace().collect();
            let unit = words.iter().position(|word| *word == "Mbits/sec");
            let received = unit.and_then(|at| words.get(at.checked_sub(1)?)?.parse::<f64>().ok());
            let received = received.filter(|_| fine).with_context(|| said.clone())?;
            expect(received <= most, || said.clone())?;
            fastest = f64::max(fastest, received);
            if fastest >= least {
                break;
            }
        }
        expect(fastest >= least, || {
            format!("{way}: {fastest} of {least} Mbit/s in {TRIES} tries")
        })?;
    }
    machine.dom0("kill $(tr -d '\\0' < /tmp/iperf3.pid)")?;
    Ok(())
}

/// A Debian guest whose vif comes and goes.
struct Visitor<'m> {
    machine: &'m Machine,
    guest: &'m RunningGuest<'m>,
    /// The vif, as `xl network-attach` takes it.
    vif: String,
    /// Who answers its pings.
    host: &'static str,
}

impl Visitor<'_> {
    fn come_again(&self) -> Result<()> {
        let (machine, name) = (self.machine, self.guest.name());
        for verb in [
            format!("detach {name} 0"),
            format!("attach {name} {}", self.vif),
        ] {
            machine.dom0(&format!("xl network-{verb}"))?;
        }
        self.guest.check(UP)?;
        let ping = format!("ping -c 2 -i 0.2 -W 20 {}", self.host);
        self.guest.check(&ping).map(drop)
    }

    /// Comes so often, and leaves its backend what that had before.
    fn comes_and_goes(&self, backend: &str, rounds: u32) -> Result<()> {
        self.guest.check(UP)?;
        // What is allocated once is allocated.
        self.come_again()?;
        let before = Holdings::of(self.machine, backend)?;
        let began = Instant::now();
        for _ in 0..rounds {
            self.come_again()?;
        }
        println!("{rounds} times, {:.1?} each", began.elapsed() / rounds);
        let after = Holdings::of(self.machine, backend)?;
        println!("before: {before:?}\nafter: {after:?}");
        expect(before.are_same(&after), || {
            format!("before: {before:?}\nafter: {after:?}")
        })?;
        // Nor does the backend keep a page of the guest's: Linux says which it cannot have back.
        self.guest
            .check("busybox dmesg >/run/dmesg && ! grep -E 'g\\.e\\. .*pending|leaking g\\.e\\.' /run/dmesg")
            .map(drop)
    }
}

/// Debian 12's Linux does not get back the pages of a receive ring that goes, a megabyte each time, whoever the backend
/// is: dom0's own makes no difference.
fn with_memory_for(rounds: u32, guest: DebianGuest) -> DebianGuest {
    let memory_mib = guest.memory_mib + rounds + rounds / 8;
    DebianGuest {
        memory_mib,
        ..guest
    }
}

fn come_and_go(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    stat::install(machine)?;
    let rounds = Tier::current().repetitions(1_000);
    beside_firewall(machine, GUESTS, &["desk"], || {
        let desk = guest("desk", "10.0.3.2", "10.0.3.1", ",vifname=vif-loc-desk");
        let desk = machine.start_debian_guest(lab, &with_memory_for(rounds, desk))?;
        let visitor = Visitor {
            machine,
            guest: &desk,
            vif: format!("backend={FIREWALL} ip=10.0.3.2 vifname=vif-loc-desk"),
            host: "192.0.2.1",
        };
        visitor.comes_and_goes(FIREWALL, rounds)
    })
}

/// The same, beside a stream of which nothing is lost.
fn come_and_go_behind_netdom(setup: &Setup) -> Result<()> {
    const DESK: &str = "10.0.4.9";
    const SOURCE: (&str, &str) = ("source", "10.0.3.2");
    let Setup { lab, machine } = setup;
    let rounds = match Tier::current() {
        Tier::Short => 10,
        Tier::Full => 200,
    };
    stat::install(machine)?;
    let behind = Behind::Netdom;
    behind.with(machine, &[SINK, SOURCE.0, "desk"], || {
        behind.create_sink(machine, SINK, SINK_ADDRESS)?;
        // Few: what is counted is what is lost, and who sends much is in the way of all other tests.
        let words = "rate=20 frame=64,1514,300";
        behind.create_source(machine, SOURCE.0, (SOURCE.1, SINK_ADDRESS), words)?;
        machine.wait_for_console(SOURCE.0, "sending", PATIENCE)?;
        let vif = format!("backend={NETDOM},ip={DESK},bridge=xenbr0");
        let desk = DebianGuest {
            vif: vif.clone(),
            ..guest("desk", DESK, SINK_ADDRESS, "")
        };
        let desk = machine.start_debian_guest(lab, &with_memory_for(rounds, desk))?;
        let visitor = Visitor {
            machine,
            guest: &desk,
            vif: vif.replace(',', " "),
            host: SINK_ADDRESS,
        };
        visitor.comes_and_goes(NETDOM, rounds)?;
        type_to(machine, SOURCE.0, 's')?;
        let report = report(machine, SINK, SOURCE.1)?;
        expect(report.is_whole() && report.total > 0, || report.to_string())
    })
}

const INNER: &str = "inner";

/// A guest of one firewall, which is itself a guest of another: its way out ends when that one does, and begins
/// again with the next, in a domain of another number.
fn hang_off_a_firewall_behind_a_firewall(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    beside_firewall(machine, GUESTS, &["desk", INNER], || {
        let vif = format!("backend={FIREWALL},ip=10.0.3.2,vifname=vif-loc-inner");
        let config = install(machine, "qemu-tests/sites/inner", INNER, &vif)?;
        start(machine, INNER, &config)?;
        let desk = guest("desk", "10.0.6.2", "10.0.6.1", "");
        let vif = desk.vif.replace(FIREWALL, INNER);
        let desk = machine.start_debian_guest(lab, &DebianGuest { vif, ..desk })?;
        desk.check(UP)?;
        pass_both(machine, &desk)?;
        for _ in 0..Tier::current().repetitions(20) {
            let before = machine.dom0(&format!("xl domid {FIREWALL}"))?;
            machine.dom0(&format!("xl destroy {FIREWALL}"))?;
            machine.wait_for_console(INNER, "eth0: the backend closed", PATIENCE)?;
            let (said, passed) = desk.run("ping -c 2 -i 0.2 -W 2 192.0.2.1", PATIENCE)?;
            expect(!passed, || said.clone())?;
            // Its own addresses are there as before.
            desk.check("ping -c 2 -i 0.2 -W 20 10.0.6.1")?;
            start(machine, FIREWALL, "/tmp/firewalldom.cfg")?;
            let after = machine.dom0(&format!("xl domid {FIREWALL}"))?;
            expect(before != after, || after.clone())?;
            machine.forget_guest_console(INNER)?;
            let again = format!(
                "fronts=/local/domain/$(xl domid {INNER})/device/vif
                 vif=$(xenstore-list $fronts)
                 mac=$(xenstore-read $fronts/$vif/mac)
                 xl network-detach {INNER} $vif && xl network-attach {INNER} backend={FIREWALL} ip=10.0.3.2 vifname=vif-loc-inner mac=$mac"
            );
            machine.dom0(&again)?;
            let there = format!("eth0: its backend in domain {} is there", after.trim());
            machine.wait_for_console(INNER, &there, PATIENCE)?;
            pass_both(machine, &desk)?;
        }
        Ok(())
    })
}

fn start(machine: &Machine, name: &str, config: &str) -> Result<()> {
    machine.forget_guest_console(name)?;
    machine.dom0(&format!("xl create -q {config}"))?;
    machine.wait_for_console(name, "forwarding between", PATIENCE)?;
    Ok(())
}

/// Small packets, long ones, fragments, and a file by its hash.
fn pass_both(machine: &Machine, desk: &RunningGuest<'_>) -> Result<()> {
    desk.check("until ping -c 1 -W 1 192.0.2.1 >/dev/null; do :; done")?;
    desk.check(
        "ping -c 3 -i 0.2 -W 20 192.0.2.1 && ping -c 2 -i 0.2 -s 1400 -W 20 192.0.2.1 && ping -c 2 -i 0.2 -s 4000 -W 20 192.0.2.1",
    )?;
    machine.dom0(
        "head -c 4194304 /dev/urandom > /tmp/file
         (ip netns exec out busybox httpd -f -p 8000 -h /tmp & echo $! > /tmp/httpd.pid) >/dev/null 2>&1
         until ip netns exec out ss -ltnH | grep -q :8000; do sleep 0.1; done",
    )?;
    let hash = machine.dom0("sha256sum < /tmp/file")?;
    let fetched = desk.check("wget -q -O - http://192.0.2.1:8000/file | sha256sum");
    machine.dom0("kill $(cat /tmp/httpd.pid)")?;
    let fetched = fetched?;
    expect(fetched.contains(hash.trim()), || fetched.clone())
}

//! firewalldom on real Xen, with the site that `cargo image run` shows.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::stat;
use anyhow::{Context, Result};
use image::appliance::build_firewall;
use image::build::TargetChoice;
use image::run::hits::Source;
use image::run::scenario::{Forwarder, Scenario};
use image::run::{Firewall, INSIDE, OUTSIDE, RunOptions, network, traffic};
use image::workspace::Workspace;
use qemu_tests::{Command, Machine, Tier};
use shorewall::Site;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new("firewall::treats_traffic_as_its_files_say", |setup| {
            treats_traffic_as_its_files_say(setup, TargetChoice::Auto)
        }),
        LabTest::new(
            "firewall::treats_traffic_as_its_files_say_built_for_the_host_triple",
            |setup| treats_traffic_as_its_files_say(setup, TargetChoice::Host),
        )
        .long(),
        LabTest::new("firewall::tells_what_it_does", |setup| {
            with_firewall(setup, TargetChoice::Auto, tells_what_it_does)
        }),
        LabTest::new("firewall::answers_arp_on_every_interface", |setup| {
            with_firewall(setup, TargetChoice::Auto, answers_arp_on_every_interface)
        }),
        LabTest::new(
            "firewall::passes_frames_longer_than_the_mtu_whole",
            |setup| with_firewall(setup, TargetChoice::Auto, passes_long_frames_whole),
        ),
        LabTest::new("firewall::survives_the_loss_of_an_interface", |setup| {
            with_firewall(setup, TargetChoice::Auto, survives_the_loss_of_an_interface)
        }),
        LabTest::new("firewall::goes_on_when_an_interface_comes_back", |setup| {
            with_firewall(
                setup,
                TargetChoice::Auto,
                goes_on_when_an_interface_comes_back,
            )
        }),
        LabTest::new(
            "firewall::has_memory_for_many_interfaces",
            has_memory_for_many_interfaces,
        ),
        LabTest::new("firewall::starts_and_stops_again_and_again", |setup| {
            with_firewall(setup, TargetChoice::Auto, starts_and_stops_again_and_again)
        }),
        LabTest::new("firewall::nothing_passes_without_it", |setup| {
            with_firewall(setup, TargetChoice::Auto, nothing_passes_without_it)
        }),
    ]
}

/// The networks of the example with its firewall between them, at 8 MiB.
pub(crate) struct Running<'m> {
    pub(crate) machine: &'m Machine,
    /// Its configuration's path in dom0.
    config: String,
    scenario: Scenario<'m>,
    pub(crate) domain: Forwarder,
    source: Source,
}

pub(crate) fn with_firewall(
    setup: &Setup,
    target: TargetChoice,
    test: fn(&Running<'_>) -> Result<()>,
) -> Result<()> {
    let options = RunOptions {
        memory_mib: 8,
        target,
    };
    let firewall = Firewall::build(&Workspace::find()?, options)?;
    let machine = &*setup.machine;
    let config = firewall.put(machine)?;
    let scenario = Scenario::prepare(machine, firewall.sides()?, traffic::TWO_INTERFACES)?;
    let outcome = scenario
        .start("firewalldom", &config, INSIDE, OUTSIDE)
        .and_then(|domain| {
            scenario.wait_ready(&domain)?;
            let source = Source::new(&firewall.site);
            let running = Running {
                machine,
                config: config.clone(),
                scenario,
                domain,
                source,
            };
            test(&running).with_context(|| machine.guest_console("firewalldom").unwrap_or_default())
        });
    machine.dom0("xl destroy firewalldom 2>/dev/null; true")?;
    network::remove(machine, &firewall.sides()?)?;
    // Console logs are appended to: the next test reads its own.
    machine.forget_guest_console("firewalldom")?;
    outcome
}

impl Running<'_> {
    /// Types a line on the firewall's console and waits for what it answers.
    fn ask(&self, line: &str, answer: &str) -> Result<String> {
        self.machine
            .dom0(&format!("echo '{line}' > {}", self.domain.console_tty))?;
        self.machine
            .wait_for_console("firewalldom", answer, PATIENCE)
    }
}

fn treats_traffic_as_its_files_say(setup: &Setup, target: TargetChoice) -> Result<()> {
    with_firewall(setup, target, |running| {
        let cases =
            running
                .scenario
                .try_all(traffic::TWO_INTERFACES, &running.domain, &running.source)?;
        for case in &cases {
            expect(case.as_expected(), || {
                format!(
                    "{} from {} to {}: {} (expected to be {:?} by {:?}, decided by {:?})",
                    case.tried,
                    case.from,
                    case.to,
                    case.detail,
                    case.expected,
                    case.expected_line,
                    case.decided_by
                )
            })?;
        }
        running.scenario.shut_down(&running.domain)
    })
}

fn tells_what_it_does(running: &Running<'_>) -> Result<()> {
    // A packet nobody asked for, which the policy logs. Its sender waits, and ends with the network.
    running
        .machine
        .dom0("ip netns exec net busybox nc 192.0.2.2 22 </dev/null >/dev/null 2>&1 &")?;
    let console = running
        .machine
        .wait_for_console("firewalldom", "DPT=22", PATIENCE)?;
    let logged = console
        .lines()
        .find(|line| line.contains("DPT=22"))
        .unwrap_or_default();
    for part in [
        "Shorewall:net-fw:DROP:IN=eth0 OUT= MAC=",
        "SRC=192.0.2.1 DST=192.0.2.2 ",
        "PROTO=TCP SPT=",
        " SYN ",
    ] {
        expect(logged.contains(part), || {
            format!("{part:?} is not in {logged:?}")
        })?;
    }
    running.ask("ping 192.0.2.1", "ping 192.0.2.1: reply after")?;
    running.ask("ping 10.0.3.9", "ping 10.0.3.9: reply after")?;
    running.ask("ping 192.0.2.77", "ping 192.0.2.77: no reply")?;
    running.ask("pong", "pong: no such command; try help")?;
    let drops = running.ask("drops", "end of drops")?;
    expect(drops.contains(" DROP"), || drops.clone())
}

fn answers_arp_on_every_interface(running: &Running<'_>) -> Result<()> {
    for (namespace, address) in [
        ("loc", "10.0.3.1"),
        ("loc", "192.0.2.2"),
        ("net", "192.0.2.2"),
        ("net", "10.0.3.1"),
    ] {
        let answer = running.machine.dom0(&format!(
            "ip netns exec {namespace} busybox arping -f -w 30 -I eth0 {address}"
        ))?;
        expect(answer.contains("nicast reply from"), || {
            format!("{address} in {namespace}: {answer}")
        })?;
    }
    // But for nobody else.
    let answer = running
        .machine
        .dom0("ip netns exec loc busybox arping -c 2 -w 3 -I eth0 192.0.2.1; true")?;
    expect(!answer.contains("nicast reply from"), || answer.clone())
}

fn passes_long_frames_whole(running: &Running<'_>) -> Result<()> {
    running.machine.dom0(
        // However slowly it passes, Linux is to make few long frames of it.
        "ip netns exec loc sysctl -qw net.ipv4.tcp_min_tso_segs=40
         ip netns exec net iperf3 --server --one-off --daemon
         until ip netns exec net ss -ltnH 'sport = :5201' | grep -q .; do sleep 0.05; done
         ip netns exec loc iperf3 --client 192.0.2.1 --bytes 20M >/dev/null",
    )?;
    let console = running.ask("interfaces", "end of interfaces")?;
    let line = console
        .lines()
        .find(|line| line.starts_with("eth0 in "))
        .context(console.clone())?;
    let words: Vec<&str> = line.split([' ', ',']).collect();
    let out = words
        .iter()
        .position(|word| *word == "out")
        .context("out")?;
    let packets: u64 = words[out + 1].parse()?;
    let bytes: u64 = words[out + 3].parse()?;
    // Most of the transfer, in frames far longer than the MTU of 1,500.
    expect(bytes > 10_000_000 && bytes / packets > 6_000, || {
        line.to_owned()
    })
}

fn survives_the_loss_of_an_interface(running: &Running<'_>) -> Result<()> {
    running.machine.dom0("xl network-detach firewalldom 0")?;
    running
        .machine
        .wait_for_console("firewalldom", "eth0: the backend closed", PATIENCE)?;
    // The inside is served as before, and nothing gets out.
    running
        .machine
        .dom0("ip netns exec loc ping -c 2 -i 0.2 -W 20 10.0.3.1")?;
    let outside = running
        .machine
        .dom0("ip netns exec loc ping -c 2 -i 0.2 -W 2 192.0.2.1 || echo silence")?;
    expect(outside.contains("silence"), || outside.clone())?;
    running.scenario.shut_down(&running.domain)
}

/// Its outer vif is taken away and attached anew, which gives it another number, while a connection is open
/// through it.
fn goes_on_when_an_interface_comes_back(running: &Running<'_>) -> Result<()> {
    let machine = running.machine;
    stat::install(machine)?;
    // A line every fifth of a second, for longer than all that follows.
    machine.dom0(
        // Whoever listens says nothing, and does not hang up for it.
        "(sleep 900 | ip netns exec net busybox nc -l -p 7007 > /tmp/lines) >/dev/null 2>&1 &
         until ip netns exec net ss -ltnH | grep -q :7007; do sleep 0.1; done
         rm -f /tmp/enough
         (ip netns exec loc sh -c '(number=0; until [ -e /tmp/enough ]; do echo $((number += 1)); sleep 0.2; done; echo end) | busybox nc 192.0.2.1 7007' >/dev/null 2>&1 &)
         until [ -s /tmp/lines ]; do sleep 0.1; done",
    )?;
    let mut free = None;
    let mut index = 0;
    for round in 0..Tier::current().repetitions(20) {
        let attach = format!(
            "front=/local/domain/$(xl domid firewalldom)/device/vif/{index}
             mac=$(xenstore-read $front/mac)
             bridge=$(xenstore-read $(xenstore-read $front/backend)/bridge)
             xl network-detach firewalldom {index} || exit 1
             ! xenstore-exists $front || exit 1
             xl network-attach firewalldom bridge=$bridge mac=$mac"
        );
        machine.dom0(&attach)?;
        let count = |console: &str| {
            console
                .matches("eth0: its backend in domain 0 is there")
                .count()
        };
        // Whoever sent in vain tries again after ever longer pauses.
        let goes_on = Command::bash(
            "before=$(wc -l < /tmp/lines)
             until ip netns exec loc ping -c 1 -W 1 192.0.2.1 >/dev/null; do :; done
             until [ $(wc -l < /tmp/lines) -gt $((before + 2)) ]; do sleep 0.2; done",
        );
        machine.check(&goes_on.limit(2 * PATIENCE))?;
        let console = machine.guest_console("firewalldom")?;
        expect(count(&console) == 1 + round as usize, || console.clone())?;
        let vifs =
            machine.dom0("xenstore-list /local/domain/$(xl domid firewalldom)/device/vif")?;
        let others = vifs
            .split_whitespace()
            .filter_map(|vif| vif.parse::<u32>().ok());
        index = others.filter(|vif| *vif != 1).max().context("no vif")?;
        // What the first had is the second's: it is not less from then on.
        let left = stat::answer(machine, "firewalldom")?["memory_bytes"]["free"].as_u64();
        let left = left.context("no free memory is told")?;
        let before = *free.get_or_insert(left);
        expect(left >= before, || {
            format!("{before} bytes free at first, now {left}")
        })?;
    }
    let lines = machine.dom0(
        "touch /tmp/enough
         dom0-agent await /tmp/lines end >/dev/null; cat /tmp/lines",
    )?;
    let numbers: Vec<&str> = lines.lines().collect();
    let whole = numbers.iter().enumerate().all(|(at, line)| {
        *line == (at + 1).to_string() || (at + 1 == numbers.len() && *line == "end")
    });
    expect(whole && numbers.last() == Some(&"end"), || lines.clone())?;
    running.scenario.shut_down(&running.domain)
}

fn starts_and_stops_again_and_again(running: &Running<'_>) -> Result<()> {
    running.scenario.shut_down(&running.domain)?;
    for _ in 0..Tier::current().repetitions(50) {
        let domain = running
            .scenario
            .start("firewalldom", &running.config, INSIDE, OUTSIDE)?;
        running.scenario.shut_down(&domain)?;
    }
    Ok(())
}

fn nothing_passes_without_it(running: &Running<'_>) -> Result<()> {
    running.machine.dom0("xl destroy firewalldom")?;
    let outcome = running
        .machine
        .dom0("ip netns exec loc ping -c 3 -i 0.2 -W 1 192.0.2.1 || echo silence")?;
    expect(outcome.contains("silence"), || outcome.clone())
}

/// A site of eight interfaces, with the memory that `build` chooses for it.
fn has_memory_for_many_interfaces(setup: &Setup) -> Result<()> {
    const COUNT: usize = 8;
    let lines = |line: fn(usize) -> String| (0..COUNT).map(line).collect::<String>();
    let site = Site::from_files(
        "many",
        [
            (
                "shorewall/zones",
                format!("fw firewall\n{}", lines(|n| format!("z{n} ipv4\n"))),
            ),
            (
                "shorewall/interfaces",
                format!("?FORMAT 2\n{}", lines(|n| format!("z{n} eth{n}\n"))),
            ),
            ("shorewall/policy", "all all REJECT\n".to_owned()),
            (
                "network/interfaces",
                lines(|n| format!("iface eth{n} inet static\n  address 10.{n}.0.1/24\n")),
            ),
        ],
    );
    let policy = shorewall::compile(&site)?.policy;
    let workspace = Workspace::find()?;
    let out = workspace.target().join("image/many");
    let built = build_firewall(&workspace, &policy, &out, None, TargetChoice::Auto)?;
    let machine = &setup.machine;
    for file in ["firewalldom.xen", "firewalldom.policy"] {
        std::fs::copy(out.join(file), machine.share().join(file))?;
    }
    let config =
        std::fs::read_to_string(&built.config)?.replace(&format!("{}/", out.display()), "/share/");
    machine.put(
        "/tmp/many.cfg",
        format!("{config}\nname = 'many'\n").as_bytes(),
    )?;
    machine.dom0(&format!(
        "for n in $(seq 0 {last}); do ip link add br-z$n type bridge; ip link set br-z$n up; done
         xl create -q /tmp/many.cfg",
        last = COUNT - 1
    ))?;
    let console = machine.wait_for_console("many", "forwarding between", PATIENCE)?;
    machine.dom0(&format!(
        "xl shutdown -w many; for n in $(seq 0 {last}); do ip link del br-z$n; done",
        last = COUNT - 1
    ))?;
    expect(
        console.contains("eth0, eth1, eth2, eth3, eth4, eth5, eth6, eth7"),
        || console.clone(),
    )
}

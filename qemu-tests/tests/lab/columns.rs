//! The columns and files that the example does without, on Xen: rates, connection limits, times,
//! fragments, MSS, reverse paths, untracked packets, SCTP, blacklists, 1:1 NAT. In the full
//! tier Debian's guest with the rules of real Shorewall stands in the same place after it, and must
//! do the same.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use anyhow::{Context, Result};
use image::build::TargetChoice;
use image::run::debian::{READY_LIMIT, router};
use image::run::scenario::{Forwarder, Scenario};
use image::run::{Firewall, INSIDE, OUTSIDE, RunOptions, network};
use image::workspace::Workspace;
use qemu_tests::{Command, Machine, Tier};
use std::path::Path;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "columns::do_what_they_do_in_debian",
        do_what_they_do_in_debian,
    )]
}

const SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sites/columns");

/// What is tried: a script of bash in dom0, and what it prints.
struct Case {
    what: &'static str,
    script: &'static str,
    prints: &'static str,
}

/// The hosts' second addresses and servers; what the cases have in common.
const PREPARE: &str = r#"
modprobe sctp
ip -n net addr add 192.0.2.66/24 dev eth0
ip -n loc addr add 10.0.3.77/24 dev eth0
ip -n loc addr add 203.0.113.7/32 dev eth0
echo served >/tmp/served
serve() { ip netns exec $1 socat -U $2,reuseaddr,fork "$3" </dev/null >/dev/null 2>&1 & }
for port in 1001 1003 1004 1006 1011 1014 14; do
    serve net TCP4-LISTEN:$port,backlog=16 OPEN:/tmp/served,rdonly
done
serve net TCP4-LISTEN:1002,backlog=16 'SYSTEM:cat /tmp/served; exec sleep 60'
for port in 1005 1015; do
    ip netns exec net socat UDP4-RECVFROM:$port,reuseaddr,fork PIPE </dev/null >/dev/null 2>&1 &
done
for port in 1008 1009; do
    serve net SCTP4-LISTEN:$port,bind=192.0.2.1 OPEN:/tmp/served,rdonly
done
serve loc TCP4-LISTEN:1010 OPEN:/tmp/served,rdonly
until [ $(ip netns exec net ss -ltnH | wc -l) -ge 8 ] && [ $(ip netns exec loc ss -ltnH | wc -l) -ge 1 ]; do sleep 0.1; done
"#;

/// `fetch NAMESPACE ADDRESS`: what a server sends. `fetches COUNT NAMESPACE ADDRESS`: how often it
/// does. `echoes SECONDS NAMESPACE ADDRESS/PORT`: what a datagram brings back until then. `pings SECONDS
/// NAMESPACE ARGUMENTS...`: how many of two come back until then. It is long where they are to come.
/// `listens NAMESPACE ARGUMENTS...`: tcpdump, beside what follows.
const FUNCTIONS: &str = r#"
export LC_ALL=C
fetch() { ip netns exec $1 timeout 30 socat -u $2 - </dev/null 2>/dev/null | head -n 1; }
fetches() { n=0; for _ in $(seq $1); do [ "$(fetch $2 $3)" = served ] && n=$((n + 1)); done; echo $n; }
echoes() { ip netns exec $2 timeout $1 bash -c "exec 3<>/dev/udp/$3; echo echo >&3; busybox dd bs=2048 count=1 status=none <&3" 2>&1; }
listens() {
    ns=$1; shift; rm -f /tmp/listens
    ip netns exec $ns timeout 60 tcpdump -Z root -i eth0 -nn "$@" 2>/tmp/listens &
    dom0-agent await /tmp/listens 'listening on' >/dev/null
}
pings() { w=$1 ns=$2; shift 2; ip netns exec $ns ping -q -c 2 -i 0.2 -W $w "$@" | sed -n 's/.* \([0-9]\) received.*/\1/p'; }
"#;

const CASES: &[Case] = &[
    Case {
        what: "an open port",
        script: "fetch loc TCP4:192.0.2.1:1006",
        prints: "served",
    },
    Case {
        what: "RATE, of all senders",
        script: "fetches 6 loc TCP4:192.0.2.1:1001",
        prints: "3",
    },
    Case {
        what: "RATE, of each sender",
        script: "fetches 4 loc TCP4:192.0.2.1:1011
                 fetches 4 loc TCP4:192.0.2.1:1011,bind=10.0.3.77",
        prints: "2\n2",
    },
    Case {
        what: "CONNLIMIT",
        script: "for _ in 1 2 3 4; do
                     ip netns exec loc socat -u TCP4:192.0.2.1:1002 - >/dev/null 2>&1 &
                 done
                 open() { ip netns exec loc ss -tnH state established '( dport = :1002 )' | wc -l; }
                 # Two are refused.
                 for _ in {1..100}; do [ $(jobs -rp | wc -l) -le 2 ] && [ $(open) -ge 2 ] && break; sleep 0.1; done
                 open
                 fetch loc TCP4:192.0.2.1:1002
                 killall sleep; wait
                 fetch loc TCP4:192.0.2.1:1002",
        prints: "2\nserved",
    },
    Case {
        what: "TIME that is over",
        script: "fetch loc TCP4:192.0.2.1:1003",
        prints: "",
    },
    Case {
        what: "TIME that has come",
        script: "fetch loc TCP4:192.0.2.1:1004",
        prints: "served",
    },
    Case {
        what: "fragments",
        script: "pings 20 loc -s 4000 192.0.2.1; pings 20 loc -s 4000 10.0.3.1",
        prints: "2\n2",
    },
    Case {
        what: "MSS of a SYN",
        script: "listens net -c 1 'dst port 1006 and tcp[13] & 18 = 2' >/tmp/syn
                 fetch loc TCP4:192.0.2.1:1006; wait; grep -o 'mss [0-9]*' /tmp/syn",
        prints: "served\nmss 1000",
    },
    Case {
        what: "a source that lives elsewhere",
        script: "listens net -c 2 'icmp[0] = 8' >/tmp/pings
                 pings 2 loc -I 203.0.113.7 192.0.2.1; pings 20 loc -I 10.0.3.77 192.0.2.1; wait
                 cut -d ' ' -f 3 /tmp/pings",
        prints: "0\n2\n192.0.2.2\n192.0.2.2",
    },
    Case {
        what: "NOTRACK with a rule for the answers",
        script: "echoes 20 loc 192.0.2.1/1005",
        prints: "echo",
    },
    Case {
        what: "NOTRACK without",
        script: "echoes 2 loc 192.0.2.1/1015",
        prints: "",
    },
    Case {
        what: "SCTP",
        script: "fetch loc SCTP4:192.0.2.1:1008,bind=10.0.3.9; fetch loc SCTP4:192.0.2.1:1009,bind=10.0.3.9",
        prints: "served",
    },
    Case {
        what: "blrules",
        script: "pings 2 net -I 192.0.2.66 192.0.2.2; pings 20 net -I 192.0.2.1 192.0.2.2",
        prints: "0\n2",
    },
    Case {
        what: "1:1 NAT, and DNAT to the same host",
        script: "pings 20 net 192.0.2.50
                 fetch net TCP4:192.0.2.50:1010
                 fetch net TCP4:192.0.2.2:1020
                 fetch net TCP4:192.0.2.50:1011",
        prints: "2\nserved\nserved",
    },
    Case {
        what: "a closed port's ICMP error",
        script: "echoes 20 loc 192.0.2.1/1013 | grep -o 'Connection refused'",
        prints: "Connection refused",
    },
    Case {
        what: "an action with a parameter",
        script: "fetch loc TCP4:192.0.2.1:1014; fetch loc TCP4:192.0.2.1:14",
        prints: "served",
    },
];

/// Tries every case; what each printed.
fn try_all(machine: &Machine) -> Result<Vec<String>> {
    let attempt = |case: &Case| {
        let script = format!("{FUNCTIONS}{}", case.script);
        let output = machine
            .run(&Command::bash(script).limit(PATIENCE))
            .context(case.what)?;
        Ok(output.text().trim().to_owned())
    };
    CASES.iter().map(attempt).collect()
}

fn do_what_they_do_in_debian(setup: &Setup) -> Result<()> {
    let options = RunOptions {
        memory_mib: 8,
        target: TargetChoice::Auto,
    };
    let firewall = Firewall::of(&Workspace::find()?, Path::new(SITE), options)?;
    let machine = &*setup.machine;
    let scenario = Scenario::prepare(machine, firewall.sides()?, &[])?;
    machine.dom0(PREPARE)?;
    let outcome = try_each(setup, &firewall, &scenario);
    machine.dom0("for name in firewalldom debian; do xl destroy $name; done 2>/dev/null; true")?;
    network::remove(machine, &firewall.sides()?)?;
    machine.forget_guest_console("firewalldom")?;
    outcome
}

fn try_each(setup: &Setup, firewall: &Firewall, scenario: &Scenario<'_>) -> Result<()> {
    let machine = &*setup.machine;
    let config = firewall.put(machine)?;
    let try_in = |name: &str, config: &str, ready: &dyn Fn(&Forwarder) -> Result<()>| {
        let domain = scenario.start(name, config, INSIDE, OUTSIDE)?;
        ready(&domain)?;
        let printed = try_all(machine)?;
        scenario.shut_down(&domain)?;
        anyhow::Ok(printed)
    };
    let printed = try_in("firewalldom", &config, &|domain| {
        scenario.wait_ready(domain)
    })?;
    let mut wrong = unexpected("firewalldom", &printed);
    // What Debian does is the same from one day to the next.
    if Tier::current() == Tier::Full {
        let peer = router(&firewall.site, &firewall.policy, &firewall.config());
        let config = machine.put_debian_router(&setup.lab, &peer)?;
        machine.forget_guest_console(&peer.name)?;
        let printed = try_in(&peer.name, &config, &|_| {
            let ready = peer.ready_line();
            machine
                .wait_for_console(&peer.name, &ready, READY_LIMIT)
                .map(drop)
        })?;
        wrong += &unexpected("Debian", &printed);
    }
    expect(wrong.is_empty(), || wrong)
}

/// A line for each case that did not print what it should have.
fn unexpected(who: &str, printed: &[String]) -> String {
    let lines = CASES.iter().zip(printed).map(|(case, printed)| {
        if printed == case.prints {
            return String::new();
        }
        let (what, expected) = (case.what, case.prints);
        format!("{what}: {who} printed {printed:?}, not {expected:?}\n")
    });
    lines.collect()
}

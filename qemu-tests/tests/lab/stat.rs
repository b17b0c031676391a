//! `xen-image-dom0 stat` on real Xen: what a domain tells is what dom0's own counters say.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::firewall::{Running, with_firewall};
use crate::guests::FIREWALL;
use anyhow::{Context, Result, ensure};
use image::build::TargetChoice;
use image::workspace::Workspace;
use qemu_tests::{Command, Machine, Status};
use serde_json::Value;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new("stat::the_program_is_static", the_program_is_static),
        LabTest::new(
            "stat::tells_exactly_what_passed_and_what_did_not",
            |setup| with_firewall(setup, TargetChoice::Auto, tells_exactly_what_passed),
        ),
        LabTest::new("stat::serves_many_askers_and_bears_junk", |setup| {
            with_firewall(setup, TargetChoice::Auto, serves_many_and_bears_junk)
        }),
        LabTest::new("stat::says_why_there_is_no_answer", |setup| {
            with_firewall(setup, TargetChoice::Auto, says_why_there_is_no_answer)
        }),
    ]
}

/// The program's place in dom0.
const PROGRAM: &str = "/usr/sbin/xen-image-dom0";

/// How long `stat` waits for an answer here, where all wait for each other: less than it is waited for itself.
const TIMEOUT: &str = "--timeout 150";

pub(crate) fn install(machine: &Machine) -> Result<()> {
    machine.put(PROGRAM, &image::build::dom0(&Workspace::find()?)?)?;
    machine.dom0(&format!("chmod 755 {PROGRAM}"))?;
    Ok(())
}

fn the_program_is_static(setup: &Setup) -> Result<()> {
    let program = image::build::dom0(&Workspace::find()?)?;
    let elf = xmas_elf::ElfFile::new(&program).map_err(anyhow::Error::msg)?;
    for header in elf.program_iter() {
        let kind = header.get_type().map_err(anyhow::Error::msg)?;
        expect(kind != xmas_elf::program::Type::Interp, || {
            "it asks for a dynamic loader".to_owned()
        })?;
    }
    // And needs nothing of the file system it runs in.
    let machine = &setup.machine;
    machine.dom0("mkdir -p /tmp/empty")?;
    machine.put("/tmp/empty/program", &program)?;
    let help = machine.dom0("chmod 755 /tmp/empty/program; chroot /tmp/empty /program --help")?;
    machine.dom0("rm -r /tmp/empty")?;
    expect(help.contains("Usage: xen-image-dom0 stat DOMAIN"), || {
        help.clone()
    })
}

/// What `stat` says: its exit status, its output, its errors.
fn stat(machine: &Machine, arguments: &str) -> Result<(i32, String, String)> {
    let command = Command::bash(format!("{PROGRAM} stat {arguments}")).limit(PATIENCE);
    let output = machine.run(&command)?;
    let Status::Code(code) = output.status else {
        anyhow::bail!("stat {arguments}: {:?}", output.status);
    };
    Ok((code, output.text(), output.errors()))
}

pub(crate) fn answer(machine: &Machine, domain: &str) -> Result<Value> {
    let (code, text, errors) = stat(machine, &format!("{domain} --json {TIMEOUT}"))?;
    ensure!(code == 0, "stat: {errors}");
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// A number at a path of the answer; 0 for one that is not there, as for a reason that never struck.
pub(crate) fn number(answer: &Value, pointer: &str) -> u64 {
    answer.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// Hits of a line of the configuration.
fn hits(answer: &Value, file: &str, line: u64) -> u64 {
    let rules = answer.pointer("/firewall/rules").and_then(Value::as_array);
    let rule = rules
        .into_iter()
        .flatten()
        .find(|rule| rule["file"] == file && rule["line"] == line);
    rule.map_or(0, |rule| number(rule, "/hits"))
}

/// What dom0's netback counted of a vif: frames and bytes to the domain, and from it.
///
/// Bytes from the domain are counted behind the Ethernet header, bytes to it with the header.
fn netback(running: &Running<'_>, vif: usize) -> Result<[u64; 4]> {
    let folder = format!("/sys/class/net/vif{}.{vif}/statistics", running.domain.id);
    let text = running.machine.dom0(&format!(
        "cd {folder}; cat tx_packets tx_bytes rx_packets rx_bytes"
    ))?;
    let mut numbers = [0; 4];
    for (number, line) in numbers.iter_mut().zip(text.lines()) {
        *number = line.trim().parse()?;
    }
    Ok(numbers)
}

/// Both ends of every ring at one moment: nothing moves meanwhile.
fn both_ends(running: &Running<'_>) -> Result<(Value, [[u64; 4]; 2])> {
    for _ in 0..20 {
        let before = [netback(running, 0)?, netback(running, 1)?];
        let answer = answer(running.machine, FIREWALL)?;
        if before == [netback(running, 0)?, netback(running, 1)?] {
            return Ok((answer, before));
        }
    }
    anyhow::bail!("the networks are never quiet")
}

fn tells_exactly_what_passed(running: &Running<'_>) -> Result<()> {
    const PINGS: u64 = 5;
    const UNASKED: u64 = 7;
    let machine = running.machine;
    install(machine)?;
    // Addresses are resolved before anything is counted.
    machine.dom0("ip netns exec loc ping -c 2 -i 0.2 -W 20 192.0.2.1")?;
    let (before, ring_before) = both_ends(running)?;
    machine.dom0(&format!(
        "ip netns exec loc ping -c {PINGS} -i 0.2 -W 20 192.0.2.1
         for port in $(seq 4001 {}); do
             ip netns exec net bash -c \"echo x > /dev/udp/192.0.2.2/$port\"
         done
         ip netns exec net iperf3 --server --one-off --daemon
         until ip netns exec net ss -ltnH 'sport = :5201' | grep -q .; do sleep 0.05; done
         ip netns exec loc iperf3 --client 192.0.2.1 --bytes 5M >/dev/null",
        4000 + UNASKED
    ))?;
    let (after, ring_after) = both_ends(running)?;
    let grown = |pointer: &str| number(&after, pointer) - number(&before, pointer);

    for vif in 0..2 {
        let ring: Vec<u64> = ring_after[vif]
            .iter()
            .zip(ring_before[vif])
            .map(|(after, before)| after - before)
            .collect();
        let of = |what: &str| grown(&format!("/interfaces/{vif}/{what}"));
        let frames_sent = of("transmitted/frames");
        let told = [
            of("received/frames"),
            of("received/bytes"),
            frames_sent,
            of("transmitted/bytes") - 14 * frames_sent,
        ];
        expect(told[..] == ring[..], || {
            format!("eth{vif}: the domain says {told:?}, netback {ring:?}")
        })?;
        for direction in ["received", "transmitted"] {
            let errors = of(&format!("{direction}/errors/total"));
            expect(errors == 0, || {
                format!("eth{vif}: {errors} errors {direction}")
            })?;
        }
    }
    let dropped = grown("/firewall/dropped/by_name/DROP");
    expect(dropped == UNASKED, || {
        format!("{dropped} dropped of {UNASKED}")
    })?;
    let by_policy = |answer| hits(answer, "shorewall/policy", 6);
    let hit = by_policy(&after) - by_policy(&before);
    expect(hit == UNASKED, || format!("{hit} hits of {UNASKED}"))?;
    // The pings there and back, and the transfer besides.
    let forwarded = grown("/firewall/forwarded");
    expect(forwarded > 2 * PINGS, || format!("{forwarded} forwarded"))?;
    expect(number(&after, "/firewall/flows/now") >= 2, || {
        "the ping's flow and the transfer's".to_owned()
    })?;
    expect(
        number(&after, "/hypercalls/total") > number(&before, "/hypercalls/total"),
        || "asking alone takes hypercalls".to_owned(),
    )?;
    let heap = |what: &str| number(&after, &format!("/memory_bytes/{what}"));
    let is_ordered = 0 < heap("heap_used")
        && heap("heap_used") <= heap("heap_used_max")
        && heap("heap_used_max") <= heap("heap")
        && heap("heap") + heap("free") <= heap("total");
    expect(is_ordered, || after["memory_bytes"].to_string())?;
    let up = number(&after, "/uptime_ns");
    expect((1_000_000_000..86_400_000_000_000).contains(&up), || {
        format!("up {up} ns")
    })?;
    for (pointer, expected) in [
        ("/domain", "firewalldom"),
        ("/state", "forwarding"),
        ("/interfaces/0/name", "eth0"),
        ("/interfaces/1/state", "open"),
        ("/firewall/site", "two-interfaces"),
    ] {
        expect(
            after
                .pointer(pointer)
                .is_some_and(|found| found == expected),
            || format!("{pointer} is not {expected}: {after}"),
        )?;
    }

    let (code, table, _) = stat(machine, &format!("{} {TIMEOUT}", running.domain.id))?;
    for part in ["firewalldom (domain ", "shorewall/policy:6", "room for"] {
        expect(code == 0 && table.contains(part), || {
            format!("{part:?} is not in {table}")
        })?;
    }
    Ok(())
}

fn serves_many_and_bears_junk(running: &Running<'_>) -> Result<()> {
    let machine = running.machine;
    install(machine)?;
    machine.dom0("ip netns exec loc ping -c 2 -i 0.2 -W 20 192.0.2.1")?;
    let many = format!(
        "mkdir -p /tmp/many
        for n in $(seq 20); do
            xen-image-dom0 stat firewalldom --json {TIMEOUT} >/tmp/many/$n 2>&1 & asked+=($!)
        done
        for pid in ${{asked[@]}}; do wait $pid || echo \"one ends with $?\"; done
        for n in $(seq 20); do
            grep -q '\"site\": \"two-interfaces\"' /tmp/many/$n || cat /tmp/many/$n
        done
        rm -r /tmp/many"
    );
    let trouble = machine.check(&Command::bash(many).limit(2 * PATIENCE))?;
    expect(trouble.is_empty(), || {
        format!("not all of 20 were served:\n{trouble}")
    })?;

    // What is no request, and more of them than there are answers, while something passes.
    let home = format!("/local/domain/{}", running.domain.id);
    machine.check(
        &Command::bash(format!(
            "ip netns exec loc ping -q -c 20 -i 0.1 -W 20 192.0.2.1 >/tmp/pings & pings=$!
             xenstore-write {home}/data/stat/request/junk x {home}/data/stat/request/a/b/c y
             for n in $(seq 100); do
                 xenstore-write {home}/data/stat/request/$(printf %016x $n) ''
             done
             wait $pings && grep -q ' 20 received' /tmp/pings"
        ))
        .limit(PATIENCE),
    )?;
    let (code, _, errors) = stat(machine, &format!("firewalldom {TIMEOUT}"))?;
    expect(code == 0, || errors.clone())?;
    // All were answered or thrown away, and what nobody fetched is removed.
    machine.check(
        &Command::bash(format!(
            "until test -z \"$(xenstore-list {home}/data/stat/request; xenstore-list {home}/data/stat/answer)\"
             do sleep 0.2; done"
        ))
        .limit(PATIENCE),
    )?;
    Ok(())
}

fn says_why_there_is_no_answer(running: &Running<'_>) -> Result<()> {
    let machine = running.machine;
    install(machine)?;
    let refused = |arguments: &str, status: i32, part: &str| {
        let (code, text, errors) = stat(machine, arguments)?;
        expect(
            code == status && text.is_empty() && errors.contains(part),
            || format!("stat {arguments}: {code}, {text:?}, {errors:?}"),
        )
    };
    refused("", 2, "say which domain")?;
    refused(
        "firewaldom",
        1,
        "no domain is called `firewaldom`; there are: Domain-0, firewalldom",
    )?;
    refused("4711", 1, "there is no domain 4711")?;
    refused("Domain-0", 1, "domain 0 keeps no statistics")?;

    let home = format!("/local/domain/{}", running.domain.id);
    machine.dom0(&format!("xenstore-write {home}/data/stat/version 2"))?;
    refused(
        "firewalldom",
        1,
        "answers in version 2, and this program reads version 1",
    )?;
    machine.dom0(&format!("xenstore-write {home}/data/stat/version 1"))?;

    machine.dom0("xl pause firewalldom")?;
    refused(
        "firewalldom --timeout 1",
        1,
        "has not answered for 1 s: it is paused or hangs",
    )?;
    let left = machine.dom0(&format!("xenstore-list {home}/data/stat/request"))?;
    expect(left.trim().is_empty(), || format!("left behind: {left}"))?;
    machine.dom0("xl unpause firewalldom")?;
    let (code, _, errors) = stat(machine, &format!("firewalldom {TIMEOUT}"))?;
    expect(code == 0, || errors.clone())?;

    // Destroyed in the middle of a request.
    let script = format!(
        "xl pause firewalldom
         {PROGRAM} stat firewalldom {TIMEOUT} 2>/tmp/said & asked=$!
         until test -n \"$(xenstore-list {home}/data/stat/request)\"; do sleep 0.05; done
         xl destroy firewalldom
         wait $asked; echo $?; cat /tmp/said"
    );
    let said = machine.check(&Command::bash(script).limit(PATIENCE))?;
    expect(said.starts_with("1\n") && said.contains("is gone"), || {
        said.clone()
    })?;
    let remains = machine.dom0(&format!("xenstore-exists {home} && echo yes || echo no"))?;
    expect(remains.trim() == "no", || {
        "asking made the domain anew in xenstore".to_owned()
    })
}

//! minios-rs on real Xen: what works, and how it ends when something does not.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::images;
use anyhow::Result;
use image::build::TargetChoice;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new("minios::checks_succeed", |setup| {
            checks_succeed(setup, TargetChoice::Auto)
        }),
        LabTest::new(
            "minios::checks_succeed_built_for_the_host_triple",
            |setup| checks_succeed(setup, TargetChoice::Host),
        ),
        LabTest::new("minios::all_of_a_large_memory_is_usable", |setup| {
            succeeds(setup, TargetChoice::Auto, "memory", "memory = 600")
        }),
        LabTest::new("minios::memory_below_maxmem_works", |setup| {
            succeeds(
                setup,
                TargetChoice::Auto,
                "memory",
                "memory = 8\nmaxmem = 700",
            )
        }),
        LabTest::new("minios::module_arrives_whole", module_arrives_whole),
        LabTest::new("minios::notices_that_there_is_no_randomness", |setup| {
            let hidden = "cpuid = 'host,rdrand=0,rdseed=0'";
            succeeds(setup, TargetChoice::Auto, "no-entropy", hidden)
        }),
        LabTest::new("minios::console_never_blocks", console_never_blocks),
        LabTest::new("minios::faults_are_reported_and_crash", |setup| {
            faults_crash(setup, TargetChoice::Auto)
        }),
        LabTest::new(
            "minios::faults_are_reported_and_crash_built_for_the_host_triple",
            |setup| faults_crash(setup, TargetChoice::Host),
        ),
        LabTest::new(
            "minios::stack_overflow_ends_the_domain",
            stack_overflow_ends_the_domain,
        ),
        LabTest::new("minios::answers_the_toolstack", answers_the_toolstack),
        LabTest::new(
            "minios::refuses_devices_nobody_drives",
            refuses_devices_nobody_drives,
        ),
    ]
}

/// What the toolstack says in a domain's log when it has ended, and is gone or kept as its configuration says.
pub(crate) const ENDED: &str = "Done. Exiting now";

/// Starts `check` and waits for its domain's end; what it printed, and how Xen says that it ended
/// (`xl list`'s state, empty when it is gone).
pub(crate) fn run(
    setup: &Setup,
    target: TargetChoice,
    check: &str,
    more: &str,
) -> Result<(String, String)> {
    let kernel = images::put(&setup.machine, "guests", "minios-checks", target)?;
    // A name of its own: console logs are appended to.
    let name = format!("{check}-{target:?}-{}", setup.machine.age().as_millis()).to_lowercase();
    let config = format!(
        "name = '{name}'\nkernel = '{kernel}'\nmemory = 8\nextra = 'check={check}'\non_crash = 'preserve'\n{more}\n"
    );
    setup
        .machine
        .put(&format!("/tmp/{name}.cfg"), config.as_bytes())?;
    let script = format!(
        "xl create -q /tmp/{name}.cfg || exit 1
         dom0-agent await /var/log/xen/xl-{name}.log '{ENDED}' >/dev/null
         xl list | awk '$1 == \"{name}\" {{ print $5 }}'
         xl destroy {name} 2>/dev/null; true"
    );
    let ended = setup.machine.dom0(&script)?;
    Ok((setup.machine.guest_console(&name)?, ended.trim().to_owned()))
}

fn succeeds(setup: &Setup, target: TargetChoice, check: &str, more: &str) -> Result<()> {
    let (console, state) = run(setup, target, check, more)?;
    expect(
        console.contains("Test result: SUCCESS") && state.is_empty(),
        || format!("{check} ({more}): state {state:?}, console:\n{console}"),
    )
}

fn checks_succeed(setup: &Setup, target: TargetChoice) -> Result<()> {
    for check in [
        "memory", "heap", "spared", "clock", "entropy", "grants", "xenstore", "ports",
    ] {
        succeeds(setup, target, check, "")?;
    }
    Ok(())
}

fn module_arrives_whole(setup: &Setup) -> Result<()> {
    let module: Vec<u8> = (0..100_000u32).map(|index| (index % 251) as u8).collect();
    std::fs::write(setup.machine.share().join("module"), module)?;
    succeeds(
        setup,
        TargetChoice::Auto,
        "module",
        "ramdisk = '/share/module'",
    )
}

/// With the daemon stopped that reads consoles, a flood must end by itself; with the daemon back, the
/// console must say how much was dropped.
fn console_never_blocks(setup: &Setup) -> Result<()> {
    let kernel = images::put(
        &setup.machine,
        "guests",
        "minios-checks",
        TargetChoice::Auto,
    )?;
    let config =
        format!("name = 'flood'\nkernel = '{kernel}'\nmemory = 8\nextra = 'check=console-flood'\n");
    setup.machine.put("/tmp/flood.cfg", config.as_bytes())?;
    // The flood is over when the guest sleeps. It waits for a key then.
    setup.machine.dom0(
        "xl create -q -p /tmp/flood.cfg || exit 1
         console=/local/domain/$(xl domid flood)/console
         until tty=$(xenstore-read $console/tty 2>/dev/null) && [ -n \"$tty\" ]; do sleep 0.1; done
         killall -STOP xenconsoled
         xl unpause flood
         sleep 3; until xl list flood | grep -q ' -b---- '; do sleep 0.5; done
         killall -CONT xenconsoled
         until now=$(stat -c %s /var/log/xen/guest-flood.log); [ \"$now\" = \"$size\" ]; do
             size=$now; sleep 2
         done
         echo > $tty",
    )?;
    let console = setup
        .machine
        .wait_for_console("flood", "Test result:", PATIENCE)?;
    let lines: Vec<&str> = console.lines().collect();
    let flood = lines
        .iter()
        .filter(|line| line.contains("of a flood"))
        .count();
    let dropped = console.contains("lines dropped: nobody read");
    let succeeded = console.contains("Test result: SUCCESS");
    expect(dropped && succeeded && flood < 10_000, || {
        let end = lines.iter().rev().take(10).rev();
        format!("{flood} lines, the last: {:#?}", end.collect::<Vec<_>>())
    })
}

/// What each fault's report must say. The address in the middle is the build's business.
const REPORTS: [(&str, &[&str]); 11] = [
    (
        "null-read",
        &[
            "CRASH: page fault",
            "reading 0x0000000000000008 (page 0 is never mapped)",
        ],
    ),
    (
        "null-call",
        &[
            "CRASH: page fault",
            "executing 0x0000000000000010 (page 0 is never mapped)",
        ],
    ),
    (
        "text-write",
        &["CRASH: page fault", "writing 0x00000000001"],
    ),
    (
        "rodata-write",
        &["CRASH: page fault", "writing 0x00000000001"],
    ),
    (
        "heap-execute",
        &["CRASH: page fault", "executing 0x0000000000"],
    ),
    (
        "stack-execute",
        &["CRASH: page fault", "executing 0x00000000001"],
    ),
    (
        "panic",
        &[
            "CRASH: panicked at qemu-tests/guests/src/minios_checks.rs",
            "index out of bounds",
        ],
    ),
    (
        "out-of-memory",
        &[
            "CRASH: panicked at",
            "memory allocation of 65536 bytes failed",
        ],
    ),
    ("divide", &["CRASH: divide error (vector 0,"]),
    ("invalid-opcode", &["CRASH: invalid opcode (vector 6,"]),
    (
        "protection",
        &["CRASH: general protection fault (vector 13,"],
    ),
];

fn faults_crash(setup: &Setup, target: TargetChoice) -> Result<()> {
    for (check, report) in REPORTS {
        let (console, state) = run(setup, target, check, "")?;
        let frames = console
            .lines()
            .skip_while(|line| !line.contains("backtrace:"))
            .skip(1)
            .count();
        let told =
            report.iter().all(|part| console.contains(part)) && !console.contains("Test result");
        expect(told && frames >= 3 && state == "---sc-", || {
            format!("{check}: state {state:?}, {frames} frames, console:\n{console}")
        })?;
    }
    Ok(())
}

fn stack_overflow_ends_the_domain(setup: &Setup) -> Result<()> {
    let (console, state) = run(setup, TargetChoice::Auto, "stack-overflow", "")?;
    expect(
        state == "---sc-" && !console.contains("Test result"),
        || format!("state {state:?}:\n{console}"),
    )?;
    // Xen itself has to say where, since no handler could run.
    let log = setup.machine.dom0("xl dmesg | grep 'cr2: ' | tail -n 1")?;
    expect(log.contains("cr2: 0000000000"), || log.clone())
}

fn answers_the_toolstack(setup: &Setup) -> Result<()> {
    let kernel = images::put(
        &setup.machine,
        "guests",
        "minios-checks",
        TargetChoice::Auto,
    )?;
    let config = format!(
        "name = 'idle'\nkernel = '{kernel}'\nmemory = 8\nextra = 'check=idle'\non_reboot = 'restart'\n"
    );
    setup.machine.put("/tmp/idle.cfg", config.as_bytes())?;
    setup.machine.dom0("xl create -q /tmp/idle.cfg")?;
    setup
        .machine
        .wait_for_console("idle", "waiting to be shut down", PATIENCE)?;
    let before = setup.machine.dom0("xl domid idle")?;
    // A reboot is a new domain of the same name.
    setup.machine.dom0("xl reboot idle")?;
    let after = setup.machine.dom0(
        "until now=$(xl domid idle 2>/dev/null) && [ \"$now\" != \"$BEFORE\" ]; do sleep 0.2; done; echo $now"
            .replace("$BEFORE", before.trim())
            .as_str(),
    )?;
    expect(before != after, || format!("still domain {before}"))?;
    setup.machine.dom0("until xenstore-exists /local/domain/$(xl domid idle)/control/feature-poweroff; do sleep 0.1; done; xl shutdown -w idle")?;
    let list = setup.machine.dom0("xl list")?;
    expect(
        !list
            .lines()
            .any(|line| line.starts_with("idle") && !line.contains("--ps--")),
        || list.clone(),
    )
}

/// A device of a class that nobody here drives, written by hand as the toolstack would: the
/// frontend must follow the backend's Closing (5) with Closed (6).
fn refuses_devices_nobody_drives(setup: &Setup) -> Result<()> {
    let kernel = images::put(
        &setup.machine,
        "guests",
        "minios-checks",
        TargetChoice::Auto,
    )?;
    let config =
        format!("name = 'refuser'\nkernel = '{kernel}'\nmemory = 8\nextra = 'check=idle'\n");
    setup.machine.put("/tmp/refuser.cfg", config.as_bytes())?;
    let state = setup.machine.dom0(
        "xl create -q /tmp/refuser.cfg
         id=$(xl domid refuser)
         until xenstore-exists /local/domain/$id/control/feature-poweroff; do sleep 0.1; done
         front=/local/domain/$id/device/teapot/0; back=/local/domain/0/backend/teapot/$id/0
         xenstore-write $back/state 2 $back/frontend $front
         xenstore-write $front/backend $back $front/backend-id 0 $front/state 1
         xenstore-chmod -r $front n$id r0; xenstore-chmod -r $back n0 r$id
         sleep 0.5; xenstore-write $back/state 5
         until state=$(xenstore-read $front/state); [ \"$state\" = 6 ]; do sleep 0.2; done
         xl destroy refuser; xenstore-rm /local/domain/0/backend/teapot; echo $state",
    )?;
    expect(state.trim() == "6", || {
        format!("the frontend's state is {state}")
    })
}

//! The command channel into dom0 carries what commands are, faithfully.

use crate::bench::{LabTest, Setup, expect};
use anyhow::Result;
use qemu_tests::{Command, Machine, Status};
use std::time::Duration;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new("channel::exit_status_and_streams", exit_status_and_streams),
        LabTest::new("channel::signals_are_told_apart", signals_are_told_apart),
        LabTest::new(
            "channel::what_cannot_start_is_an_error",
            what_cannot_start_is_an_error,
        ),
        LabTest::new("channel::a_megabyte_each_way", a_megabyte_each_way),
        LabTest::new(
            "channel::time_limit_kills_the_whole_group",
            time_limit_kills_the_whole_group,
        ),
        LabTest::new(
            "channel::commands_run_side_by_side",
            commands_run_side_by_side,
        ),
        LabTest::new(
            "channel::a_daemon_does_not_hold_its_parent",
            a_daemon_does_not_hold_its_parent,
        ),
        LabTest::new(
            "channel::files_survive_put_and_get",
            files_survive_put_and_get,
        ),
    ]
}

fn exit_status_and_streams(setup: &Setup) -> Result<()> {
    let script = "read -r word; echo \"out $word\"; echo err >&2; exit 7";
    let output = setup.machine.run(&Command::bash(script).stdin("in\n"))?;
    expect(
        output.status == Status::Code(7)
            && output.stdout == b"out in\n"
            && output.stderr == b"err\n",
        || format!("{output:?}"),
    )
}

fn signals_are_told_apart(setup: &Setup) -> Result<()> {
    let output = setup.machine.run(&Command::bash("kill -TERM $$"))?;
    expect(output.status == Status::Signal(15), || {
        format!("{output:?}")
    })
}

fn what_cannot_start_is_an_error(setup: &Setup) -> Result<()> {
    let result = setup.machine.run(&Command::new(["no-such-program"]));
    expect(result.is_err(), || format!("{result:?}"))
}

fn a_megabyte_each_way(setup: &Setup) -> Result<()> {
    let bytes: Vec<u8> = (0..1_u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let output = setup
        .machine
        .run(&Command::new(["cat"]).stdin(bytes.clone()))?;
    expect(output.status.is_success() && output.stdout == bytes, || {
        format!("{}: {} bytes came back", output.status, output.stdout.len())
    })
}

fn time_limit_kills_the_whole_group(setup: &Setup) -> Result<()> {
    let script = "sleep 4242 & echo started; wait";
    // On a busy host it may not have begun before a short limit.
    for seconds in [1, 10, 60] {
        let command = Command::bash(script).limit(Duration::from_secs(seconds));
        let output = setup.machine.run(&command)?;
        expect(output.status == Status::TimedOut, || format!("{output:?}"))?;
        if !output.stdout.is_empty() || seconds == 60 {
            expect(output.stdout == b"started\n", || format!("{output:?}"))?;
            break;
        }
    }
    let left = sleepers(&setup.machine, 4242)?;
    expect(left.is_empty(), || format!("still there: {left}"))
}

fn commands_run_side_by_side(setup: &Setup) -> Result<()> {
    // Each waits for the next one's file: in turn, none would ever end.
    setup.machine.dom0("rm -rf /tmp/ring && mkdir /tmp/ring")?;
    let running = (0..5)
        .map(|number| {
            let script = format!(
                "touch /tmp/ring/{number}; until [ -e /tmp/ring/{} ]; do sleep 0.1; done; echo {number}",
                (number + 1) % 5
            );
            setup.machine.spawn(&Command::bash(script))
        })
        .collect::<Result<Vec<_>>>()?;
    for (number, running) in running.into_iter().enumerate() {
        let output = running.wait()?;
        expect(output.text() == format!("{number}\n"), || {
            format!("{output:?}")
        })?;
    }
    Ok(())
}

fn a_daemon_does_not_hold_its_parent(setup: &Setup) -> Result<()> {
    let output = setup
        .machine
        .run(&Command::bash("sleep 2424 & echo parent"))?;
    expect(output.stdout == b"parent\n", || format!("{output:?}"))?;
    // It was not waited for: it is there still.
    let daemon = sleepers(&setup.machine, 2424)?;
    expect(daemon.lines().count() == 1, || format!("there: {daemon}"))?;
    setup.machine.dom0(&format!("kill {daemon}")).map(drop)
}

/// Processes of dom0 that sleep for so many seconds, a line each.
fn sleepers(machine: &Machine, seconds: u32) -> Result<String> {
    machine.dom0(&format!(
        "for process in /proc/[0-9]*; do
             [ \"$(tr '\\0' ' ' 2>/dev/null < $process/cmdline)\" != 'sleep {seconds} ' ] || echo ${{process#/proc/}}
         done"
    ))
}

fn files_survive_put_and_get(setup: &Setup) -> Result<()> {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    setup.machine.put("/tmp/a file", &bytes)?;
    let back = setup.machine.get("/tmp/a file")?;
    expect(back == bytes, || format!("{} bytes came back", back.len()))?;
    let missing = setup.machine.get("/tmp/no file");
    expect(missing.is_err(), || "a missing file was read".to_owned())
}

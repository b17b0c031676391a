//! From `xl create` of a guest to its first packet outside.

use anyhow::{Context, Result};
use qemu_tests::Command;

use super::gateway::OUTSIDE;
use super::{Guests, Place};
use crate::bench::net_guest::CREATE_LIMIT;
use crate::bench::rounds::microseconds;
use crate::bench::samples::{Start, System};
use crate::run::scenario::StartTimes;

const FIRST: Place<'_> = Place {
    name: "first",
    address: "10.0.3.10",
    gateway: "10.0.3.1",
    vifname: "vif-loc-first",
};

impl Guests<'_> {
    /// A guest that sends as soon as it can, and needs no time for anything else.
    pub(super) fn first_packet(&self, system: System, run: u32) -> Result<Start> {
        let (gateway, _) = self.of(system);
        let words = format!("role=send to={OUTSIDE} rate=20 count=1 port=7001");
        let first = FIRST.net_guest(gateway);
        let config = first.put_config(self.machine, &words)?;
        let namespace = &gateway.outside.name;
        let script = format!(
            "\
export LC_ALL=C
ip netns exec {namespace} tcpdump -Z root -i eth0 -n -tt -c 1 --immediate-mode udp dst port 7001 >/tmp/first 2>/tmp/first.errors &
until grep -q listening /tmp/first.errors; do kill -0 %1 || {{ cat /tmp/first.errors >&2; exit 1; }}; sleep 0.1; done
begin=$EPOCHREALTIME
xl create -q '{config}' >&2 || {{ status=$?; kill %1; exit $status; }}
end=$EPOCHREALTIME
wait %1
read -r first _ </tmp/first
echo \"$begin $end [$first]\"
"
        );
        let command = Command::bash(script).limit(CREATE_LIMIT);
        let times = StartTimes::parse(&self.machine.check(&command)?);
        let times = times.context("no packet of a guest's came outside")?;
        first.destroy(self.machine)?;
        Ok(Start {
            system,
            run,
            xl_create_us: microseconds(times.xl_create),
            first_packet_us: microseconds(times.first_packet),
        })
    }
}

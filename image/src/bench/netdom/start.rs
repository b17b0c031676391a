//! From `xl create` of a driver domain to the first reply that a guest behind it has from the wire.

use anyhow::{Context, Result};
use qemu_tests::Command;

use super::Bench;
use super::domain::START_LIMIT;
use super::wire;
use crate::bench::net_guest::NetGuest;
use crate::bench::rounds::microseconds;
use crate::bench::samples::{Start, System};
use crate::run::scenario::{ADDED, StartTimes};

impl Bench<'_> {
    /// The guest is one of ours, created as soon as the driver domain says that it is ready: before, there is nobody
    /// to hang off. It sends when it knows where its gateway is, by a reply over the wire.
    pub(super) fn first_reply(&self, system: System, run: u32) -> Result<Start> {
        let (machine, driver) = (self.machine, self.drivers.of(system));
        let guest = NetGuest {
            name: "first".to_owned(),
            address: "10.0.2.40".to_owned(),
            gateway: wire::GATEWAY.to_owned(),
            vif: driver.vif(),
        };
        let words = format!("role=send to={} rate=20 count=1", wire::GATEWAY);
        let guest_config = guest.put_config(machine, &words)?;
        machine.forget_guest_consoles(&[&driver.name, &guest.name])?;
        let script = format!(
            "\
export LC_ALL=C
begin=$EPOCHREALTIME
xl create -q '{}' '{ADDED}' >&2 || exit 1
end=$EPOCHREALTIME
dom0-agent await '/var/log/xen/guest-{}.log' '{}' >&2
xl create -q -e '{guest_config}' >&2 || exit 1
dom0-agent await '/var/log/xen/guest-{}.log' sending >&2
echo \"$begin $end [$EPOCHREALTIME]\"
",
            driver.config, driver.name, driver.ready, guest.name
        );
        let times = machine.check(&Command::bash(script).limit(START_LIMIT))?;
        let times = StartTimes::parse(&times);
        let times = times.context("a guest has no reply from the wire")?;
        guest.destroy(machine)?;
        driver.destroy(machine)?;
        Ok(Start {
            system,
            run,
            xl_create_us: microseconds(times.xl_create),
            first_packet_us: microseconds(times.first_packet),
        })
    }
}

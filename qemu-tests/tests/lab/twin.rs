//! Two vifs that are one interface: what an HVM guest has whose device model is a stub domain. One belongs to the card
//! that is emulated for it, one to its own driver, both with its MAC and IP address, and it uses one of them. The
//! other must hold nobody up and take no place.

use crate::backend::{detach, states};
use crate::behind::{Behind, SINK, SINK_ADDRESS, SITE, report, type_to};
use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::guests::{FIREWALL, beside_firewall};
use crate::holdings::Holdings;
use crate::stat;
use anyhow::Result;
use qemu_tests::Tier;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "guests::a_vif_that_is_not_used_costs_nothing",
        a_vif_that_is_not_used_costs_nothing,
    )]
}

/// Guests, and which of its vifs each uses. The short tier has the one whose first is there for nothing.
fn guests() -> &'static [(&'static str, usize)] {
    const GUESTS: [(&str, usize); 2] = [("second", 1), ("first", 0)];
    match Tier::current() {
        Tier::Short => &GUESTS[..1],
        Tier::Full => &GUESTS,
    }
}

fn a_vif_that_is_not_used_costs_nothing(setup: &Setup) -> Result<()> {
    let machine = &setup.machine;
    stat::install(machine)?;
    beside_firewall(machine, SITE, &[SINK, "first", "second"], || {
        let behind = Behind::Firewall;
        behind.create_sink(machine, SINK, SINK_ADDRESS)?;
        for &(name, used) in guests() {
            let address = format!("10.0.3.{}", 2 + used);
            let mac = format!("00:16:3e:00:03:0{}", 2 + used);
            let twin = |vif| format!("mac={mac},ip={address},vifname=vif-loc-{name}{vif}");
            let words = format!(
                "role=send vif={used} address={address} gateway=10.0.3.1 to={SINK_ADDRESS} rate=200 frame=64,1514,300"
            );
            // The toolstack waits 10 s for both to be offered, and fails else.
            behind.create(machine, name, &[&twin(0), &twin(1)], &words)?;
            machine.wait_for_console(name, "sending", PATIENCE)?;
            let states = states(machine, name)?;
            let expected = ["4\n2\n", "2\n4\n"][used];
            expect(states == expected, || format!("{name}: {states}"))?;
            let unused = 1 - used as u32;
            let with = Holdings::of(machine, FIREWALL)?;
            detach(machine, name, unused)?;
            let without = Holdings::of(machine, FIREWALL)?;
            // No page, no event channel; and its going was nothing to the stream.
            expect(
                (with.memory, &with.ports) == (without.memory, &without.ports),
                || format!("with it {with:?}\nwithout {without:?}"),
            )?;
            type_to(machine, name, 's')?;
            let report = report(machine, SINK, &address)?;
            expect(report.is_whole() && report.total > 0, || {
                format!("{name}: {report}")
            })?;
        }
        Ok(())
    })
}

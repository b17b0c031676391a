//! `xl save` of a domain that cannot be saved, as Debian's `xendomains` tries it at the host's end: it is refused at
//! once, and nobody behind the domain notices.

use crate::behind::{Behind, SINK, SINK_ADDRESS, report, type_to};
use crate::bench::{LabTest, PATIENCE, Setup, expect};
use anyhow::Result;
use qemu_tests::Machine;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new("save::is_refused_and_the_firewall_goes_on", |setup| {
            is_refused_and_it_goes_on(setup, Behind::Firewall)
        }),
        LabTest::new("save::is_refused_and_netdom_goes_on", |setup| {
            is_refused_and_it_goes_on(setup, Behind::Netdom)
        }),
    ]
}

/// What the toolstack misses before it asks a domain to suspend, and waits a minute for it.
const MISSED: &str = "p2m frame list list";

/// Tries to save a domain, and looks that this fails before anything is asked of it.
pub(crate) fn is_refused(machine: &Machine, name: &str) -> Result<()> {
    let script = format!(
        "before=$(xl domid {name})
         xl save {name} /tmp/saved 2>&1 && exit 1
         rm -f /tmp/saved
         test \"$(xl domid {name})\" = \"$before\"
         xl list {name} | awk 'NR == 2 {{ exit $5 ~ /[sc]/ }}'
         test -z \"$(xenstore-read /local/domain/$before/control/shutdown)\"
         test \"$(xenstore-read /local/domain/$before/control/feature-suspend)\" = 0"
    );
    let script = format!("set -e\n{script}");
    let said = machine.dom0(&script)?;
    eprint!("xl save: {said}");
    let is_refused = said.contains("Failed to save domain") && said.contains(MISSED);
    expect(is_refused, || said.clone())
}

fn is_refused_and_it_goes_on(setup: &Setup, behind: Behind) -> Result<()> {
    const SOURCE: &str = "source";
    const ADDRESS: &str = "10.0.3.2";
    let machine = &setup.machine;
    let backend = behind.backend();
    behind.with(machine, &[SINK, SOURCE], || {
        behind.create_sink(machine, SINK, SINK_ADDRESS)?;
        let words = "rate=200 frame=64,1514,300";
        behind.create_source(machine, SOURCE, (ADDRESS, SINK_ADDRESS), words)?;
        machine.wait_for_console(SOURCE, "sending", PATIENCE)?;
        is_refused(machine, backend)?;
        // Another toolstack's request, or one by hand, is not acted upon, and the reason is said.
        machine.dom0(&format!(
            "xenstore-write /local/domain/$(xl domid {backend})/control/shutdown suspend"
        ))?;
        machine.wait_for_console(backend, "cannot be suspended", PATIENCE)?;
        type_to(machine, SOURCE, 's')?;
        let report = report(machine, SINK, ADDRESS)?;
        expect(report.is_whole() && report.total > 0, || report.to_string())
    })
}

//! dom0 is Xen's control domain, with Debian's toolstack.

use crate::bench::{LabTest, Setup, expect};
use anyhow::Result;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new("dom0::xl_works", xl_works),
        LabTest::new("dom0::xenstore_works", xenstore_works),
        LabTest::new(
            "dom0::namespaces_reach_each_other",
            namespaces_reach_each_other,
        ),
        LabTest::new(
            "dom0::share_is_seen_from_both_sides",
            share_is_seen_from_both_sides,
        ),
        LabTest::new("dom0::stateful_rules_load", stateful_rules_load),
    ]
}

fn xl_works(setup: &Setup) -> Result<()> {
    let list = setup.machine.dom0("xl list")?;
    expect(list.contains("Domain-0"), || list.clone())?;
    let info = setup.machine.dom0("xl info")?;
    let suite = setup.lab.suite();
    let version = format!("xen_version            : {}.", suite.xen_version());
    expect(info.contains(&version), || format!("{suite}: {info}"))?;
    expect(info.contains("pv"), || info.clone())
}

fn xenstore_works(setup: &Setup) -> Result<()> {
    let value = setup
        .machine
        .dom0("xenstore-write /lab/word hello && xenstore-read /lab/word && xenstore-rm /lab")?;
    expect(value.trim() == "hello", || value.clone())
}

fn namespaces_reach_each_other(setup: &Setup) -> Result<()> {
    setup.machine.dom0(
        "set -e
         ip netns add t1; ip netns add t2
         ip -n t1 link add eth0 type veth peer name eth0 netns t2
         for n in 1 2; do
             ip -n t$n addr add 192.0.2.$n/24 dev eth0
             ip -n t$n link set eth0 up
         done
         ip netns exec t1 ping -c 2 -i 0.2 -W 20 192.0.2.2
         ip netns del t1; ip netns del t2",
    )?;
    Ok(())
}

fn share_is_seen_from_both_sides(setup: &Setup) -> Result<()> {
    let machine = &setup.machine;
    std::fs::write(machine.share().join("from-host"), "to dom0")?;
    let seen = machine.dom0("cat /share/from-host && echo 'to host' > /share/from-dom0")?;
    expect(seen == "to dom0", || seen.clone())?;
    let seen = std::fs::read_to_string(machine.share().join("from-dom0"))?;
    expect(seen == "to host\n", || seen.clone())
}

fn stateful_rules_load(setup: &Setup) -> Result<()> {
    setup.machine.dom0(
        "set -e
         ip netns add t
         printf '%s\\n' 'table ip f {' 'chain forward {' \
             'type filter hook forward priority 0; policy drop;' \
             'ct state established,related accept' '}' 'chain post {' \
             'type nat hook postrouting priority 100;' 'masquerade' '}' '}' |
             ip netns exec t nft -f -
         ip netns exec t nft list ruleset | grep -q masquerade
         ip netns del t",
    )?;
    Ok(())
}

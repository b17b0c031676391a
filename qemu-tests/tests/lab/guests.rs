//! Debian guests whose vifs end in firewalldom, as `examples/xen-guests` has them.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use anyhow::{Context, Result};
use image::appliance::build_firewall;
use image::build::TargetChoice;
use image::workspace::Workspace;
use qemu_tests::{DebianGuest, GuestType, Machine, Net, RunningGuest, Tier};
use shorewall::Site;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new("guests::hang_off_the_firewall", hang_off_the_firewall),
        LabTest::new(
            "guests::share_the_network_outside",
            share_the_network_outside,
        ),
        LabTest::new("guests::share_a_bridge", share_a_bridge),
    ]
}

/// Bytes of a file that is fetched by its hash, and the seconds that a throughput is looked at: what they are for is
/// said by whether it arrives, and the longer of both is for what happens seldom.
pub(crate) fn file_bytes() -> u32 {
    match Tier::current() {
        Tier::Short => 2 << 20,
        Tier::Full => 8 << 20,
    }
}

fn iperf_seconds() -> u32 {
    match Tier::current() {
        Tier::Short => 1,
        Tier::Full => 3,
    }
}

/// Each of the guests fetches a file from the network outside, by hash.
pub(crate) fn fetch_from_outside(machine: &Machine, guests: &[&RunningGuest<'_>]) -> Result<()> {
    machine.dom0(&format!(
        "head -c {} /dev/urandom > /tmp/file
         (ip netns exec out busybox httpd -f -p 8000 -h /tmp & echo $! > /tmp/httpd.pid) >/dev/null 2>&1
         until ip netns exec out ss -ltnH | grep -q :8000; do sleep 0.1; done",
        file_bytes()
    ))?;
    let hash = machine.dom0("sha256sum < /tmp/file")?;
    for guest in guests {
        let fetched = guest.check("wget -q -O - http://192.0.2.1:8000/file | sha256sum")?;
        expect(fetched.contains(hash.trim()), || fetched.clone())?;
    }
    machine.dom0("kill $(cat /tmp/httpd.pid)").map(drop)
}

/// A stream from the guest to an iperf3 at `server`, then one the other way.
fn passes_tcp_both_ways(guest: &RunningGuest<'_>, server: &str, way: &str) -> Result<()> {
    for more in ["", "--reverse"] {
        let (said, fine) = guest.run(
            &format!(
                "iperf3 --client {server} --time {} --format m {more} | grep receiver",
                iperf_seconds()
            ),
            PATIENCE,
        )?;
        println!("{way} {more}: {}", said.trim());
        expect(fine && said.contains("Mbits/sec"), || said.clone())?;
    }
    Ok(())
}

/// Waits until a guest's interface has its address.
pub(crate) const UP: &str = "until [ -e /sys/class/net/eth0 ] && cmp -s /run/up /sys/class/net/eth0/ifindex; do sleep 0.2; done";

/// Linux' netfront, in a guest.
pub(crate) const DRIVER: &str = "/sys/bus/xen/drivers/vif";

pub(crate) const FIREWALL: &str = "firewalldom";

/// Builds a site's firewall and puts it into dom0 under `name`, with its outer vif as `outside` says: where its
/// configuration is.
pub(crate) fn install(machine: &Machine, site: &str, name: &str, outside: &str) -> Result<String> {
    let workspace = Workspace::find()?;
    let etc = Site::from_etc(workspace.root().join(site));
    let policy = shorewall::compile(&etc)?.policy;
    let out = workspace.target().join("image").join(site);
    let built = build_firewall(&workspace, &policy, &out, None, TargetChoice::Auto)?;
    let mut config = std::fs::read_to_string(&built.config)?
        .replace("bridge=br-net", outside)
        .replace(
            &format!("name = \"{FIREWALL}\""),
            &format!("name = \"{name}\""),
        );
    for kind in ["xen", "policy"] {
        let file = out.join(format!("{FIREWALL}.{kind}"));
        std::fs::copy(&file, machine.share().join(format!("{name}.{kind}")))?;
        let there = format!("/share/{name}.{kind}");
        config = config.replace(&file.display().to_string(), &there);
    }
    let place = format!("/tmp/{name}.cfg");
    machine.put(&place, config.as_bytes())?;
    Ok(place)
}

/// Builds and starts a site's firewall, with its outer vif on `outside`.
fn start_firewall(machine: &Machine, site: &str, memory_mib: u32, outside: &Net) -> Result<()> {
    let bridge = format!("bridge={}", outside.bridge());
    let config = install(machine, site, FIREWALL, &bridge)?;
    machine.forget_guest_console(FIREWALL)?;
    let create = format!("xl create -q {config} memory={memory_mib}");
    machine.dom0(&create)?;
    machine.wait_for_console(FIREWALL, "forwarding between", PATIENCE)?;
    Ok(())
}

pub(crate) fn guest(name: &str, address: &str, gateway: &str, more: &str) -> DebianGuest {
    DebianGuest {
        name: name.to_owned(),
        kind: GuestType::Pv,
        memory_mib: 160,
        vif: format!("backend={FIREWALL},ip={address}{more}"),
        address: format!("{address}/24"),
        gateway: gateway.to_owned(),
        more: String::new(),
    }
}

/// Runs `tries` beside the firewall of a site, a folder of the workspace; then it and the guests of these names
/// are gone, whatever came of it.
pub(crate) fn beside_firewall(
    machine: &Machine,
    site: &str,
    guests: &[&str],
    tries: impl FnOnce() -> Result<()>,
) -> Result<()> {
    beside_firewall_of(machine, site, 16, guests, tries)
}

/// The same, of a firewall with so much memory, in MiB.
pub(crate) fn beside_firewall_of(
    machine: &Machine,
    site: &str,
    memory_mib: u32,
    guests: &[&str],
    tries: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let outside = Net {
        name: "out".to_owned(),
        address: "192.0.2.1/24".to_owned(),
        // It has no way back but to the firewall's own address.
        gateway: None,
    };
    machine.add_net(&outside)?;
    start_firewall(machine, site, memory_mib, &outside)?;
    let tried = beside(machine, FIREWALL, guests, tries);
    machine.remove_net(&outside)?;
    tried
}

/// Runs `tries` beside a backend; then it and the guests of these names are gone, whatever came of it.
pub(crate) fn beside(
    machine: &Machine,
    backend: &str,
    guests: &[&str],
    tries: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let names = || guests.iter().copied().chain([backend]);
    let tried = tries().with_context(|| {
        let console = |name| {
            let console = machine.guest_console(name).unwrap_or_default();
            format!("console of {name}:\n{console}")
        };
        names().map(console).collect::<Vec<_>>().join("\n")
    });
    let destroy = |name| format!("xl destroy {name} 2>/dev/null\n");
    machine.dom0(&format!("{}true", names().map(destroy).collect::<String>()))?;
    // Console logs are appended to: the next test reads its own.
    machine.forget_guest_consoles(&names().collect::<Vec<_>>())?;
    tried
}

fn hang_off_the_firewall(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    beside_firewall(machine, "examples/xen-guests", &["web", "desk"], || {
        let web = guest("web", "10.0.4.2", "10.0.4.1", ",vifname=vif-dmz-web");
        let web = machine.start_debian_guest(lab, &web)?;
        let desk = machine.start_debian_guest(
            lab,
            &guest("desk", "10.0.3.2", "10.0.3.1", ",vifname=vif-loc-desk"),
        )?;
        try_all(machine, &web, &desk)
    })
}

/// `examples/xen-routed`: guests with addresses of the outer network, by proxy ARP on both sides.
fn share_the_network_outside(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    beside_firewall(machine, "examples/xen-routed", &["web", "desk"], || {
        let web = guest("web", "192.0.2.10", "192.0.2.1", "");
        let web = machine.start_debian_guest(lab, &web)?;
        let desk =
            machine.start_debian_guest(lab, &guest("desk", "192.0.2.11", "192.0.2.1", ""))?;
        web.check(UP)?;
        desk.check(UP)?;
        web.check("mkdir -p /srv && echo here > /srv/file && busybox httpd -p 80 -h /srv")?;
        // The router, which has no route to them, and each other.
        desk.check("ping -c 3 -i 0.2 -W 20 192.0.2.1 && ping -c 3 -i 0.2 -W 20 192.0.2.10")?;
        let router = machine
            .dom0("ip -n out -o link | grep -o 'link/ether [0-9a-f:]*' | cut -d ' ' -f 2")?;
        expect(!router.trim().is_empty(), || "no link outside".to_owned())?;
        let asked = desk.check("ip neigh show 192.0.2.1")?;
        expect(router.lines().all(|mac| !asked.contains(mac)), || {
            format!("it is not the firewall that answers: {asked}")
        })?;
        let fetch = "http://192.0.2.10/file";
        let fetched = machine.dom0(&format!("ip netns exec out busybox wget -q -O - {fetch}"))?;
        expect(fetched.trim() == "here", || fetched.clone())?;
        let fetched = desk.check(&format!("wget -q -O - {fetch}"))?;
        expect(fetched.trim() == "here", || fetched.clone())?;
        // What no rule is about is refused, outside and between them.
        let (said, reached) = desk.run("nc -w 3 192.0.2.10 81 </dev/null", PATIENCE)?;
        expect(!reached, || said.clone())?;
        // Outside only addresses with a line in proxyarp, and a guest, are answered for.
        let seen = machine.dom0(
            "ip netns exec out ping -c 1 -W 3 192.0.2.12 >/dev/null; ip -n out neigh show 192.0.2.12",
        )?;
        expect(!seen.contains("lladdr"), || seen.clone())?;
        // A guest that is gone is answered for no more.
        machine.dom0("xl destroy web")?;
        machine.dom0(
            "ip -n out neigh flush all; ! ip netns exec out ping -c 2 -i 0.2 -W 2 192.0.2.10",
        )?;
        Ok(())
    })
}

fn try_all(machine: &Machine, web: &RunningGuest<'_>, desk: &RunningGuest<'_>) -> Result<()> {
    cost_xenstore_little(machine)?;
    reach_the_outside(machine, desk)?;
    reach_each_other_by_rule_only(machine, web, desk)?;
    are_nobody_else(desk)?;
    take_what_is_finished(machine, web, desk)?;
    leave_and_come_again(machine, desk)?;
    leave_for_good(machine)
}

/// Nodes that a vif takes of the 1,000 that a domain may have, whoever wrote them.
pub(crate) const NODES_MAX: usize = 13;

fn cost_xenstore_little(machine: &Machine) -> Result<()> {
    for name in ["web", "desk"] {
        let nodes = machine.dom0(&format!(
            "vif=/local/domain/$(xl domid {FIREWALL})/backend/vif/$(xl domid {name})
             until xenstore-read $vif/0/hotplug-status | grep -q connected; do sleep 0.2; done
             xenstore-ls -f $vif"
        ))?;
        // And the directory itself.
        let count = nodes.lines().count() + 1;
        expect(
            nodes.contains("hotplug-status") && count <= NODES_MAX,
            || format!("{count} nodes:\n{nodes}"),
        )?;
    }
    Ok(())
}

fn reach_the_outside(machine: &Machine, desk: &RunningGuest<'_>) -> Result<()> {
    desk.check(UP)?;
    // Its gateway is whichever of the firewall's addresses it likes.
    desk.check("ping -c 2 -i 0.2 -W 20 10.0.3.1 && ping -c 2 -i 0.2 -W 20 192.0.2.2")?;
    desk.check("ping -c 3 -i 0.2 -W 20 192.0.2.1")?;
    // Longer than the headers the firewall copies, and in fragments.
    desk.check(
        "ping -c 2 -i 0.2 -s 1400 -W 20 192.0.2.1 && ping -c 2 -i 0.2 -s 4000 -W 20 192.0.2.1",
    )?;
    // TCP both ways: under the firewall's address, and by hash.
    fetch_from_outside(machine, &[desk])?;
    machine.dom0("ip netns exec out iperf3 --server --daemon --pidfile /tmp/iperf3.pid")?;
    passes_tcp_both_ways(desk, "192.0.2.1", "guest to outside")?;
    machine.dom0("kill $(tr -d '\\0' < /tmp/iperf3.pid)")?;
    Ok(())
}

fn reach_each_other_by_rule_only(
    machine: &Machine,
    web: &RunningGuest<'_>,
    desk: &RunningGuest<'_>,
) -> Result<()> {
    web.check(UP)?;
    let hash = web.check(&format!(
        "mkdir -p /srv && head -c {} /dev/urandom > /srv/file && busybox httpd -p 80 -h /srv && busybox httpd -p 81 -h /srv && sha256sum < /srv/file",
        file_bytes()
    ))?;
    let hash = hash
        .split_whitespace()
        .next()
        .context("no hash")?
        .to_owned();
    let fetched = desk.check("wget -q -O - http://10.0.4.2/file | sha256sum")?;
    expect(fetched.contains(&hash), || fetched.clone())?;
    // From outside, by DNAT.
    let fetched =
        machine.dom0("ip netns exec out busybox wget -q -O - http://192.0.2.2/file | sha256sum")?;
    expect(fetched.contains(&hash), || fetched.clone())?;
    // No rule is about these.
    for line in [
        "nc -w 3 10.0.4.2 81 </dev/null",
        "ping -c 2 -i 0.2 -W 2 10.0.4.2",
    ] {
        let (said, reached) = desk.run(line, PATIENCE)?;
        expect(!reached, || format!("{line}: {said}"))?;
    }
    let (said, reached) = web.run("ping -c 2 -i 0.2 -W 2 10.0.3.2", PATIENCE)?;
    expect(!reached, || said.clone())
}

/// A guest with an address that xl did not give it is heard by nobody.
fn are_nobody_else(desk: &RunningGuest<'_>) -> Result<()> {
    desk.check("ip addr add 10.0.3.77/24 dev eth0")?;
    let (said, reached) = desk.run("ping -c 2 -i 0.2 -W 2 -I 10.0.3.77 192.0.2.1", PATIENCE)?;
    expect(!reached, || said.clone())?;
    desk.check("ip addr del 10.0.3.77/24 dev eth0 && ping -c 1 -W 20 192.0.2.1")?;
    Ok(())
}

/// A guest that takes neither blank checksums nor segmentation gets what other guests and the outside send with
/// both, in frames of its MTU; and what it sends itself is in such frames, too.
fn take_what_is_finished(
    machine: &Machine,
    web: &RunningGuest<'_>,
    desk: &RunningGuest<'_>,
) -> Result<()> {
    desk.check(&format!("echo vif-0 > {DRIVER}/unbind"))?;
    // Linux' frontend does not say this, and lets it stand.
    machine.dom0(
        "xenstore-write /local/domain/$(xl domid desk)/device/vif/0/feature-no-csum-offload 1",
    )?;
    desk.check(&format!("echo vif-0 > {DRIVER}/bind"))?;
    desk.check(UP)?;
    // (It sends blank checksums whatever it is told.)
    desk.check("ethtool -K eth0 sg off tso off gso off")?;
    let hash = web.check("sha256sum < /srv/file")?;
    let hash = hash.split_whitespace().next().context("no hash")?;
    let frames = |desk: &RunningGuest<'_>| -> Result<u32> {
        let said = desk.check("cat /sys/class/net/eth0/statistics/rx_packets")?;
        said.trim().parse().with_context(|| said.clone())
    };
    let before = frames(desk)?;
    let fetched = desk.check("wget -q -O /run/file http://10.0.4.2/file; sha256sum < /run/file")?;
    expect(fetched.contains(hash), || fetched.clone())?;
    let came = frames(desk)? - before;
    println!("a file of {} bytes came in {came} frames", file_bytes());
    // Segments of several kilobytes are what everybody else gets.
    expect(came >= file_bytes() / 1460, || format!("{came} frames"))?;
    machine.dom0(
        "rm -f /tmp/heard; (ip netns exec out nc -d -l 8001 > /tmp/heard 2>/dev/null & echo $! > /tmp/nc.pid) >/dev/null 2>&1
         until ip netns exec out ss -ltnH | grep -q :8001; do sleep 0.1; done",
    )?;
    let said = desk.run("nc 192.0.2.1 8001 < /run/file", PATIENCE)?;
    let heard = machine.dom0(
        "while kill -0 $(cat /tmp/nc.pid) 2>/dev/null; do sleep 0.1; done
         sha256sum < /tmp/heard",
    )?;
    expect(heard.contains(hash), || format!("{said:?}: {heard}"))
}

fn leave_and_come_again(machine: &Machine, desk: &RunningGuest<'_>) -> Result<()> {
    for _ in 0..Tier::current().repetitions(50) {
        machine.dom0("xl network-detach desk 0")?;
        machine.dom0("! xenstore-exists /local/domain/$(xl domid firewalldom)/backend/vif/$(xl domid desk)/0")?;
        machine
            .dom0("xl network-attach desk backend=firewalldom ip=10.0.3.2 vifname=vif-loc-desk")?;
        desk.check(UP)?;
        desk.check("ping -c 2 -i 0.2 -W 20 192.0.2.1")?;
    }
    Ok(())
}

fn leave_for_good(machine: &Machine) -> Result<()> {
    machine.dom0("xl destroy desk")?;
    machine.dom0("xl shutdown -w web")?;
    machine.dom0("vifs=/local/domain/$(xl domid firewalldom)/backend/vif; while xenstore-list $vifs 2>/dev/null | grep -q .; do sleep 0.2; done")?;
    // Nothing of them is left, and the firewall lives.
    machine.dom0("ip netns exec out ping -c 2 -i 0.2 -W 20 192.0.2.2")?;
    Ok(())
}

/// A guest on the bridge of `examples/xen-bridge`.
fn bridged(name: &str, address: &str, more: &str) -> DebianGuest {
    DebianGuest {
        vif: format!("backend={FIREWALL},bridge=br-lan{more}"),
        ..guest(name, address, "10.0.5.1", "")
    }
}

/// `examples/xen-bridge`: two guests on a bridge of the firewall's, one of them held to its address, and a third
/// that is routed.
fn share_a_bridge(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    let names = ["desk", "loose", "web"];
    beside_firewall(machine, "examples/xen-bridge", &names, || {
        let desk = bridged("desk", "10.0.5.2", ",ip=10.0.5.2");
        let desk = machine.start_debian_guest(lab, &desk)?;
        let loose = machine.start_debian_guest(lab, &bridged("loose", "10.0.5.3", ""))?;
        let web = machine.start_debian_guest(lab, &guest("web", "10.0.4.2", "10.0.4.1", ""))?;
        for guest in [&desk, &loose, &web] {
            guest.check(UP)?;
        }
        meet_on_the_bridge(&desk, &loose)?;
        pass_through_the_firewall(machine, &desk, &loose, &web)?;
        are_unheard_in_anothers_name(&desk, &loose)?;
        for _ in 0..Tier::current().repetitions(20) {
            machine.dom0("xl network-detach desk 0")?;
            let attach = "xl network-attach desk backend=firewalldom bridge=br-lan ip=10.0.5.2";
            machine.dom0(attach)?;
            desk.check(UP)?;
            desk.check("ping -c 2 -i 0.2 -W 20 192.0.2.1 && ping -c 2 -i 0.2 -W 20 10.0.5.3")?;
        }
        Ok(())
    })
}

/// No rule lets anything pass between them: the policy rejects it, and is not asked.
fn meet_on_the_bridge(desk: &RunningGuest<'_>, loose: &RunningGuest<'_>) -> Result<()> {
    desk.check("ping -c 3 -i 0.2 -W 20 10.0.5.3 && ping -c 2 -i 0.2 -s 4000 -W 20 10.0.5.3")?;
    loose.check("ping -c 3 -i 0.2 -W 20 10.0.5.2")?;
    let hash = loose.check(&format!(
        "mkdir -p /srv && head -c {} /dev/urandom > /srv/file && busybox httpd -p 80 -h /srv && sha256sum < /srv/file",
        file_bytes()
    ))?;
    let hash = hash.split_whitespace().next().context("no hash")?;
    let fetched = desk.check("wget -q -O - http://10.0.5.3/file | sha256sum")?;
    expect(fetched.contains(hash), || fetched.clone())?;
    // They know each other's own stations, not the firewall's.
    let station = loose.check("cat /sys/class/net/eth0/address")?;
    let known = desk.check("ip neigh show 10.0.5.3")?;
    expect(known.contains(station.trim()), || known.clone())?;
    loose.check("iperf3 --server --daemon")?;
    passes_tcp_both_ways(desk, "10.0.5.3", "guest to guest on a bridge")?;
    Ok(())
}

fn pass_through_the_firewall(
    machine: &Machine,
    desk: &RunningGuest<'_>,
    loose: &RunningGuest<'_>,
    web: &RunningGuest<'_>,
) -> Result<()> {
    for guest in [desk, loose] {
        guest.check("ping -c 2 -i 0.2 -W 20 10.0.5.1 && ping -c 3 -i 0.2 -W 20 192.0.2.1")?;
    }
    fetch_from_outside(machine, &[desk, loose])?;
    // By rule to the guest that is routed, and not back.
    web.check("mkdir -p /srv && echo here > /srv/file && busybox httpd -p 80 -h /srv")?;
    let fetched = desk.check("wget -q -O - http://10.0.4.2/file")?;
    expect(fetched.trim() == "here", || fetched.clone())?;
    let (said, reached) = web.run("ping -c 2 -i 0.2 -W 2 10.0.5.3", PATIENCE)?;
    expect(!reached, || said.clone())
}

/// Who has `ip=` has no other address; nobody takes that of one who has, nor its station, nor the firewall's.
fn are_unheard_in_anothers_name(desk: &RunningGuest<'_>, loose: &RunningGuest<'_>) -> Result<()> {
    let unheard = |guest: &RunningGuest<'_>, line: &str| {
        let (said, reached) = guest.run(line, PATIENCE)?;
        expect(!reached, || format!("{line}: {said}"))
    };
    desk.check("ip addr add 10.0.5.77/24 dev eth0")?;
    unheard(desk, "ping -c 2 -i 0.2 -W 2 -I 10.0.5.77 10.0.5.3")?;
    desk.check("ip addr del 10.0.5.77/24 dev eth0")?;
    // Any other address is the other's to take.
    loose.check(
        "ip addr add 10.0.5.78/24 dev eth0 && ping -c 2 -i 0.2 -W 20 -I 10.0.5.78 10.0.5.2",
    )?;
    loose.check("ip addr del 10.0.5.78/24 dev eth0 && ip addr add 10.0.5.2/32 dev eth0")?;
    unheard(loose, "ping -c 2 -i 0.2 -W 2 -I 10.0.5.2 10.0.5.1")?;
    loose.check("ip addr del 10.0.5.2/32 dev eth0")?;
    let station = desk.check("cat /sys/class/net/eth0/address")?;
    let own = loose.check("cat /sys/class/net/eth0/address")?;
    let turn_into = |mac: &str| {
        let link = "ip link set dev eth0";
        loose.check(&format!(
            "{link} down && {link} address {mac} && {link} up && ip route replace default via 10.0.5.1"
        ))
    };
    for taken in [station.trim(), "fe:ff:ff:ff:ff:ff"] {
        turn_into(taken)?;
        unheard(loose, "ping -c 2 -i 0.2 -W 2 10.0.5.2")?;
        unheard(loose, "ping -c 2 -i 0.2 -W 2 10.0.5.1")?;
    }
    // A third one nobody has, and the bridge learns it.
    for free in ["02:00:00:00:00:07", own.trim()] {
        turn_into(free)?;
        loose.check("ping -c 2 -i 0.2 -W 20 10.0.5.1 && ping -c 2 -i 0.2 -W 20 10.0.5.2")?;
    }
    // It is all as it was.
    desk.check("ping -c 2 -i 0.2 -W 20 10.0.5.3 && ping -c 2 -i 0.2 -W 20 192.0.2.1")?;
    Ok(())
}

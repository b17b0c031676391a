//! The gateway: links with neighbours that are known, Linux as Debian sets it up, Shorewall on top.

use super::root::command;
use super::wire::{Wire, within};
use crate::older::NO_SETTINGS;
use crate::protocol::{Age, Neighbour, Setup};
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};

/// Kernel settings that make runs comparable: every error is sent, nothing speaks unasked, and what
/// a namespace inherits from its host is as on a fresh Debian.
const SETTINGS: [(&str, &str); 21] = [
    // Redirects are sent now and then, by a clock of their own.
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    // Else one sequence's ICMP redirect would be the next one's route.
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    // Else an error about one of Linux' own echoes, which anyone can write (RFC 5927, 7.2), would be the next
    // sequence's path MTU, and with CLAMPMSS what it announces to others. firewalldom learns none.
    ("ipv4/ip_no_pmtu_disc", "3"),
    // Else what an incomplete packet left behind might speak up in the middle of another sequence.
    ("ipv4/ipfrag_time", "3600"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/log_martians", "0"),
    ("ipv4/conf/default/log_martians", "0"),
    ("ipv4/conf/all/accept_source_route", "0"),
    ("ipv4/conf/default/accept_source_route", "0"),
    ("ipv4/conf/all/arp_ignore", "0"),
    ("ipv4/conf/default/arp_ignore", "0"),
    ("ipv4/conf/all/arp_filter", "0"),
    ("ipv4/conf/default/arp_filter", "0"),
    ("ipv4/conf/all/proxy_arp", "0"),
    ("ipv4/conf/default/proxy_arp", "0"),
    ("ipv4/ip_forward", "1"),
];

/// What keeps IPv6 quiet, on both ends of the links.
const SILENCE: [&str; 2] = [
    "ipv6/conf/all/disable_ipv6",
    "ipv6/conf/default/disable_ipv6",
];

/// In the namespace's own root: the configuration, and the script that Shorewall makes of it.
const SITE: &str = "/trial/site";
const SCRIPT: &str = "/trial/firewall";

/// Where the peers' namespace is bound.
const PEERS: &str = "/run/netns/peers";

/// What came of loading.
pub(super) enum Loaded {
    /// It forwards.
    Running(Vec<Wire>),
    /// Shorewall's own words.
    Refused(String),
}

/// Becomes the gateway.
pub(super) fn load(setup: &Setup) -> Result<Loaded> {
    for (name, value) in SETTINGS {
        set(name, value)?;
    }
    SILENCE.into_iter().try_for_each(|name| set(name, "1"))?;
    let mut names = Vec::new();
    ip("link set lo up\nnetns add peers\n")?;
    within(PEERS, || {
        SILENCE.into_iter().try_for_each(|name| set(name, "1"))
    })?;
    let mut batch = String::new();
    for (number, link) in setup.links.iter().enumerate() {
        let (name, far) = (&link.name, format!("peer{number}"));
        let mac = mac_text(link.mac);
        writeln!(
            batch,
            "link add {name} mtu {mtu} address {mac} type veth peer name {far} mtu {mtu} netns peers",
            mtu = link.mtu
        )?;
        for address in &link.addresses {
            writeln!(batch, "address add {address} dev {name}")?;
        }
        names.push((name.clone(), far));
    }
    ip(&batch)?;
    let mut peers = String::new();
    for (_, far) in &names {
        writeln!(peers, "link set {far} arp off up")?;
    }
    let wires = within(PEERS, || {
        ip(&peers)?;
        Wire::open_all(&names)
    })?;
    let mut up = String::new();
    for (name, _) in &names {
        // Else a checksum that Linux makes is left to the other end of the link.
        run("/sbin/ethtool", &["-K", name, "tx", "off"])?;
        writeln!(up, "link set {name} up")?;
    }
    for route in &setup.routes {
        writeln!(up, "route add {route}")?;
    }
    ip(&up)?;
    add_neighbours(&wires, &setup.neighbours)?;
    if setup.shorewall.is_empty() {
        return Ok(Loaded::Running(wires));
    }
    match start(&setup.shorewall, setup.age)? {
        Some(words) => Ok(Loaded::Refused(words)),
        None => Ok(Loaded::Running(wires)),
    }
}

/// Makes stations known that are on the links.
pub(super) fn add_neighbours(wires: &[Wire], neighbours: &[Neighbour]) -> Result<()> {
    let mut batch = String::new();
    for neighbour in neighbours {
        let wire = wires.get(usize::from(neighbour.link));
        writeln!(
            batch,
            "neighbour replace {} lladdr {} dev {} nud permanent",
            neighbour.address,
            mac_text(neighbour.mac()),
            wire.context("no such link")?.name,
        )?;
    }
    ip(&batch)
}

/// Compiles and starts a configuration; Shorewall's own words if it refuses.
fn start(files: &[(String, Vec<u8>)], age: Age) -> Result<Option<String>> {
    let site = Path::new(SITE);
    let write = |name: &str, bytes: &[u8]| {
        let file = site.join(name);
        fs::create_dir_all(file.parent().unwrap_or(site))?;
        fs::write(&file, bytes).with_context(|| name.to_owned())
    };
    for (name, bytes) in files {
        write(name, bytes)?;
    }
    if age == Age::Older {
        // What it cannot bring up to date, compiling will say.
        command("/sbin/shorewall").args(["update", SITE]).output()?;
        // But where nothing is set, `update` would set what it thinks best.
        let is_empty = |file: &(String, Vec<u8>)| file.1 == NO_SETTINGS;
        if let Some((name, bytes)) = files.iter().find(|file| is_empty(file)) {
            write(name, bytes)?;
        }
    }
    if files.iter().any(|(name, _)| name == SETS)
        && let Some(words) = restore_sets(&site.join(SETS))?
    {
        return Ok(Some(words));
    }
    let refusal = compile_and_load()?;
    if !refusal
        .as_ref()
        .is_some_and(|words| words.contains(TOO_LONG))
    {
        return Ok(refusal);
    }
    use_older_tables()?;
    compile_and_load()
}

/// The file of a configuration that holds the sets of addresses, as `ipset save` wrote it.
const SETS: &str = "ipsets";

/// Makes the sets that a configuration's rules name; ipset's own words if it refuses.
fn restore_sets(file: &Path) -> Result<Option<String>> {
    let output = command("ipset")
        .args(["-exist", "restore", "-file"])
        .arg(file)
        .output()
        .context("ipset")?;
    Ok((!output.status.success()).then(|| words(&output)))
}

/// What iptables-nft says of a rule set that does not fit the netlink buffer that a user namespace is
/// allowed.
const TOO_LONG: &str = "Message too long";

/// Has iptables use the kernel's older tables, which take rules in one piece and mean the same. What a
/// failed start leaves in the newer ones would drop everything.
fn use_older_tables() -> Result<()> {
    run("/usr/sbin/nft", &["flush", "ruleset"])?;
    for name in ["iptables", "iptables-restore", "iptables-save"] {
        let link = Path::new("/bin").join(name);
        fs::remove_file(&link)?;
        symlink("/usr/sbin/xtables-legacy-multi", &link)?;
    }
    Ok(())
}

fn compile_and_load() -> Result<Option<String>> {
    let compile = ["compile", SITE, SCRIPT];
    for (program, arguments) in [
        ("/sbin/shorewall", &compile[..]),
        ("/bin/sh", &[SCRIPT, "start"]),
    ] {
        let output = command(program).args(arguments).output()?;
        if !output.status.success() {
            return Ok(Some(words(&output)));
        }
    }
    Ok(None)
}

fn set(name: &str, value: &str) -> Result<()> {
    let file = Path::new("/proc/sys/net").join(name);
    match fs::write(&file, value) {
        // A kernel without IPv6 has no need of it.
        Err(_) if name.starts_with("ipv6") && !Path::new("/proc/sys/net/ipv6").exists() => Ok(()),
        result => result.with_context(|| file.display().to_string()),
    }
}

fn ip(batch: &str) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut child = command("/bin/ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(batch.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "ip: {}\n{batch}", words(&output));
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = command(program).args(arguments).output()?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), words(&output));
    }
    Ok(())
}

fn words(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

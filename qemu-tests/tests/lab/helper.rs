//! `xen-image-stubdom-helper`, which xl starts in dom0 in QEMU's place for a stub domain. The stub domain here is a
//! Linux, whose drivers of Xen's consoles are not ours.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::stat;
use anyhow::Result;
use qemu_tests::{Command, Machine};

pub(crate) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "helper::serves_a_stub_domains_consoles",
        serves_a_stub_domains_consoles,
    )]
}

/// Its place in dom0.
pub(crate) const HELPER: &str = "/usr/sbin/xen-image-stubdom-helper";

/// A stub domain that is no device model: its log, a state that it saves, and the guest's serial port.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
echo "stub: first line"
for port in 1 2 3; do
    until [ -e /dev/hvc$port ]; do sleep 0.1; done
    stty -F /dev/hvc$port raw -echo
done
head -c 5000 /dev/zero | tr '\0' s > /dev/hvc1
xenstore-write device-model/$(xenstore-read target)/state running
while read -r line; do
    echo "typed: $line"
done < /dev/hvc3 > /dev/hvc3
"#;

/// Puts the helper where a guest's configuration names it.
pub(crate) fn install(machine: &Machine) -> Result<()> {
    stat::install(machine)?;
    machine.dom0(&format!("ln -sf xen-image-dom0 {HELPER}"))?;
    Ok(())
}

fn serves_a_stub_domains_consoles(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    install(machine)?;
    let [kernel, ramdisk] = machine.keep_linux_with(lab, "helped-dm", INIT)?;
    let config = format!(
        "name = \"helped\"\ntype = \"hvm\"\nmemory = 64\nvga = \"none\"\nvnc = 0\nserial = \"pty\"\n\
         device_model_version = \"qemu-xen\"\ndevice_model_stubdomain_override = 1\n\
         device_model_override = \"{HELPER}\"\nstubdomain_kernel = \"{kernel}\"\nstubdomain_ramdisk = \"{ramdisk}\"\n\
         stubdomain_cmdline = \"console=hvc0 quiet\"\nstubdomain_memory = 128\n"
    );
    machine.put("/tmp/helped.cfg", config.as_bytes())?;
    let outcome = while_it_runs(machine);
    machine.dom0("xl destroy helped 2>/dev/null; rm -f /var/log/xen/qemu-dm-helped*; true")?;
    outcome?;
    // Nothing of it is left: no process, no socket, no half of a domain.
    let left = machine.check(
        &Command::bash(
            "until test -z \"$(xl list | grep -E 'helped|null')\"; do sleep 0.2; done
             pidof xen-image-stubdom-helper; ls /run/xen | grep qmp; true",
        )
        .limit(PATIENCE),
    )?;
    expect(left.is_empty(), || left.clone())
}

fn while_it_runs(machine: &Machine) -> Result<()> {
    // Nobody there is a device model: the guest itself never starts.
    let created = machine.run(&Command::bash("xl create -p /tmp/helped.cfg").limit(PATIENCE))?;
    if !created.status.is_success() {
        let logs =
            machine.dom0("cd /var/log/xen; tail -n 50 qemu-dm-helped* qmp-proxy-helped*; true")?;
        anyhow::bail!("{}{logs}", created.errors());
    }
    let stub = machine.dom0("xl domid helped-dm")?;
    let stub = stub.trim();

    let said = machine.dom0("cat /var/log/xen/qemu-dm-helped-dm.log")?;
    let serves = format!("serves 4 consoles of domain {stub}, 1 of them terminals");
    expect(said.contains(&serves), || said.clone())?;
    // Both were written before the stub domain said that it runs, and the helper may be behind.
    let saved = machine.check(
        &Command::bash(
            "until grep -q 'stub: first line' /var/log/xen/qemu-dm-helped.log; do sleep 0.2; done
             saved=/var/lib/xen/qemu-save.$(xl domid helped)
             until test $(stat -c %s $saved) -ge 5000; do sleep 0.2; done
             tr -d s < $saved | wc -c; stat -c %s $saved",
        )
        .limit(PATIENCE),
    )?;
    expect(saved == "0\n5000\n", || saved.clone())?;

    // The administrator's side, as he uses it.
    let console = machine.check(
        &Command::bash(
            "busybox mkfifo /tmp/keyboard
             script -qec 'xl console helped' /dev/null < /tmp/keyboard > /tmp/screen &
             exec 3> /tmp/keyboard
             echo hello >&3
             until grep -q 'typed: hello' /tmp/screen; do sleep 0.2; done
             cat /tmp/screen; rm /tmp/keyboard /tmp/screen; kill $!",
        )
        .limit(PATIENCE),
    )?;
    expect(console.contains("typed: hello"), || console.clone())?;
    is_little_and_unprivileged(machine, stub)
}

/// No QEMU, and what is there in its place is small and nobody.
fn is_little_and_unprivileged(machine: &Machine, stub: &str) -> Result<()> {
    let status = machine.dom0(&format!(
        "pid=$(xenstore-read /local/domain/{stub}/image/device-model-pid)
         cat /proc/$pid/status /proc/$pid/smaps_rollup
         for link in root exe; do readlink /proc/$pid/$link; done; ls /proc/$pid/task | wc -l"
    ))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let user = 0x7000_0000 + stub.parse::<u32>()?;
    let users = [user; 4].map(|user| user.to_string()).join("\t");
    // That in `status` is counted by 64 pages.
    let resident_kib: u32 = field("Rss:").trim_end_matches(" kB").trim().parse()?;
    let is_so = field("Uid:") == users
        && field("Gid:") == users
        && field("Groups:").is_empty()
        && field("CapPrm:") == "0000000000000000"
        && field("CapEff:") == "0000000000000000"
        && field("NoNewPrivs:") == "1"
        && status.contains(" (deleted)")
        && status.contains("/xen-image-dom0")
        && status.trim_end().ends_with("\n1")
        && resident_kib <= 2048;
    expect(is_so, || status.clone())?;
    println!("the helper's resident memory: {resident_kib} KiB");
    // So is what looks after the guest.
    let status = machine.dom0(
        "pid=$(pidof xen-image-stubdom-supervisor)
         grep -E '^(Uid|CapPrm|CapEff|NoNewPrivs)' /proc/$pid/status; grep ^Rss /proc/$pid/smaps_rollup
         readlink /proc/$pid/root",
    )?;
    let user = user + 0x1_0000;
    let rights = format!(
        "Uid:\t{user}\t{user}\t{user}\t{user}\nCapPrm:\t{0}\nCapEff:\t{0}\nNoNewPrivs:\t1\n",
        "0".repeat(16)
    );
    let is_so = status.starts_with(&rights) && status.contains(" (deleted)");
    expect(is_so, || status.clone())?;
    println!("what looks after its guest: {status}");
    let emulators = machine.dom0("pidof xen-qemu-system-i386; true")?;
    expect(emulators.is_empty(), || format!("QEMU runs: {emulators}"))
}

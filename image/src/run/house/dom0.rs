//! What a host has in dom0 to serve its guests.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

/// A program that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its user.
    pub uid: u32,
    /// Its share of the memory that it has resident, in KiB: a page of several processes counts once in all.
    pub resident_kib: u64,
    /// Its file's name.
    pub program: String,
}

/// A kernel module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// As lsmod has it.
    pub name: String,
    /// Its size in memory.
    pub bytes: u64,
}

/// What there is in dom0, without the lab's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dom0 {
    /// Programs, by name.
    pub processes: Vec<Process>,
    /// Kernel modules, by name.
    pub modules: Vec<Module>,
    /// Open sockets, by the file of /proc/net that lists them.
    pub sockets: BTreeMap<String, u64>,
    /// Network interfaces but the loopback one.
    pub interfaces: Vec<String>,
}

/// A bash script for dom0 that prints it all, a line each.
pub const SCRIPT: &str = "\
for folder in /proc/[0-9]*; do
    program=$(readlink $folder/exe) || continue
    uid= pss=
    while read -r key value _; do [ \"$key\" = Uid: ] && uid=$value; done <$folder/status
    while read -r key value _; do [ \"$key\" = Pss: ] && pss=$value; done <$folder/smaps_rollup
    echo \"process $uid $pss $program\"
done 2>/dev/null
while read -r name bytes _; do echo \"module $name $bytes\"; done </proc/modules
for kind in unix tcp tcp6 udp udp6 raw raw6 packet; do
    [ -e /proc/net/$kind ] && echo \"sockets $kind $(($(wc -l </proc/net/$kind) - 1))\"
done
for folder in /sys/class/net/*; do echo \"interface ${folder##*/}\"; done
echo end
";

/// What runs and is loaded only because dom0 is the lab's: its agent and the shell that asks, and the way to the host.
const LABS_PROGRAMS: [&str; 3] = ["bash-static", "busybox", "dom0-agent"];
const LABS_MODULES: [&str; 4] = ["9p", "fscache", "netfs", "virtio"];

impl Dom0 {
    /// Takes apart what the script printed.
    ///
    /// # Errors
    /// When it printed something else.
    pub fn parse(text: &str) -> Result<Self> {
        let mut dom0 = Self::default();
        let lines = text.strip_suffix("end\n").context(text.to_owned())?;
        for line in lines.lines() {
            let place = || format!("dom0 printed {line:?}");
            let mut words = line.split(' ');
            match words.next() {
                Some("process") => {
                    let mut number = || words.next().with_context(place);
                    let (uid, resident) = (number()?, number()?);
                    let program = words.next().with_context(place)?;
                    let program = program.rsplit('/').next().unwrap_or(program);
                    // One that ended meanwhile has no figures.
                    let (Ok(uid), Ok(resident_kib)) = (uid.parse(), resident.parse()) else {
                        continue;
                    };
                    if !LABS_PROGRAMS.contains(&program) {
                        let program = program.to_owned();
                        dom0.processes.push(Process {
                            uid,
                            resident_kib,
                            program,
                        });
                    }
                }
                Some("module") => {
                    let name = words.next().with_context(place)?;
                    let bytes = words.next().with_context(place)?.parse()?;
                    if !LABS_MODULES.iter().any(|labs| name.starts_with(labs)) {
                        let name = name.to_owned();
                        dom0.modules.push(Module { name, bytes });
                    }
                }
                Some("sockets") => {
                    let kind = words.next().with_context(place)?;
                    let count = words.next().with_context(place)?.parse()?;
                    dom0.sockets.insert(kind.to_owned(), count);
                }
                Some("interface") => {
                    let name = words.next().with_context(place)?;
                    if name != "lo" {
                        dom0.interfaces.push(name.to_owned());
                    }
                }
                _ => anyhow::bail!(place()),
            }
        }
        dom0.processes.sort_by(|a, b| a.program.cmp(&b.program));
        dom0.modules.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(dom0)
    }

    fn of_root(&self, is_root: impl Fn(u32) -> bool) -> impl Iterator<Item = &Process> {
        self.processes
            .iter()
            .filter(move |process| is_root(process.uid))
    }

    /// How many programs root runs.
    pub fn roots_processes(&self) -> usize {
        self.of_root(|uid| uid == 0).count()
    }

    /// Programs that emulate a guest's computer.
    pub fn emulators(&self) -> Vec<&str> {
        let names = self
            .processes
            .iter()
            .map(|process| process.program.as_str());
        names.filter(|name| name.contains("qemu")).collect()
    }

    /// Whether the kernel has this module.
    pub fn has_module(&self, name: &str) -> bool {
        self.modules.iter().any(|module| module.name == name)
    }

    /// Bytes of all modules.
    pub fn module_bytes(&self) -> u64 {
        self.modules.iter().map(|module| module.bytes).sum()
    }

    /// KiB that all programs have resident.
    pub fn resident_kib(&self) -> u64 {
        let processes = self.processes.iter();
        processes.map(|process| process.resident_kib).sum()
    }

    /// Open sockets of all kinds.
    pub fn all_sockets(&self) -> u64 {
        self.sockets.values().sum()
    }

    /// Those by which a frame or a packet reaches a program.
    pub fn network_sockets(&self) -> u64 {
        self.all_sockets() - self.sockets.get("unix").copied().unwrap_or(0)
    }

    /// Root's programs by name, or those of others, with how many there are of each.
    pub fn programs(&self, of_root: Whose) -> String {
        let mut counts = BTreeMap::new();
        for process in self.of_root(|uid| (uid == 0) == (of_root == Whose::Roots)) {
            *counts.entry(process.program.as_str()).or_insert(0) += 1;
        }
        let named = counts.iter().map(|(name, count)| match count {
            1 => (*name).to_owned(),
            _ => format!("{count} {name}"),
        });
        list(named)
    }
}

/// Whose programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those that may do anything.
    Roots,
    /// Everybody else's.
    Others,
}

/// Words with commas between them, or that there are none.
pub fn list(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(", "),
    }
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    /// A host with QEMU and a card.
    pub(crate) const STOCK: &str = "\
process 0 900 /usr/bin/bash-static
process 0 1200 /usr/sbin/dom0-agent
process 0 2000 /usr/lib/xen-4.17/bin/xl
process 0 2000 /usr/lib/xen-4.17/bin/xl
process 0 30000 /usr/libexec/xen-qemu-system-i386
process 0 700 /usr/lib/xen-4.17/bin/xenstored
process   /usr/bin/gone
module bridge 315392
module e1000e 319488
module 9pnet_virtio 20480
sockets unix 9
sockets packet 0
interface eth0
interface lo
end
";

    /// One without.
    pub(crate) const HOUSE: &str = "\
process 0 2000 /usr/lib/xen-4.17/bin/xl
process 1879048197 900 /usr/sbin/xen-image-stubdom-helper (deleted)
process 0 700 /usr/lib/xen-4.17/bin/xenstored
module xen_blkback 65536
sockets unix 12
interface lo
end
";

    pub(crate) fn dom0(text: &str) -> Dom0 {
        Dom0::parse(text).expect(text)
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{HOUSE, STOCK, dom0};
    use super::*;

    #[test]
    fn what_is_the_labs_does_not_count() {
        let stock = dom0(STOCK);
        assert_eq!(stock.roots_processes(), 4);
        assert_eq!(
            stock.programs(Whose::Roots),
            "xen-qemu-system-i386, xenstored, 2 xl"
        );
        assert_eq!(stock.programs(Whose::Others), "none");
        assert_eq!(stock.emulators(), ["xen-qemu-system-i386"]);
        assert_eq!(stock.resident_kib(), 34_700);
        assert_eq!((stock.modules.len(), stock.module_bytes()), (2, 634_880));
        assert!(stock.has_module("e1000e") && !stock.has_module("9pnet_virtio"));
        assert_eq!((stock.all_sockets(), stock.network_sockets()), (9, 0));
        assert_eq!(stock.interfaces, ["eth0"]);
        let house = dom0(HOUSE);
        assert_eq!(house.programs(Whose::Others), "xen-image-stubdom-helper");
        assert!(house.emulators().is_empty() && house.interfaces.is_empty());
    }

    #[test]
    fn half_an_answer_is_an_error() {
        assert!(Dom0::parse("").is_err());
        assert!(Dom0::parse("process 0 1 /usr/bin/xl\n").is_err());
        assert!(Dom0::parse("bash: no\nend\n").is_err());
    }
}

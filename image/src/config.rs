//! The domain's configuration for `xl create` (xl.cfg(5)), written to be read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use firewalldom::policy::{Interface, InterfaceId, Policy};

/// MiB of memory that an appliance gets unless told otherwise.
pub const DEFAULT_MEMORY_MIB: u32 = 8;

/// MiB of memory that a firewall with so many interfaces gets unless told otherwise.
///
/// Each interface takes 1.3 MiB for its rings' buffers; the rest is for the image (half a MiB) and,
/// half of what is left, for the flow table.
pub fn memory_for(interfaces: usize) -> u32 {
    let interfaces = u32::try_from(interfaces).unwrap_or(u32::MAX);
    interfaces
        .saturating_mul(2)
        .saturating_add(4)
        .max(DEFAULT_MEMORY_MIB)
}

/// What the names of the bridges begin with in a generated configuration.
pub const BRIDGE_PREFIX: &str = "br-";

/// Linux' IFNAMSIZ less the closing zero: no bridge's name is longer.
const BRIDGE_NAME_LENGTH: usize = 15;

/// What becomes the file `NAME.cfg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// `name=`.
    pub name: String,
    /// What the domain is, for the first comment line; no line breaks.
    pub purpose: String,
    /// `kernel=`, a path in dom0.
    pub kernel: PathBuf,
    /// `ramdisk=`, a path in dom0: the site's policy.
    pub ramdisk: Option<PathBuf>,
    /// `memory=`, in MiB.
    pub memory_mib: u32,
    /// `vif=`, in the order of the policy's interfaces.
    pub vifs: Vec<Vif>,
    /// What a crash means, after "on_crash": the comment differs by appliance.
    pub crash_note: &'static str,
}

/// One virtual network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vif {
    /// The bridge in dom0 that the backend's side joins.
    pub bridge: String,
    /// Fixed, so that neighbours' ARP caches stay right when the domain is created anew.
    pub mac: [u8; 6],
    /// What the site's files say about it, for a comment; no line breaks.
    pub comment: String,
}

impl DomainConfig {
    /// The configuration of a firewall for the site of `policy`.
    pub fn firewall(policy: &Policy, kernel: &Path, ramdisk: &Path, memory_mib: u32) -> Self {
        Self {
            name: "firewalldom".to_owned(),
            purpose: format!("The firewall of the site \"{}\".", one_line(&policy.site)),
            kernel: kernel.to_owned(),
            ramdisk: Some(ramdisk.to_owned()),
            memory_mib,
            vifs: vifs(policy),
            crash_note: "\
# A crash never lets anything through: the domain is the only way between its bridges, so while
# it is down there is none. \"restart\" brings the firewall back with the same policy and an
# empty connection table (open connections have to be opened again, new ones work at once);
# \"preserve\" would keep the dead domain for a look at it, and the networks apart. Its last words
# are in xenconsoled's log if that keeps any, see XENCONSOLED_ARGS in /etc/default/xen.
",
        }
    }

    /// The configuration of an appliance without policy and interfaces.
    pub fn bare(name: &str, purpose: &str, kernel: &Path) -> Self {
        Self {
            name: name.to_owned(),
            purpose: one_line(purpose),
            kernel: kernel.to_owned(),
            ramdisk: None,
            memory_mib: DEFAULT_MEMORY_MIB,
            vifs: Vec::new(),
            crash_note: "# A crash ends it; nothing depends on it yet.\n",
        }
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.render_into(&mut text);
        text
    }

    fn render_into(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# {}", self.purpose)?;
        writeln!(
            out,
            "# Start it in dom0 with `xl create {}.cfg`. What each line may say: xl.cfg(5).",
            self.name
        )?;
        writeln!(out, "\nname = {}", quoted(&self.name))?;
        writeln!(out, "type = \"pv\"")?;
        writeln!(
            out,
            "\n# Paths in dom0. Change them when you move the files."
        )?;
        writeln!(out, "kernel = {}", quoted(&self.kernel.to_string_lossy()))?;
        if let Some(ramdisk) = &self.ramdisk {
            writeln!(
                out,
                "# The site's policy. The image above is the same for every site."
            )?;
            writeln!(out, "ramdisk = {}", quoted(&ramdisk.to_string_lossy()))?;
        }
        writeln!(
            out,
            "\n# MiB. One virtual CPU: the domain is one loop and uses no second one."
        )?;
        writeln!(out, "memory = {}", self.memory_mib)?;
        writeln!(out, "vcpus = 1")?;
        if !self.vifs.is_empty() {
            self.render_vifs(out)?;
        }
        writeln!(
            out,
            "\n# Reading the clock is free on a CPU whose TSC is invariant (nearly all since 2008). On one\n\
             # whose is not, Xen traps each reading; this stops it, at the price of a clock that jumps when\n\
             # the domain moves to another host.\n\
             #tsc_mode = \"native\""
        )?;
        writeln!(out, "\n# It was told to stop, or to start anew.")?;
        writeln!(out, "on_poweroff = \"destroy\"")?;
        writeln!(out, "on_reboot = \"restart\"")?;
        write!(out, "{}", self.crash_note)?;
        writeln!(
            out,
            "on_crash = {}",
            quoted(if self.vifs.is_empty() {
                "destroy"
            } else {
                "restart"
            })
        )
    }

    fn render_vifs(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n# One for each line of shorewall/interfaces, in that order. The bridges' names are made up\n\
             # from the zones: put yours. The bridges must exist in dom0, and dom0 itself needs no\n\
             # address on them."
        )?;
        writeln!(out, "vif = [")?;
        for vif in &self.vifs {
            let [a, b, c, d, e, f] = vif.mac;
            writeln!(out, "    # {}", vif.comment)?;
            writeln!(
                out,
                "    \"mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x},bridge={}\",",
                vif.bridge
            )?;
        }
        writeln!(out, "]")
    }
}

/// A vif for each interface of the policy, in order.
fn vifs(policy: &Policy) -> Vec<Vif> {
    let zones: Vec<Vec<&str>> = (0..policy.interfaces.len())
        .map(|index| zones_behind(policy, index))
        .collect();
    policy
        .interfaces
        .iter()
        .zip(&zones)
        .map(|(interface, behind)| {
            // A zone behind two interfaces, or two behind one, names no bridge.
            let alone =
                behind.len() == 1 && zones.iter().filter(|other| *other == behind).count() == 1;
            let word = if alone {
                behind[0]
            } else {
                interface.name.as_str()
            };
            Vif {
                bridge: bridge_name(word),
                mac: stable_mac(&policy.site, interface),
                comment: describe(interface, behind),
            }
        })
        .collect()
}

fn zones_behind(policy: &Policy, index: usize) -> Vec<&str> {
    let mut names = Vec::new();
    for host in &policy.hosts {
        let InterfaceId(interface) = host.interface;
        if usize::from(interface) == index
            && let Some(zone) = policy.zones.get(usize::from(host.zone.0))
            && !names.contains(&zone.name.as_str())
        {
            names.push(zone.name.as_str());
        }
    }
    names
}

fn describe(interface: &Interface, zones: &[&str]) -> String {
    let mut text = interface.name.clone();
    match zones {
        [] => text.push_str(": no zone"),
        [zone] => {
            let _ = write!(text, ": zone {zone}");
        }
        zones => {
            let _ = write!(text, ": zones {}", zones.join(", "));
        }
    }
    for prefix in &interface.addresses {
        let _ = write!(text, ", {}/{}", prefix.address, prefix.length);
    }
    one_line(&text)
}

/// The prefix and as much of `word` as a name of an interface may hold.
fn bridge_name(word: &str) -> String {
    let usable = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    BRIDGE_PREFIX
        .chars()
        .chain(word.chars().filter(usable))
        .take(BRIDGE_NAME_LENGTH)
        .collect()
}

/// An address under Xen's own prefix, 00:16:3e, that is the same each time the site is built.
fn stable_mac(site: &str, interface: &Interface) -> [u8; 6] {
    // FNV-1a: small, and its result will never change under us.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut absorb = |bytes: &[u8]| {
        for &byte in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    absorb(site.as_bytes());
    absorb(interface.name.as_bytes());
    for prefix in &interface.addresses {
        absorb(&prefix.address.octets());
    }
    let [a, b, c, ..] = (hash ^ (hash >> 32)).to_le_bytes();
    // xl itself picks from all of 00:16:3e; the upper half is left to it.
    [0x00, 0x16, 0x3e, a & 0x7f, b, c]
}

/// A string of xl's configuration language, which is close to Python's.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Names come from a user's files and go into comments: nothing may end the line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

//! The domain's configuration for `xl create` (xl.cfg(5)), written to be read.

mod vifs;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use firewalldom::policy::{Interface, Policy};

pub use vifs::{BRIDGE_PREFIX, Guests, Vif};
use vifs::{guests, vifs};

use crate::options::Options;
use crate::xlcfg::quoted;

/// MiB of memory that an appliance gets unless told otherwise.
pub const DEFAULT_MEMORY_MIB: u32 = 8;

/// MiB of memory that a firewall with so many interfaces gets unless told otherwise.
///
/// Each interface takes 1.3 MiB for its rings' buffers; the rest is for the image (half a MiB) and,
/// half of what is left, for the flow table.
///
/// A guest's vif takes up to a third of a MiB; there is room for a dozen and a half where there are any.
pub fn memory_for(interfaces: &[Interface]) -> u32 {
    let guests = interfaces.iter().any(Interface::has_guests);
    let own = interfaces.iter().filter(|own| !own.has_guests()).count();
    let own = u32::try_from(own).unwrap_or(u32::MAX);
    let memory_mib = own
        .saturating_mul(2)
        .saturating_add(4)
        .max(DEFAULT_MEMORY_MIB);
    memory_mib + if guests { GUESTS_MIB } else { 0 }
}

/// MiB that guests' vifs get.
const GUESTS_MIB: u32 = 8;

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
    /// Each interface that guests' vifs are behind.
    pub guests: Vec<Guests>,
    /// Where the site's policy is: lines of comment.
    pub policy_note: &'static str,
    /// The cards that it drives and what lets it serve them: whole lines.
    pub cards: String,
    /// What a crash means, after "on_crash": the comment differs by appliance.
    pub crash_note: &'static str,
}

/// What the driver domain needs besides memory.
const CARDS: &str = "
# The network cards that it drives: put yours (`lspci -D | grep -i ethernet` in dom0). Before it starts,
# dom0 lets go of each by `xl pci-assignable-add 0000:03:00.0`; that needs an IOMMU (VT-d, AMD-Vi).
pci = [
    \"0000:03:00.0\",
]

# Cards may come later, too (`xl pci-attach`). Nothing is permissive: what the driver writes to a card's
# configuration space, xen-pciback allows without.
passthrough = \"enabled\"

# It is the backend of vifs, and the toolstack must let it be one. BRIDGES
# in its own configuration; with ip= as well, it has no other address than those.
driver_domain = 1
";

/// Where they say which bridges there are.
const BRIDGES: &str = "BRIDGES";

/// Which there are where nobody says.
const DEFAULT_BRIDGES: &str = "\
Each card is the wire of a bridge of
# its own: xenbr0 is the first one's, xenbr1 the second one's. Whoever is to be on one has
#     vif = [ \"backend=netdom,bridge=xenbr0\" ]";

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
            guests: guests(policy),
            cards: String::new(),
            policy_note: "# The site's policy. The image above is the same for every site.\n",
            crash_note: "\
# A crash never lets anything through: the domain is the only way between its bridges, so while
# it is down there is none. \"restart\" brings the firewall back with the same policy and an
# empty connection table (open connections have to be opened again, new ones work at once);
# \"preserve\" would keep the dead domain for a look at it, and the networks apart. Its last words
# are in xenconsoled's log if that keeps any, see XENCONSOLED_ARGS in /etc/default/xen.
",
        }
    }

    /// The same with the policy inside the image, where no `ramdisk=` may stand beside it.
    #[must_use]
    pub fn embedded(mut self) -> Self {
        self.ramdisk = None;
        self.policy_note = "\
# The site's policy is inside the image. Beside a ramdisk= it would count for nothing: with two
# policies the domain drops everything.
";
        self
    }

    /// The same with what the command line says.
    #[must_use]
    pub fn with(mut self, options: &Options) -> Self {
        if let Some(name) = &options.name {
            self.name.clone_from(name);
        }
        if let Some(memory_mib) = options.memory_mib {
            self.memory_mib = memory_mib;
        }
        for option in &options.vifs {
            for vif in &mut self.vifs {
                if vif.interface == option.interface {
                    vif.set(option);
                }
            }
        }
        self
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
            guests: Vec::new(),
            policy_note: "",
            cards: String::new(),
            crash_note: "# A crash ends it; nothing depends on it yet.\n",
        }
    }

    /// The configuration of a driver domain.
    pub fn driver(kernel: &Path) -> Self {
        Self {
            cards: CARDS.replace(BRIDGES, DEFAULT_BRIDGES),
            crash_note: "\
# After a crash it starts anew with its cards, under a new number: the vifs that hung off it have to be
# attached again (xl network-detach and network-attach), as after any other backend's end. All of them at
# once: reattach-vifs, in examples/netdom-host of the sources, where a Debian host's own network by it is, too.
",
            ..Self::bare("netdom", "The driver domain: it has the network cards, and all others have vifs of it.", kernel)
        }
    }

    /// The configuration of a driver domain with bridges of the user's.
    pub fn driver_with(kernel: &Path, ramdisk: &Path, bridges: &netdom::config::Config) -> Self {
        let mut said = "Its bridges:\n".to_owned();
        for bridge in &bridges.bridges {
            let wire = match (bridge.card, bridge.vlan) {
                (None, _) => "guests only".to_owned(),
                (Some(card), None) => format!("card {card}"),
                (Some(card), Some(vlan)) => format!("card {card}, VLAN {vlan}"),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(said, "#     {:<15} {wire}", bridge.name);
        }
        let first = bridges.bridges.first();
        let name = first.map_or("xenbr0", |bridge| bridge.name.as_str());
        let _ = write!(
            said,
            "# Whoever is to be on one has\n#     vif = [ \"backend=netdom,bridge={name}\" ]"
        );
        Self {
            ramdisk: Some(ramdisk.to_owned()),
            policy_note: "# What the file of --config says of its bridges. The image above is the same for all.\n",
            cards: CARDS.replace(BRIDGES, &said),
            ..Self::driver(kernel)
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
        write!(out, "{}", self.policy_note)?;
        if let Some(ramdisk) = &self.ramdisk {
            writeln!(out, "ramdisk = {}", quoted(&ramdisk.to_string_lossy()))?;
        }
        let room = match self.guests.is_empty() {
            true => ".",
            false => {
                ": enough for a dozen and a half of guests. Half a MiB more for each one more, please.\n#"
            }
        };
        writeln!(
            out,
            "\n# MiB{room} One virtual CPU: the domain is one loop and uses no second one."
        )?;
        writeln!(out, "memory = {}", self.memory_mib)?;
        writeln!(out, "vcpus = 1")?;
        if !self.vifs.is_empty() {
            self.render_vifs(out)?;
        }
        if !self.guests.is_empty() {
            self.render_guests(out)?;
        }
        write!(
            out,
            "{}",
            self.cards
                .replace("backend=netdom", &format!("backend={}", self.name))
        )?;
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
            quoted(
                if self.vifs.is_empty() && self.guests.is_empty() && self.cards.is_empty() {
                    "destroy"
                } else {
                    "restart"
                }
            )
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
            writeln!(out, "    # {}", vif.comment)?;
            if let Some(remark) = vif.remark {
                writeln!(out, "    # ({remark})")?;
            }
            writeln!(out, "    {},", quoted(&vif.line()))?;
        }
        writeln!(out, "]")
    }

    /// What whoever writes a guest's configuration needs to know.
    fn render_guests(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n# It is the backend of guests' vifs, and the toolstack must let it be one."
        )?;
        let (bridges, routed): (Vec<_>, Vec<_>) = self
            .guests
            .iter()
            .partition(|guests| guests.bridge.is_some());
        if !routed.is_empty() {
            writeln!(
                out,
                "# A guest hangs off it by\n\
                 #     vif = [ \"backend={},ip=10.0.3.2\" ]\n\
                 # in its own configuration: it has no other address than those of ip=, and any address of the\n\
                 # firewall's is its gateway. vifname= chooses the interface where there are several:",
                self.name
            )?;
            for guests in routed {
                writeln!(out, "#     {}", guests.comment)?;
            }
        }
        if let Some(bridge) = bridges.iter().find_map(|guests| guests.bridge.as_deref()) {
            writeln!(
                out,
                "# A guest is on a bridge of the firewall's by\n\
                 #     vif = [ \"backend={},bridge={bridge}\" ]\n\
                 # and has, with ip= as well, no other address than those. The bridges are in the domain, and\n\
                 # dom0 needs none of them:",
                self.name
            )?;
            for guests in bridges {
                writeln!(out, "#     {}", guests.comment)?;
            }
        }
        writeln!(out, "driver_domain = 1")
    }
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

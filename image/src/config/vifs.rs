//! The vifs of a firewall: one for each interface of its site.

use std::fmt::Write as _;

use firewalldom::policy::{Interface, InterfaceId, Policy};

use super::one_line;
use crate::device::Kind;
use crate::vif::{self, DEVICE_NAME_LENGTH, VifKey, VifOption};

/// What the names of the bridges begin with in a generated configuration.
pub const BRIDGE_PREFIX: &str = "br-";

/// One virtual network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vif {
    /// The bridge in dom0 that the backend's side joins.
    pub bridge: String,
    /// Fixed, so that neighbours' ARP caches stay right when the domain is created anew.
    pub mac: [u8; 6],
    /// The interface of the site that it is.
    pub interface: String,
    /// Further settings, after the bridge.
    pub more: Vec<(VifKey, String)>,
    /// What has to be done in dom0 for a device of this kind.
    pub remark: Option<&'static str>,
    /// What the site's files say about it, for a comment; no line breaks.
    pub comment: String,
}

impl Vif {
    /// Takes over what the command line says about it.
    pub(super) fn set(&mut self, option: &VifOption) {
        for (key, value) in &option.settings {
            match key {
                VifKey::Bridge => self.bridge.clone_from(value),
                VifKey::Mac => self.mac = vif::mac(value).unwrap_or(self.mac),
                _ => self.more.push((*key, value.clone())),
            }
        }
        if option.get(VifKey::Bridge).is_some() {
            // Whoever names the bridge knows what is in it.
            self.remark = None;
        }
    }

    /// Its entry in `vif=`.
    pub(super) fn line(&self) -> String {
        let [a, b, c, d, e, f] = self.mac;
        let mut line = format!(
            "mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x},bridge={}",
            self.bridge
        );
        for (key, value) in &self.more {
            let _ = write!(line, ",{}={value}", key.name());
        }
        line
    }
}

/// A vif for each interface of the policy that is the domain's own, in order.
pub(super) fn vifs(policy: &Policy) -> Vec<Vif> {
    let zones: Vec<Vec<&str>> = (0..policy.interfaces.len())
        .map(|index| zones_behind(policy, index))
        .collect();
    policy
        .interfaces
        .iter()
        .zip(&zones)
        .filter(|(interface, _)| !interface.has_guests())
        .map(|(interface, behind)| {
            // A zone behind two interfaces, or two behind one, names no bridge.
            let alone =
                behind.len() == 1 && zones.iter().filter(|other| *other == behind).count() == 1;
            let kind = Kind::of(&interface.name);
            let bridge = match kind {
                // It is one already.
                Kind::Bridge => usable(&interface.name).collect(),
                _ if alone => bridge_name(behind[0]),
                _ => bridge_name(&interface.name),
            };
            Vif {
                interface: interface.name.clone(),
                bridge,
                mac: stable_mac(&policy.site, interface),
                comment: describe(interface, behind),
                more: Vec::new(),
                remark: kind.remark(),
            }
        })
        .collect()
}

/// An interface that guests' vifs are behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guests {
    /// What the site's files say about it, for a comment; no line breaks.
    pub comment: String,
    /// What `bridge=` names it by, if it is a bridge.
    pub bridge: Option<String>,
}

/// Each interface that guests are behind.
pub(super) fn guests(policy: &Policy) -> Vec<Guests> {
    let interfaces = policy.interfaces.iter().enumerate();
    interfaces
        .filter(|(_, interface)| interface.has_guests())
        .map(|(index, interface)| Guests {
            comment: describe(interface, &zones_behind(policy, index)),
            bridge: interface.bridge.then(|| usable(&interface.name).collect()),
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
    BRIDGE_PREFIX
        .chars()
        .chain(usable(word))
        .take(DEVICE_NAME_LENGTH)
        .collect()
}

/// What of `word` may stand in a name of a device, unquoted.
fn usable(word: &str) -> impl Iterator<Item = char> {
    word.chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
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

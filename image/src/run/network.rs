//! The networks around the firewall: for each of its interfaces a bridge in dom0, and behind that a
//! network namespace that plays a host there.
//!
//! ```text
//!   namespace loc                    dom0                                        namespace net
//!   eth0 ──veth── bridge br-loc ── vif ─ firewalldom ─ vif ── bridge br-net ──veth── eth0
//! ```

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use firewalldom::policy::{DestinationTarget, Interface, InterfaceId, InterfacePrefix, Policy};

use qemu_tests::{Machine, Net};

use crate::config::{BRIDGE_PREFIX, DomainConfig, Vif};

/// The hosts behind one interface of the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The zone.
    pub zone: String,
    /// The namespace that plays the host: the bridge of the generated configuration without its
    /// `br-`.
    pub namespace: String,
    /// The host's address.
    pub host: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix_length: u8,
    /// The firewall's address on this side.
    pub firewall: Ipv4Addr,
}

/// All sides, in the order of the policy's interfaces.
///
/// A host has the address that the site's files expect of somebody there: that of a DNAT rule's
/// server, or of the default route's gateway; else the first that is free.
///
/// # Errors
/// When an interface has no address or no zone, or its network has room for nobody else.
pub fn sides(policy: &Policy, config: &DomainConfig) -> Result<Vec<Side>> {
    let mut sides = Vec::new();
    for (index, (interface, vif)) in policy.interfaces.iter().zip(&config.vifs).enumerate() {
        sides.push(side(policy, index, interface, vif)?);
    }
    Ok(sides)
}

fn side(policy: &Policy, index: usize, interface: &Interface, vif: &Vif) -> Result<Side> {
    let name = &interface.name;
    let Some(own) = interface.addresses.first() else {
        bail!("interface {name} has no address");
    };
    let is_here = |id: InterfaceId| usize::from(id.0) == index;
    let zone = policy
        .hosts
        .iter()
        .find(|host| is_here(host.interface))
        .and_then(|host| policy.zones.get(usize::from(host.zone.0)));
    let Some(zone) = zone else {
        bail!("interface {name} is in no zone");
    };
    let gateways = policy
        .routes
        .iter()
        .filter(|route| is_here(route.interface));
    let servers = policy
        .destination_nat
        .iter()
        .filter_map(|rule| match &rule.target {
            DestinationTarget::Server { addresses, .. } => Some(addresses.first),
            _ => None,
        });
    let expected = gateways.filter_map(|route| route.gateway).chain(servers);
    let is_free = |address: &Ipv4Addr| {
        holds(own, *address)
            && interface
                .addresses
                .iter()
                .all(|taken| taken.address != *address)
    };
    let Some(host) = expected.chain(hosts_of(own)).find(is_free) else {
        bail!("the network of interface {name} has room for nobody but the firewall");
    };
    Ok(Side {
        zone: zone.name.clone(),
        namespace: vif.bridge.trim_start_matches(BRIDGE_PREFIX).to_owned(),
        host,
        prefix_length: own.length,
        firewall: own.address,
    })
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn holds(prefix: &InterfacePrefix, address: Ipv4Addr) -> bool {
    (prefix.address.to_bits() ^ address.to_bits()) & mask(prefix.length) == 0
}

/// The addresses of a network that a host can have.
fn hosts_of(prefix: &InterfacePrefix) -> impl Iterator<Item = Ipv4Addr> {
    let network = prefix.address.to_bits() & mask(prefix.length);
    let last = network | !mask(prefix.length);
    (network.saturating_add(1)..last).map(Ipv4Addr::from_bits)
}

impl Side {
    /// What the lab builds for it.
    fn net(&self) -> Net {
        Net {
            name: self.namespace.clone(),
            address: format!("{}/{}", self.host, self.prefix_length),
            gateway: Some(self.firewall.to_string()),
        }
    }
}

/// Builds the networks in dom0.
///
/// # Errors
/// When a command in dom0 fails.
pub fn build(machine: &Machine, sides: &[Side]) -> Result<()> {
    for side in sides {
        machine.add_net(&side.net())?;
    }
    Ok(())
}

/// Takes the networks away again, with the hosts in them and what runs there.
///
/// # Errors
/// When a command in dom0 fails.
pub fn remove(machine: &Machine, sides: &[Side]) -> Result<()> {
    for side in sides {
        let namespace = &side.namespace;
        machine.dom0(&format!(
            "ip netns pids {namespace} | xargs -r kill 2>/dev/null; true"
        ))?;
        machine.remove_net(&side.net())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{interface, site};
    use firewalldom::policy::{Prefix, Route};
    use std::path::Path;

    fn config(policy: &Policy) -> DomainConfig {
        DomainConfig::firewall(policy, Path::new("/k"), Path::new("/p"), 8)
    }

    #[test]
    fn each_interface_gets_a_host_with_an_address_of_its_network() {
        let policy = site(&[("eth0", "net"), ("eth1", "loc")]);
        let config = config(&policy);
        let sides = sides(&policy, &config).unwrap();
        let named: Vec<_> = sides
            .iter()
            .map(|side| (side.zone.as_str(), side.net().bridge()))
            .collect();
        assert_eq!(
            named,
            [
                ("net", config.vifs[0].bridge.clone()),
                ("loc", config.vifs[1].bridge.clone())
            ]
        );
        // The firewall itself is 10.0.0.1 and 10.0.1.1.
        assert_eq!(sides[0].host, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(sides[1].host, Ipv4Addr::new(10, 0, 1, 2));
        assert_eq!(sides[1].firewall, Ipv4Addr::new(10, 0, 1, 1));
    }

    #[test]
    fn the_host_outside_is_the_gateway_that_the_site_names() {
        let mut policy = site(&[("eth0", "net"), ("eth1", "loc")]);
        let gateway = Ipv4Addr::new(10, 0, 0, 254);
        policy.routes.push(Route {
            destination: Prefix {
                address: Ipv4Addr::UNSPECIFIED,
                length: 0,
            },
            gateway: Some(gateway),
            interface: InterfaceId(0),
            metric: 0,
        });
        let sides = sides(&policy, &config(&policy)).unwrap();
        assert_eq!(sides[0].host, gateway);
        assert_eq!(sides[1].host, Ipv4Addr::new(10, 0, 1, 2));
    }

    #[test]
    fn a_network_without_room_is_an_error() {
        let mut policy = site(&[("eth0", "net")]);
        policy.interfaces[0] = interface("eth0", [10, 0, 0, 1]);
        policy.interfaces[0].addresses[0].length = 32;
        let error = sides(&policy, &config(&policy)).unwrap_err();
        assert!(error.to_string().contains("eth0"), "{error}");
    }
}

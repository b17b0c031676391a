//! The peer: a Debian PV guest that does the same job in the same place.

use std::time::Duration;

use anyhow::{Context, Result};
use firewalldom::policy::Policy;
use qemu_tests::{DebianRouter, Lab, Machine, RouterGuests, RouterVif};
use shorewall::Site;

use super::report::Figures;
use super::scenario::Scenario;
use super::{Firewall, INSIDE, OUTSIDE, streams};
use crate::config::DomainConfig;

/// What a Debian guest with this kernel needs to come up.
pub const MEMORY_MIB: u32 = 192;

/// How long it may still work on its rules after the first packet.
pub const READY_LIMIT: Duration = Duration::from_secs(300);

/// The guest with the addresses and routes of the policy, on the vifs of the configuration; its
/// rules are those that Debian's own Shorewall makes of the site's folder. Where guests are behind
/// an interface, it is their backend.
pub fn router(site: &Site, policy: &Policy, config: &DomainConfig) -> DebianRouter {
    let guests = policy
        .interfaces
        .iter()
        .filter(|interface| interface.has_guests())
        .filter_map(|interface| {
            Some(RouterGuests {
                prefix: interface.name.trim_end_matches('+').to_owned(),
                gateway: interface.addresses.first()?.address.to_string(),
            })
        });
    let vif = |(interface, vif): (&firewalldom::policy::Interface, &crate::config::Vif)| {
        let addresses = interface.addresses.first();
        RouterVif {
            address: addresses
                .map_or_else(String::new, |own| format!("{}/{}", own.address, own.length)),
            bridge: vif.bridge.clone(),
            mac: Some(vif.mac),
        }
    };
    let gateways = policy.routes.iter().filter_map(|route| {
        let (to, via) = (route.destination, route.gateway?);
        Some(format!("{}/{} via {via}", to.address, to.length))
    });
    DebianRouter {
        name: "debian".to_owned(),
        memory_mib: MEMORY_MIB,
        vifs: policy
            .interfaces
            .iter()
            .filter(|interface| !interface.has_guests())
            .zip(&config.vifs)
            .map(vif)
            .collect(),
        routes: gateways.collect(),
        shorewall: site.shorewall().to_owned(),
        guests: guests.collect(),
    }
}

/// Puts the guest in the firewall's place and measures the same as of the firewall.
///
/// # Errors
/// When it does not come up or forward.
pub fn measure(
    lab: &Lab,
    machine: &Machine,
    scenario: &Scenario<'_>,
    firewall: &Firewall,
) -> Result<Figures> {
    let router = router(&firewall.site, &firewall.policy, &firewall.config());
    let path = machine.put_debian_router(lab, &router)?;
    let domain = scenario.start(&router.name, &path, INSIDE, OUTSIDE)?;
    machine.wait_for_console(&router.name, &router.ready_line(), READY_LIMIT)?;
    let throughput = streams(scenario, &domain)?;
    scenario.shut_down(&domain)?;
    let share = machine.share();
    let length = |name: &str| {
        let path = share.join(name);
        let metadata = path
            .metadata()
            .with_context(|| path.display().to_string())?;
        anyhow::Ok(metadata.len())
    };
    Ok(Figures {
        kernel_bytes: length("vmlinuz")?,
        ramdisk_bytes: length(&format!("{}.initrd", router.name))?,
        memory_mib: MEMORY_MIB,
        xl_create: domain.xl_create,
        first_packet: domain.first_packet,
        throughput,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use firewalldom::policy::{InterfaceId, Prefix, Route};

    use super::*;
    use crate::config::samples::site;

    #[test]
    fn the_peer_has_the_firewalls_addresses_routes_and_bridges() {
        let mut policy = site(&[("eth0", "net"), ("eth1", "loc")]);
        policy.routes.push(Route {
            destination: Prefix {
                address: Ipv4Addr::UNSPECIFIED,
                length: 0,
            },
            gateway: Some(Ipv4Addr::new(10, 0, 0, 254)),
            interface: InterfaceId(0),
            metric: 0,
        });
        let config = DomainConfig::firewall(&policy, Path::new("/k"), Path::new("/p"), 8);
        let router = router(&Site::from_etc("/etc"), &policy, &config);
        assert_eq!(router.routes, ["0.0.0.0/0 via 10.0.0.254"]);
        assert_eq!(router.vifs[1].address, "10.0.1.1/24");
        assert_eq!(router.vifs[1].bridge, "br-loc");
        assert_eq!(router.vifs[1].mac, Some(config.vifs[1].mac));
        assert_eq!(router.shorewall, Path::new("/etc/shorewall"));
    }
}

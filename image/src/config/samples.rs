//! Policies for tests.

use std::net::Ipv4Addr;

use firewalldom::policy::{
    Disposition, Exception, Host, Interface, InterfaceId, InterfacePrefix, Origin, Policy, Prefix,
    Settings, Zone, ZoneId,
};

const NOWHERE: Origin = Origin { file: 0, line: 0 };

fn settings() -> Settings {
    let exception = Exception {
        disposition: Disposition::Drop,
        log: None,
    };
    Settings {
        log_format: "Shorewall:%s:%s:".to_owned(),
        log_limit: None,
        forwarding: true,
        tcp_flags: exception.clone(),
        smurfs: exception.clone(),
        hairpin: exception,
        related: None,
        invalid: None,
        untracked: None,
        ..Settings::default()
    }
}

pub(crate) fn interface(name: &str, address: [u8; 4]) -> Interface {
    Interface {
        name: name.to_owned(),
        addresses: vec![InterfacePrefix {
            address: address.into(),
            length: 24,
            broadcast: None,
        }],
        mtu: None,
        tcp_flags: false,
        no_smurfs: false,
        route_back: false,
        dhcp: false,
        origin: NOWHERE,
        ..Interface::default()
    }
}

/// A site whose interfaces, given by name, each lie in the zone beside them.
pub(crate) fn site(interfaces: &[(&str, &str)]) -> Policy {
    let mut zones = vec!["fw"];
    let mut hosts = Vec::new();
    for (index, (_, zone)) in interfaces.iter().enumerate() {
        let id = zones
            .iter()
            .position(|name| name == zone)
            .unwrap_or_else(|| {
                zones.push(zone);
                zones.len() - 1
            });
        hosts.push(Host {
            zone: ZoneId(id as u16),
            interface: InterfaceId(index as u8),
            prefix: Prefix {
                address: Ipv4Addr::UNSPECIFIED,
                length: 0,
            },
            mss: None,
        });
    }
    Policy {
        site: "office".to_owned(),
        files: vec!["shorewall/zones".to_owned()],
        settings: settings(),
        interfaces: interfaces
            .iter()
            .enumerate()
            .map(|(index, (name, _))| interface(name, [10, 0, index as u8, 1]))
            .collect(),
        routes: Vec::new(),
        zones: zones
            .into_iter()
            .map(|name| Zone {
                name: name.to_owned(),
                parents: Vec::new(),
                origin: NOWHERE,
            })
            .collect(),
        hosts,
        ..Policy::default()
    }
}

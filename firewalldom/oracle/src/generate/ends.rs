//! The columns SOURCE, DEST and ORIGDEST: zones, their addresses, and the firewall's own.

use super::Author;
use super::network::{Network, Zone};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// SOURCE or DEST.
pub(super) fn end(author: &mut Author<'_>, network: &Network, side: Side) -> String {
    let zone = author.choose(&network.zones);
    let several = network.zones.len() > 1;
    match author.rng.u32(0..20) {
        0..=1 => {
            author.uses("rules: all");
            "all".to_owned()
        }
        2 => {
            author.uses("rules: any");
            "any".to_owned()
        }
        3 if !author.optimizes => {
            author.uses("rules: all+");
            "all+".to_owned()
        }
        4 if several => {
            author.uses("rules: all!zone");
            format!("all!{}", zone.name)
        }
        5 if several => {
            author.uses("rules: list of zones");
            format!("{},{}", network.zones[0].name, network.zones[1].name)
        }
        6..=8 => {
            author.uses("rules: $FW");
            "$FW".to_owned()
        }
        9..=14 => format!("{}:{}", zone.name, addresses(author, network, &zone, side)),
        _ => zone.name.to_owned(),
    }
}

fn addresses(author: &mut Author<'_>, network: &Network, zone: &Zone, side: Side) -> String {
    let hosts = zone.network.hosts();
    let host = zone.network.host(author.rng.u8(1..hosts.min(90)));
    match author.rng.u32(0..8) {
        0 => {
            author.uses("rules: zone:prefix");
            subnet(author, zone)
        }
        1 => {
            author.uses("rules: zone:range");
            let first = author.rng.u8(1..hosts - 4);
            format!(
                "{}-{}",
                zone.network.host(first),
                zone.network.host(first + 3)
            )
        }
        2 => {
            author.uses("rules: zone:list");
            format!("{host},{}", zone.network.host(author.rng.u8(1..hosts)))
        }
        3 => {
            author.uses("rules: zone:exclusion");
            format!("{}!{host}", zone.network.text())
        }
        4 if author.one_in(2) => {
            author.uses("rules: zone:set of addresses");
            set_of_addresses(author, zone)
        }
        4 if !zone.by_hosts => {
            author.uses("rules: zone:interface");
            let link = &network.links[zone.link];
            author.choose(&[link.logical, link.line]).to_owned()
        }
        5 if side == Side::Source => {
            author.uses("rules: zone:MAC");
            mac(&host)
        }
        _ => {
            author.uses("rules: zone:address");
            host
        }
    }
}

/// Single addresses, ranges and prefixes in one list, and some taken out of it.
fn set_of_addresses(author: &mut Author<'_>, zone: &Zone) -> String {
    let hosts = zone.network.hosts();
    let first = author.rng.u8(1..hosts - 6);
    let mut list = vec![
        format!(
            "{}-{}",
            zone.network.host(first),
            zone.network.host(first + 5)
        ),
        subnet(author, zone),
        zone.network.host(author.rng.u8(1..hosts)),
    ];
    for _ in 0..author.rng.u32(0..6) {
        list.push(zone.network.host(author.rng.u8(1..hosts)));
    }
    let mut text = list.join(",");
    if author.one_in(2) {
        let out = [first + 1, first + 3].map(|n| zone.network.host(n));
        text += &format!("!{}", out.join(","));
    }
    text
}

/// The hardware address that the station with this address has, as Shorewall writes it.
fn mac(address: &str) -> String {
    let bytes = address.split('.').map(|byte| byte.parse().unwrap_or(0u8));
    let bytes: Vec<String> = [2, 0]
        .into_iter()
        .chain(bytes)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!("~{}", bytes.join("-"))
}

pub(super) fn subnet(author: &mut Author<'_>, zone: &Zone) -> String {
    match zone.network.length {
        24 => {
            let length = author.choose(&[25, 26, 29]);
            let size = 1u16 << (32 - length);
            let start = author.rng.u16(0..256 / size) * size;
            format!("{}/{length}", zone.network.host(start as u8))
        }
        length => format!("{}/{}", zone.network.host(0), length + 1),
    }
}

pub(super) fn original_destination(author: &mut Author<'_>, network: &Network, n: u32) -> String {
    if !author.one_in(n) {
        return "-".to_owned();
    }
    author.uses("rules: ORIGDEST");
    let link = author.choose(&network.links);
    let own = link.prefix.host(link.own);
    match author.rng.u32(0..4) {
        0 => {
            author.uses("rules: &interface");
            format!("&{}", link.logical)
        }
        1 => format!("{own},203.0.113.77"),
        2 => format!("!{own}"),
        _ => own,
    }
}

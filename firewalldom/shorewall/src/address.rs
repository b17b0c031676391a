//! Addresses, prefixes, ranges, MAC addresses and lists of them.

use std::net::Ipv4Addr;

use firewalldom::policy::{AddressRange, Addresses, InterfaceId, Prefix};

use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::world::World;

/// `[interface:]addresses` behind a zone or in a column of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    pub(crate) interface: Option<InterfaceId>,
    pub(crate) addresses: Addresses,
    pub(crate) macs: Vec<[u8; 6]>,
}

/// One address.
pub(crate) fn single(session: &mut Session<'_>, word: &Word) -> Option<Ipv4Addr> {
    let address = word.text().parse().ok();
    if address.is_none() {
        not_an_address(session, word);
    }
    address
}

fn not_an_address(session: &mut Session<'_>, word: &Word) {
    let text = word.text();
    let finding = if text.contains("::") || text.matches(':').count() > 2 || text.starts_with('[') {
        Finding::error(format!("`{text}` is an IPv6 address"))
            .at(word.span(), "IPv6 is not supported")
            .note("its packets are dropped and counted")
    } else if text.split('.').count() == 4 && text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        Finding::error(format!("`{text}` is not an IPv4 address")).at(
            word.span(),
            "each of the four numbers is at most 255, without leading zeros",
        )
    } else if text.contains('.') && text.chars().any(|c| c.is_ascii_alphabetic()) {
        Finding::error(format!("`{text}` is a name, not an address"))
            .at(word.span(), "names are not resolved")
            .note("a name may mean another host tomorrow: write the address")
    } else {
        Finding::error(format!("`{text}` is not an IPv4 address"))
            .at(word.span(), "expected an address such as 192.0.2.1")
    };
    session.report(finding);
}

/// `24` or `255.255.255.0`.
pub(crate) fn mask_length(session: &mut Session<'_>, word: &Word) -> Option<u8> {
    let text = word.text();
    let length = match text.parse::<u8>() {
        Ok(length) => (length <= 32).then_some(length),
        Err(_) => text.parse::<Ipv4Addr>().ok().and_then(|mask| {
            let bits = u32::from(mask);
            (bits.leading_ones() + bits.trailing_zeros() >= 32).then_some(bits.leading_ones() as u8)
        }),
    };
    if length.is_none() {
        session.error(
            word.span(),
            format!("`{text}` is not the length of an IPv4 prefix"),
            "expected 0 to 32, or a netmask",
            "for example 24 or 255.255.255.0",
        );
    }
    length
}

/// `192.0.2.0/24`, or a single address as a prefix of 32 bits.
pub(crate) fn prefix(session: &mut Session<'_>, word: &Word) -> Option<Prefix> {
    let (address, length) = match word.split_once('/') {
        Some((address, length)) => {
            let address = single(session, &address)?;
            (address, mask_length(session, &length)?)
        }
        None => (single(session, word)?, 32),
    };
    Some(masked(address, length))
}

/// The prefix that holds an address.
pub(crate) fn masked(address: Ipv4Addr, length: u8) -> Prefix {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    Prefix {
        address: Ipv4Addr::from(u32::from(address) & mask),
        length,
    }
}

/// All addresses of a prefix.
pub(crate) fn range_of(prefix: Prefix) -> AddressRange {
    let host_bits = u32::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
    AddressRange {
        first: prefix.address,
        last: Ipv4Addr::from(u32::from(prefix.address) | host_bits),
    }
}

/// `192.0.2.1`, `192.0.2.0/24`, `192.0.2.1-192.0.2.9` or `&eth0`.
pub(crate) fn range(session: &mut Session<'_>, world: &World, word: &Word) -> Option<AddressRange> {
    range_with(session, Some(world), word)
}

fn range_with(
    session: &mut Session<'_>,
    world: Option<&World>,
    word: &Word,
) -> Option<AddressRange> {
    if let (Some(name), Some(world)) = (word.strip_prefix("&"), world) {
        return own_address(session, world, &name);
    }
    if let Some((first, last)) = word.split_once('-') {
        let (low, high) = (single(session, &first), single(session, &last));
        let (low, high) = (low?, high?);
        if low > high {
            session.error(
                word.span(),
                "this range ends before it begins",
                "no address lies in it",
                format!("write: {high}-{low}"),
            );
            return None;
        }
        return Some(AddressRange {
            first: low,
            last: high,
        });
    }
    prefix(session, word).map(range_of)
}

/// `&eth0`: the primary address of an interface, known when compiling.
fn own_address(session: &mut Session<'_>, world: &World, name: &Word) -> Option<AddressRange> {
    let id = world.interface(session, name)?;
    match world.interfaces[usize::from(id.0)].addresses.first() {
        Some(prefix) => Some(AddressRange {
            first: prefix.address,
            last: prefix.address,
        }),
        None => {
            session.error(
                name.span(),
                format!("`{}` has no address", name.text()),
                "no address in interfaces(5)",
                "",
            );
            None
        }
    }
}

/// `a,b!c,d`: a list with exceptions. MAC addresses (`~02-00-…`) go into `macs`.
pub(crate) fn list(
    session: &mut Session<'_>,
    world: &World,
    word: &Word,
    macs: &mut Vec<[u8; 6]>,
) -> Option<Addresses> {
    list_with(session, Some(world), word, macs)
}

/// As `list`, where no interface can be named.
pub(crate) fn list_without_interfaces(
    session: &mut Session<'_>,
    word: &Word,
    macs: &mut Vec<[u8; 6]>,
) -> Option<Addresses> {
    list_with(session, None, word, macs)
}

fn list_with(
    session: &mut Session<'_>,
    world: Option<&World>,
    word: &Word,
    macs: &mut Vec<[u8; 6]>,
) -> Option<Addresses> {
    let (included, excluded) = match word.split_once('!') {
        Some((included, excluded)) => (included, Some(excluded)),
        None => (word.clone(), None),
    };
    let mut addresses = Addresses::default();
    let mut complete = true;
    if !included.is_empty() {
        for item in included.split(',') {
            if item.text().starts_with('~') {
                match mac(session, &item) {
                    Some(mac) => macs.push(mac),
                    None => complete = false,
                }
                continue;
            }
            match element(session, world, &item) {
                Some(range) => addresses.ranges.push(range),
                None => complete = false,
            }
        }
    }
    if let Some(excluded) = excluded {
        let excluded = match excluded.call() {
            Some((name, inner)) if name.is_empty() => inner,
            _ => excluded,
        };
        for item in excluded.split(',') {
            match element(session, world, &item) {
                Some(range) => addresses.except.push(range),
                None => complete = false,
            }
        }
    }
    complete.then_some(addresses)
}

fn element(session: &mut Session<'_>, world: Option<&World>, item: &Word) -> Option<AddressRange> {
    let text = item.text();
    let refusal = match text.chars().next() {
        None => {
            session.error(
                item.span(),
                "an empty item in a list",
                "an address is missing",
                "take the comma out",
            );
            return None;
        }
        Some('+') => "ipsets are not supported yet",
        Some('^') => "countries (geoip) are not supported",
        Some('%') => "an interface's gateway as an address is not supported yet",
        Some('!') => "two exclusions",
        Some('~') => "MAC addresses cannot be excluded yet",
        _ => return range_with(session, world, item),
    };
    session.error(
        item.span(),
        refusal,
        "here",
        "write addresses, prefixes or ranges",
    );
    None
}

fn mac(session: &mut Session<'_>, word: &Word) -> Option<[u8; 6]> {
    let octets: Option<Vec<u8>> = word.text()[1..]
        .split(['-', ':'])
        .map(|octet| {
            (octet.len() == 2)
                .then(|| u8::from_str_radix(octet, 16).ok())
                .flatten()
        })
        .collect();
    let mac = octets.and_then(|octets| octets.try_into().ok());
    if mac.is_none() {
        session.error(
            word.span(),
            format!("`{}` is not a MAC address", word.text()),
            "expected six pairs of hexadecimal digits",
            "write: ~02-00-00-00-00-01",
        );
    }
    mac
}

/// What may follow `zone:`: `[interface:]addresses`, an interface alone, or addresses alone.
pub(crate) fn hosts(session: &mut Session<'_>, world: &World, word: &Word) -> Option<Hosts> {
    let (first, rest) = match word.split_once(':') {
        Some((first, rest)) => (first, Some(rest)),
        None => (word.clone(), None),
    };
    let mut hosts = Hosts::default();
    let is_name = first.text().starts_with(|c: char| c.is_ascii_alphabetic())
        && !first.text().contains([',', '!', '/'])
        && first.text().parse::<Ipv4Addr>().is_err();
    let looks_resolvable = first.text().contains('.') && !world.has_interface(first.text());
    let list_word = if is_name && !looks_resolvable {
        hosts.interface = Some(world.interface(session, &first)?);
        match rest {
            None => return Some(hosts),
            Some(rest) => rest,
        }
    } else {
        word.clone()
    };
    let list_word = match list_word.call() {
        Some((name, inner)) if name.is_empty() => inner,
        _ => list_word,
    };
    if list_word.is_empty() {
        session.error(
            word.span(),
            "an address is missing",
            "nothing follows the colon",
            "",
        );
        return None;
    }
    hosts.addresses = list(session, world, &list_word, &mut hosts.macs)?;
    Some(hosts)
}

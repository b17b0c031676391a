//! Addresses, prefixes, ranges, MAC addresses and lists of them.

use std::net::Ipv4Addr;

use firewalldom::policy::{AddressRange, Addresses, InterfaceId, Member, Prefix, SetMatch};

use crate::ipset::{self, Members};
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::world::World;

/// `[interface:]addresses` behind a zone or in a column of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    /// Any of these, if any is said.
    pub(crate) interfaces: Option<Vec<InterfaceId>>,
    pub(crate) addresses: Addresses,
    pub(crate) macs: Vec<[u8; 6]>,
    /// MAC addresses that are left out.
    pub(crate) except_macs: Vec<[u8; 6]>,
}

impl Hosts {
    /// Each of their interfaces, one by one, or once none.
    pub(crate) fn ways(&self) -> Vec<Option<InterfaceId>> {
        match &self.interfaces {
            Some(interfaces) => interfaces.iter().copied().map(Some).collect(),
            None => vec![None],
        }
    }
}

/// A list as a column says it.
#[derive(Clone, Debug, Default)]
struct List {
    addresses: Addresses,
    macs: Vec<[u8; 6]>,
    except_macs: Vec<[u8; 6]>,
}

/// Sets from this many ranges on are named in the policy, not copied into each rule.
const NAMED_FROM: usize = 64;

/// What becomes of long sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sets {
    /// Named, and looked up.
    Named,
    /// Written out.
    WrittenOut,
}

/// Every address.
pub(crate) const ALL: AddressRange = AddressRange {
    first: Ipv4Addr::UNSPECIFIED,
    last: Ipv4Addr::BROADCAST,
};

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

/// Whether two addresses lie in the same prefix of this length.
pub(crate) fn share_prefix(one: Ipv4Addr, other: Ipv4Addr, length: u8) -> bool {
    masked(one, length) == masked(other, length)
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
        return own_address(session, world, &interface_variable(&name));
    }
    if let (Some(name), Some(world)) = (word.strip_prefix("%"), world) {
        return gateway(session, world, &interface_variable(&name));
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

/// `eth0` or `{eth0}`.
fn interface_variable(name: &Word) -> Word {
    name.strip_prefix("{")
        .and_then(|inner| inner.strip_suffix("}"))
        .unwrap_or_else(|| name.clone())
}

/// `%eth0`: the next hop of an interface's default route, known when compiling.
fn gateway(session: &mut Session<'_>, world: &World, name: &Word) -> Option<AddressRange> {
    let id = world.interface(session, name)?;
    let route = world
        .routes
        .iter()
        .find(|route| route.interface == id && route.destination.length == 0);
    match route.and_then(|route| route.gateway) {
        Some(gateway) => Some(AddressRange {
            first: gateway,
            last: gateway,
        }),
        None => {
            session.error(
                name.span(),
                format!("`{}` has no gateway", name.text()),
                "no gateway in interfaces(5)",
                "",
            );
            None
        }
    }
}

/// `a,b!c,d`: a list with exceptions, of addresses and sets of them. `world`: where interfaces can
/// be named.
pub(crate) fn plain_list(
    session: &mut Session<'_>,
    world: Option<&World>,
    word: &Word,
) -> Option<Addresses> {
    let list = list(session, world, word, Sets::Named)?;
    only_addresses(session, word, list)
}

/// As `plain_list`, but what sets hold is written out: nothing is looked up in them later.
pub(crate) fn expanded_list(
    session: &mut Session<'_>,
    world: &World,
    word: &Word,
) -> Option<Addresses> {
    let list = list(session, Some(world), word, Sets::WrittenOut)?;
    only_addresses(session, word, list)
}

fn only_addresses(session: &mut Session<'_>, word: &Word, list: List) -> Option<Addresses> {
    if !list.macs.is_empty() || !list.except_macs.is_empty() {
        session.error(
            word.span(),
            "MAC addresses are not possible here",
            "an address is needed",
            "",
        );
        return None;
    }
    Some(list.addresses)
}

/// Addresses and MAC addresses (`~02-00-…`).
fn list(session: &mut Session<'_>, world: Option<&World>, word: &Word, sets: Sets) -> Option<List> {
    let (included, excluded) = match word.split_once('!') {
        Some((included, excluded)) => (included, Some(excluded)),
        None => (word.clone(), None),
    };
    let mut list = List::default();
    let mut complete = true;
    if !included.is_empty() {
        let items = included.split(',');
        // What stands beside a set is an alternative to it.
        let sets = if items.len() == 1 {
            sets
        } else {
            Sets::WrittenOut
        };
        for item in items {
            complete &= add(session, world, &item, (sets, Member::Yes), &mut list).is_some();
        }
        let holds_nothing = list.addresses.ranges.is_empty()
            && list.addresses.sets.is_empty()
            && list.macs.is_empty();
        if holds_nothing && complete {
            // No range means any address: that none is meant has to be said otherwise.
            session.report(
                Finding::warning("this set is empty: nothing matches")
                    .at(included.span(), "no address is in it"),
            );
            list.addresses.except.push(ALL);
        }
    }
    if let Some(excluded) = excluded {
        let excluded = match excluded.call() {
            Some((name, inner)) if name.is_empty() => inner,
            _ => excluded,
        };
        for item in excluded.split(',') {
            complete &= add(session, world, &item, (sets, Member::No), &mut list).is_some();
        }
    }
    complete.then_some(list)
}

/// Adds an item of a list to what is meant, or to what is left out.
fn add(
    session: &mut Session<'_>,
    world: Option<&World>,
    item: &Word,
    (sets, member): (Sets, Member),
    list: &mut List,
) -> Option<()> {
    let addresses = &mut list.addresses;
    let (ranges, macs) = match member {
        Member::Yes => (&mut addresses.ranges, &mut list.macs),
        Member::No => (&mut addresses.except, &mut list.except_macs),
    };
    if item.text().starts_with('~') {
        macs.push(mac(session, &item.slice(1..item.text().len()))?);
        return Some(());
    }
    if !item.text().starts_with('+') {
        ranges.push(element(session, world, item)?);
        return Some(());
    }
    match ipset::members(session, item)? {
        Members::Addresses(held) if sets == Sets::Named && held.len() >= NAMED_FROM => {
            addresses.sets.push(named(session, item, &held, member));
        }
        Members::Addresses(held) => ranges.extend(held),
        Members::Macs(held) => macs.extend(held),
        Members::Ports(_) | Members::Lists(_) | Members::Unusable(_) => {
            not_of_addresses(session, item);
            return None;
        }
    }
    Some(())
}

fn named(
    session: &mut Session<'_>,
    item: &Word,
    ranges: &[AddressRange],
    member: Member,
) -> SetMatch {
    let name = item.text().trim_start_matches('+');
    // The flags say which end is meant, which the column has said.
    let name = match name.split_once('[') {
        Some((plain, _)) if !plain.is_empty() => plain,
        _ => name,
    };
    SetMatch {
        set: session.tables.address_set(name, ranges),
        member,
    }
}

fn not_of_addresses(session: &mut Session<'_>, item: &Word) {
    session.error(
        item.span(),
        format!("the set `{}` does not hold addresses", item.text()),
        "addresses are needed here",
        "",
    );
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
        Some('^') => "countries (geoip) are not supported",
        Some('!') => "two exclusions",
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

/// `02-00-00-00-00-01`, also with colons.
pub(crate) fn mac(session: &mut Session<'_>, word: &Word) -> Option<[u8; 6]> {
    let octets: Option<Vec<u8>> = word
        .text()
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
        hosts.interfaces = Some(world.interfaces_of(session, &first)?);
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
    let list = list(session, Some(world), &list_word, Sets::Named)?;
    Some(Hosts {
        addresses: list.addresses,
        macs: list.macs,
        except_macs: list.except_macs,
        ..hosts
    })
}

/// Hosts where no zone and no interface can be named: in macros and actions.
pub(crate) fn hosts_alone(session: &mut Session<'_>, word: &Word) -> Option<Hosts> {
    let list = list(session, None, word, Sets::Named)?;
    Some(Hosts {
        interfaces: None,
        addresses: list.addresses,
        macs: list.macs,
        except_macs: list.except_macs,
    })
}

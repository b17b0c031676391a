//! Sets of addresses that rules name as `+set`: their members are those of the file `ipsets`, a dump
//! as `ipset save` writes it (ipset(8)).
//!
//! On a Linux gateway a set may change while the firewall runs. Here it is what the file says, so
//! that sets whose members expire, or whose kind says more than an address, are refused where they
//! are used.

use std::collections::BTreeMap;

use firewalldom::policy::{AddressRange, PortRange};

use crate::address::{self, masked, range_of};
use crate::columns::words;
use crate::packet_set::{intersection, merged, without};
use crate::report::Finding;
use crate::session::Session;
use crate::source::{Span, Word};
use crate::suggest::did_you_mean;

/// The sets of a site, by name.
#[derive(Default)]
pub(crate) struct Ipsets {
    sets: BTreeMap<String, Ipset>,
}

struct Ipset {
    members: Members,
    span: Span,
}

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Members {
    /// `hash:ip`, `hash:net`, `bitmap:ip`: in order, apart from each other.
    Addresses(Vec<AddressRange>),
    /// `bitmap:port`.
    Ports(Vec<PortRange>),
    /// `hash:mac`.
    Macs(Vec<[u8; 6]>),
    /// `list:set`: the names of other sets.
    Lists(Vec<String>),
    /// Cannot be used, for this reason.
    Unusable(&'static str),
}

/// A set while its lines are read.
struct Draft {
    kind: Kind,
    /// `netmask`: addresses count as all of the prefix of this length.
    netmask: u8,
    /// Ranges by the length of the prefix that they were written with; `nomatch` apart.
    matching: Vec<(u8, AddressRange)>,
    excepted: Vec<(u8, AddressRange)>,
    ports: Vec<PortRange>,
    macs: Vec<[u8; 6]>,
    lists: Vec<String>,
    span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Addresses,
    Ports,
    Macs,
    Lists,
    Unusable(&'static str),
}

/// The kinds of sets, with their names in ipset 4.
fn kind(text: &str) -> Option<Kind> {
    Some(match text {
        "hash:ip" | "hash:net" | "bitmap:ip" | "iphash" | "nethash" | "ipmap" | "iptree"
        | "iptreemap" => Kind::Addresses,
        "bitmap:port" | "portmap" => Kind::Ports,
        "hash:mac" => Kind::Macs,
        "list:set" | "setlist" => Kind::Lists,
        "bitmap:ip,mac" | "hash:ip,mac" | "hash:ip,port" | "hash:ip,port,ip"
        | "hash:ip,port,net" | "hash:ip,mark" | "hash:net,net" | "hash:net,port"
        | "hash:net,port,net" | "hash:net,iface" | "macipmap" | "ipporthash" | "ipportiphash"
        | "ipportnethash" => Kind::Unusable("its members are more than addresses"),
        _ => return None,
    })
}

/// Reads the file, if there is one.
pub(crate) fn read(session: &mut Session<'_>) -> Ipsets {
    let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
    let path = session.shorewall_file("ipsets");
    let Some(file) = session.open(&path) else {
        return Ipsets::default();
    };
    for line in session.plain_lines(file) {
        let mut columns = words(&line);
        // `-exist` and `-!` only say what an error is to the program.
        columns.retain(|word| !matches!(word.text(), "-exist" | "-!"));
        read_line(session, &columns, &mut drafts);
    }
    let sets = drafts
        .into_iter()
        .map(|(name, draft)| {
            let span = draft.span;
            let members = draft.finish();
            (name, Ipset { members, span })
        })
        .collect();
    Ipsets { sets }
}

fn read_line(session: &mut Session<'_>, columns: &[Word], drafts: &mut BTreeMap<String, Draft>) {
    let Some(command) = columns.first() else {
        return;
    };
    match (command.text(), &columns[1..]) {
        ("create" | "n" | "-N" | "--create", [name, kind, options @ ..]) => {
            if let Some(draft) = create(session, name, kind, options) {
                drafts.insert(name.text().to_owned(), draft);
            }
        }
        ("add" | "-A" | "--add", [name, member, options @ ..]) => {
            let Some(draft) = drafts.get_mut(name.text()) else {
                let known = drafts.keys().map(String::as_str);
                session.report(
                    Finding::error(format!("the set `{}` is not created above", name.text()))
                        .at(name.span(), "unknown here")
                        .maybe_note(did_you_mean(name.text(), known)),
                );
                return;
            };
            draft.add(session, member, options);
        }
        ("COMMIT" | "quit", []) => {}
        (other, _) => session.error(
            command.span(),
            format!("`{other}` is not understood in a dump of sets"),
            "expected create NAME KIND, or add NAME MEMBER",
            "write the file as `ipset save` does",
        ),
    }
}

fn create(
    session: &mut Session<'_>,
    name: &Word,
    kind_word: &Word,
    options: &[Word],
) -> Option<Draft> {
    let Some(mut kind) = kind(kind_word.text()) else {
        session.report(
            Finding::error(format!(
                "`{}` is not a kind of set that is known here",
                kind_word.text()
            ))
            .at(kind_word.span(), "expected for example hash:ip or hash:net")
            .maybe_note(did_you_mean(
                kind_word.text(),
                [
                    "hash:ip",
                    "hash:net",
                    "bitmap:ip",
                    "bitmap:port",
                    "list:set",
                ],
            )),
        );
        return None;
    };
    let mut netmask = 32;
    for pair in options.windows(2) {
        match (pair[0].text(), pair[1].text()) {
            ("family", "inet6") => kind = Kind::Unusable("its members are IPv6 addresses"),
            ("timeout", value) if value != "0" => kind = EXPIRING,
            ("netmask", _) => netmask = address::mask_length(session, &pair[1])?,
            _ => {}
        }
    }
    Some(Draft {
        kind,
        netmask,
        matching: Vec::new(),
        excepted: Vec::new(),
        ports: Vec::new(),
        macs: Vec::new(),
        lists: Vec::new(),
        span: name.span(),
    })
}

const EXPIRING: Kind = Kind::Unusable("its members expire, and a set stays as it is here");

impl Draft {
    fn add(&mut self, session: &mut Session<'_>, member: &Word, options: &[Word]) {
        let expires = options
            .windows(2)
            .any(|pair| pair[0].text() == "timeout" && pair[1].text() != "0");
        if expires && !matches!(self.kind, Kind::Unusable(_)) {
            self.kind = EXPIRING;
        }
        match self.kind {
            Kind::Unusable(_) => {}
            Kind::Addresses => {
                let Some((length, range)) = self.range(session, member) else {
                    return;
                };
                let excepted = options.iter().any(|option| option.text() == "nomatch");
                let list = if excepted {
                    &mut self.excepted
                } else {
                    &mut self.matching
                };
                list.push((length, range));
            }
            Kind::Ports => {
                let bare = member.text().split_once(':').map_or_else(
                    || member.clone(),
                    |(kind, _)| member.slice(kind.len() + 1..member.text().len()),
                );
                self.ports
                    .extend(crate::traffic::port_range(session, &bare));
            }
            Kind::Macs => self.macs.extend(address::mac(session, member)),
            Kind::Lists => self.lists.push(member.text().to_owned()),
        }
    }

    /// A member's addresses, and the length of the prefix that it was written with.
    fn range(&self, session: &mut Session<'_>, member: &Word) -> Option<(u8, AddressRange)> {
        let text = member.text();
        // ipset 4 and bitmaps: from-to, also with a colon.
        if text.contains(['-', ':']) {
            let separator = if text.contains('-') { '-' } else { ':' };
            let (first, last) = member.split_once(separator)?;
            let first = address::single(session, &first)?;
            let last = address::single(session, &last)?;
            let range = AddressRange {
                first: range_of(masked(first.min(last), self.netmask)).first,
                last: range_of(masked(first.max(last), self.netmask)).last,
            };
            return Some((32, range));
        }
        let prefix = address::prefix(session, member)?;
        let length = prefix.length.min(self.netmask);
        Some((length, range_of(masked(prefix.address, length))))
    }

    fn finish(self) -> Members {
        match self.kind {
            Kind::Unusable(why) => Members::Unusable(why),
            Kind::Ports => Members::Ports(self.ports),
            Kind::Macs => Members::Macs(self.macs),
            Kind::Lists => Members::Lists(self.lists),
            Kind::Addresses => Members::Addresses(most_specific(&self.matching, &self.excepted)),
        }
    }
}

/// The kernel asks for the longest prefixes first: a member decides about what no longer one does.
fn most_specific(
    matching: &[(u8, AddressRange)],
    excepted: &[(u8, AddressRange)],
) -> Vec<AddressRange> {
    if excepted.is_empty() {
        return merged(matching.iter().map(|member| member.1));
    }
    let mut ranges = Vec::new();
    for length in 0..=32 {
        let of_length = |members: &[(u8, AddressRange)]| {
            let members = members.iter().filter(|member| member.0 == length);
            members.map(|member| member.1).collect::<Vec<_>>()
        };
        ranges.extend(of_length(matching));
        ranges = without(&merged(ranges), &of_length(excepted));
    }
    ranges
}

/// Members of the sets that a column names: `+set` or `+[set,set]`, which means what all of them
/// hold. `None`: reported.
pub(crate) fn members(session: &mut Session<'_>, item: &Word) -> Option<Members> {
    let name = item.slice(1..item.text().len());
    let inner = name
        .strip_prefix("[")
        .and_then(|rest| rest.strip_suffix("]"));
    let Some(list) = inner else {
        return one(session, &name);
    };
    let mut common: Option<Vec<AddressRange>> = None;
    for name in list.split(',') {
        let name = name.strip_prefix("+").unwrap_or(name);
        let Members::Addresses(ranges) = one(session, &name)? else {
            session.error(
                name.span(),
                "only sets of addresses can be combined",
                "holds something else",
                "write a rule for each set",
            );
            return None;
        };
        common = Some(match common {
            None => ranges,
            Some(common) => intersection(&common, &ranges),
        });
    }
    common.map(Members::Addresses)
}

/// `set`, `set[src]`, `set[dst]` or `set[1]`.
fn one(session: &mut Session<'_>, word: &Word) -> Option<Members> {
    let (name, flags) = match word.text().find('[') {
        Some(at) => (word.slice(0..at), Some(word.slice(at..word.text().len()))),
        None => (word.clone(), None),
    };
    if let Some(flags) = flags.filter(|flags| !matches!(flags.text(), "[src]" | "[dst]" | "[1]")) {
        session.error(
            flags.span(),
            "this way to look at a set is not supported yet",
            "only [src] in SOURCE and [dst] in DEST",
            "for a set of addresses: leave it out",
        );
        return None;
    }
    resolve(session, &name)
}

fn resolve(session: &mut Session<'_>, name: &Word) -> Option<Members> {
    let Some(set) = session.ipsets.sets.get(name.text()) else {
        let known = session.ipsets.sets.keys().map(String::as_str);
        let meant = did_you_mean(name.text(), known);
        let file = session.shorewall_file("ipsets").display().to_string();
        session.report(
            Finding::error(format!(
                "the members of the set `{}` are not known",
                name.text()
            ))
            .at(name.span(), format!("not in {file}"))
            .maybe_note(meant)
            .note(format!(
                "on the Linux host that has it: ipset save > {file}"
            )),
        );
        return None;
    };
    let (members, span) = (set.members.clone(), set.span);
    match members {
        Members::Unusable(why) => {
            let created = session.sources.location(span);
            session.error(
                name.span(),
                format!("the set `{}` is not supported yet", name.text()),
                why,
                format!("created in {}:{}", created.file, created.line),
            );
            None
        }
        Members::Lists(names) => {
            let mut all = Vec::new();
            for inner in names {
                match session.ipsets.sets.get(&inner).map(|set| &set.members) {
                    Some(Members::Addresses(ranges)) => all.extend(ranges.iter().copied()),
                    _ => {
                        session.error(
                            name.span(),
                            format!("the set `{inner}`, a member, is not one of addresses"),
                            "a list of sets",
                            "",
                        );
                        return None;
                    }
                }
            }
            Some(Members::Addresses(merged(all)))
        }
        members => Some(members),
    }
}

/// A set in SOURCE is asked for the source, one in DEST for the destination: the other way round
/// is not supported. `wrong` is `[src` or `[dst`.
pub(crate) fn refuse_direction(session: &mut Session<'_>, column: &Word, wrong: &str) -> bool {
    let Some(at) = column.text().find(wrong) else {
        return false;
    };
    session.error(
        column.slice(at..at + wrong.len()).span(),
        "a set that is asked for the other end is not supported yet",
        "this column is about this end",
        "write the set in the other column",
    );
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn range(first: u8, last: u8) -> AddressRange {
        AddressRange {
            first: Ipv4Addr::new(10, 0, 0, first),
            last: Ipv4Addr::new(10, 0, 0, last),
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let matching = [(24, range(0, 255)), (32, range(5, 5))];
        let excepted = [(28, range(0, 15))];
        assert_eq!(
            most_specific(&matching, &excepted),
            [range(5, 5), range(16, 255)]
        );
    }
}

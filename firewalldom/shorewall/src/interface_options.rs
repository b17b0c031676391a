//! The column OPTIONS of `shorewall/interfaces`.

use firewalldom::policy::RouteFilter;

use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::source::{Span, Word};
use crate::suggest::did_you_mean;

/// How an option is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OptionHandling {
    /// Done.
    Implemented,
    /// Changes nothing here, for this reason.
    NoEffect(&'static str),
    /// Only with the value 0, which asks for what is done anyway.
    OnlyZero(&'static str),
    /// Does nothing yet, which only lets less through or is no matter of what passes; a warning.
    NotYet(&'static str),
    /// Shorewall itself no longer has it; a warning.
    Removed(&'static str),
    /// Refused, because of this.
    Refused(&'static str),
}

use OptionHandling::{Implemented, NoEffect, NotYet, OnlyZero, Refused, Removed};

/// Every option of Shorewall's.
pub(crate) const OPTIONS: &[(&str, OptionHandling)] = &[
    ("accept_ra", NoEffect("IPv6 only")),
    (
        "arp_filter",
        OnlyZero("the firewall answers ARP for all of its addresses"),
    ),
    (
        "arp_ignore",
        OnlyZero("the firewall answers ARP for all of its addresses"),
    ),
    (
        "blacklist",
        Removed("gone from Shorewall; the file blrules takes its place"),
    ),
    ("bridge", Implemented),
    ("dbl", Refused("the dynamic blacklist is not supported")),
    (
        "destonly",
        Refused("an interface is source and destination"),
    ),
    ("dhcp", Implemented),
    ("forward", NoEffect("IPv6 only")),
    ("detectnets", Removed("gone from Shorewall")),
    ("ignore", NoEffect("a vif never goes up and down by itself")),
    ("logmartians", Implemented),
    ("loopback", Refused("a vif is never the loopback")),
    ("maclist", Refused("the file maclist is not supported yet")),
    ("mss", Implemented),
    (
        "nets",
        Refused("a zone is all that lies behind its interface so far"),
    ),
    (
        "nodbl",
        NoEffect("nothing is ever on the dynamic blacklist"),
    ),
    (
        "norfc1918",
        Removed("gone from Shorewall; write a rule with Rfc1918's prefixes"),
    ),
    ("nosmurfs", Implemented),
    ("omitanycast", NoEffect("IPv6 only")),
    ("optional", NoEffect("a vif is always there")),
    ("physical", Implemented),
    ("proxyarp", Implemented),
    ("proxyndp", NoEffect("IPv6 only")),
    ("required", NoEffect("a vif is always there")),
    ("routeback", Implemented),
    ("routefilter", Implemented),
    ("rpfilter", Implemented),
    (
        "sfilter",
        Refused("sources are not checked against a list yet"),
    ),
    (
        "sourceroute",
        OnlyZero("the route in a packet's IP options is never followed"),
    ),
    ("tcpflags", Implemented),
    (
        "unmanaged",
        Refused("an interface without rules is not supported"),
    ),
    (
        "upnp",
        NotYet("no UPnP daemon runs here: nothing is opened"),
    ),
    ("upnpclient", NotYet("nothing is let in from a UPnP router")),
    ("wait", NoEffect("a vif is always there")),
];

/// The options that are done.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) tcp_flags: bool,
    pub(crate) no_smurfs: bool,
    pub(crate) route_back: bool,
    pub(crate) dhcp: bool,
    pub(crate) log_martians: Option<bool>,
    pub(crate) physical: Option<String>,
    pub(crate) route_filter: RouteFilter,
    pub(crate) rpfilter: bool,
    /// Unless the file proxyarp says it.
    pub(crate) proxy_arp: Option<bool>,
    /// Most bytes of a TCP segment.
    pub(crate) mss: Option<u16>,
}

/// The check that a number asks for (Linux' `rp_filter`).
pub(crate) fn parse_route_filter(text: &str) -> Option<RouteFilter> {
    match text {
        "0" => Some(RouteFilter::Off),
        "1" => Some(RouteFilter::Strict),
        "2" => Some(RouteFilter::Loose),
        _ => None,
    }
}

/// `mss=`, or CLAMPMSS. `None`: reported.
pub(crate) fn parse_mss(session: &mut Session<'_>, word: &Word) -> Option<u16> {
    // RFC 879: every host takes segments of 536 bytes; Shorewall refuses less than 500.
    let mss = word.text().parse().ok().filter(|mss| *mss >= 500);
    if mss.is_none() {
        session.error(
            word.span(),
            format!("`{}` is not the size of a segment", word.text()),
            "expected 500 to 65535 bytes",
            "for example 1452",
        );
    }
    mss
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tcp_flags: true,
            no_smurfs: false,
            route_back: false,
            dhcp: false,
            log_martians: None,
            physical: None,
            route_filter: RouteFilter::Off,
            rpfilter: false,
            proxy_arp: None,
            mss: None,
        }
    }
}

/// Reads the column. What is refused is reported; the rest counts all the same, so that the
/// interface is known where other files name it.
pub(crate) fn read(session: &mut Session<'_>, column: Option<&Word>) -> Options {
    let mut options = Options::default();
    let Some(column) = column else {
        return options;
    };
    for item in column.split(',') {
        read_option(session, &item, &mut options);
    }
    options
}

fn read_option(session: &mut Session<'_>, item: &Word, options: &mut Options) {
    let (name, value) = match item.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (item.clone(), None),
    };
    let Some((known, handling)) = OPTIONS.iter().find(|(known, _)| *known == name.text()) else {
        session.report(
            Finding::error(format!("unknown option `{}`", name.text()))
                .at(name.span(), "not one of Shorewall's")
                .maybe_note(did_you_mean(
                    name.text(),
                    OPTIONS.iter().map(|option| option.0),
                )),
        );
        return;
    };
    let refuse = |session: &mut Session<'_>, reason: &str| {
        session.error(
            item.span(),
            format!("the option `{}` is not supported yet", item.text()),
            reason,
            "take it out if the site can do without",
        );
    };
    let value_text = value.as_ref().map(Word::text);
    match (handling, *known, value_text) {
        (NoEffect(_), ..) | (OnlyZero(_), _, Some("0")) => {}
        (NotYet(reason), ..) => session.report(
            Finding::warning(format!("the option `{}` does nothing yet", item.text()))
                .at(item.span(), *reason),
        ),
        (Removed(reason), ..) => session.report(
            Finding::warning(format!("the option `{}` has no effect", item.text()))
                .at(item.span(), *reason)
                .note("take it out")
                .maybe_edit(session.is_literal(item).then(|| without(session, item))),
        ),
        (Implemented, "routefilter", value) => match parse_route_filter(value.unwrap_or("1")) {
            Some(filter) => options.route_filter = filter,
            None => session.error(
                item.span(),
                "`routefilter` is 0, 1 or 2",
                "none of these",
                "write: routefilter",
            ),
        },
        (Implemented, "mss", _) => match &value {
            Some(value) => options.mss = parse_mss(session, value),
            None => session.error(
                item.span(),
                "mss needs a number",
                "of bytes",
                "write: mss=1452",
            ),
        },
        (Refused(reason) | OnlyZero(reason), ..) => refuse(session, reason),
        (Implemented, "physical", Some(name))
            if !name.is_empty() && !name.trim_end_matches('+').contains('+') =>
        {
            options.physical = Some(name.to_owned());
        }
        (Implemented, "physical", _) => session.error(
            item.span(),
            "physical= needs the name of an interface, or how the names of several begin",
            "which vif?",
            "write: physical=eth0, or physical=tun+",
        ),
        (Implemented, known, None | Some("0" | "1")) => {
            options.set(known, value_text != Some("0"));
        }
        (Implemented, ..) => session.error(
            item.span(),
            format!("`{known}` is 0 or 1"),
            "neither",
            format!("write: {known}"),
        ),
    }
}

/// Takes an option out of its list.
fn without(session: &Session<'_>, item: &Word) -> Edit {
    let span = item.span();
    let text = session.sources.text(span.file);
    let (start, end) = (span.start as usize, span.end as usize);
    if text[end..].starts_with(',') {
        return Edit::replace(
            Span {
                end: span.end + 1,
                ..span
            },
            "",
        );
    }
    if text[..start].ends_with(',') {
        return Edit::replace(
            Span {
                start: span.start - 1,
                ..span
            },
            "",
        );
    }
    Edit::replace(span, "-")
}

impl Options {
    fn set(&mut self, option: &str, on: bool) {
        match option {
            "tcpflags" => self.tcp_flags = on,
            "nosmurfs" => self.no_smurfs = on,
            // A bridge sends back what came from another of its ports.
            "routeback" | "bridge" => self.route_back = on,
            "dhcp" => self.dhcp = on,
            "rpfilter" => self.rpfilter = on,
            "proxyarp" => self.proxy_arp = Some(on),
            _ => self.log_martians = Some(on),
        }
    }
}

//! `--vif NAME=mac=…,bridge=…,script=…`: what an interface's line in the domain's configuration says
//! (xl-network-configuration(5)).

use std::ops::Range;

use crate::findings::{Finding, Findings, SourceId};
use netdom::config::Rate;

/// A key of a vif's line that can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VifKey {
    /// `mac=`: the domain's hardware address on this interface.
    Mac,
    /// `bridge=`: the bridge in the backend's domain.
    Bridge,
    /// `script=`: the hotplug script, in /etc/xen/scripts unless absolute.
    Script,
    /// `backend=`: the domain with the other end.
    Backend,
    /// `vifname=`: the name of the other end.
    VifName,
    /// `rate=`: the most that the domain may send.
    Rate,
    /// `mtu=`: the longest frame's payload, in bytes.
    Mtu,
    /// `gatewaydev=`: for vif-route, the device that leads to the network.
    GatewayDev,
}

/// Keys that xl knows and this tool refuses, and why.
const REFUSED: [(&str, &str); 6] = [
    (
        "ip",
        "dom0's script would let through only what has that address, and a router forwards for others",
    ),
    ("type", "it is for HVM guests; this domain is PV"),
    ("model", "it is for HVM guests; this domain is PV"),
    (
        "devid",
        "the order of the site's interfaces decides which vif is which",
    ),
    ("accel", "no backend has it any more"),
    ("trusted", "the domain trusts no backend anyway"),
];

/// Linux' IFNAMSIZ less the closing zero.
pub(crate) const DEVICE_NAME_LENGTH: usize = 15;

impl VifKey {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Mac,
        Self::Bridge,
        Self::Script,
        Self::Backend,
        Self::VifName,
        Self::Rate,
        Self::Mtu,
        Self::GatewayDev,
    ];

    /// As xl spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mac => "mac",
            Self::Bridge => "bridge",
            Self::Script => "script",
            Self::Backend => "backend",
            Self::VifName => "vifname",
            Self::Rate => "rate",
            Self::Mtu => "mtu",
            Self::GatewayDev => "gatewaydev",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    /// What is wrong with a value, and what to write.
    fn objection(self, value: &str) -> Option<(String, String)> {
        let example = match self {
            Self::Mac => "mac=00:16:3e:01:02:03",
            Self::Bridge => "bridge=br-lan",
            Self::Script => "script=vif-openvswitch",
            Self::Backend => "backend=netdom",
            Self::VifName => "vifname=fw-lan",
            Self::Rate => "rate=10Mb/s, or rate=1MB/s@20ms",
            Self::Mtu => "mtu=1500",
            Self::GatewayDev => "gatewaydev=eth0",
        };
        let instead = format!("write it so: {example}");
        let wrong = |what: &str| Some((what.to_owned(), instead.clone()));
        if value.is_empty() {
            return wrong("nothing after `=`");
        }
        if value.contains(|c: char| c.is_control() || matches!(c, '"' | '\'' | '\\')) {
            return wrong("a character that xl's configuration cannot hold");
        }
        match self {
            Self::Mac => match mac(value) {
                None => wrong("not six pairs of hexadecimal digits"),
                Some([first, ..]) if first & 1 == 1 => wrong("an address of a group, not of one"),
                Some([0, 0, 0, 0, 0, 0]) => wrong("nobody's address"),
                Some(_) => None,
            },
            Self::Bridge | Self::VifName | Self::GatewayDev => {
                if value.chars().count() > DEVICE_NAME_LENGTH {
                    wrong("longer than the 15 characters that Linux allows")
                } else if value.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ':'))
                    || matches!(value, "." | "..")
                {
                    wrong("not a name that a network device can have")
                } else {
                    None
                }
            }
            Self::Script | Self::Backend if value.contains(char::is_whitespace) => {
                wrong("a blank in a name")
            }
            Self::Script | Self::Backend => None,
            Self::Rate if rate(value).is_none() => wrong("not a rate"),
            Self::Rate => None,
            Self::Mtu => match value.parse::<u32>() {
                // RFC 791: every module must be able to forward 68 bytes.
                Ok(68..=65_535) => None,
                _ => wrong("not a number from 68 to 65535"),
            },
        }
    }
}

/// One `--vif`, with where its words stand.
#[derive(Clone, Debug)]
pub struct VifOption {
    /// The interface as the site calls it.
    pub interface: String,
    /// What was said about it, in that order.
    pub settings: Vec<(VifKey, String)>,
    /// The option's text.
    pub source: SourceId,
    /// The interface's name in it.
    pub place: Range<usize>,
}

impl VifOption {
    /// Reads the value of an option whose text, `source`, has it from byte `offset` on. All that is
    /// wrong goes to `findings`; `None` when nothing can be made of it.
    pub fn parse(
        value: &str,
        source: SourceId,
        offset: usize,
        findings: &mut Findings,
    ) -> Option<Self> {
        let whole = offset..offset + value.len();
        let interface = value.split('=').next().unwrap_or_default();
        let place = offset..offset + interface.len();
        let Some(rest) = value
            .get(interface.len() + 1..)
            .filter(|rest| !rest.is_empty())
        else {
            let finding = if interface.is_empty() {
                Finding::error("--vif names no interface")
            } else {
                Finding::error(format!("nothing is said about the interface `{interface}`"))
            };
            let name = if interface.is_empty() {
                "eth0"
            } else {
                interface
            };
            findings.push(
                finding
                    .at(source, whole, "expected NAME=KEY=VALUE,…")
                    .note(format!("write for instance: --vif {name}=bridge=br-lan")),
            );
            return None;
        };
        if interface.is_empty() || interface.contains(',') {
            findings.push(
                Finding::error("--vif names no interface")
                    .at(source, place, "expected the interface's name and `=`")
                    .note("write for instance: --vif eth0=bridge=br-lan"),
            );
            return None;
        }
        let mut option = Self {
            interface: interface.to_owned(),
            settings: Vec::new(),
            source,
            place,
        };
        let mut at = offset + interface.len() + 1;
        for pair in rest.split(',') {
            option.pair(pair, at, findings);
            at += pair.len() + 1;
        }
        Some(option)
    }

    /// `KEY=VALUE`, which stands from byte `at` on.
    fn pair(&mut self, pair: &str, at: usize, findings: &mut Findings) {
        let source = self.source;
        let (key, value) = match pair.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (pair, None),
        };
        let place = at..at + key.len();
        let keys = VifKey::ALL.map(VifKey::name);
        let Some(known) = VifKey::named(key) else {
            if let Some((_, why)) = REFUSED.iter().find(|(name, _)| *name == key) {
                findings.push(
                    Finding::error(format!("`{key}` cannot be set for this domain"))
                        .at(source, place, "leave it out")
                        .note(*why),
                );
            } else if value.is_none() {
                findings.push(
                    Finding::error("a setting of a vif needs a name and a value")
                        .at(source, at..at + pair.len(), "expected KEY=VALUE")
                        .note(format!(
                            "a bridge is named so: --vif {}=bridge={}",
                            self.interface,
                            if pair.is_empty() { "br-lan" } else { pair }
                        )),
                );
            } else {
                findings.push(
                    Finding::error(format!("a vif has no setting `{key}`"))
                        .at(source, place, "unknown key")
                        .suggest(key, keys)
                        .note(format!("the keys are: {}", keys.join(", "))),
                );
            }
            return;
        };
        let value = value.unwrap_or_default();
        let start = (at + key.len() + 1).min(at + pair.len());
        if let Some((what, instead)) = known.objection(value) {
            let range = if value.is_empty() {
                at..at + pair.len()
            } else {
                start..start + value.len()
            };
            findings.push(
                Finding::error(format!("`{value}` cannot be a vif's {key}"))
                    .at(source, range, what)
                    .note(instead),
            );
        } else if self.settings.iter().any(|(earlier, _)| *earlier == known) {
            findings.push(
                Finding::error(format!("`{key}` is given twice"))
                    .at(source, at..at + pair.len(), "once more")
                    .note("leave one of them out"),
            );
        } else {
            self.settings.push((known, value.to_owned()));
        }
    }

    /// What was said for `key`.
    pub fn get(&self, key: VifKey) -> Option<&str> {
        let (_, value) = self.settings.iter().find(|(known, _)| *known == key)?;
        Some(value)
    }
}

/// An address as `mac=` has it.
pub(crate) fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut pairs = text.split(':');
    for byte in &mut bytes {
        let pair = pairs.next()?;
        if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(bytes)
}

/// Microseconds in which a rate is counted where nothing is said of them, as with xl.
const RATE_INTERVAL_US: u32 = 50_000;

/// `RATE[@INTERVAL]`, such as `10Mb/s` or `250KB/s@20ms`: the bytes that xl makes of it, and in which interval.
pub(crate) fn rate(text: &str) -> Option<Rate> {
    let amount = |text: &str, units: &[(&str, u64)]| {
        // Of units of which one ends as another does, the longer first.
        let (number, factor) = units.iter().find_map(|(unit, factor)| {
            let number = text.strip_suffix(unit)?;
            Some((number, *factor))
        })?;
        let is_number = number.bytes().all(|digit| digit.is_ascii_digit());
        let number = number.parse::<u32>().ok().filter(|_| is_number)?;
        Some((u64::from(number), factor))
    };
    let (rate, interval) = match text.split_once('@') {
        Some((rate, interval)) => (rate, Some(interval)),
        None => (text, None),
    };
    let (rate, bits) = match (rate.strip_suffix("B/s"), rate.strip_suffix("b/s")) {
        (Some(rate), _) => (rate, 1),
        (_, Some(rate)) => (rate, 8),
        _ => return None,
    };
    let multiples = [
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("", 1),
    ];
    let (number, factor) = amount(rate, &multiples)?;
    let interval_us = match interval {
        Some(text) => {
            let (number, factor) = amount(text, &[("us", 1), ("ms", 1_000), ("s", 1_000_000)])?;
            u32::try_from(number * factor).ok()?
        }
        None => RATE_INTERVAL_US,
    };
    let bytes = u128::from(number * factor / bits) * u128::from(interval_us) / 1_000_000;
    let bytes = u32::try_from(bytes).ok()?;
    (bytes > 0 && interval_us > 0).then_some(Rate { bytes, interval_us })
}

#[cfg(test)]
mod tests {
    use shorewall::Style;

    use super::*;

    fn parse(value: &str) -> (Option<VifOption>, Findings) {
        let mut findings = Findings::default();
        let source = findings.source("command line", format!("--vif {value}"));
        let option = VifOption::parse(value, source, 6, &mut findings);
        (option, findings)
    }

    fn marked(value: &str) -> Vec<(String, String)> {
        let (_, findings) = parse(value);
        let text = format!("--vif {value}");
        findings
            .diagnostics()
            .into_iter()
            .map(|diagnostic| {
                let place = diagnostic.location.expect("a place");
                let range = place.column as usize - 1..place.end_column as usize - 1;
                (text[range].to_owned(), diagnostic.message)
            })
            .collect()
    }

    #[test]
    fn a_rate_is_what_xl_makes_of_it() {
        for (text, bytes, interval_us) in [
            ("10Mb/s", 62_500, 50_000),
            ("1MB/s@20ms", 20_000, 20_000),
            ("250KB/s@20ms", 5_000, 20_000),
            ("8b/s@1s", 1, 1_000_000),
            ("1GB/s@4s", 4_000_000_000, 4_000_000),
            ("3Gb/s", 18_750_000, 50_000),
            ("100B/s@10000us", 1, 10_000),
            ("4294967295B/s@1s", u32::MAX, 1_000_000),
        ] {
            assert_eq!(rate(text), Some(Rate { bytes, interval_us }), "{text}");
        }
        for text in [
            "",
            "10",
            "10M",
            "10Mb",
            "10Mbit/s",
            "b/s",
            "Mb/s",
            "-1b/s",
            "+10Mb/s",
            " 10Mb/s",
            "1.5Mb/s",
            "10Tb/s",
            "10Mb/s@",
            "10Mb/s@0ms",
            "10Mb/s@5m",
            "10Mb/s@ms",
            "0Mb/s",
            "7b/s@1s",
            "1B/s",
            "10Mb/s@20ms@20ms",
            "4294967296B/s",
            "5GB/s@1s",
            "1GB/s@4295s",
        ] {
            assert_eq!(rate(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_right_is_kept_in_order() {
        let (option, findings) = parse(
            "eth0=mac=00:16:3e:01:02:03,bridge=br-net,script=vif-openvswitch,rate=10Mb/s@20ms,mtu=1400",
        );
        assert!(findings.is_empty(), "{}", findings.render(Style::Plain));
        let option = option.unwrap();
        assert_eq!(option.interface, "eth0");
        assert_eq!(option.get(VifKey::Bridge), Some("br-net"));
        assert_eq!(option.get(VifKey::Mtu), Some("1400"));
        assert_eq!(option.get(VifKey::Backend), None);
        assert_eq!(option.settings.len(), 5);
    }

    #[test]
    fn every_mistake_is_found_and_marked_at_once() {
        let found = marked(
            "eth0=brigde=br0,mac=zz,ip=10.0.0.1,mtu=9,rate=fast,bridge=a,bridge=b,type=ioemu,x",
        );
        let words: Vec<&str> = found.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(
            words,
            ["brigde", "zz", "ip", "9", "fast", "bridge=b", "type", "x"]
        );
    }

    #[test]
    fn a_name_alone_says_what_to_write() {
        for value in ["eth0", "eth0=", "", "=", "=bridge=x", ","] {
            let (option, findings) = parse(value);
            assert!(option.is_none(), "{value}");
            assert_eq!(findings.errors(), 1, "{value}");
            assert!(
                findings.render(Style::Plain).contains("=bridge=br-lan"),
                "{value}"
            );
        }
        // The shortest that is meant well.
        let (_, findings) = parse("eth0=br-lan");
        assert!(
            findings
                .render(Style::Plain)
                .contains("--vif eth0=bridge=br-lan")
        );
    }

    #[test]
    fn addresses_that_no_card_can_have_are_refused() {
        for value in [
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "00:16:3e:01:02",
            "00:16:3e:01:02:03:04",
            "0:16:3e:1:2:3",
            "",
        ] {
            assert!(VifKey::Mac.objection(value).is_some(), "{value}");
        }
        assert_eq!(VifKey::Mac.objection("00:16:3E:01:02:0a"), None);
    }

    #[test]
    fn nothing_can_leave_its_string_in_the_configuration() {
        for key in VifKey::ALL {
            for value in ["a\"b", "a\nb", "a\\b", "a'b", ""] {
                assert!(key.objection(value).is_some(), "{key:?} {value:?}");
            }
        }
    }

    #[test]
    fn any_text_is_an_option_or_an_error() {
        for value in [
            "é=é=é",
            "eth0=é",
            "eth0=,,,",
            "eth0==",
            "=,=",
            "eth0=mac=é,é=",
            "a=b=c=d",
        ] {
            let (_, findings) = parse(value);
            assert!(findings.errors() > 0, "{value}");
            assert!(!findings.render(Style::Plain).is_empty());
        }
    }
}

//! netdom's configuration: a TOML file, read to the end whatever is wrong in it.

use std::ops::Range;

use netdom::config::{
    BRIDGES_MAX, Bridge, CARDS_MAX, Card, Config, FLOOD_MAX, Limit, Lock, MTU_MAX, MTU_MIN,
    NAME_MAX, VIFS_MAX, VLANS, Vif, is_name,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::findings::{Finding, Findings, SourceId};
use crate::vif::rate;

/// What a file may have.
const TABLES: [&str; 2] = ["bridge", "vif"];

/// What is said of a bridge.
const BRIDGE: [&str; 7] = ["card", "standby", "vlan", "mtu", "lock", "flood", "rate"];

/// What is said of a vif.
const VIF: [&str; 2] = ["lock", "rate"];

/// What `lock` may be.
const LOCKS: [(&str, Lock); 3] = [
    ("none", Lock::Open),
    ("mac", Lock::Mac),
    ("address", Lock::Address),
];

/// What a file calls it.
pub(crate) fn lock_name(lock: Lock) -> &'static str {
    let found = LOCKS.iter().find(|(_, known)| *known == lock);
    found.expect("every lock has a name").0
}

type Value<'i> = Spanned<DeValue<'i>>;

/// Reads a file's text. All that is wrong is in `findings`, and then there is no configuration.
pub fn read(name: &str, text: &str, findings: &mut Findings) -> Option<Config> {
    let source = findings.source(name, text);
    let before = findings.errors();
    let mut reader = Reader { findings, source };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..text.len());
        reader.error("not TOML", span, error.message());
    }
    let config = reader.file(table.get_ref());
    if findings.errors() > before {
        return None;
    }
    // Nothing gets here that the rest has not looked at; but no image is to refuse what was built.
    if let Err(nonsense) = config.check() {
        findings.push(Finding::error(nonsense.to_string()).at(source, 0..text.len(), ""));
        return None;
    }
    Some(config)
}

/// What a correct file comes to, in a line.
pub fn summary(config: &Config) -> String {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let of = |has: fn(&Bridge) -> bool| config.bridges.iter().filter(|it| has(it)).count();
    let parts = [
        count(config.bridges.len(), "bridge"),
        format!("{} with a card", of(|it| it.card.is_some())),
        format!("{} in a VLAN", of(|it| it.vlan.is_some())),
        format!("{} with a standby", of(|it| it.standby.is_some())),
        count(config.vifs.len(), "vif of its own"),
    ];
    parts
        .join(", ")
        .replace("vif of its owns", "vifs of their own")
}

struct Reader<'a> {
    findings: &'a mut Findings,
    source: SourceId,
}

/// A bridge with where its parts are written.
struct Placed {
    bridge: Bridge,
    name: Range<usize>,
    vlan: Option<Range<usize>>,
    standby: Option<Range<usize>>,
    /// Nothing is wrong with what is said of it alone.
    is_sound: bool,
}

impl Reader<'_> {
    fn error(&mut self, message: impl Into<String>, at: Range<usize>, label: impl Into<String>) {
        let finding = Finding::error(message).at(self.source, at, label);
        self.findings.push(finding);
    }

    fn unknown(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, known: &[&str]) {
        let word = key.get_ref();
        let finding = Finding::error(format!("no such key: {word}"))
            .at(self.source, key.span(), "not known here")
            .suggest(word, known.iter().copied())
            .note(format!("known are: {}", known.join(", ")));
        self.findings.push(finding);
    }

    /// The entries of a table in the order of the file.
    fn entries<'t, 'i>(
        &mut self,
        value: &'t Value<'i>,
        what: &str,
    ) -> Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Value<'i>)> {
        let Some(table) = value.get_ref().as_table() else {
            self.error(format!("{what} is a table"), value.span(), "not a table");
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    fn file(&mut self, table: &DeTable<'_>) -> Config {
        let mut placed = Vec::new();
        let mut vifs = Vec::new();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "bridge" => {
                    for (name, value) in self.entries(value, "bridge") {
                        placed.push(self.bridge(name, value));
                    }
                }
                "vif" => {
                    for (name, value) in self.entries(value, "vif") {
                        vifs.push((name.span(), self.vif(name, value)));
                    }
                }
                _ => self.unknown(key, &TABLES),
            }
        }
        if placed.is_empty() && self.findings.errors() == 0 {
            let finding = Finding::error("there is no bridge").note(
                "write `[bridge.xenbr0]` and below it `card = 1`, or leave --config out: then each card has one",
            );
            self.findings.push(finding);
        }
        for extra in placed.iter().skip(BRIDGES_MAX) {
            self.error(
                "too many bridges",
                extra.name.clone(),
                format!("at most {BRIDGES_MAX}"),
            );
        }
        for (at, _) in vifs.iter().skip(VIFS_MAX) {
            self.error("too many vifs", at.clone(), format!("at most {VIFS_MAX}"));
        }
        // What is wrong already would only be said again, in other words.
        for (number, one) in placed.iter().enumerate().filter(|(_, one)| one.is_sound) {
            self.fits(one, &placed[..number]);
        }
        Config {
            bridges: placed.into_iter().map(|placed| placed.bridge).collect(),
            vifs: vifs.into_iter().map(|(_, vif)| vif).collect(),
        }
    }

    fn name(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>) -> String {
        let name = key.get_ref();
        if !is_name(name) {
            let label = format!("1 to {NAME_MAX} letters, digits and `.-_:`");
            self.error("not the name of an interface", key.span(), label);
        }
        name.to_string()
    }

    fn bridge(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Value<'_>) -> Placed {
        let before = self.findings.errors();
        let mut placed = Placed {
            bridge: Bridge::new(self.name(key)),
            name: key.span(),
            vlan: None,
            standby: None,
            is_sound: true,
        };
        let bridge = &mut placed.bridge;
        for (key, value) in self.entries(value, "a bridge") {
            match key.get_ref().as_ref() {
                "card" => bridge.card = self.card(value),
                "standby" => {
                    bridge.standby = self.card(value);
                    placed.standby = Some(value.span());
                }
                "vlan" => {
                    let (least, most) = (*VLANS.start(), *VLANS.end());
                    let vlan = self.number(value, "a VLAN", least.into(), most.into());
                    bridge.vlan = vlan.map(|vlan| vlan as u16);
                    placed.vlan = Some(value.span());
                }
                "mtu" => {
                    let mtu = self.number(value, "an MTU", MTU_MIN.into(), MTU_MAX.into());
                    bridge.mtu = mtu.map_or(bridge.mtu, |mtu| mtu as u16);
                }
                "flood" => {
                    let what = "a limit of copies a second";
                    let flood = self.number(value, what, 1, FLOOD_MAX);
                    bridge.flood = flood.unwrap_or(bridge.flood);
                }
                "lock" => bridge.lock = self.lock(value).unwrap_or_default(),
                "rate" => bridge.rate = self.rate(value).unwrap_or_default(),
                _ => self.unknown(key, &BRIDGE),
            }
        }
        placed.is_sound = self.findings.errors() == before;
        placed
    }

    fn vif(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Value<'_>) -> Vif {
        let mut vif = Vif {
            name: self.name(key),
            lock: None,
            rate: None,
        };
        for (key, value) in self.entries(value, "a vif") {
            match key.get_ref().as_ref() {
                "lock" => vif.lock = self.lock(value),
                "rate" => vif.rate = self.rate(value),
                _ => self.unknown(key, &VIF),
            }
        }
        vif
    }

    fn number(&mut self, value: &Value<'_>, what: &str, least: u32, most: u32) -> Option<u32> {
        let number = value.get_ref().as_integer().and_then(|integer| {
            let number = u32::from_str_radix(integer.as_str(), integer.radix());
            number.ok().filter(|number| (least..=most).contains(number))
        });
        if number.is_none() {
            let label = format!("a number from {least} to {most}, without quotes");
            self.error(format!("not {what}"), value.span(), label);
        }
        number
    }

    fn card(&mut self, value: &Value<'_>) -> Option<Card> {
        let card = match value.get_ref() {
            DeValue::Integer(integer) => {
                let number = u8::from_str_radix(integer.as_str(), integer.radix()).ok();
                let number = number.filter(|number| (1..=CARDS_MAX).contains(number));
                number.map(Card::Number)
            }
            DeValue::String(text) => text.parse().ok().map(Card::at),
            _ => None,
        };
        if card.is_none() {
            let finding = Finding::error("not a card")
                .at(self.source, value.span(), "neither a number nor a PCI address")
                .note(format!(
                    "write a number from 1 to {CARDS_MAX}, its place in pci=[…], or its address as the domain sees \
                     it: \"0000:00:00.0\" is the first one's unless pci=[…] says otherwise"
                ));
            self.findings.push(finding);
        }
        card
    }

    fn lock(&mut self, value: &Value<'_>) -> Option<Lock> {
        let words = LOCKS.map(|(word, _)| word);
        let text = value.get_ref().as_str();
        let found = LOCKS.iter().find(|(word, _)| Some(*word) == text);
        if let Some((_, lock)) = found {
            return Some(*lock);
        }
        let finding = Finding::error("no such lock")
            .at(self.source, value.span(), "not known")
            .suggest(text.unwrap_or_default(), words)
            .note("write \"none\", \"mac\" or \"address\"");
        self.findings.push(finding);
        None
    }

    fn rate(&mut self, value: &Value<'_>) -> Option<Limit> {
        let text = value.get_ref().as_str();
        let limit = match text {
            Some("none") => return Some(Limit::None),
            Some(text) => rate(text).map(Limit::Rate),
            None => None,
        };
        if limit.is_none() {
            let finding = Finding::error("not a rate")
                .at(self.source, value.span(), "not as xl's rate=")
                .note(
                    "write \"none\", or a rate and an interval, such as \"10Mb/s\" or \"1MB/s@20ms\": B or b for bytes or \
                     bits, K, M or G before it for thousands, millions or billions; us, ms or s",
                );
            self.findings.push(finding);
        }
        limit
    }

    /// Whether a bridge agrees with itself, and with those before it.
    fn fits(&mut self, placed: &Placed, before: &[Placed]) {
        let bridge = &placed.bridge;
        if let (None, Some(at)) = (bridge.card, &placed.standby) {
            self.error(
                "a standby for no card",
                at.clone(),
                "there is no `card` that it could stand in for",
            );
        }
        if let (None, Some(at)) = (bridge.card, &placed.vlan) {
            self.error(
                "a VLAN of no card",
                at.clone(),
                "there is no `card` that has it",
            );
        }
        let cards = || bridge.cards().into_iter().flatten();
        if let (Some(at), true) = (
            &placed.standby,
            bridge.standby.is_some() && bridge.card == bridge.standby,
        ) {
            self.error(
                "a card is its own standby",
                at.clone(),
                "this one is `card` already",
            );
        }
        let shared = before.iter().find(|other| {
            let theirs = other.bridge.cards();
            other.bridge.vlan == bridge.vlan && cards().any(|card| theirs.contains(&Some(card)))
        });
        if let Some(other) = shared {
            let at = placed.vlan.clone().unwrap_or(placed.name.clone());
            let what = match bridge.vlan {
                Some(vlan) => format!("VLAN {vlan}"),
                None => "what has no tag".to_owned(),
            };
            let finding = Finding::error("two bridges want the same frames")
                .at(
                    self.source,
                    at,
                    format!("{what} of this card is {}'s already", other.bridge.name),
                )
                .note("give each bridge on a card a `vlan` of its own; one may be without");
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shorewall::Style;

    fn told(text: &str) -> String {
        let mut findings = Findings::default();
        assert_eq!(read("netdom.toml", text, &mut findings), None);
        assert_eq!(findings.errors(), findings.diagnostics().len());
        findings.render(Style::Plain)
    }

    fn right(text: &str) -> Config {
        let mut findings = Findings::default();
        let config = read("netdom.toml", text, &mut findings);
        config.unwrap_or_else(|| panic!("{}", findings.render(Style::Plain)))
    }

    #[test]
    fn the_example_says_every_key() {
        let text = include_str!("../../examples/netdom.toml");
        let config = right(text);
        assert_eq!(config.bridges.len(), 4);
        assert_eq!(
            summary(&config),
            "4 bridges, 3 with a card, 1 in a VLAN, 1 with a standby, 1 vif of its own"
        );
        for key in BRIDGE.iter().chain(&VIF) {
            let is_said = |line: &str| line.starts_with(&format!("{key} = "));
            assert!(text.lines().any(is_said), "{key}");
        }
        let blob = netdom::config::encode(&config).expect("it makes sense");
        assert_eq!(netdom::config::open(&blob), Ok(config));
    }

    #[test]
    fn what_is_written_is_what_is_meant() {
        let config = right(
            "[bridge.lan]\ncard = \"0000:00:01.0\"\nstandby = 2\nvlan = 0x14\nmtu = 9000\nlock = \"mac\"\nflood = 7\n\
             rate = \"10Mb/s\"\n[bridge]\ninside = {}\n[vif]\n\"vif5.0\".lock = \"address\"\nweb.rate = \"none\"\n",
        );
        let lan = Bridge {
            card: Some(Card::At(0, 0, 8)),
            standby: Some(Card::Number(2)),
            vlan: Some(20),
            mtu: 9000,
            lock: Lock::Mac,
            flood: 7,
            rate: Limit::Rate(netdom::config::Rate {
                bytes: 62_500,
                interval_us: 50_000,
            }),
            ..Bridge::new("lan".to_owned())
        };
        assert_eq!(config.bridges, [lan, Bridge::new("inside".to_owned())]);
        let vif = Vif {
            name: "vif5.0".to_owned(),
            lock: Some(Lock::Address),
            rate: None,
        };
        let web = Vif {
            name: "web".to_owned(),
            lock: None,
            rate: Some(Limit::None),
        };
        assert_eq!(config.vifs, [vif, web]);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_with_its_place() {
        let told = told(
            "[bridge.lan]\nkard = 1\nmtu = \"9000\"\nlock = \"macs\"\n[bridges.wan]\ncard = 2\n",
        );
        assert_eq!(
            told,
            "\
error: no such key: kard
  ┌─ netdom.toml:2:1
  │
2 │ kard = 1
  │ ^^^^ not known here
  │
  = did you mean `card`?
  = known are: card, standby, vlan, mtu, lock, flood, rate

error: not an MTU
  ┌─ netdom.toml:3:7
  │
3 │ mtu = \"9000\"
  │       ^^^^^^ a number from 576 to 9000, without quotes

error: no such lock
  ┌─ netdom.toml:4:8
  │
4 │ lock = \"macs\"
  │        ^^^^^^ not known
  │
  = did you mean `mac`?
  = write \"none\", \"mac\" or \"address\"

error: no such key: bridges
  ┌─ netdom.toml:5:2
  │
5 │ [bridges.wan]
  │  ^^^^^^^ not known here
  │
  = did you mean `bridge`?
  = known are: bridge, vif

"
        );
    }

    #[test]
    fn every_wrong_value_is_found() {
        for (text, message, line) in [
            ("", "there is no bridge", 0),
            ("[bridge]\nlan = 1", "a bridge is a table", 2),
            ("bridge = 1", "bridge is a table", 1),
            ("[bridge.lan]\ncard = 0", "not a card", 2),
            ("[bridge.lan]\ncard = 33", "not a card", 2),
            ("[bridge.lan]\ncard = true", "not a card", 2),
            ("[bridge.lan]\ncard = \"eth0\"", "not a card", 2),
            ("[bridge.lan]\ncard = 1\nvlan = 4095", "not a VLAN", 3),
            ("[bridge.lan]\nvlan = 5", "a VLAN of no card", 2),
            ("[bridge.lan]\nstandby = 1", "a standby for no card", 2),
            (
                "[bridge.lan]\ncard = 1\nstandby = 1",
                "a card is its own standby",
                3,
            ),
            ("[bridge.lan]\nmtu = 9001", "not an MTU", 2),
            ("[bridge.lan]\nmtu = -1", "not an MTU", 2),
            (
                "[bridge.lan]\nflood = 0",
                "not a limit of copies a second",
                2,
            ),
            ("[bridge.lan]\nrate = 10", "not a rate", 2),
            ("[bridge.lan]\nrate = \"10Mbps\"", "not a rate", 2),
            ("[bridge.lan]\n[vif.web]\nrate = \"\"", "not a rate", 3),
            ("[bridge.\"a b\"]", "not the name of an interface", 1),
            ("[bridge.lan]\n[vif.web]\nlock = 1", "no such lock", 3),
            ("[bridge.lan]\n[vif.web]\nmac = 1", "no such key: mac", 3),
            (
                "[bridge.a]\ncard = 1\n[bridge.b]\ncard = 1",
                "two bridges want the same frames",
                3,
            ),
            (
                "[bridge.a]\ncard = 1\nvlan = 7\n[bridge.b]\ncard = 2\nstandby = 1\nvlan = 7",
                "two bridges want the same frames",
                7,
            ),
            ("[bridge.lan\n", "not TOML", 1),
            ("[bridge.lan]\nmtu = \n", "not TOML", 2),
            ("[bridge.lan]\nmtu = 1500\nmtu = 1500\n", "not TOML", 3),
        ] {
            let mut findings = Findings::default();
            assert_eq!(read("a", text, &mut findings), None, "{text}");
            let said = findings.diagnostics();
            let first = said.first().expect("it is told");
            assert_eq!(first.message, message, "{text}");
            let place = first.location.as_ref().map_or(0, |place| place.line);
            assert_eq!(place, line, "{text}");
        }
        let many: String = (0..65)
            .map(|number| format!("[bridge.b{number}]\n"))
            .collect();
        assert!(told(&many).contains("netdom.toml:65:9"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_configuration_or_told_what_is_wrong(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("[bridge.a]\n"), Just("[bridge.b]\n"), Just("[vif.c]\n"), Just("card = "), Just("standby = "),
                    Just("vlan = "), Just("mtu = "), Just("lock = "), Just("flood = "), Just("rate = "), Just("\"1MB/s\"\n"), Just("1\n"), Just("2\n"),
                    Just("\"mac\"\n"), Just("1500\n"), Just("\"0000:00:00.0\"\n"), Just("="), Just("["), Just("ä\""),
                ],
                0..24,
            ),
        ) {
            let text = words.concat();
            let mut findings = Findings::default();
            match read("a", &text, &mut findings) {
                Some(config) => {
                    prop_assert_eq!(findings.errors(), 0);
                    prop_assert!(netdom::config::encode(&config).is_ok());
                }
                None => {
                    prop_assert!(findings.errors() > 0);
                    findings.render(Style::Plain);
                    findings.diagnostics();
                }
            }
        }
    }
}

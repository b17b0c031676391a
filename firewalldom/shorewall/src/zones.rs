//! The file `zones`.

use firewalldom::policy::{Zone, ZoneId};

use crate::columns::{Row, Schema};
use crate::made::NOWHERE;
use crate::reader::{only_rows, read_required};
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::suggest::did_you_mean;
use crate::world::World;

const ZONES: Schema = Schema {
    columns: &["zone", "type", "options", "in_options", "out_options"],
    required: 1,
};

/// The matrix of zone pairs grows with the square.
const MAX_ZONES: usize = 250;
/// Words that cannot name a zone.
const RESERVED: [&str; 5] = ["all", "any", "none", "SOURCE", "DEST"];

impl World {
    /// Reads the file; the firewall becomes zone 0.
    pub(crate) fn read_zones(&mut self, session: &mut Session<'_>) {
        let note = "it names the zones: a line `fw firewall`, then `net ipv4`, `loc ipv4`";
        let Some(items) = read_required(session, "zones", &ZONES, note) else {
            return;
        };
        // The firewall has index 0 wherever its line stands.
        let mut firewall: Option<(Zone, Word)> = None;
        let mut zones = Vec::new();
        let mut bridge_zones: Vec<String> = Vec::new();
        for row in only_rows(session, items) {
            let Some(name) = row.get(0).cloned() else {
                continue;
            };
            if let Some(zone) = self.read_zone(session, &row, &name, &zones) {
                let is_firewall = row.get(1).is_some_and(|kind| kind.text() == "firewall");
                if row
                    .get(1)
                    .is_some_and(|kind| kind.text().starts_with("bport"))
                {
                    bridge_zones.push(zone.name.clone());
                }
                if !is_firewall {
                    zones.push(zone);
                } else if let Some((first, _)) = &firewall {
                    session.error(
                        name.span(),
                        "a second firewall zone",
                        format!("`{}` is the firewall already", first.name),
                        "make this one ipv4, or take it out",
                    );
                } else {
                    firewall = Some((zone, name));
                }
            } else {
                self.refused
                    .insert(name.text().split(':').next().unwrap_or_default().to_owned());
            }
        }
        match firewall {
            Some((zone, _)) => self.zones.push(zone),
            None => {
                // A line that was refused may have been meant as it.
                if self.refused.is_empty() {
                    session.report(
                        Finding::error("no zone is the firewall itself")
                            .note("add a line to zones: fw firewall"),
                    );
                }
                self.zones.push(Zone {
                    name: "fw".to_owned(),
                    parents: Vec::new(),
                    origin: NOWHERE,
                });
            }
        }
        self.zones.extend(zones);
        self.bridge_zones = bridge_zones
            .iter()
            .filter_map(|name| self.find_zone(name))
            .collect();
        session.variables.insert("FW", self.zones[0].name.clone());
    }

    /// `loc` or `loc,dmz` after the colon: zones that were declared before.
    fn parents(
        &self,
        session: &mut Session<'_>,
        list: &Word,
        earlier: &[Zone],
    ) -> Option<Vec<ZoneId>> {
        let mut parents = Vec::new();
        for parent in list.split(',') {
            let found = earlier.iter().position(|zone| zone.name == parent.text());
            match found {
                // The firewall is zone 0, wherever its line stands.
                Some(index) => parents.push(ZoneId(index as u16 + 1)),
                None if self.refused.contains(parent.text()) => return None,
                None => {
                    let known = earlier.iter().map(|zone| zone.name.as_str());
                    session.report(
                        Finding::error(format!("`{}` is no zone declared above", parent.text()))
                            .at(parent.span(), "expected the zone around this one")
                            .maybe_note(did_you_mean(parent.text(), known))
                            .note("a zone comes after the zones that it lies in"),
                    );
                    return None;
                }
            }
        }
        Some(parents)
    }

    fn read_zone(
        &self,
        session: &mut Session<'_>,
        row: &Row,
        name: &Word,
        earlier: &[Zone],
    ) -> Option<Zone> {
        let (name, parents) = match name.split_once(':') {
            Some((child, parents)) => (child, self.parents(session, &parents, earlier)?),
            None => (name.clone(), Vec::new()),
        };
        let text = name.text();
        if RESERVED.contains(&text) {
            session.error(
                name.span(),
                format!("a zone cannot be called `{text}`"),
                "a word with a meaning of its own",
                "",
            );
            return None;
        }
        let regular = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && text.len() <= 10;
        if !regular {
            session.error(
                name.span(),
                format!("`{text}` cannot name a zone"),
                "a letter, then letters and digits, 10 at most",
                "",
            );
            return None;
        }
        if earlier.iter().any(|zone| zone.name == text) {
            session.error(
                name.span(),
                format!("the zone `{text}` is declared twice"),
                "again here",
                "",
            );
            return None;
        }
        if earlier.len() >= MAX_ZONES {
            session.error(
                name.span(),
                format!("more than {MAX_ZONES} zones"),
                "one too many",
                "",
            );
            return None;
        }
        let kind = row.get(1).map_or("ipv4", Word::text);
        match kind {
            "ip" | "ipv4" | "firewall" => {}
            "bport" | "bport4" if !parents.is_empty() => {}
            "bport" | "bport4" => {
                session.error(
                    row.get(1).map_or(row.span, Word::span),
                    "a zone of bridge ports lies in the zone of the bridge",
                    "which bridge?",
                    format!("write: {text}:loc bport"),
                );
                return None;
            }
            "ipv6" | "ipsec" | "ipsec4" | "ipsec6" | "bport6" | "vserver" | "loopback"
            | "local" => {
                if let Some(word) = row.get(1) {
                    session.error(
                        word.span(),
                        format!("zones of type `{kind}` are not supported yet"),
                        "only ipv4 and firewall",
                        "",
                    );
                }
                return None;
            }
            _ => {
                if let Some(word) = row.get(1) {
                    session.report(
                        Finding::error(format!("`{kind}` is not a type of zone"))
                            .at(word.span(), "expected ipv4 or firewall")
                            .maybe_note(did_you_mean(kind, ["ipv4", "firewall", "ip"])),
                    );
                }
                return None;
            }
        }
        for column in 2..5 {
            if let Some(word) = row.get(column) {
                session.error(
                    word.span(),
                    format!("options of a zone are not supported yet: `{}`", word.text()),
                    "here",
                    "",
                );
                return None;
            }
        }
        Some(Zone {
            name: text.to_owned(),
            parents,
            origin: session.origin(name.span()),
        })
    }
}

//! interfaces(5): addresses and routes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use firewalldom::policy::{InterfacePrefix, Prefix};

use crate::columns::words;
use crate::report::Finding;
use crate::session::Session;
use crate::source::{FileId, Piece, Span, Word};
use crate::stanza::{Stanza, begin};
use crate::suggest::did_you_mean;

/// Sources may name sources this deep.
const MAX_SOURCE_DEPTH: usize = 8;

/// What interfaces(5) says about one interface; several stanzas are merged.
pub(crate) struct Link {
    pub(crate) name: Word,
    pub(crate) prefixes: Vec<InterfacePrefix>,
    pub(crate) mtu: Option<u16>,
    /// Of guests' vifs.
    pub(crate) is_bridge: bool,
    pub(crate) used: bool,
}

/// A route, by the name of its interface.
pub(crate) struct NamedRoute {
    pub(crate) destination: Prefix,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) interface: String,
    pub(crate) metric: u32,
    pub(crate) span: Span,
}

/// All interfaces and routes.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) links: Vec<Link>,
    pub(crate) routes: Vec<NamedRoute>,
    /// Interfaces whose stanza was refused: what they lack is not reported again.
    refused: BTreeSet<String>,
    /// There is no file, which is reported.
    missing: bool,
}

impl Network {
    /// Whether it has been said already why an interface has no address.
    pub(crate) fn is_refused(&self, name: &str) -> bool {
        self.missing || self.refused.contains(name)
    }

    /// Reads the file that the site names.
    pub(crate) fn read(session: &mut Session<'_>) -> Self {
        let path = session.site.network().to_path_buf();
        let mut network = Self::default();
        let before = session.findings.len();
        let file = session.open(&path);
        network.missing = file.is_none();
        match file {
            Some(file) => network.read_file(session, file, 0),
            None if session.findings.len() == before => session.report(
                Finding::error(format!("there is no file {}", path.display())).note(
                    "it gives each interface its address, in the format of interfaces(5): \
                     iface eth0 inet static",
                ),
            ),
            None => {}
        }
        network
    }

    fn read_file(&mut self, session: &mut Session<'_>, file: FileId, depth: usize) {
        let mut stanza = Stanza::None;
        for line in lines(session, file) {
            let columns = words(&line);
            let Some(keyword) = columns.first() else {
                continue;
            };
            let text = keyword.text();
            match text {
                "auto" | "no-auto-down" | "no-scripts" => {
                    self.finish(session, std::mem::replace(&mut stanza, Stanza::None));
                }
                _ if text.starts_with("allow-") => {
                    self.finish(session, std::mem::replace(&mut stanza, Stanza::None));
                }
                "iface" => {
                    self.finish(session, std::mem::replace(&mut stanza, Stanza::None));
                    let before = session.findings.len();
                    stanza = begin(session, &line, &columns);
                    let failed = session.findings[before..].iter().any(Finding::is_error);
                    if let Some(name) = columns.get(1).filter(|_| failed) {
                        self.refused.insert(name.text().to_owned());
                    }
                }
                "source" | "source-directory" => {
                    self.finish(session, std::mem::replace(&mut stanza, Stanza::None));
                    self.source(session, &line, &columns, depth);
                }
                "mapping" | "rename" => {
                    self.finish(session, std::mem::replace(&mut stanza, Stanza::None));
                    session.error(
                        keyword.span(),
                        format!("`{text}` is not supported"),
                        "names of interfaces are fixed: they become vifs",
                        "write an `iface` stanza for each interface",
                    );
                }
                _ => match &mut stanza {
                    Stanza::Ignored => {}
                    Stanza::None => session.report(
                        Finding::error(format!("`{text}` outside of an iface stanza"))
                            .at(keyword.span(), "expected `iface NAME inet static`")
                            .maybe_note(did_you_mean(
                                text,
                                ["auto", "iface", "source", "allow-hotplug"],
                            )),
                    ),
                    Stanza::Inet(inet) => inet.option(session, &line, &columns),
                },
            }
        }
        self.finish(session, stanza);
    }

    fn source(&mut self, session: &mut Session<'_>, line: &Word, columns: &[Word], depth: usize) {
        let Some(pattern) = columns.get(1) else {
            session.error(line.span(), "source needs a file", "nothing named", "");
            return;
        };
        if depth >= MAX_SOURCE_DEPTH {
            session.error(
                pattern.span(),
                "files source each other too deeply",
                "one more level",
                "does a file source itself?",
            );
            return;
        }
        let network = session.site.network().to_path_buf();
        let base = network.parent().unwrap_or(std::path::Path::new(""));
        // An absolute name is meant below the /etc that the configuration was copied from.
        let name = pattern.text();
        let relative = name.strip_prefix("/etc/network/").unwrap_or(name);
        let whole = base.join(relative);
        let (folder, wanted) = if columns[0].text() == "source-directory" {
            (whole, "*".to_owned())
        } else {
            let folder = whole.parent().unwrap_or(base).to_path_buf();
            let wanted = whole
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            (folder, wanted)
        };
        let names = match session.site.list(&folder) {
            Ok(names) => names,
            Err(error) => {
                session.error(
                    pattern.span(),
                    format!("cannot read {}: {error}", folder.display()),
                    "sourced here",
                    "",
                );
                return;
            }
        };
        for name in names.iter().filter(|name| glob(&wanted, name)) {
            if let Some(file) = session.open(&folder.join(name)) {
                self.read_file(session, file, depth + 1);
            }
        }
    }

    fn finish(&mut self, session: &mut Session<'_>, stanza: Stanza) {
        let Stanza::Inet(stanza) = stanza else {
            return;
        };
        let before = session.findings.len();
        let prefix = stanza.prefix(session);
        if session.findings.len() > before {
            self.refused.insert(stanza.name.text().to_owned());
        }
        // `eth0:1` is an old way to say: one more address of eth0.
        let name = stanza
            .name
            .split_once(':')
            .map_or_else(|| stanza.name.clone(), |(name, _)| name);
        let device = name.text().to_owned();
        if let Some(gateway) = stanza.gateway {
            self.routes.push(NamedRoute {
                destination: Prefix {
                    address: Ipv4Addr::UNSPECIFIED,
                    length: 0,
                },
                gateway: Some(gateway.0),
                interface: device.clone(),
                metric: stanza.metric,
                span: gateway.1,
            });
        }
        self.routes.extend(stanza.routes);
        if device == "lo" {
            return;
        }
        let link = match self
            .links
            .iter()
            .position(|link| link.name.text() == device)
        {
            Some(index) => &mut self.links[index],
            None => {
                self.links.push(Link {
                    name,
                    prefixes: Vec::new(),
                    mtu: None,
                    is_bridge: false,
                    used: false,
                });
                self.links.last_mut().expect("just pushed")
            }
        };
        link.prefixes.extend(prefix);
        link.mtu = stanza.mtu.or(link.mtu);
        link.is_bridge |= stanza.is_bridge;
    }
}

/// Lines with continuation lines joined; comments are whole lines in this file.
fn lines(session: &Session<'_>, file: FileId) -> Vec<Word> {
    let lines = session.sources.lines(file, |_, line| Piece::of(line));
    let trimmed = lines.iter().map(Word::trim);
    trimmed
        .filter(|line| !line.is_empty() && !line.text().starts_with('#'))
        .collect()
}

/// `*` and `?` as the shell has them.
fn glob(pattern: &str, name: &str) -> bool {
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                matches(&pattern[1..], name) || (!name.is_empty() && matches(pattern, &name[1..]))
            }
            (Some(b'?'), Some(_)) => matches(&pattern[1..], &name[1..]),
            (Some(p), Some(n)) if p == n => matches(&pattern[1..], &name[1..]),
            _ => false,
        }
    }
    // One star is what configurations use; many would take exponential time.
    pattern.matches('*').count() <= 2
        && !name.starts_with('.')
        && matches(pattern.as_bytes(), name.as_bytes())
}

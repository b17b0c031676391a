//! A site's files, and the links that both sides are given for it.

use crate::linux::{Host, Linux, Loaded};
use crate::older;
use crate::protocol::{Age, LinkSetup, Neighbour, Setup};
use anyhow::{Context, Result};
use firewalldom::policy::{InterfacePrefix, Policy, Route};
use shorewall::{Compiled, Report, Site};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

/// Files laid out like `/etc`: `shorewall/zones`, `network/interfaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// What each file holds, by its path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What our compiler reads instead of some of them: the same as Shorewall once spelled it.
    pub old_spellings: BTreeMap<String, Vec<u8>>,
    /// For which Shorewall they were written.
    pub age: Age,
}

impl Configuration {
    /// A Shorewall folder with an interfaces(5) file for it.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read(shorewall: &Path, network: &str) -> Result<Self> {
        let mut files = BTreeMap::new();
        files.insert("network/interfaces".to_owned(), network.into());
        for entry in fs::read_dir(shorewall).with_context(|| shorewall.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                files.insert(format!("shorewall/{name}"), fs::read(entry.path())?);
            }
        }
        let age = Age::Current;
        Ok(Self {
            files,
            old_spellings: BTreeMap::new(),
            age,
        })
    }

    /// A folder laid out like `/etc`, or a Shorewall folder alone: then its interfaces are given
    /// addresses, for it comes without the machine it was written for.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let network = folder.join("network/interfaces");
        if network.is_file() {
            let network = fs::read_to_string(network)?;
            return Self::read(&folder.join("shorewall"), &network);
        }
        let mut configuration = Self::read(folder, "")?;
        let network = configuration.invent_network();
        let file = configuration.files.get_mut("network/interfaces");
        *file.context("no interfaces")? = network.into_bytes();
        Ok(configuration)
    }

    /// An interfaces(5) file with a /24 for each interface that the Shorewall folder names; the first
    /// leads to everybody else.
    fn invent_network(&self) -> String {
        let mut text = String::new();
        for (number, name) in self.interfaces().iter().enumerate() {
            text += &format!(
                "auto {name}\niface {name} inet static\n    address 198.18.{number}.1/24\n"
            );
            if number == 0 {
                text += "    gateway 198.18.0.254\n";
            }
        }
        text
    }

    /// The names in `shorewall/interfaces`, with `$NAME` of `params` replaced, and a wildcard by one
    /// of its interfaces.
    fn interfaces(&self) -> Vec<String> {
        let params = self.text("shorewall/params");
        let value = |name: &str| {
            let assigned = params
                .lines()
                .filter_map(|line| line.trim().split_once('='));
            let mut values = assigned.filter(|(other, _)| *other == name);
            let (_, value) = values.next()?;
            let value = value.split(['#', ' ']).next()?;
            Some(value.trim_matches(['"', '\'']).to_owned())
        };
        let mut names = Vec::new();
        for line in self.text("shorewall/interfaces").lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(zone), Some(word)) = (words.next(), words.next()) else {
                continue;
            };
            let mut options = line.split([',', ' ', '\t']);
            let physical = options.find_map(|option| option.strip_prefix("physical="));
            let word = physical.unwrap_or(word);
            let word = word.split(':').next().unwrap_or_default();
            let name = match word.strip_prefix('$') {
                Some(name) => value(name.trim_matches(['{', '}'])).unwrap_or(name.to_owned()),
                None => word.to_owned(),
            };
            let name = name.replace('+', "0");
            let is_directive = zone.starts_with('?') || zone == "FORMAT";
            if !is_directive && name != "lo" && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// A file's text; empty if there is no such file.
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        let bytes = self.files.get(path).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Compiles it with our compiler. A file whose old spelling is empty does not exist.
    ///
    /// # Errors
    /// The compiler's report.
    pub fn compile(&self) -> Result<Compiled, Report> {
        let mut files = self.files.clone();
        for (path, bytes) in &self.old_spellings {
            match bytes.is_empty() {
                true => files.remove(path),
                false => files.insert(path.clone(), bytes.clone()),
            };
        }
        shorewall::compile(&Site::from_files("oracle", files))
    }

    /// The same in today's spelling, as `check --fix` writes it.
    #[must_use]
    pub fn modernized(&self) -> Self {
        let modern = shorewall::modernize(&Site::from_files("oracle", self.files.clone()));
        let mut files = self.files.clone();
        for (path, text) in modern.files {
            let path = path.display().to_string();
            match text {
                Some(text) => files.insert(path, text.into_bytes()),
                None => files.remove(&path),
            };
        }
        Self {
            files,
            ..Self::default()
        }
    }

    /// Shorewall's words if it refuses the configuration, whatever our compiler says of it; the links
    /// are those that the folder names.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn refusal(&self, host: &Host) -> Result<Option<String>> {
        let names = self.interfaces().into_iter();
        // Linux's IFNAMSIZ, its end included, is 16.
        let names = names.filter(|name| name.len() < 16);
        let links = names.enumerate().map(|(number, name)| LinkSetup {
            name,
            mac: firewall_mac(number),
            mtu: MTU,
            addresses: vec![format!("198.18.{number}.1/24")],
        });
        let setup = Setup {
            shorewall: self.for_linux(),
            age: self.age,
            links: links.collect(),
            routes: Vec::new(),
            neighbours: Vec::new(),
        };
        Ok(match Linux::start(host)?.load(setup)? {
            Loaded::Running => None,
            Loaded::Refused(words) => Some(words),
        })
    }

    /// Writes its files into a folder, which need not be there.
    ///
    /// # Errors
    /// What writing them says.
    pub fn write_to(&self, folder: &Path) -> std::io::Result<()> {
        for (name, bytes) in &self.files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap_or(folder))?;
            fs::write(file, bytes)?;
        }
        Ok(())
    }

    /// The Shorewall folder's files as Linux is given them: without helpers, which look into packets
    /// and drop what they cannot read (where the folder has no `conntrack`, Shorewall takes the one that its
    /// package puts into `/etc`); and with a shorewall.conf, whose contents are then Shorewall's
    /// built-in defaults.
    fn for_linux(&self) -> Vec<(String, Vec<u8>)> {
        let files = self.files.iter().filter_map(|(path, bytes)| {
            let name = path.strip_prefix("shorewall/")?;
            Some((name.to_owned(), bytes.clone()))
        });
        let mut files: BTreeMap<_, _> = match self.age {
            Age::Current => files.collect(),
            Age::Older => older::respelled(&files.collect()),
        };
        let conntrack = files.entry("conntrack".to_owned()).or_default();
        let text = String::from_utf8_lossy(conntrack);
        let lines = text.split_inclusive('\n');
        let kept = lines.filter(|line| !line.trim_start().starts_with("CT:helper:"));
        *conntrack = kept.collect::<String>().into_bytes();
        files
            .entry("shorewall.conf".to_owned())
            .or_insert_with(|| older::NO_SETTINGS.to_vec());
        files.into_iter().collect()
    }

    /// What Linux needs to become the gateway that `policy` describes: its links and routes are
    /// those of our compiler, its rules Shorewall's own reading of the files.
    #[must_use]
    pub fn setup(&self, policy: &Policy, neighbours: &BTreeSet<Neighbour>) -> Setup {
        let links = policy.interfaces.iter().enumerate();
        let links = links.map(|(number, interface)| LinkSetup {
            name: interface.name.clone(),
            mac: firewall_mac(number),
            mtu: interface.mtu.unwrap_or(MTU),
            addresses: interface.addresses.iter().map(address_text).collect(),
        });
        let routes = policy.routes.iter().map(|route| {
            let via = route.gateway.map(|gateway| format!(" via {gateway}"));
            format!(
                "{}/{}{} dev {} metric {}",
                route.destination.address,
                route.destination.length,
                via.unwrap_or_default(),
                policy.interfaces[usize::from(route.interface.0)].name,
                route.metric
            )
        });
        Setup {
            shorewall: self.for_linux(),
            age: self.age,
            links: links.collect(),
            routes: routes.collect(),
            neighbours: neighbours.iter().copied().collect(),
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in self.files.keys() {
            writeln!(f, "== {path}\n{}", self.text(path).trim_end())?;
        }
        for (path, bytes) in &self.old_spellings {
            let text = String::from_utf8_lossy(bytes);
            writeln!(f, "== for ours: {path}\n{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// MTU of a link that the site says nothing of.
pub const MTU: u16 = 1500;

/// The firewall's hardware address on a link.
#[must_use]
pub fn firewall_mac(link: usize) -> [u8; 6] {
    [0x02, 0xff, 0, 0, 0, link as u8]
}

fn address_text(prefix: &InterfacePrefix) -> String {
    let broadcast = prefix.broadcast;
    let broadcast = broadcast.map(|address| format!(" broadcast {address}"));
    format!(
        "{}/{}{}",
        prefix.address,
        prefix.length,
        broadcast.unwrap_or_default()
    )
}

/// Which of `addresses` are stations on a link of the site's, and the gateways that are.
#[must_use]
pub fn neighbours(
    policy: &Policy,
    addresses: impl IntoIterator<Item = Ipv4Addr>,
) -> BTreeSet<Neighbour> {
    let gateways = policy.routes.iter().filter_map(|route| route.gateway);
    let mut found = BTreeSet::new();
    for address in gateways.chain(addresses) {
        for (link, interface) in (0..).zip(&policy.interfaces) {
            let on_link = |prefix: &InterfacePrefix| {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.length));
                let differs = (address.to_bits() ^ prefix.address.to_bits()) & mask.unwrap_or(0);
                differs == 0 && address != prefix.address && Some(address) != prefix.broadcast
            };
            let is_routed_to = |route: &Route| {
                let host = route.destination.length == 32 && route.gateway.is_none();
                host && usize::from(route.interface.0) == usize::from(link)
                    && route.destination.address == address
            };
            if policy.routes.iter().any(is_routed_to) || interface.addresses.iter().any(on_link) {
                found.insert(Neighbour { link, address });
            }
        }
    }
    found
}

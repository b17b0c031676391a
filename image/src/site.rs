//! A site's configuration on disk, and what the compiler says about it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use firewalldom::policy::Policy;
use shorewall::{Programs, Site};

/// Where the user's files are.
#[derive(Clone, Debug)]
pub struct SitePaths {
    /// A directory laid out like `/etc`, or, with `network`, a bare Shorewall folder.
    pub config: PathBuf,
    /// The interfaces(5) file of a bare Shorewall folder.
    pub network: Option<PathBuf>,
    /// Whether a shell runs what only a shell can read.
    pub programs: Programs,
}

impl SitePaths {
    /// The site, after a look at whether there is one.
    ///
    /// # Errors
    /// When a path does not exist, or the folder has the other of the two layouts.
    pub fn site(&self) -> Result<Site> {
        let site = self.find()?.with_programs(self.programs);
        Ok(match share(site.shorewall()) {
            Some(share) => site.with_share(share),
            None => site,
        })
    }

    fn find(&self) -> Result<Site> {
        let config = &self.config;
        if !config.is_dir() {
            bail!(
                "{} is not a folder: name one laid out like /etc, with shorewall/ in it",
                config.display()
            );
        }
        let Some(network) = &self.network else {
            if !config.join("shorewall").is_dir() {
                bail!("{}", missing_shorewall(config));
            }
            return Ok(Site::from_etc(config));
        };
        if !network.is_file() {
            bail!(
                "{} is not a file: --network names the interfaces(5) file",
                network.display()
            );
        }
        // With --network either layout will do.
        let inner = config.join("shorewall");
        if inner.is_dir() {
            let name = Site::from_etc(config).name().to_owned();
            return Ok(Site::new(inner, network).named(name));
        }
        Ok(Site::new(config, network))
    }
}

/// The macros of the Shorewall that is installed beside `etc/shorewall`, if one is.
fn share(shorewall: &Path) -> Option<PathBuf> {
    let root = shorewall.canonicalize().ok()?;
    let share = root.parent()?.parent()?.join("usr/share/shorewall");
    share.is_dir().then_some(share)
}

fn missing_shorewall(config: &Path) -> String {
    let config_path = config.display();
    if config.join("zones").is_file() {
        format!(
            "{config_path} is a Shorewall folder by itself: say with --network where the \
             interfaces(5) file is (Debian's is /etc/network/interfaces)"
        )
    } else {
        format!("{config_path} has no shorewall/ in it: name a folder laid out like /etc")
    }
}

/// What a correct site comes to, in a line.
pub fn summary(policy: &Policy) -> String {
    let rules: usize = policy.chains.iter().map(|chain| chain.rules.len()).sum();
    let mut text = String::new();
    // The firewall itself is the first zone.
    let zones = policy.zones.len().saturating_sub(1);
    let nat = policy.destination_nat.len() + policy.source_nat.len();
    for (index, (count, one, many)) in [
        (policy.interfaces.len(), "interface", "interfaces"),
        (
            zones,
            "zone besides the firewall",
            "zones besides the firewall",
        ),
        (rules, "compiled rule", "compiled rules"),
        (nat, "address translation", "address translations"),
    ]
    .into_iter()
    .enumerate()
    {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{separator}{count} {}",
            if count == 1 { one } else { many }
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn error(config: &Path, network: Option<&Path>) -> String {
        let paths = SitePaths {
            config: config.to_owned(),
            network: network.map(Path::to_owned),
            programs: Programs::Refused,
        };
        paths.site().expect_err("no site").to_string()
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_write() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert!(error(&root.join("absent"), None).contains("is not a folder"));
        assert!(error(root, None).contains("has no shorewall/ in it"));
        fs::write(root.join("zones"), "").unwrap();
        assert!(error(root, None).contains("--network"));
        assert!(error(root, Some(&root.join("absent"))).contains("is not a file"));
    }

    #[test]
    fn both_layouts_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path().join("office");
        fs::create_dir_all(etc.join("shorewall")).unwrap();
        let interfaces = directory.path().join("interfaces");
        fs::write(&interfaces, "").unwrap();
        let paths = |config: PathBuf, network: Option<&PathBuf>| SitePaths {
            config,
            network: network.cloned(),
            programs: Programs::Refused,
        };
        let whole = paths(etc.clone(), None).site().unwrap();
        assert_eq!(
            (whole.name(), whole.network()),
            ("office", etc.join("network/interfaces").as_path())
        );
        let other_network = paths(etc.clone(), Some(&interfaces)).site().unwrap();
        assert_eq!(other_network.name(), "office");
        assert_eq!(other_network.network(), interfaces);
        let bare = paths(etc.join("shorewall"), Some(&interfaces))
            .site()
            .unwrap();
        assert_eq!(bare.shorewall(), etc.join("shorewall"));
    }

    #[test]
    fn the_shorewall_installed_beside_it_lends_its_macros() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir_all(etc.join("shorewall")).unwrap();
        let site = || {
            let paths = SitePaths {
                config: etc.clone(),
                network: None,
                programs: Programs::Refused,
            };
            paths.site().unwrap()
        };
        assert_eq!(site().share(), None);
        let share = root.path().join("usr/share/shorewall");
        fs::create_dir_all(&share).unwrap();
        let share = share.canonicalize().unwrap();
        assert_eq!(site().share(), Some(share.as_path()));
    }
}

//! The whole project at work: Xen, dom0 and the firewall in QEMU, and traffic through it.
//!
//! `cargo image run` is [`perform`] and a table. System tests use the parts: a [`Scenario`] on a
//! machine of their own, with attempts of their own.

pub mod debian;
pub mod hits;
pub mod house;
pub mod meter;
pub mod network;
pub mod report;
pub mod scenario;
pub mod table;
pub mod traffic;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use qemu_tests::{Command, Lab, Machine, Options, Suite};
use shorewall::Site;

use crate::appliance::{self, Built, FIREWALLDOM};
use crate::build::TargetChoice;
use crate::config::DomainConfig;
use crate::workspace::Workspace;
use hits::Source;
use report::{Figures, Platform, Report};
use scenario::{Direction, Forwarder, Scenario};

/// The site that is shown.
pub const EXAMPLE: &str = "examples/two-interfaces";
/// The zone of its own hosts.
pub const INSIDE: &str = "loc";
/// The zone of everybody else.
pub const OUTSIDE: &str = "net";

/// What a run may be told.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// The firewall domain's memory, in MiB.
    pub memory_mib: u32,
    /// What to compile for.
    pub target: TargetChoice,
}

/// A run that is over, with its machine still up.
pub struct Finished {
    /// What came of it.
    pub report: Report,
    /// The machine with its networks; the firewall is shut down.
    pub machine: Machine,
    /// The path of the firewall's configuration in dom0.
    pub config: String,
}

impl Finished {
    /// Starts the firewall again and leaves the machine to the user, with a shell in dom0.
    ///
    /// # Errors
    /// When the firewall does not start or the machine is gone.
    pub fn keep(self) -> Result<()> {
        self.machine
            .check(&Command::new(["xl", "create", &self.config]))?;
        self.machine.keep()
    }
}

/// The firewall of the example, built: what [`perform`] boots.
pub struct Firewall {
    /// Its site.
    pub site: Site,
    /// The policy that was compiled from it.
    pub policy: firewalldom::policy::Policy,
    /// The files.
    pub built: Built,
    /// The folder they are in, absolute.
    pub directory: PathBuf,
    /// `memory=`.
    pub memory_mib: u32,
}

impl Firewall {
    /// Compiles the example's policy and builds the appliance into `target/image`.
    ///
    /// # Errors
    /// When the example has errors or the appliance cannot be built.
    pub fn build(workspace: &Workspace, options: RunOptions) -> Result<Self> {
        Self::of(workspace, &workspace.root().join(EXAMPLE), options)
    }

    /// The same for another site, by its folder: as `/etc`, with `shorewall` and `network`.
    ///
    /// # Errors
    /// When the site has errors or the appliance cannot be built.
    pub fn of(workspace: &Workspace, etc: &Path, options: RunOptions) -> Result<Self> {
        let site = Site::from_etc(etc);
        let compiled = shorewall::compile(&site).map_err(|report| {
            anyhow!(
                "{} has errors:\n{}",
                etc.display(),
                report.render(shorewall::Style::Plain)
            )
        })?;
        let name = etc.file_name().context("a site is a folder with a name")?;
        let out = workspace.target().join("image").join(name);
        let memory = Some(options.memory_mib);
        let built =
            appliance::build_firewall(workspace, &compiled.policy, &out, memory, options.target)?;
        let directory = out.canonicalize()?;
        Ok(Self {
            site,
            policy: compiled.policy,
            built,
            directory,
            memory_mib: options.memory_mib,
        })
    }

    /// Makes the files appear in dom0 under the very path they have on the host, so that the
    /// configuration is used as it was generated; its path there.
    ///
    /// # Errors
    /// When the files cannot be copied.
    pub fn put(&self, machine: &Machine) -> Result<String> {
        let share = machine.share().join(FIREWALLDOM);
        fs::create_dir_all(&share)?;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            fs::copy(entry.path(), share.join(entry.file_name()))
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
        let directory = shell_quoted(&self.directory)?;
        machine.dom0(&format!(
            "mkdir -p \"$(dirname {directory})\" && ln -sfn /share/{FIREWALLDOM} {directory}"
        ))?;
        Ok(self.built.config.display().to_string())
    }

    /// The domain's configuration.
    pub fn config(&self) -> DomainConfig {
        let file = |suffix: &str| self.directory.join(format!("{FIREWALLDOM}.{suffix}"));
        DomainConfig::firewall(&self.policy, &file("xen"), &file("policy"), self.memory_mib)
    }

    /// The networks that belong to its interfaces.
    ///
    /// # Errors
    /// As [`network::sides`].
    pub fn sides(&self) -> Result<Vec<network::Side>> {
        network::sides(&self.policy, &self.config())
    }
}

/// Builds, boots, tries everything and measures. `tell` hears what is being done. Xen, dom0 and
/// the Debian guest are those of `suite`.
///
/// # Errors
/// When it could not be carried out; the error names the folder with the logs. A case that did not
/// come out as expected is no error but stands in the report.
pub fn perform(
    workspace: &Workspace,
    suite: Suite,
    options: RunOptions,
    tell: &dyn Fn(&str),
) -> Result<Finished> {
    tell(&format!("building firewalldom for {EXAMPLE}"));
    let firewall = Firewall::build(workspace, options)?;
    let lab = Lab::prepare_suite(suite, &qemu_tests::to_stderr())?;
    tell("booting Xen and dom0 in QEMU");
    let machine = Machine::start(
        &lab,
        &Options {
            name: "run".into(),
            ..Options::default()
        },
    )?;
    let logs = machine.folder().to_owned();
    let try_it = || -> Result<(Report, String)> {
        let config = firewall.put(&machine)?;
        let report = show(&lab, &machine, &firewall, &config, tell)?;
        Ok((report, config))
    };
    let (report, config) =
        try_it().with_context(|| format!("consoles and logs are in {}", logs.display()))?;
    Ok(Finished {
        report,
        machine,
        config,
    })
}

fn show(
    lab: &Lab,
    machine: &Machine,
    firewall: &Firewall,
    config: &str,
    tell: &dyn Fn(&str),
) -> Result<Report> {
    let attempts = traffic::TWO_INTERFACES;
    let scenario = Scenario::prepare(machine, firewall.sides()?, attempts)?;
    let platform = platform(machine)?;

    tell(&format!("xl create {}", firewall.built.config.display()));
    let domain = scenario.start(FIREWALLDOM, config, INSIDE, OUTSIDE)?;
    scenario.wait_ready(&domain)?;

    tell("sending traffic through it");
    let source = Source::new(&firewall.site);
    let cases = scenario.try_all(attempts, &domain, &source)?;

    tell("measuring");
    let throughput = streams(&scenario, &domain)?;
    scenario.shut_down(&domain)?;
    let figures = Figures {
        kernel_bytes: firewall.built.image.bytes.len() as u64,
        ramdisk_bytes: firewall.built.policy_bytes.unwrap_or(0) as u64,
        memory_mib: firewall.memory_mib,
        xl_create: domain.xl_create,
        first_packet: domain.first_packet,
        throughput,
    };

    tell("the same with a Debian PV guest");
    let debian = debian::measure(lab, machine, &scenario, firewall)?;
    let logs = machine.folder().display().to_string();
    Ok(Report {
        platform,
        cases,
        firewalldom: figures,
        debian: Some(debian),
        logs,
    })
}

/// One TCP stream in each direction, over connections that the rules let the inside open.
fn streams(scenario: &Scenario<'_>, domain: &Forwarder) -> Result<Vec<report::Throughput>> {
    [Direction::FromClient, Direction::FromServer]
        .into_iter()
        .map(|direction| scenario.throughput(domain, INSIDE, OUTSIDE, direction))
        .collect()
}

/// What the machine runs.
///
/// # Errors
/// When dom0 does not say.
pub fn platform(machine: &Machine) -> Result<Platform> {
    let text = machine.dom0("xl info xen_version; uname -r")?;
    let mut lines = text.lines().map(str::to_owned);
    match (lines.next(), lines.next()) {
        (Some(xen_version), Some(dom0_kernel)) => Ok(Platform {
            xen_version,
            dom0_kernel,
        }),
        _ => Err(anyhow!("xl info and uname printed {text:?}")),
    }
}

/// A path as one word of a shell script.
fn shell_quoted(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word() {
        assert_eq!(
            shell_quoted(Path::new("/a b/it's")).unwrap(),
            r"'/a b/it'\''s'"
        );
    }
}

//! The appliances, and the files that `build` writes for each.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ::stubdom::bundle::{self, Kind};
use anyhow::{Context, Result};
use firewalldom::policy::{Interface, Policy, blob};
use serde::Serialize;

use crate::build::{self, Image, Program, STUBDOM_HELPER, TargetChoice};
use crate::config::{DomainConfig, memory_for};
use crate::options::Options;
use crate::output::OutputSet;
use crate::stubdom;
use crate::workspace::Workspace;

/// The folder's, the crate's and the domain's name of the firewall.
pub const FIREWALLDOM: &str = "firewalldom";

/// The folder's and the crate's name of the device model.
pub const STUBDOM: &str = "stubdom";

/// An appliance that needs no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// The driver domain. It may have a configuration ([`build_netdom`]).
    Netdom,
}

impl Bare {
    /// The folder's, the crate's and the domain's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Netdom => "netdom",
        }
    }

    fn config(self, kernel: &Path) -> DomainConfig {
        match self {
            Self::Netdom => DomainConfig::driver(kernel),
        }
    }
}

/// Where a firewall has its policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyPlace {
    /// In a file of its own: the image is the same for every site.
    #[default]
    Beside,
    /// Inside the image: a single file, for this site only.
    Embedded,
}

/// What a firewall's build may be told.
#[derive(Clone, Debug, Default)]
pub struct FirewallSettings {
    /// Of the command line.
    pub options: Options,
    /// Where the policy goes.
    pub place: PolicyPlace,
    /// What to compile for.
    pub target: TargetChoice,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `kernel=`.
    Kernel,
    /// `ramdisk=`.
    Ramdisk,
    /// Symbols and line tables of the image, matched by its build-id.
    Debug,
    /// What `xl create` is given.
    Configuration,
    /// A program for dom0.
    Program,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// What it is for.
    pub role: Role,
    /// Absolute.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// What was written, for the user.
#[derive(Clone, Debug)]
pub struct Built {
    /// The image.
    pub image: Image,
    /// Bytes of the policy.
    pub policy_bytes: Option<usize>,
    /// The file for `xl create`, absolute.
    pub config: PathBuf,
    /// Every file, the one for `xl create` last.
    pub files: Vec<Written>,
}

/// Writes `firewalldom.xen`, `firewalldom.policy` and `firewalldom.cfg` into `out`: all or none.
///
/// # Errors
/// As [`build_site`].
pub fn build_firewall(
    workspace: &Workspace,
    policy: &Policy,
    out: &Path,
    memory_mib: Option<u32>,
    target: TargetChoice,
) -> Result<Built> {
    let settings = FirewallSettings {
        options: Options {
            memory_mib,
            ..Options::default()
        },
        target,
        ..FirewallSettings::default()
    };
    build_site(workspace, policy, out, &settings)
}

/// Writes a site's firewall into `out`: `NAME.xen`, `NAME.policy` unless it is embedded, and
/// `NAME.cfg`; all or none.
///
/// # Errors
/// When `out` cannot be written to, the image not be built, or the policy not be encoded.
pub fn build_site(
    workspace: &Workspace,
    policy: &Policy,
    out: &Path,
    settings: &FirewallSettings,
) -> Result<Built> {
    let blob = blob::encode(policy).context("the policy cannot be written")?;
    let options = &settings.options;
    let name = options.name.as_deref().unwrap_or(FIREWALLDOM);
    rehearse(out, name)?;
    let mut program = match settings.place {
        PolicyPlace::Beside => Program::appliance(FIREWALLDOM),
        PolicyPlace::Embedded => with_policy(workspace, &blob)?,
    };
    if policy.interfaces.iter().any(Interface::has_guests) {
        program.features.push("guests".to_owned());
    }
    let image = build::program(workspace, &program, settings.target)?;

    let files = Files::new(out)?;
    let (kernel, ramdisk) = (
        files.path(&format!("{name}.xen")),
        files.path(&format!("{name}.policy")),
    );
    let memory_mib = memory_for(&policy.interfaces);
    let config = DomainConfig::firewall(policy, &kernel, &ramdisk, memory_mib).with(options);
    let (config, beside) = match settings.place {
        PolicyPlace::Beside => (config, Some(blob.as_slice())),
        PolicyPlace::Embedded => (config.embedded(), None),
    };
    files.write(name, image, beside, &config, blob.len().into())
}

/// Writes `NAME.xen` and `NAME.cfg` into `out`: both or none.
///
/// # Errors
/// When `out` cannot be written to or the image not be built.
pub fn build_bare(
    workspace: &Workspace,
    bare: Bare,
    out: &Path,
    options: &Options,
    target: TargetChoice,
) -> Result<Built> {
    let name = options.name.as_deref().unwrap_or(bare.name());
    rehearse(out, name)?;
    let image = build::appliance(workspace, bare.name(), target)?;
    let files = Files::new(out)?;
    let kernel = files.path(&format!("{name}.xen"));
    let config = bare.config(&kernel).with(options);
    files.write(name, image, None, &config, None)
}

/// Writes netdom with a configuration: `NAME.xen`, `NAME.policy` and `NAME.cfg`; all or none.
///
/// # Errors
/// As [`build_bare`], and when the configuration makes no sense.
pub fn build_netdom(
    workspace: &Workspace,
    bridges: &netdom::config::Config,
    out: &Path,
    options: &Options,
    target: TargetChoice,
) -> Result<Built> {
    let blob = netdom::config::encode(bridges).context("the configuration cannot be written")?;
    let own = Bare::Netdom.name();
    let name = options.name.as_deref().unwrap_or(own);
    rehearse(out, name)?;
    let image = build::appliance(workspace, own, target)?;
    let files = Files::new(out)?;
    let (kernel, ramdisk) = (
        files.path(&format!("{name}.xen")),
        files.path(&format!("{name}.policy")),
    );
    let config = DomainConfig::driver_with(&kernel, &ramdisk, bridges).with(options);
    files.write(name, image, Some(&blob), &config, blob.len().into())
}

/// Writes a device model's files into `out`: `stubdom.xen`, its `stubdom.ramdisk` with these files inside, the helper
/// for dom0, and `guest.cfg`, an example; all or none.
///
/// # Errors
/// As [`build_bare`], and when the files are too large for a bundle.
pub fn build_stubdom(
    workspace: &Workspace,
    inside: &[(Kind, &[u8])],
    out: &Path,
    target: TargetChoice,
) -> Result<Built> {
    let bundle = bundle::encode(inside).context("the ramdisk cannot be written")?;
    let names = [
        stubdom::IMAGE,
        stubdom::RAMDISK,
        stubdom::DEBUG,
        STUBDOM_HELPER,
        stubdom::EXAMPLE,
    ];
    OutputSet::rehearse(out, &names.map(str::to_owned))?;
    let image = build::appliance(workspace, STUBDOM, target)?;
    let helper = build::dom0(workspace)?;
    let mut files = Files::new(out)?;
    files.add(Role::Kernel, stubdom::IMAGE, &image.bytes)?;
    files.add(Role::Ramdisk, stubdom::RAMDISK, &bundle)?;
    files.add(Role::Debug, stubdom::DEBUG, &image.debug)?;
    files.add_program(STUBDOM_HELPER, &helper)?;
    let example = stubdom::example(&stubdom::Place {
        folder: files.directory.clone(),
        ramdisk_bytes: bundle.len() as u64,
    });
    files.add(Role::Configuration, stubdom::EXAMPLE, example.as_bytes())?;
    let config = files.path(stubdom::EXAMPLE);
    files.output.publish()?;
    Ok(Built {
        image,
        policy_bytes: None,
        config,
        files: files.written,
    })
}

/// The firewall with this policy inside. The file that the compiler takes it from is named after
/// what is in it: two builds at once do not take each other's.
fn with_policy(workspace: &Workspace, blob: &[u8]) -> Result<Program> {
    let identity = blob::identity(blob).context("the policy has no header")?;
    let directory = workspace.target().join("appliance/policies");
    let name = format!("{:016x}.policy", identity.checksum);
    let path = directory.join(&name);
    // Written anew, it would be newer than the image, and compiled again.
    if std::fs::read(&path).ok().as_deref() != Some(blob) {
        let mut output = OutputSet::new(&directory)?;
        output.add(&name, blob)?;
        output.publish()?;
    }
    let mut program = Program::appliance(FIREWALLDOM);
    program.features.push("embed".to_owned());
    program.environment = vec![("FIREWALLDOM_POLICY".to_owned(), OsString::from(path))];
    Ok(program)
}

/// Before the compiler runs for a minute: whoever cannot write there learns it at once.
fn rehearse(out: &Path, name: &str) -> Result<()> {
    let names = ["xen", "policy", "debug", "cfg"].map(|suffix| format!("{name}.{suffix}"));
    OutputSet::rehearse(out, &names)
}

/// The files of one domain, on their way into a folder.
struct Files {
    output: OutputSet,
    directory: PathBuf,
    written: Vec<Written>,
}

impl Files {
    fn new(out: &Path) -> Result<Self> {
        let output = OutputSet::new(out)?;
        let directory = out
            .canonicalize()
            .with_context(|| format!("cannot find {}", out.display()))?;
        Ok(Self {
            output,
            directory,
            written: Vec::new(),
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn add(&mut self, role: Role, file: &str, bytes: &[u8]) -> Result<()> {
        self.output.add(file, bytes)?;
        self.written.push(Written {
            role,
            path: self.path(file),
            bytes: bytes.len() as u64,
        });
        Ok(())
    }

    fn add_program(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
        self.output.add_program(file, bytes)?;
        self.written.push(Written {
            role: Role::Program,
            path: self.path(file),
            bytes: bytes.len() as u64,
        });
        Ok(())
    }

    fn write(
        mut self,
        name: &str,
        image: Image,
        policy: Option<&[u8]>,
        config: &DomainConfig,
        policy_bytes: Option<usize>,
    ) -> Result<Built> {
        self.add(Role::Kernel, &format!("{name}.xen"), &image.bytes)?;
        if let Some(blob) = policy {
            self.add(Role::Ramdisk, &format!("{name}.policy"), blob)?;
        }
        self.add(Role::Debug, &format!("{name}.debug"), &image.debug)?;
        // Last: it names the others.
        let file = format!("{name}.cfg");
        self.add(Role::Configuration, &file, config.render().as_bytes())?;
        let config = self.path(&file);
        self.output.publish()?;
        Ok(Built {
            image,
            policy_bytes,
            config,
            files: self.written,
        })
    }
}

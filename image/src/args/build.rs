//! `build`: its options.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use image::build::TargetChoice;

use super::EXIT_STATUSES;

/// What can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Appliance {
    /// A site's firewall and router.
    Firewalldom,
    /// The driver domain: cards that are passed to it, each with a bridge for guests' vifs.
    Netdom,
    /// The device model of HVM guests, a domain for each: its image, the helper for dom0, an example of a guest.
    Stubdom,
    /// The program for dom0: what a running domain counts (`xen-image-dom0 stat DOMAIN`).
    Dom0,
}

const EXAMPLES: &str = "\
Examples:
  cargo image build firewalldom --config examples/two-interfaces --out out
  cargo image build firewalldom --config my-shorewall --network my-interfaces --out out
  cargo image build firewalldom --config /etc --out out --name edge --memory 16 \\
      --vif eth0=bridge=xenbr0,mac=00:16:3e:01:02:03 --vif eth1=bridge=xenbr1
  cargo image build firewalldom --config /etc --out out --vif ppp0=bridge=br-modem
  cargo image build firewalldom --config /etc --out out --embed
  cargo image build netdom --out out
  cargo image build netdom --config examples/netdom.toml --out out
  cargo image build stubdom --out out     then: cargo image stubdom-convert GUEST.cfg --out NEW.cfg
  cargo image build stubdom --out out --kernel vmlinuz --initrd initrd.img
  cargo image build dom0 --out out        a static program: copy it to dom0

Files:
  OUT/NAME.xen     the image: kernel=. The same input gives the same bytes, wherever it is built.
  OUT/NAME.policy  the site's policy, or what is said of netdom's bridges: ramdisk=. Not with --embed.
  OUT/NAME.debug   symbols and lines of the image, for `symbolize` and gdb. Not needed on the host.
  OUT/NAME.cfg     for `xl create`, with the paths of image and policy.
Of stubdom, for any number of guests: OUT/stubdom.xen, OUT/stubdom.ramdisk, OUT/xen-image-stubdom-helper
(device_model_override=: what xl starts in dom0 in QEMU's place), and OUT/guest.cfg, an example.
All of them are written or none. Copy the folder to a Xen host, set the bridges' names in the .cfg
unless --vif did, and run `xl create NAME.cfg` there.

Interfaces:
  Each interface of the site is a vif in a bridge of dom0, named after its zone: br-net, br-loc.
  --vif says otherwise, by the name in shorewall/interfaces. The keys are those of
  xl-network-configuration(5): mac, bridge, script, backend, vifname, rate, mtu, gatewaydev.
  A bond or a VLAN (bond0, eth0.5) stays in dom0 as a port of the bridge. What has no counterpart
  in a domain (ppp0, tun0, wg0, docker0) needs a --vif that names the bridge in its place.";

#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Build {
    /// What to build.
    #[arg(value_enum)]
    pub(crate) appliance: Appliance,
    /// The site: a folder laid out like /etc, or a bare Shorewall folder. Of netdom: a file about its bridges.
    #[arg(long, value_name = "DIR", required_if_eq("appliance", "firewalldom"))]
    pub(crate) config: Option<PathBuf>,
    /// The interfaces(5) file, when it is not DIR/network/interfaces.
    #[arg(long, value_name = "FILE", requires = "config")]
    pub(crate) network: Option<PathBuf>,
    /// Lets /bin/sh run `params` and `?SHELL`, in an empty environment. Without it nothing runs.
    #[arg(long, requires = "config")]
    pub(crate) shell: bool,
    /// The folder to write to; created when missing.
    #[arg(long, value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// The domain's name, and with it that of the files; else the appliance's.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The domain's memory in MiB; else 8, or more for more than two interfaces.
    // Checked with the other options, and not by clap, so that all that is wrong is said at once.
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<String>,
    /// The vif of an interface, by its name in the site. May be given for each of them.
    #[arg(long = "vif", value_name = "NAME=KEY=VALUE,…")]
    pub(crate) vifs: Vec<String>,
    /// Puts the policy into the image: a single file, for this site only.
    #[arg(long)]
    pub(crate) embed: bool,
    /// A kernel for guests of stubdom's that have kernel= in their configuration: the same file.
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Its initial RAM disk: the file of ramdisk=.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<PathBuf>,
    /// Prints what was written as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// What to compile for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) target: TargetChoice,
}

//! What the fuzz targets share: a small site, whole and with one file replaced.

use firewalldom::policy::blob;
use firewalldom::time::Instant;
use firewalldom::{Budget, Firewall, Link};
use shorewall::{Site, Style};

/// The files of Shorewall that are read.
pub const SHOREWALL_FILES: [&str; 20] = [
    "actions",
    "action.Mine",
    "blacklist",
    "blrules",
    "conntrack",
    "hosts",
    "interfaces",
    "ipsets",
    "macro.Ours",
    "masq",
    "nat",
    "params",
    "policy",
    "routes",
    "routestopped",
    "rules",
    "shorewall.conf",
    "snat",
    "stoppedrules",
    "zones",
];

/// Path and text of each file.
pub type Files = Vec<(String, Vec<u8>)>;

/// The example that the project ships.
pub fn site() -> Files {
    macro_rules! file {
        ($path:literal) => {
            (
                $path.to_owned(),
                include_bytes!(concat!("../../examples/two-interfaces/", $path)).to_vec(),
            )
        };
    }
    vec![
        file!("network/interfaces"),
        file!("shorewall/shorewall.conf"),
        file!("shorewall/zones"),
        file!("shorewall/interfaces"),
        file!("shorewall/policy"),
        file!("shorewall/rules"),
        file!("shorewall/snat"),
    ]
}

/// [`site`] with another text for one file.
pub fn with(path: &str, text: &[u8]) -> Files {
    let mut files = site();
    files.retain(|(other, _)| other != path);
    files.push((path.to_owned(), text.to_vec()));
    files
}

/// Compiles a site, and shows what was found as a user would see it.
pub fn compile(files: Files) {
    match shorewall::compile(&Site::from_files("fuzz", files)) {
        Ok(compiled) => {
            firewalldom::policy::check::check(&compiled.policy)
                .expect("the engine loads what the compiler writes");
            compiled.warnings.render(Style::Plain);
        }
        Err(report) => {
            assert!(report.errors() > 0, "a site fails for a reason");
            assert!(!report.render(Style::Colour).is_empty());
        }
    }
}

/// Flows that [`firewall`] has room for.
pub const FLOWS: usize = 32;

/// The MAC addresses of [`firewall`]: towards the net, and towards loc.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x10], [2, 0, 0, 0, 0, 0x11]];

thread_local! {
    /// The example's tables, built once: every execution begins with a copy.
    static TABLES: firewalldom::Site = {
        let compiled =
            shorewall::compile(&Site::from_files("fuzz", site())).expect("the example is right");
        let written = blob::encode(&compiled.policy).expect("a policy can be written");
        let links = MACS.map(|mac| Link { mac, mtu: 1500 });
        let stored = blob::open(&written).expect("what was written can be read");
        firewalldom::Site::new(stored, &links).expect("it runs on two links")
    };
}

/// The example's firewall, as it starts.
pub fn firewall(now: Instant) -> Firewall {
    Firewall::of(
        TABLES.with(Clone::clone),
        Budget { flows: FLOWS },
        [7; 32],
        now,
    )
}

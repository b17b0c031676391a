//! What the fuzz targets share: a small site, whole and with one file replaced.

use firewalldom::policy::blob;
use firewalldom::time::Instant;
use firewalldom::{Budget, Firewall, Link};
use shorewall::{Site, Style};
use std::cell::Cell;
use std::sync::Once;

/// The files of Shorewall that are read, and one of those that are refused.
pub const SHOREWALL_FILES: [&str; 21] = [
    "actions",
    "action.Mine",
    "blacklist",
    "blrules",
    "capabilities",
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
fn site() -> Files {
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

/// The same example without its comments, and with fewer rules: what is not under test is read again
/// by every execution.
const SMALL: [(&str, &str); 7] = [
    (
        "network/interfaces",
        "auto eth0\niface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
         auto eth1\niface eth1 inet static\n address 10.0.3.1/24\n",
    ),
    (
        "shorewall/shorewall.conf",
        "IP_FORWARDING=On\nEXPAND_POLICIES=Yes\nDROP_DEFAULT=\"Broadcast(DROP)\"\n",
    ),
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    (
        "shorewall/interfaces",
        "?FORMAT 2\nnet eth0 tcpflags\nloc eth1\n",
    ),
    (
        "shorewall/policy",
        "loc net ACCEPT\nnet all DROP info\nall all REJECT\n",
    ),
    (
        "shorewall/rules",
        "?SECTION NEW\nPing(ACCEPT) net,loc $FW\nDNAT net loc:10.0.3.9:80 tcp 8080\n\
         REJECT:info loc net tcp smtp\n",
    ),
    ("shorewall/snat", "?FORMAT 2\nMASQUERADE 10.0.3.0/24 eth0\n"),
];

/// A small site with another text for one file.
///
/// # Panics
/// If the site without that is wrong: it would hide what is found in the file.
pub fn with(path: &str, text: &[u8]) -> Files {
    static CHECKED: Once = Once::new();
    CHECKED.call_once(|| {
        let small = Site::from_files("small", SMALL);
        let compiled = shorewall::compile(&small).expect("the small site is right");
        assert!(compiled.warnings.is_empty(), "{}", compiled.warnings);
    });
    let others = SMALL.iter().filter(|(other, _)| *other != path);
    others
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .chain([(path.to_owned(), text.to_vec())])
        .collect()
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

/// Flows that the firewall of [`with_firewall`] has room for.
pub const FLOWS: usize = 32;

/// The MAC addresses of [`with_firewall`]'s firewall: towards the net, and towards loc.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x10], [2, 0, 0, 0, 0, 0x11]];

thread_local! {
    /// The example's tables, built once: each execution lends them to its firewall.
    static TABLES: Cell<Option<firewalldom::Site>> = Cell::new(Some({
        let compiled =
            shorewall::compile(&Site::from_files("fuzz", site())).expect("the example is right");
        let written = blob::encode(&compiled.policy).expect("a policy can be written");
        let links = MACS.map(|mac| Link { mac, mtu: 1500 });
        let stored = blob::open(&written).expect("what was written can be read");
        firewalldom::Site::new(stored, &links).expect("it runs on two links")
    }));
}

/// Does something with the example's firewall as it starts.
pub fn with_firewall(now: Instant, test: impl FnOnce(&mut Firewall)) {
    let site = TABLES.take().expect("nobody else has them");
    let mut firewall = Firewall::of(site, Budget { flows: FLOWS }, [7; 32], now);
    test(&mut firewall);
    TABLES.set(Some(firewall.into_site()));
}

/// The Internet checksum (RFC 1071): of bytes that hold their own, zero.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let total: u32 = words.sum();
    let folded = (total & 0xffff) + (total >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

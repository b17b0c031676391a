//! For the targets of the compiler: a small site, whole and with one file replaced.

use libfuzzer_sys::Corpus;
use shorewall::{Site, Style};
use std::sync::Once;

/// The files of Shorewall that are read, and one of those that are refused.
pub const SHOREWALL_FILES: [&str; 22] = [
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
    "proxyarp",
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

/// The example that the project ships, without its comments and with fewer rules: what is not under
/// test is read again by every execution.
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

/// What a file needs beside it to be read at all, or to the end; in place of what [`SMALL`] has.
struct Company {
    file: &'static str,
    /// A text of the file with which the site is right.
    sample: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const COMPANY: [Company; 7] = [
    Company {
        file: "shorewall/action.Mine",
        sample: "?FORMAT 2\nDEFAULTS ACCEPT,-\n@1 - - tcp 22\n",
        files: &[
            ("shorewall/actions", "Mine\n"),
            (
                "shorewall/rules",
                "?SECTION NEW\nMine net $FW\nMine(DROP,x):info loc net:192.0.2.9 udp 53\n",
            ),
        ],
    },
    Company {
        file: "shorewall/actions",
        sample: "Mine\n",
        files: &[
            ("shorewall/action.Mine", "ACCEPT - - tcp 22\n"),
            ("shorewall/rules", "?SECTION NEW\nMine net $FW\n"),
        ],
    },
    Company {
        file: "shorewall/macro.Ours",
        sample: "?FORMAT 2\nPARAM - - tcp 22\n",
        files: &[(
            "shorewall/rules",
            "?SECTION NEW\nOurs(ACCEPT) net $FW\nOurs(DROP):info loc net:192.0.2.9\n",
        )],
    },
    Company {
        file: "shorewall/masq",
        sample: "eth0 10.0.3.0/24\n",
        files: &[("shorewall/snat", "")],
    },
    Company {
        file: "shorewall/ipsets",
        sample: "create good hash:net\nadd good 198.51.100.0/24\n",
        files: &[(
            "shorewall/rules",
            "?SECTION NEW\nACCEPT net:+good $FW tcp 22\nDROP net:!+good $FW\n",
        )],
    },
    Company {
        file: "shorewall/params",
        sample: "WEB=10.0.3.9\nRATE=1/sec\n",
        files: &[(
            "shorewall/rules",
            "?SECTION NEW\nACCEPT net loc:$WEB tcp 80 - - $RATE\n",
        )],
    },
    Company {
        file: "shorewall/hosts",
        sample: "kid eth1:10.0.3.64/26\n",
        files: &[(
            "shorewall/zones",
            "fw firewall\nnet ipv4\nloc ipv4\nkid:loc ipv4\n",
        )],
    },
];

/// The set `good` that any file may name.
const SETS: (&str, &str) = (
    "shorewall/ipsets",
    "create good hash:net\nadd good 198.51.100.0/24\n",
);

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
        for company in &COMPANY {
            let files = beside(company.file, company.sample.as_bytes());
            let compiled = shorewall::compile(&Site::from_files("company", files));
            assert!(compiled.is_ok(), "{} in company", company.file);
        }
    });
    beside(path, text)
}

fn beside(path: &str, text: &[u8]) -> Files {
    let company = COMPANY.iter().find(|company| company.file == path);
    let company = company.map_or(&[][..], |company| company.files);
    let others = SMALL
        .iter()
        .chain([&SETS])
        .filter(|(other, _)| *other != path && company.iter().all(|file| file.0 != *other));
    others
        .chain(company)
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .chain([(path.to_owned(), text.to_vec())])
        .collect()
}

/// Findings of a report that is shown. Those of longer ones say nothing that shorter ones do not, and
/// drawing them takes most of an execution's time.
const SHOWN: usize = 8;

/// Compiles a site, and shows what was found as a user would see it. An input of which a long report
/// comes is not kept: what is found further on is found in those with fewer faults.
pub fn compile(files: Files) -> Corpus {
    let (report, style) = match shorewall::compile(&Site::from_files("fuzz", files)) {
        Ok(compiled) => {
            firewalldom::policy::check::check(&compiled.policy)
                .expect("the engine loads what the compiler writes");
            (compiled.warnings, Style::Plain)
        }
        Err(report) => {
            assert!(report.errors() > 0, "a site fails for a reason");
            (report, Style::Colour)
        }
    };
    if report.diagnostics().len() > SHOWN {
        return Corpus::Reject;
    }
    assert_eq!(report.render(style).is_empty(), report.is_empty());
    Corpus::Keep
}

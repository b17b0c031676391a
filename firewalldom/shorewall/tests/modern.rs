//! Old spellings: what `modernize` writes means the same, and nothing of it is old any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use firewalldom::policy::{Origin, Policy};
use shorewall::{Modern, Site};

const OLD: [(&str, &str); 11] = [
    (
        "network/interfaces",
        "iface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
         iface eth1 inet static\n address 10.0.3.1/24\n",
    ),
    (
        "shorewall/params",
        "NET_IF=eth0\nLAN=10.0.3.0/24\nVERDICT=ACCEPT\n",
    ),
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    (
        "shorewall/interfaces",
        "# zone interface broadcast options\nnet $NET_IF detect tcpflags,blacklist,nosmurfs\nloc eth1 - norfc1918\n",
    ),
    (
        "shorewall/policy",
        "loc net $VERDICT\nnet all DROP:Drop info\nall all REJECT info\n",
    ),
    (
        "shorewall/rules",
        "COMMENT the web\nSECTION NEW\nWeb/ACCEPT\tloc $FW # here, too\nSSH/$VERDICT net fw\nINCLUDE more\n",
    ),
    ("shorewall/more", "Ping/DROP net $FW\n"),
    (
        "shorewall/shorewall.conf",
        "AUTO_COMMENT=Yes\nDROP_DEFAULT=Drop\nREJECT_DEFAULT=\"Reject\"\nCHAIN_SCRIPTS=Yes\nBLACKLIST_LOGLEVEL=info\nVERBOSITY=1\n",
    ),
    (
        "shorewall/masq",
        "# who goes out\n$NET_IF $LAN\n+eth0:0:198.51.100.0/24 eth1 192.0.2.2 tcp 25\n",
    ),
    (
        "shorewall/blacklist",
        "192.0.2.99\n198.51.100.0/24 udp 53 src,dst\n",
    ),
    ("shorewall/routestopped", "eth1 $LAN\n"),
];

fn site(files: &BTreeMap<PathBuf, String>) -> Site {
    Site::from_files("test", files.clone())
}

fn old() -> BTreeMap<PathBuf, String> {
    let owned = |(path, text): (&str, &str)| (PathBuf::from(path), text.to_owned());
    OLD.map(owned).into_iter().collect()
}

fn with(mut files: BTreeMap<PathBuf, String>, modern: &Modern) -> BTreeMap<PathBuf, String> {
    for (path, text) in &modern.files {
        match text {
            Some(text) => files.insert(path.clone(), text.clone()),
            None => files.remove(path),
        };
    }
    files
}

/// The policy without the places it was written at.
fn meaning(site: &Site) -> Policy {
    let mut policy = shorewall::compile(site).unwrap().policy;
    let nowhere = Origin { file: 0, line: 0 };
    policy.files.clear();
    for chain in &mut policy.chains {
        chain.origin = nowhere;
        for rule in chain.rules.iter_mut().chain(&mut chain.default_action) {
            rule.origin = nowhere;
        }
    }
    for rule in policy
        .rule_lists
        .iter_mut()
        .flat_map(|list| &mut list.rules)
    {
        rule.origin = nowhere;
    }
    for interface in &mut policy.interfaces {
        interface.origin = nowhere;
    }
    for nat in &mut policy.source_nat {
        nat.origin = nowhere;
    }
    policy
}

#[test]
fn what_is_written_today_means_the_same_and_is_old_no_more() {
    let old = old();
    let modern = shorewall::modernize(&site(&old));
    assert_eq!(modern.report.errors(), 0, "{}", modern.report);
    let new = with(old.clone(), &modern);
    assert_eq!(meaning(&site(&new)), meaning(&site(&old)));
    let again = shorewall::modernize(&site(&new));
    assert!(again.files.is_empty(), "{:?}", again.files);
    let warnings = shorewall::compile(&site(&new)).unwrap().warnings;
    let left: Vec<_> = warnings
        .diagnostics()
        .iter()
        .map(|left| &left.message)
        .collect();
    assert_eq!(left, ["stoppedrules has no effect"]);
}

#[test]
fn comments_and_variables_stay() {
    let modern = shorewall::modernize(&site(&old()));
    let text = |path: &str| modern.files[Path::new(path)].as_deref();
    assert_eq!(
        text("shorewall/interfaces"),
        Some(
            "# zone interface broadcast options\n?FORMAT 2\nnet $NET_IF tcpflags,nosmurfs\nloc eth1 -\n"
        )
    );
    assert_eq!(
        text("shorewall/rules"),
        Some(
            "?COMMENT the web\n?SECTION NEW\nWeb(ACCEPT)\tloc $FW # here, too\nSSH($VERDICT) net fw\n?INCLUDE more\n"
        )
    );
    assert_eq!(text("shorewall/more"), Some("Ping(DROP) net $FW\n"));
    assert_eq!(
        text("shorewall/shorewall.conf"),
        Some(
            "AUTOCOMMENT=Yes\nDROP_DEFAULT=\"Broadcast(DROP),Multicast(DROP)\"\n\
             REJECT_DEFAULT=\"Broadcast(DROP),Multicast(DROP)\"\nBLACKLIST_LOG_LEVEL=info\nVERBOSITY=1\n"
        )
    );
    assert_eq!(text("shorewall/masq"), None);
    assert_eq!(
        text("shorewall/snat"),
        Some("MASQUERADE\t$LAN\t$NET_IF\nSNAT+(192.0.2.2)\teth1\teth0:198.51.100.0/24\ttcp\t25\n")
    );
    assert_eq!(
        text("shorewall/blrules"),
        Some(
            "BLACKLIST\tall:192.0.2.99\tall\nBLACKLIST\tall:198.51.100.0/24\tall\tudp\t53\n\
             BLACKLIST\tall\tall:198.51.100.0/24\tudp\t53\n"
        )
    );
    assert_eq!(
        text("shorewall/stoppedrules"),
        Some("ACCEPT\teth1:$LAN\t-\nACCEPT\t-\teth1:$LAN\n")
    );
    assert!(!modern.files.contains_key(Path::new("shorewall/zones")));
}

#[test]
fn what_is_wrong_stays_as_it_is() {
    let mut files = old();
    files.insert(
        PathBuf::from("shorewall/rules"),
        "SSH/ACEPT net fw\nPing/ACCEPT nte fw\n".to_owned(),
    );
    let modern = shorewall::modernize(&site(&files));
    assert_eq!(modern.report.errors(), 2, "{}", modern.report);
    assert_eq!(
        modern.files[Path::new("shorewall/rules")].as_deref(),
        Some("SSH(ACEPT) net fw\nPing(ACCEPT) nte fw\n")
    );
}

//! Whatever the files hold: a report or a policy that the engine would load, never a panic.

use proptest::prelude::*;
use shorewall::{Site, Style};

const FILES: [&str; 20] = [
    "shorewall/ipsets",
    "shorewall/blacklist",
    "shorewall/routestopped",
    "network/interfaces",
    "shorewall/params",
    "shorewall/shorewall.conf",
    "shorewall/zones",
    "shorewall/interfaces",
    "shorewall/policy",
    "shorewall/rules",
    "shorewall/snat",
    "shorewall/conntrack",
    "shorewall/stoppedrules",
    "shorewall/hosts",
    "shorewall/blrules",
    "shorewall/actions",
    "shorewall/action.Mine",
    "shorewall/macro.Ours",
    "shorewall/nat",
    "shorewall/masq",
];

/// Words of the language, and what surrounds them: random bytes alone rarely get past the reader.
const WORDS: [&str; 98] = [
    "5/sec:10",
    "s:name:3/min",
    "s/24::1/day,d:2/hour",
    "!5:24",
    "timestart=08:00&timestop=18:00&weekdays=Mon&utc",
    "AutoBL(web,60,5,2,300,DROP,info)",
    "Limit:info:ssh,3,60",
    "IfEvent(knock,ACCEPT,60,1,src,update:reap)",
    "SetEvent(knock)",
    "REJECT(tcp-reset)",
    "TCPFlags",
    "create",
    "add",
    "hash:net",
    "+hash",
    "net:!+[hash,hash]",
    "NOTRACK:PO",
    "?FORMAT",
    "fw",
    "net",
    "loc",
    "all",
    "all+",
    "any",
    "$FW",
    "eth0",
    "eth1",
    "ACCEPT",
    "DROP",
    "REJECT",
    "DNAT",
    "REDIRECT",
    "LOG:info",
    "SSH(ACCEPT)",
    "Web(DNAT)",
    "Invalid(DROP)",
    "COUNT",
    "NONAT",
    "CONTINUE",
    "NONE",
    "tcp",
    "udp",
    "icmp",
    "tcp:syn",
    "!tcp",
    "22",
    "80,443",
    "1024:",
    ":99",
    "65535",
    "8/0",
    "ssh",
    "10.0.3.9",
    "10.0.3.0/24",
    "10.0.3.1-10.0.3.9",
    "!10.0.3.4",
    "&eth0",
    "~02-00-00-00-00-01",
    "loc:10.0.3.9:80",
    "net:192.0.2.1",
    "loc:eth1:10.0.3.0/24!10.0.3.4",
    "firewall",
    "ipv4",
    "iface",
    "inet",
    "static",
    "address 192.0.2.2/24",
    "gateway",
    "netmask",
    "?FORMAT 2",
    "?SECTION NEW",
    "?IF",
    "?ELSE",
    "?ENDIF",
    "?SET X 1",
    "?INCLUDE rules",
    "$X",
    "${X}",
    "MASQUERADE",
    "SNAT(192.0.2.2)",
    "{proto=tcp,dport=22}",
    "Mine",
    "Mine(DROP,tcp)",
    "Ours(ACCEPT)",
    "Ours(DNAT)",
    "PARAM",
    "PARAM:info",
    "SOURCE",
    "DEST",
    "$1",
    "@2",
    "WHITELIST",
    "BLACKLIST",
    "kid:loc",
    "eth1:10.0.3.0/24!10.0.3.128/25",
    "routefilter,routeback",
    "inline",
    "-",
];

/// `XEN_TESTS=full` takes minutes.
fn cases() -> u32 {
    if std::env::var("XEN_TESTS").as_deref() == Ok("full") {
        100_000
    } else {
        400
    }
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        12 => proptest::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
        1 => "[!,:;=#?$(){}\\\\\"'-]{1,3}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(word, 0..7).prop_map(|words| words.join(&b' '))
}

fn check(files: Vec<(String, Vec<u8>)>) {
    let site = Site::from_files("any", files);
    match shorewall::compile(&site) {
        Ok(compiled) => {
            firewalldom::policy::check::check(&compiled.policy).unwrap();
            compiled.warnings.render(Style::Plain);
        }
        Err(report) => {
            assert!(report.errors() > 0);
            assert!(!report.render(Style::Colour).is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_in_any_file_never_panic(
        file in proptest::sample::select(&FILES[..]),
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut files = good();
        files.retain(|(path, _)| path != file);
        files.push((file.to_owned(), bytes));
        check(files);
    }

    #[test]
    fn words_of_the_language_in_any_order_never_panic(
        file in proptest::sample::select(&FILES[..]),
        lines in proptest::collection::vec(line(), 0..12),
    ) {
        let mut files = good();
        files.retain(|(path, _)| path != file);
        files.push((file.to_owned(), lines.join(&b'\n')));
        check(files);
    }
}

fn good() -> Vec<(String, Vec<u8>)> {
    [
        (
            "network/interfaces",
            "iface eth0 inet static\n address 192.0.2.2/24\niface eth1 inet static\n address 10.0.3.1/24\n",
        ),
        (
            "shorewall/zones",
            "fw firewall\nnet ipv4\nloc ipv4\nkid:loc\n",
        ),
        ("shorewall/hosts", "kid eth1:10.0.3.64/26\n"),
        ("shorewall/actions", "Mine\n"),
        ("shorewall/action.Mine", "DEFAULTS DROP,-\n@1 - - @2 1:99\n"),
        ("shorewall/macro.Ours", "PARAM - - tcp 7\nPARAM DEST SOURCE udp 9\n"),
        (
            "shorewall/rules",
            "Mine net fw\nOurs(ACCEPT) loc net\nCONTINUE kid net tcp 8\n",
        ),
        ("shorewall/interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
        (
            "shorewall/policy",
            "kid all CONTINUE\nall all REJECT info\n",
        ),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
    .collect()
}

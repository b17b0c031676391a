//! The columns PROTO, DPORT and SPORT.

use super::Author;

/// All three.
pub(super) fn traffic(author: &mut Author<'_>) -> [String; 3] {
    let none = || "-".to_owned();
    match author.rng.u32(0..16) {
        0..=2 => [none(), none(), none()],
        3 => {
            author.uses("rules: PROTO number");
            [
                author.choose(&["47", "50", "89", "132", "2"]).to_owned(),
                none(),
                none(),
            ]
        }
        4 => {
            author.uses("rules: PROTO list");
            ["tcp,udp".to_owned(), ports(author, &["domain"]), none()]
        }
        5 => {
            author.uses("rules: PROTO tcp:syn");
            let proto = author.choose(&["tcp:syn", "tcp:!syn"]);
            [proto.to_owned(), ports(author, &TCP_NAMES), none()]
        }
        6..=7 => {
            author.uses("rules: ICMP type");
            let kind = author.choose(&["8", "echo-request", "3/4", "11", "3", "8,13", "0"]);
            ["icmp".to_owned(), kind.to_owned(), none()]
        }
        _ => {
            let (proto, names) = match author.one_in(2) {
                true => ("tcp", &TCP_NAMES[..]),
                false => ("udp", &["domain", "snmp"][..]),
            };
            let sport = match author.one_in(5) {
                true => {
                    author.uses("rules: SPORT");
                    ports(author, names)
                }
                false => none(),
            };
            let mut dport = match sport != "-" && author.one_in(3) {
                true => none(),
                false => ports(author, names),
            };
            if sport.starts_with('!') {
                // iptables-nft 1.8.9 compares both at once: it excludes only what has both ports.
                dport = dport.replace('!', "");
            }
            [proto.to_owned(), dport, sport]
        }
    }
}

/// Services of TCP that Debian's /etc/services names.
const TCP_NAMES: [&str; 5] = ["ssh", "smtp", "domain", "http", "https"];

fn ports(author: &mut Author<'_>, names: &[&str]) -> String {
    author.uses("rules: DPORT");
    let port = author.choose(&[22u16, 25, 53, 80, 113, 443, 1024, 5060, 8080]);
    match author.rng.u32(0..9) {
        0 => {
            author.uses("rules: DPORT list");
            format!("{port},{},9000:9004", port + 7)
        }
        1 => {
            author.uses("rules: DPORT range");
            format!("{port}:{}", port + 10)
        }
        2 => {
            author.uses("rules: DPORT open range");
            author.choose(&["1024:", ":1023"]).to_owned()
        }
        3 => {
            author.uses("rules: DPORT exclusion");
            format!("!{port}")
        }
        4 => {
            author.uses("rules: DPORT name");
            author.choose(names).to_owned()
        }
        _ => port.to_string(),
    }
}

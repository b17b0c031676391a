//! The files `snat` and `nat`.

use super::Author;
use super::network::Network;
use super::ports::traffic;

const COLUMNS: [&str; 10] = [
    "action", "source", "dest", "proto", "port", "ipsec", "mark", "user", "switch", "origdest",
];

pub(super) fn write(author: &mut Author<'_>, network: &Network) {
    if network.links.len() < 2 {
        return;
    }
    if author.one_in(6) {
        author.uses("nat: one-to-one");
        let internal = network.links[1].prefix.host(author.rng.u8(2..30));
        let all = author.choose(&["No", "Yes"]);
        author.line(
            "shorewall/nat",
            &format!("192.0.2.77 eth0 {internal} {all} No"),
        );
    }
    if !author.one_in(5) {
        for _ in 0..author.rng.u32(1..4) {
            source_nat(author, network);
        }
    }
}

fn source_nat(author: &mut Author<'_>, network: &Network) {
    let inside = author.rng.usize(1..network.links.len());
    let inside = &network.links[inside];
    let source = match author.rng.u32(0..4) {
        0 => "-".to_owned(),
        1 => format!("{}/25", inside.prefix.host(0)),
        2 => format!("{}!{}", inside.prefix.text(), inside.prefix.host(9)),
        _ => inside.prefix.text(),
    };
    let mut destination = match author.one_in(8) {
        true => inside.line.to_owned(),
        false => "eth0".to_owned(),
    };
    if author.one_in(5) {
        author.uses("snat: DEST address");
        destination += author.choose(&[":198.51.100.0/24", ":!198.51.100.7"]);
    }
    let [mut proto, mut dport, _] = match author.one_in(3) {
        true => traffic(author),
        false => ["-".to_owned(), "-".to_owned(), "-".to_owned()],
    };
    let action = match author.rng.u32(0..8) {
        0 => {
            author.uses("snat: MASQUERADE ports");
            proto = author.choose(&["tcp", "udp"]).to_owned();
            dport = "-".to_owned();
            "MASQUERADE(40000-40999)".to_owned()
        }
        1 => {
            author.uses("snat: SNAT+");
            "SNAT+(192.0.2.9)".to_owned()
        }
        2 => {
            author.uses("snat: CONTINUE");
            "CONTINUE".to_owned()
        }
        3 | 4 => {
            author.uses("snat: SNAT");
            author
                .choose(&["SNAT(192.0.2.9)", "SNAT(192.0.2.2)"])
                .to_owned()
        }
        _ => {
            author.uses("snat: MASQUERADE");
            "MASQUERADE".to_owned()
        }
    };
    // What is no port, or more than a protocol, this file does not take.
    if proto.contains([',', ':']) || proto == "icmp" {
        (proto, dport) = ("-".to_owned(), "-".to_owned());
    }
    if dport != "-" {
        author.uses("snat: PROTO and DPORT");
    }
    author.row(
        "shorewall/snat",
        &COLUMNS,
        &[action, source, destination, proto, dport],
    );
}

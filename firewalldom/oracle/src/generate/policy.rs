//! The file `policy`.

use super::Author;
use super::network::Network;

pub(super) fn write(author: &mut Author<'_>, network: &Network) {
    let mut names: Vec<&str> = network.zones.iter().map(|zone| zone.name).collect();
    names.push("$FW");
    let mut written: Vec<(String, String)> = vec![pair("all", "all")];
    for _ in 0..author.rng.u32(1..6) {
        let source = side(author, network, &names);
        let destination = side(author, network, &names);
        let pairs = source.split(',').flat_map(|source| {
            let destinations = destination.split(',');
            destinations.map(move |destination| pair(source, destination))
        });
        let pairs: Vec<_> = pairs.collect();
        // Shorewall takes no pair of zones twice, and with EXPAND_POLICIES none that `all` covered.
        let covers = |written: &(String, String), pair: &(String, String)| {
            let side = |written: &str, zone: &str| written == zone || written == "all";
            side(&written.0, &pair.0) && side(&written.1, &pair.1)
        };
        let is_written = |pair| written[1..].iter().any(|written| covers(written, pair));
        if pairs.contains(&written[0]) || pairs.iter().any(is_written) {
            continue;
        }
        written.extend(pairs);
        if source == destination && source != "all" {
            author.uses("policy: intra-zone");
        }
        // What it makes of an ACCEPT that Shorewall forgets depends on the last rules of the zone.
        let is_lost = author.optimizes
            && !author.expands
            && (source == "all+" || destination == "all+")
            && source != "all"
            && destination != "all";
        let is_child = network
            .zones
            .iter()
            .any(|zone| zone.name == source && !zone.parents.is_empty());
        let policies: &[&str] = match is_lost {
            true => &["DROP", "REJECT"],
            false => &["ACCEPT", "ACCEPT", "DROP", "REJECT"],
        };
        let mut policy = author.choose(policies).to_owned();
        let concerns_firewall = source == "$FW" || destination == "$FW";
        let whole = names.contains(&source.as_str()) && names.contains(&destination.as_str());
        if is_child && !author.one_in(4) {
            author.uses("policy: CONTINUE");
            policy = "CONTINUE".to_owned();
        } else if whole && !concerns_firewall && source != destination && author.one_in(4) {
            author.uses("policy: NONE");
            policy = "NONE".to_owned();
        } else if policy != "ACCEPT" && author.one_in(5) {
            author.uses("policy: default action");
            let default = author.choose(&["none", "Broadcast(DROP)", "Multicast(DROP)"]);
            policy += &format!(":{default}");
        }
        let level = match policy.as_str() {
            "CONTINUE" | "NONE" => "-",
            _ => author.choose(&["-", "info"]),
        };
        if level != "-" {
            author.uses("policy: LOGLEVEL");
        }
        let (mut rate, mut connections) = ("-", "-");
        // With a limit Shorewall forgets such a policy only where there are no rules.
        let is_forgotten = !author.expands && (source == "all+" || destination == "all+");
        let is_limited = !is_forgotten && !matches!(policy.as_str(), "CONTINUE" | "NONE");
        if is_limited && author.one_in(12) {
            author.uses("policy: RATE");
            rate = author.choose(&["1/hour:2", "s:1/hour:2", "5000/sec:9000"]);
        } else if is_limited && policy == "ACCEPT" && author.one_in(6) {
            author.uses("policy: CONNLIMIT");
            connections = author.choose(&["1", "2", "d:1"]);
        }
        let columns = [
            source,
            destination,
            policy,
            level.to_owned(),
            rate.to_owned(),
            connections.to_owned(),
        ];
        author.row(
            "shorewall/policy",
            &["source", "dest", "policy", "loglevel", "rate", "connlimit"],
            &columns,
        );
    }
    let last = author.choose(&["REJECT", "DROP", "REJECT info", "DROP info", "ACCEPT"]);
    author.line("shorewall/policy", &format!("all all {last}"));
}

fn pair(source: &str, destination: &str) -> (String, String) {
    (source.replace('+', ""), destination.replace('+', ""))
}

fn side(author: &mut Author<'_>, network: &Network, names: &[&str]) -> String {
    match author.rng.u32(0..12) {
        0 => "all".to_owned(),
        1 => {
            author.uses("policy: all+");
            "all+".to_owned()
        }
        2 if network.zones.len() > 1 => {
            author.uses("policy: list of zones");
            format!("{},{}", network.zones[0].name, network.zones[1].name)
        }
        _ => author.choose(names).to_owned(),
    }
}

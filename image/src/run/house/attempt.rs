//! What is sent through the house, and how it is told what came of it.

use super::wire::{ROUTER, SERVER};
use crate::run::report::Outcome;

/// Seconds after which silence counts as silence.
pub const WAIT_S: u64 = 20;

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The guest of `web.cfg`.
    Web,
    /// The guest of `desk.cfg`.
    Desk,
    /// Somebody at the other end of the card's cable.
    Outside,
}

/// Whose file it is that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// That of the network outside.
    Outside,
    /// The guest of `web.cfg`.
    Web,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Three ICMP echo requests to an address.
    Ping(&'static str),
    /// A file by HTTP, of an address and a port.
    Fetch(&'static str, u16, Server),
}

/// One thing that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// For the report.
    pub tried: &'static str,
    /// Who sends, and the zone that is.
    pub client: Client,
    /// The zone of the receiver, as the rules see it.
    pub to: &'static str,
    /// What is sent.
    pub traffic: Traffic,
    /// What the configuration asks for.
    pub expected: Outcome,
    /// What the line begins with that has to decide.
    pub line: &'static str,
}

const WEB: &str = "10.0.4.2";
const DESK: &str = "10.0.3.2";
const FIREWALL_OUTSIDE: &str = "192.0.2.2";
const FIREWALL_INSIDE: &str = "10.0.3.1";

/// Everything that is tried with `examples/house`.
pub const ATTEMPTS: [Attempt; 10] = [
    Attempt {
        tried: "ping by the card",
        client: Client::Desk,
        to: "net",
        traffic: Traffic::Ping(ROUTER),
        expected: Outcome::Passed,
        line: "loc net ACCEPT",
    },
    Attempt {
        tried: "TCP by the card, 2 MiB by hash",
        client: Client::Desk,
        to: "net",
        traffic: Traffic::Fetch(SERVER, 80, Server::Outside),
        expected: Outcome::Passed,
        line: "loc net ACCEPT",
    },
    Attempt {
        tried: "TCP by the card, 2 MiB by hash",
        client: Client::Web,
        to: "net",
        traffic: Traffic::Fetch(SERVER, 80, Server::Outside),
        expected: Outcome::Passed,
        line: "HTTP(ACCEPT) dmz net",
    },
    Attempt {
        tried: "TCP from guest to guest, by hash",
        client: Client::Desk,
        to: "dmz",
        traffic: Traffic::Fetch(WEB, 80, Server::Web),
        expected: Outcome::Passed,
        line: "HTTP(ACCEPT) loc dmz:10.0.4.2",
    },
    Attempt {
        tried: "TCP to a guest behind DNAT",
        client: Client::Outside,
        to: "dmz",
        traffic: Traffic::Fetch(FIREWALL_OUTSIDE, 80, Server::Web),
        expected: Outcome::Passed,
        line: "DNAT net dmz:10.0.4.2",
    },
    Attempt {
        tried: "ping to the firewall",
        client: Client::Desk,
        to: "fw",
        traffic: Traffic::Ping(FIREWALL_INSIDE),
        expected: Outcome::Passed,
        line: "Ping(ACCEPT) all $FW",
    },
    Attempt {
        tried: "TCP that a rule rejects",
        client: Client::Desk,
        to: "net",
        traffic: Traffic::Fetch(SERVER, 25, Server::Outside),
        expected: Outcome::Rejected,
        line: "REJECT:info loc net tcp smtp",
    },
    Attempt {
        tried: "TCP that no rule allows a server",
        client: Client::Web,
        to: "net",
        traffic: Traffic::Fetch(SERVER, 8080, Server::Outside),
        expected: Outcome::Rejected,
        line: "all all REJECT",
    },
    Attempt {
        tried: "TCP back from guest to guest",
        client: Client::Web,
        to: "loc",
        traffic: Traffic::Fetch(DESK, 80, Server::Web),
        expected: Outcome::Rejected,
        line: "all all REJECT",
    },
    Attempt {
        tried: "TCP that nobody asked for",
        client: Client::Outside,
        to: "fw",
        traffic: Traffic::Fetch(FIREWALL_OUTSIDE, 22, Server::Outside),
        expected: Outcome::Dropped,
        line: "net all DROP",
    },
];

/// The ports of the firewall's that somebody outside tries.
pub fn tried_from_outside() -> Vec<u16> {
    let port = |attempt: &Attempt| match (attempt.client, attempt.traffic) {
        (Client::Outside, Traffic::Fetch(_, port, _)) => Some(port),
        _ => None,
    };
    ATTEMPTS.iter().filter_map(port).collect()
}

impl Client {
    /// The zone.
    pub const fn zone(self) -> &'static str {
        match self {
            Self::Web => "dmz",
            Self::Desk => "loc",
            Self::Outside => "net",
        }
    }
}

/// What a client said in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// All of it.
    pub said: String,
}

impl Traffic {
    /// The line of shell by which a guest tries it.
    pub fn line(self) -> String {
        match self {
            Self::Ping(address) => format!("ping -c 3 -i 0.2 -W {WAIT_S} {address}"),
            Self::Fetch(address, port, _) => {
                // busybox' own -T ends in a fault of memory on some hosts. What timeout says by its status
                // depends on whose it is.
                format!(
                    "{{ timeout {WAIT_S} wget -q -O - http://{address}:{port}/file; \
                     case $? in 124|143) echo timed out >&2;; esac; }} | sha256sum"
                )
            }
        }
    }

    /// What became of it, and the same in words, where `hash` is the file's.
    pub fn judge(self, seen: &Seen, hash: &str) -> (Outcome, String) {
        let said = &seen.said;
        let is_whole = match self {
            Self::Ping(_) => said.contains(" 3 packets received") && !said.contains("duplicate"),
            Self::Fetch(..) => said.contains(hash),
        };
        match self {
            Self::Ping(_) if is_whole => {
                let times = said
                    .lines()
                    .find_map(|line| line.split_once("min/avg/max = "));
                let average = times.and_then(|(_, times)| times.split('/').nth(1));
                let average = average.unwrap_or("?");
                (Outcome::Passed, format!("3 of 3 answered, {average} ms"))
            }
            Self::Fetch(..) if is_whole => (Outcome::Passed, "same hash".to_owned()),
            _ if said.contains("refused") => (Outcome::Rejected, "refused".to_owned()),
            _ if said.contains("timed out") => {
                (Outcome::Dropped, format!("silence for {WAIT_S} s"))
            }
            _ => {
                let last = said.lines().rfind(|line| !line.trim().is_empty());
                let last = last.unwrap_or("no output at all").trim();
                (Outcome::Broken, last.to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "aaaaaaaaaaaaaaaa";

    fn outcome(traffic: Traffic, said: &str) -> Outcome {
        let said = said.to_owned();
        traffic.judge(&Seen { said }, HASH).0
    }

    #[test]
    fn a_file_is_there_by_its_hash_only() {
        let fetch = Traffic::Fetch(SERVER, 80, Server::Outside);
        assert_eq!(outcome(fetch, &format!("{HASH}  -\r\n")), Outcome::Passed);
        assert_eq!(outcome(fetch, "bbbb  -\r\n"), Outcome::Broken);
        assert_eq!(outcome(fetch, ""), Outcome::Broken);
        let refused = "wget: can't connect to remote host (192.0.2.100): Connection refused\nbb -";
        assert_eq!(outcome(fetch, refused), Outcome::Rejected);
        let silence = "wget: download timed out\r\nbb  -\r\n";
        assert_eq!(outcome(fetch, silence), Outcome::Dropped);
    }

    #[test]
    fn pings_are_counted() {
        let ping = Traffic::Ping(ROUTER);
        let all = "3 packets transmitted, 3 packets received, 0% packet loss\n\
                   round-trip min/avg/max = 1.0/2.5/4.0 ms\n";
        let said = all.to_owned();
        let (outcome_, text) = ping.judge(&Seen { said }, HASH);
        assert_eq!(outcome_, Outcome::Passed);
        assert_eq!(text, "3 of 3 answered, 2.5 ms");
        let some = "3 packets transmitted, 2 packets received, 33% packet loss";
        assert_eq!(outcome(ping, some), Outcome::Broken);
    }

    #[test]
    fn each_guest_is_let_through_and_refused() {
        for client in [Client::Web, Client::Desk, Client::Outside] {
            let outcomes: Vec<Outcome> = ATTEMPTS
                .iter()
                .filter(|attempt| attempt.client == client)
                .map(|attempt| attempt.expected)
                .collect();
            assert!(outcomes.contains(&Outcome::Passed), "{client:?}");
            assert!(outcomes.iter().any(|outcome| *outcome != Outcome::Passed));
        }
        assert_eq!(tried_from_outside(), [80, 22]);
    }
}

//! What is sent through the firewall, and how it is told what came of it.
//!
//! Each attempt is a script that runs in dom0, in the namespace of the sender. Behind every port
//! that is tried somebody listens, also where nothing may arrive: so that it was the firewall that
//! said no.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use qemu_tests::Command;

use super::network::Side;
use super::report::Outcome;

/// A refusal that comes later than this did not come at once.
///
/// Generous: starting a program alone takes a tenth of a second in an emulated dom0. It has to be
/// well below [`PATIENCE_S`].
const AT_ONCE: Duration = Duration::from_millis(1_500);

/// Seconds after which silence counts as silence. Linux repeats a SYN after one second.
const PATIENCE_S: u32 = 3;

/// The same where an answer is expected, for which a busy host may take longer.
const ANSWER_S: u32 = 20;

/// Where what is transferred lies in dom0.
pub const PAYLOAD: &str = "/tmp/payload";

/// Bytes of it.
pub const PAYLOAD_LENGTH: u64 = 4 << 20;

/// Bytes of one datagram, below every MTU.
const DATAGRAM_LENGTH: u64 = 1_200;

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The host of the zone.
    Host(&'static str),
    /// The firewall's own address on the sender's side: the firewall itself, or where it
    /// translates to.
    Firewall,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Three ICMP echo requests.
    Ping,
    /// A TCP connection over which the receiver sends [`PAYLOAD`].
    Tcp {
        /// Destination port.
        port: u16,
        /// The port it arrives at: another one behind DNAT.
        arrives_at: u16,
    },
    /// A datagram that the receiver sends back.
    Udp {
        /// Destination port.
        port: u16,
    },
}

/// One thing that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// For the report.
    pub tried: &'static str,
    /// Zone of the sender.
    pub from: &'static str,
    /// Zone of the receiver, as the rules see it.
    pub to: &'static str,
    /// Address it is sent to.
    pub receiver: Receiver,
    /// What is sent.
    pub traffic: Traffic,
    /// What the configuration asks for.
    pub expected: Outcome,
    /// How the line of the configuration begins that says so.
    pub line: &'static str,
}

const fn tcp(port: u16) -> Traffic {
    Traffic::Tcp {
        port,
        arrives_at: port,
    }
}

/// Everything that is tried with `examples/two-interfaces`.
pub const TWO_INTERFACES: &[Attempt] = &[
    Attempt {
        tried: "ping",
        from: "loc",
        to: "net",
        receiver: Receiver::Host("net"),
        traffic: Traffic::Ping,
        expected: Outcome::Passed,
        line: "loc net ACCEPT",
    },
    Attempt {
        tried: "TCP, 4 MiB by hash",
        from: "loc",
        to: "net",
        receiver: Receiver::Host("net"),
        traffic: tcp(443),
        expected: Outcome::Passed,
        line: "loc net ACCEPT",
    },
    Attempt {
        tried: "UDP, there and back",
        from: "loc",
        to: "net",
        receiver: Receiver::Host("net"),
        traffic: Traffic::Udp { port: 5353 },
        expected: Outcome::Passed,
        line: "loc net ACCEPT",
    },
    Attempt {
        tried: "ping to the firewall",
        from: "loc",
        to: "fw",
        receiver: Receiver::Firewall,
        traffic: Traffic::Ping,
        expected: Outcome::Passed,
        line: "Ping(ACCEPT) net,loc $FW",
    },
    Attempt {
        tried: "TCP to a server behind DNAT",
        from: "net",
        to: "loc",
        receiver: Receiver::Firewall,
        traffic: Traffic::Tcp {
            port: 8080,
            arrives_at: 80,
        },
        expected: Outcome::Passed,
        line: "DNAT net loc:10.0.3.9:80",
    },
    Attempt {
        tried: "TCP that a rule rejects",
        from: "loc",
        to: "net",
        receiver: Receiver::Host("net"),
        traffic: tcp(25),
        expected: Outcome::Rejected,
        line: "REJECT:info loc net tcp smtp",
    },
    Attempt {
        tried: "TCP that a rule drops",
        from: "loc",
        to: "net",
        receiver: Receiver::Host("net"),
        traffic: tcp(23),
        expected: Outcome::Dropped,
        line: "Telnet(DROP) loc net",
    },
    Attempt {
        tried: "TCP that nobody asked for",
        from: "net",
        to: "loc",
        receiver: Receiver::Host("loc"),
        traffic: tcp(22),
        expected: Outcome::Dropped,
        line: "net all DROP",
    },
];

/// What a script in dom0 left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Exit status of the client.
    pub status: i32,
    /// From its start to its end.
    pub elapsed: Duration,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// What a client's script begins and ends with, so that the last line of its output is
/// `@ STATUS MICROSECONDS`.
const BEGIN: &str = "export LC_ALL=C\nset -o pipefail\nbegin=${EPOCHREALTIME/./}\n";
const END: &str = "\nprintf '\\n@ %d %d\\n' $? $((${EPOCHREALTIME/./} - begin))\n";

impl Observed {
    /// Takes apart what an attempt's command wrote.
    ///
    /// # Errors
    /// When its last line is missing: the script itself failed.
    pub fn parse(stdout: &str, stderr: &str) -> Result<Self> {
        let parsed = || {
            let (text, last) = stdout.trim_end().rsplit_once('\n')?;
            let (status, microseconds) = last.strip_prefix("@ ")?.split_once(' ')?;
            Some(Self {
                status: status.parse().ok()?,
                elapsed: Duration::from_micros(microseconds.parse().ok()?),
                stdout: text.trim().to_owned(),
                stderr: stderr.trim().to_owned(),
            })
        };
        parsed().ok_or_else(|| anyhow!("the client in dom0 could not be run: {stdout}{stderr}"))
    }

    /// A reset, or the ICMP error that UDP gets. Other errors may be the sender's own ARP.
    fn is_refused(&self) -> bool {
        self.stderr.contains("Connection refused")
    }

    /// Whether it was refused, but not at once.
    pub fn is_refused_late(&self) -> bool {
        self.is_refused() && self.elapsed >= AT_ONCE
    }
}

impl Attempt {
    fn address(&self, sides: &[Side]) -> Result<Ipv4Addr> {
        match self.receiver {
            Receiver::Host(zone) => Ok(side(sides, zone)?.host),
            Receiver::Firewall => Ok(side(sides, self.from)?.firewall),
        }
    }

    /// The command that tries it, run in dom0.
    ///
    /// # Errors
    /// When the site has no such zone.
    pub fn command(&self, sides: &[Side]) -> Result<Command> {
        let address = self.address(sides)?;
        let patience_s = match self.expected {
            Outcome::Dropped => PATIENCE_S,
            _ => ANSWER_S,
        };
        let client = match self.traffic {
            Traffic::Ping => format!("ping -n -c 3 -i 0.2 -W {patience_s} {address}"),
            Traffic::Tcp { port, .. } => {
                format!(
                    "socat -b 65536 -u TCP4:{address}:{port},connect-timeout={patience_s} - | sha256sum"
                )
            }
            // `head` ends with the answer; socat would wait whether there is more.
            Traffic::Udp { port } => format!(
                "exec 3<>/dev/udp/{address}/{port}\n\
                 head -c {DATAGRAM_LENGTH} {PAYLOAD} >&3\n\
                 timeout {patience_s} head -c {DATAGRAM_LENGTH} <&3 | sha256sum"
            ),
        };
        let namespace = &side(sides, self.from)?.namespace;
        let script = format!("{BEGIN}{client}{END}");
        // All of the script runs as the host: only the client itself is measured.
        Ok(Command::new([
            "ip", "netns", "exec", namespace, "bash", "-c", &script,
        ]))
    }

    /// What became of it, and the same in words. `hashes` are those of the payload.
    pub fn judge(&self, seen: &Observed, hashes: &Hashes) -> (Outcome, String) {
        match self.traffic {
            Traffic::Ping => judge_ping(seen),
            Traffic::Tcp { .. } => judge_transfer(seen, &hashes.payload, PAYLOAD_LENGTH),
            Traffic::Udp { .. } => judge_transfer(seen, &hashes.datagram, DATAGRAM_LENGTH),
        }
    }
}

/// SHA-256 in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashes {
    /// Of the whole [`PAYLOAD`].
    pub payload: String,
    /// Of its part that fits a datagram.
    pub datagram: String,
}

impl Hashes {
    /// The bash script that makes the payload and prints both hashes, a line each.
    pub fn script() -> String {
        format!(
            "set -e\nhead -c {PAYLOAD_LENGTH} /dev/urandom >{PAYLOAD}\n\
             sha256sum <{PAYLOAD}\nhead -c {DATAGRAM_LENGTH} {PAYLOAD} | sha256sum\n"
        )
    }

    /// Takes apart what the script printed.
    ///
    /// # Errors
    /// When these are not two hashes.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text
            .lines()
            .map(|line| line.trim_end_matches([' ', '-']).to_owned());
        match (lines.next(), lines.next()) {
            (Some(payload), Some(datagram)) if payload.len() == 64 && datagram.len() == 64 => {
                Ok(Self { payload, datagram })
            }
            _ => Err(anyhow!("sha256sum in dom0 printed {text:?}")),
        }
    }
}

/// The side of a zone.
///
/// # Errors
/// When there is none.
pub fn side<'a>(sides: &'a [Side], zone: &str) -> Result<&'a Side> {
    sides
        .iter()
        .find(|side| side.zone == zone)
        .ok_or_else(|| anyhow!("the site has no interface in zone {zone}"))
}

/// The bash script that starts a server behind every port that is tried, on every side.
pub fn servers_script(attempts: &[Attempt], sides: &[Side]) -> String {
    let mut script = String::new();
    let mut expected = 0;
    let mut started: Vec<Traffic> = Vec::new();
    for traffic in attempts.iter().map(|attempt| attempt.traffic) {
        if started.contains(&traffic) {
            continue;
        }
        started.push(traffic);
        let socat = match traffic {
            Traffic::Ping => continue,
            Traffic::Tcp {
                arrives_at: port, ..
            } => {
                format!(
                    "-b 65536 -U TCP4-LISTEN:{port},reuseaddr,fork,backlog=16 OPEN:{PAYLOAD},rdonly"
                )
            }
            Traffic::Udp { port } => format!("UDP4-RECVFROM:{port},reuseaddr,fork PIPE"),
        };
        expected += 1;
        for side in sides {
            script.push_str(&format!(
                "ip netns exec {} socat {socat} </dev/null >/dev/null 2>&1 &\n",
                side.namespace
            ));
        }
    }
    for side in sides {
        script.push_str(&format!(
            "until [ \"$(ip netns exec {} ss -ltunH | wc -l)\" -ge {expected} ]; do sleep 0.1; done\n",
            side.namespace
        ));
    }
    script
}

fn judge_ping(seen: &Observed) -> (Outcome, String) {
    let received = seen.stdout.contains(" 3 received,");
    if seen.status == 0 && received && !seen.stdout.contains("duplicates") {
        let average = seen
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "))
            .and_then(|rest| rest.split('/').nth(1))
            .unwrap_or("?");
        return (Outcome::Passed, format!("3 of 3 answered, {average} ms"));
    }
    if seen.stdout.contains(" errors,") {
        // By the firewall or by the sender's own ARP: ping does not tell them apart.
        return (Outcome::Broken, "unreachable".to_owned());
    }
    if seen.stdout.contains(" 0 received,") {
        let elapsed = seen.elapsed.as_secs();
        return (Outcome::Dropped, format!("silence for {elapsed} s"));
    }
    (Outcome::Broken, last_line(&seen.stdout, &seen.stderr))
}

fn judge_transfer(seen: &Observed, hash: &str, length: u64) -> (Outcome, String) {
    let elapsed = seen.elapsed;
    if seen.status == 0 && seen.stdout.starts_with(hash) {
        let megabits = length as f64 * 8.0 / 1e6 / elapsed.as_secs_f64().max(1e-6);
        let text = if length > DATAGRAM_LENGTH {
            format!("same hash, {megabits:.0} Mbit/s")
        } else {
            format!("came back whole, {} ms", elapsed.as_millis())
        };
        return (Outcome::Passed, text);
    }
    if seen.is_refused() {
        let text = format!("refused after {} ms", elapsed.as_millis());
        let outcome = if seen.is_refused_late() {
            Outcome::Broken
        } else {
            Outcome::Rejected
        };
        return (outcome, text);
    }
    let timed_out = seen.stderr.contains("timed out");
    // 143: `timeout` ended the receiver.
    let nothing = seen.status == 143 && seen.stdout.starts_with(HASH_OF_NOTHING);
    if timed_out || nothing {
        return (
            Outcome::Dropped,
            format!("silence for {} s", elapsed.as_secs()),
        );
    }
    if seen.status == 0 {
        return (
            Outcome::Broken,
            "something else arrived than was sent".to_owned(),
        );
    }
    (Outcome::Broken, last_line(&seen.stderr, &seen.stdout))
}

/// SHA-256 of no bytes.
const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn last_line(text: &str, otherwise: &str) -> String {
    let last = |text: &str| text.lines().last().map(str::to_owned);
    last(text)
        .or_else(|| last(otherwise))
        .unwrap_or_else(|| "no output at all".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn seen(status: i32, ms: u64, stdout: &str, stderr: &str) -> Observed {
        Observed {
            status,
            elapsed: Duration::from_millis(ms),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        }
    }

    fn transfer(status: i32, ms: u64, stdout: &str, stderr: &str) -> Outcome {
        judge_transfer(&seen(status, ms, stdout, stderr), HASH, PAYLOAD_LENGTH).0
    }

    #[test]
    fn a_transfer_passes_only_with_the_right_hash() {
        assert_eq!(transfer(0, 900, &format!("{HASH}  -"), ""), Outcome::Passed);
        assert_eq!(transfer(0, 900, "bbbb  -", ""), Outcome::Broken);
        assert_eq!(transfer(1, 900, &format!("{HASH}  -"), ""), Outcome::Broken);
    }

    #[test]
    fn a_refusal_counts_only_when_it_comes_at_once() {
        let message = "socat[7] E connect(5, AF=2 10.0.0.2:25, 16): Connection refused";
        let empty = format!("{HASH_OF_NOTHING}  -");
        assert_eq!(transfer(1, 12, &empty, message), Outcome::Rejected);
        assert_eq!(transfer(1, 3_100, &empty, message), Outcome::Broken);
    }

    #[test]
    fn silence_is_a_drop() {
        let empty = format!("{HASH_OF_NOTHING}  -");
        assert_eq!(
            transfer(1, 3_000, &empty, "E connect: Connection timed out"),
            Outcome::Dropped
        );
        assert_eq!(transfer(143, 3_000, &empty, ""), Outcome::Dropped);
        assert_eq!(
            transfer(1, 3_000, &empty, "socat: not found"),
            Outcome::Broken
        );
    }

    #[test]
    fn pings_are_counted() {
        let answered = "3 packets transmitted, 3 received, 0% packet loss, time 402ms\n\
                        rtt min/avg/max/mdev = 0.501/0.712/1.003/0.2 ms";
        assert_eq!(
            judge_ping(&seen(0, 450, answered, "")),
            (Outcome::Passed, "3 of 3 answered, 0.712 ms".to_owned())
        );
        let some = "3 packets transmitted, 2 received, 33% packet loss";
        assert_eq!(judge_ping(&seen(0, 450, some, "")).0, Outcome::Broken);
        let twice = "3 packets transmitted, 3 received, +1 duplicates, 0% packet loss";
        assert_eq!(judge_ping(&seen(0, 450, twice, "")).0, Outcome::Broken);
        let none = "3 packets transmitted, 0 received, 100% packet loss";
        assert_eq!(judge_ping(&seen(1, 3_400, none, "")).0, Outcome::Dropped);
        let unreachable = "3 packets transmitted, 0 received, +3 errors, 100% packet loss";
        assert_eq!(
            judge_ping(&seen(1, 450, unreachable, "")).0,
            Outcome::Broken
        );
    }

    #[test]
    fn what_the_script_measured_is_read_back() {
        assert_eq!(
            Observed::parse("a\nb\n\n@ 1 2500\n", " oops \n").unwrap(),
            seen(1, 2, "a\nb", "oops").with_microseconds(2_500)
        );
        assert!(Observed::parse("", "bash: measure: not found").is_err());
    }

    impl Observed {
        fn with_microseconds(mut self, count: u64) -> Self {
            self.elapsed = Duration::from_micros(count);
            self
        }
    }

    #[test]
    fn somebody_listens_behind_every_port_on_every_side() {
        let side = |zone: &str, third: u8| Side {
            zone: zone.to_owned(),
            namespace: zone.to_owned(),
            host: Ipv4Addr::new(10, 0, third, 2),
            prefix_length: 24,
            firewall: Ipv4Addr::new(10, 0, third, 1),
        };
        let sides = [side("net", 0), side("loc", 1)];
        let script = servers_script(TWO_INTERFACES, &sides);
        for attempt in TWO_INTERFACES {
            let listener = match attempt.traffic {
                Traffic::Ping => continue,
                Traffic::Tcp {
                    arrives_at: port, ..
                } => format!("TCP4-LISTEN:{port},"),
                Traffic::Udp { port } => format!("UDP4-RECVFROM:{port},"),
            };
            assert_eq!(script.matches(&listener).count(), sides.len(), "{listener}");
            assert!(attempt.address(&sides).is_ok());
        }
    }

    #[test]
    fn hashes_are_two_lines_of_sha256sum() {
        let text = format!("{HASH}  -\n{HASH}  -\n");
        assert_eq!(Hashes::parse(&text).unwrap().datagram, HASH);
        assert!(Hashes::parse("sha256sum: not found").is_err());
    }
}

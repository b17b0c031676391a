//! Two networks in dom0, a domain between them, and what can be tried and measured there.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use qemu_tests::{Command, Machine};

use super::hits::{Hits, Source};
use super::meter::METER;
use super::network::{self, Side};
use super::report::{Case, Throughput};
use super::traffic::{Attempt, Hashes, Observed, servers_script, side};

/// How long a domain may take until it forwards the first packet.
const START_LIMIT: Duration = Duration::from_secs(300);

/// How long a domain may take to shut down when asked.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);

/// How often is tried what is refused too late: a firewall that is late is so each time, a busy host is not.
const REFUSALS: u32 = 5;

/// Seconds that one throughput measurement sends.
const STREAM_S: u32 = 3;

/// Added to every configuration: the emulated machine's TSC is not invariant, so Xen would trap each
/// reading of it (on real hardware it does not); and the scheduler's own default, so that it is no
/// secret that nobody is preferred.
pub const ADDED: &str = "tsc_mode=\"native\"; cpu_weight=256";

/// The networks around the firewall's place, with hosts that serve and wait.
pub struct Scenario<'m> {
    machine: &'m Machine,
    sides: Vec<Side>,
    hashes: Hashes,
}

/// A domain that forwards between the networks.
#[derive(Clone, Debug)]
pub struct Forwarder {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// The terminal in dom0 that is its console.
    pub console_tty: String,
    /// How long `xl create` took.
    pub xl_create: Duration,
    /// From the start of `xl create` to the first packet forwarded.
    pub first_packet: Duration,
}

impl<'m> Scenario<'m> {
    /// Builds the networks in dom0 and starts the servers behind every port of `attempts`.
    ///
    /// # Errors
    /// When a command in dom0 fails.
    pub fn prepare(machine: &'m Machine, sides: Vec<Side>, attempts: &[Attempt]) -> Result<Self> {
        network::build(machine, &sides).context("cannot build the networks in dom0")?;
        let hashes = Hashes::parse(&machine.dom0(&Hashes::script())?)?;
        machine
            .dom0(&servers_script(attempts, &sides))
            .context("cannot start the servers")?;
        Ok(Self {
            machine,
            sides,
            hashes,
        })
    }

    /// The networks, in the order of the firewall's interfaces.
    pub fn sides(&self) -> &[Side] {
        &self.sides
    }

    /// Runs `xl create` and waits until a ping from one zone's host reaches the other's.
    ///
    /// # Errors
    /// When `xl create` fails, or nothing is forwarded in time; the error holds the domain's last
    /// words.
    pub fn start(&self, name: &str, config: &str, from: &str, to: &str) -> Result<Forwarder> {
        let host = side(&self.sides, to)?.host;
        let namespace = &side(&self.sides, from)?.namespace;
        self.ask_anew(ArpPace::Fast)?;
        let script = start_script(name, config, namespace, &host.to_string());
        let output = self
            .machine
            .run(&Command::bash(script).limit(START_LIMIT))?;
        if !output.status.is_success() {
            let state = self.state_of(name, namespace);
            let console = self.machine.guest_console(name).unwrap_or_default();
            bail!(
                "{name} forwarded nothing (in dom0: {})\n{}{}{state}its console:\n{console}",
                output.status,
                output.text(),
                output.errors()
            );
        }
        let times = StartTimes::parse(&output.text())?;
        self.ask_anew(ArpPace::Normal)?;
        let details = self.machine.dom0(&format!(
            "id=$(xl domid '{name}') && echo \"$id\" && xenstore-read \"/local/domain/$id/console/tty\""
        ))?;
        let mut lines = details.lines();
        let (Some(id), Some(tty)) = (lines.next().and_then(|id| id.parse().ok()), lines.next())
        else {
            bail!("{name} has no number or no console: {details:?}");
        };
        Ok(Forwarder {
            name: name.to_owned(),
            id,
            console_tty: tty.to_owned(),
            xl_create: times.xl_create,
            first_packet: times.first_packet,
        })
    }

    /// What dom0 and the domain itself can tell of a domain that does not forward: the pings so far,
    /// the devices' states, what came through which interface, and the host's neighbours.
    fn state_of(&self, name: &str, namespace: &str) -> String {
        let script = state_script(name, namespace);
        let command = Command::bash(script).limit(Duration::from_secs(30));
        match self.machine.run(&command) {
            Ok(output) => output.text(),
            Err(error) => format!("dom0 does not answer: {error:#}\n"),
        }
    }

    /// Makes every host ask anew for the firewall's hardware address (another domain may be in its
    /// place now), and sets how soon it repeats the question.
    fn ask_anew(&self, pace: ArpPace) -> Result<()> {
        let pause_ms = pace as u32;
        let ask = |side: &Side| {
            format!(
                "ip -n {} -batch - <<'END'\n\
                 ntable change name arp_cache dev eth0 retrans {pause_ms}\n\
                 neigh flush all\nEND\n",
                side.namespace
            )
        };
        let script: String = self.sides.iter().map(ask).collect();
        self.machine.dom0(&format!("set -e\n{script}")).map(drop)
    }

    /// Waits until the firewall has said in xenstore that it forwards.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_ready(&self, forwarder: &Forwarder) -> Result<()> {
        let path = format!("/local/domain/{}/data/ready", forwarder.id);
        let script = format!("until xenstore-read {path} 2>/dev/null; do sleep 0.1; done");
        let output = self.machine.run(&Command::bash(script))?;
        if !output.status.is_success() {
            bail!("{} forwards, but has not written {path}", forwarder.name);
        }
        Ok(())
    }

    /// Tries things in order, and asks the domain after each which line decided.
    ///
    /// # Errors
    /// When something cannot be tried; an outcome other than the expected one is none.
    pub fn try_all(
        &self,
        attempts: &[Attempt],
        firewall: &Forwarder,
        source: &Source,
    ) -> Result<Vec<Case>> {
        let ask = || Hits::ask(self.machine, firewall);
        let mut before = ask()?;
        let mut cases = Vec::new();
        for attempt in attempts {
            let mut tries = 0;
            let (observed, (outcome, detail)) = loop {
                let output = self.machine.run(&attempt.command(&self.sides)?)?;
                let observed = Observed::parse(&output.text(), &output.errors())?;
                tries += 1;
                if !observed.is_refused_late() || tries == REFUSALS {
                    let judged = attempt.judge(&observed, &self.hashes);
                    break (observed, judged);
                }
            };
            let after = ask()?;
            let decided = after.since(&before);
            before = after;
            cases.push(Case {
                tried: attempt.tried.to_owned(),
                from: attempt.from.to_owned(),
                to: attempt.to.to_owned(),
                expected: attempt.expected,
                outcome,
                detail,
                elapsed: observed.elapsed,
                decided_by: decided
                    .iter()
                    .map(|(file, line)| source.line(file, *line))
                    .collect(),
                expected_line: attempt.line.to_owned(),
            });
        }
        Ok(cases)
    }

    /// Sends one TCP stream for some seconds, over a connection that `client`'s host opens.
    ///
    /// # Errors
    /// When iperf3 fails.
    pub fn throughput(
        &self,
        forwarder: &Forwarder,
        client: &str,
        server: &str,
        direction: Direction,
    ) -> Result<Throughput> {
        let Side {
            host: address,
            namespace: server_namespace,
            ..
        } = side(&self.sides, server)?;
        let client_namespace = &side(&self.sides, client)?.namespace;
        let option = match direction {
            Direction::FromClient => "",
            Direction::FromServer => "--reverse",
        };
        let name = &forwarder.name;
        let script = format!(
            "\
{METER}
set -e
ip netns exec {server_namespace} iperf3 --server --one-off --daemon
for _ in {{1..100}}; do [ -n \"$(ip netns exec {server_namespace} ss -ltnH 'sport = :5201')\" ] && break; sleep 0.05; done
meter_start '{name}'
ip netns exec {client_namespace} iperf3 --client {address} --time {STREAM_S} {option} --json >/tmp/iperf3.json || {{
    cat /tmp/iperf3.json
    exit 1
}}
meter_end
cat /tmp/iperf3.json
"
        );
        let text = self
            .machine
            .dom0(&script)
            .context("iperf3 through the domain failed")?;
        let (from, to) = match direction {
            Direction::FromClient => (client, server),
            Direction::FromServer => (server, client),
        };
        parse_stream(&text, from, to)
    }

    /// Asks the domain to shut down, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn shut_down(&self, forwarder: &Forwarder) -> Result<()> {
        let command = Command::new(["xl", "shutdown", "-w", &forwarder.name]).limit(SHUTDOWN_LIMIT);
        let answer = self.machine.check(&command);
        answer
            .map(drop)
            .with_context(|| format!("{} does not answer xl shutdown", forwarder.name))
    }
}

/// Milliseconds between two ARP requests of a host.
#[derive(Clone, Copy)]
enum ArpPace {
    /// While the firewall starts: a second-long pause would otherwise count as its time.
    Fast = 20,
    /// Linux' own.
    Normal = 1_000,
}

/// Which end of a connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The one that opened it.
    FromClient,
    /// The other.
    FromServer,
}

/// Pings all the time from before `xl create` on; prints when xl began, when it ended, and when
/// the first answer came, in seconds since 1970.
fn start_script(name: &str, config: &str, from: &str, host: &str) -> String {
    format!(
        "\
export LC_ALL=C
replies=/tmp/first-{name}
ip netns exec {from} ping -n -D -i 0.05 {host} >$replies 2>&1 &
ping=$!
begin=$EPOCHREALTIME
xl create '{config}' '{ADDED}' >&2 || {{ status=$?; kill $ping; exit $status; }}
end=$EPOCHREALTIME
echo \"xl create ended after $begin at $end\" >&2
until first=$(grep -m 1 'bytes from' $replies); do sleep 0.1; done
kill -INT $ping
echo \"$begin $end $first\"
"
    )
}

/// Never fails: prints what there is to print.
fn state_script(name: &str, namespace: &str) -> String {
    format!(
        "\
exec 2>&1
echo '--- pings'; tail -n 3 /tmp/first-{name}
echo '--- xl list'; xl list
id=$(xl domid '{name}')
echo '--- devices'
for key in state event-channel event-channel-tx hotplug-status; do
    for vif in $(xenstore-list \"/local/domain/$id/device/vif\"); do
        for path in \"/local/domain/$id/device/vif/$vif/$key\" \"/local/domain/0/backend/vif/$id/$vif/$key\"; do
            value=$(xenstore-read \"$path\" 2>/dev/null) && echo \"$path = $value\"
        done
    done
done
for vif in /sys/bus/xen-backend/devices/vif-$id-*; do
    grep -s '' $vif/xenbus/* $vif/statistics/* /dev/null
done
grep vif /proc/interrupts
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
grep -s '' /sys/kernel/debug/xen-netback/vif$id.*/io_ring* /dev/null
dmesg | tail -n 5
echo '--- links'; ip -s link; bridge fdb show
echo '--- neighbours'; ip -n '{namespace}' neigh
echo '--- the domain itself'
for command in interfaces drops hypercalls flows; do echo $command; done >\"$(xenstore-read \"/local/domain/$id/console/tty\")\"
sleep 2
xl debug-keys e
xl dmesg | tail -n 60
"
    )
}

/// When what was waited for came.
pub(crate) struct StartTimes {
    pub(crate) xl_create: Duration,
    pub(crate) first_packet: Duration,
}

impl StartTimes {
    /// `BEGIN END [ANSWERED]`, and whatever follows.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parsed = || {
            let mut words = text.trim().lines().last()?.split(' ');
            let begin: f64 = words.next()?.parse().ok()?;
            let end: f64 = words.next()?.parse().ok()?;
            let first = words.next()?.strip_prefix('[')?.strip_suffix(']')?;
            let first: f64 = first.parse().ok()?;
            Some(Self {
                xl_create: Duration::try_from_secs_f64(end - begin).ok()?,
                first_packet: Duration::try_from_secs_f64(first - begin).ok()?,
            })
        };
        parsed().ok_or_else(|| anyhow!("dom0 printed no times: {text:?}"))
    }
}

/// Microseconds of CPU time, then iperf3's JSON.
fn parse_stream(text: &str, from: &str, to: &str) -> Result<Throughput> {
    let parsed = || {
        let (first, json) = text.split_once('\n')?;
        let cpu_us: u64 = first.trim().parse().ok()?;
        let json: serde_json::Value = serde_json::from_str(json).ok()?;
        let received = &json["end"]["sum_received"];
        Some(Throughput {
            from: from.to_owned(),
            to: to.to_owned(),
            megabits_per_second: received["bits_per_second"].as_f64()? / 1e6,
            bytes: received["bytes"].as_u64()?,
            cpu_seconds: cpu_us as f64 / 1e6,
        })
    };
    parsed().ok_or_else(|| anyhow!("xentop and iperf3 printed something else than figures: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_differences_to_the_start_of_xl() {
        let text = "1700000000.500000 1700000001.000000 [1700000001.250000] 64 bytes from 10.0.0.2: icmp_seq=3 ttl=63 time=0.4 ms\n";
        let times = StartTimes::parse(text).unwrap();
        assert_eq!(times.xl_create.as_millis(), 500);
        assert_eq!(times.first_packet.as_millis(), 750);
        assert!(StartTimes::parse("").is_err());
        assert!(StartTimes::parse("1700000000.5 1700000001.0 [1699999999.0] 64").is_err());
    }

    #[test]
    fn a_stream_is_cpu_and_what_was_received() {
        let json = r#"{"end":{"sum_sent":{"bytes":9},"sum_received":{"bytes":250000000,"bits_per_second":5e8}}}"#;
        let stream = parse_stream(&format!("500000\n{json}"), "loc", "net").unwrap();
        assert_eq!(stream.megabits_per_second, 500.0);
        assert_eq!(stream.cpu_seconds_per_gigabyte(), Some(2.0));
        assert!(parse_stream("500000\n{}", "loc", "net").is_err());
    }
}

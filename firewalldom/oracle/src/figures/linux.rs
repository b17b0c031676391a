//! Linux' figures, by the difference between a gateway with rules and one without.

use super::blacklist;
use super::flood::{Flood, Way, neighbours};
use super::{FLOWS, Figure, NEW_FLOWS, NEW_SLICE, PACKETS, Sample, System, engine};
use crate::configuration::Configuration;
use crate::linux::{Host, Linux, Loaded};
use anyhow::{Context, Result, bail, ensure};
use firewalldom::policy::Policy;
use std::time::{Duration, Instant};

/// Both gateways.
struct Pair {
    with_rules: Linux,
    without: Linux,
}

/// Measures all that this host's limits allow, a round after the other; what they do not allow is said
/// in words. New flows are the engine's in turn with its own.
///
/// # Errors
/// When there can be no gateway here, or it does not forward what it should.
pub fn measure(
    host: &Host,
    configuration: &Configuration,
    policy: &Policy,
    rounds: u32,
    tell: &mut dyn FnMut(Sample),
    warn: &mut dyn FnMut(String),
) -> Result<()> {
    let sample = |figure, flows, value| Sample {
        figure,
        system: System::Linux,
        flows,
        value,
    };
    let mut pair = Pair::start(host, configuration, policy)?;
    let most: u64 = pair.number("cat /proc/sys/net/netfilter/nf_conntrack_max")?;
    for flows in FLOWS {
        if u64::from(flows) >= most {
            warn(format!(
                "Linux: {flows} flows are more than the {most} connections that this host's kernel \
                 tracks; to measure them, first: sysctl -w net.netfilter.nf_conntrack_max={room} \
                 net.netfilter.nf_conntrack_buckets={room}",
                room = flows.next_power_of_two() * 2
            ));
            continue;
        }
        pair.forget()?;
        for way in [Way::Out, Way::Back] {
            pair.with_rules.flood(Flood::each(flows, way))?;
        }
        pair.holds(flows)?;
        for round in 0..rounds {
            let flood = Flood::any(flows, PACKETS, u64::from(round));
            tell(sample(Figure::Established, flows, pair.difference(flood)?));
        }
    }
    for _ in 0..rounds {
        pair.forget()?;
        for first in (0..NEW_FLOWS).step_by(NEW_SLICE as usize) {
            tell(engine::new_flows(policy)?);
            let slice = Flood::some(NEW_FLOWS, first, NEW_SLICE);
            tell(sample(Figure::New, NEW_FLOWS, pair.difference(slice)?));
        }
        pair.holds(NEW_FLOWS)?;
    }
    let listed = blacklist::with_blacklist(configuration);
    let started = Instant::now();
    let mut long = Pair::start(host, &listed, policy)?;
    let load = started.elapsed().as_nanos() * 1000;
    tell(sample(Figure::LoadListed, 0, u64::try_from(load)?));
    for _ in 0..rounds {
        long.forget()?;
        let flood = Flood::each(blacklist::FLOWS, Way::Out);
        tell(sample(
            Figure::NewListed,
            flood.flows,
            long.difference(flood)?,
        ));
        long.holds(flood.flows)?;
    }
    match pair.number("awk '$1 == \"nf_conntrack\" {print $4}' /proc/slabinfo") {
        Ok(bytes) => tell(sample(Figure::FlowBytes, NEW_FLOWS, bytes)),
        Err(error) => warn(format!("Linux: size of a connection not known: {error:#}")),
    }
    Ok(())
}

impl Pair {
    fn start(host: &Host, configuration: &Configuration, policy: &Policy) -> Result<Self> {
        let known = FLOWS.into_iter().flat_map(neighbours).collect();
        let setup = configuration.setup(policy, &known);
        let mut without_rules = setup.clone();
        without_rules.shorewall.clear();
        let start = |setup| -> Result<Linux> {
            let mut linux = Linux::start(host)?;
            match linux.load(setup)? {
                Loaded::Running => Ok(linux),
                Loaded::Refused(words) => bail!("Shorewall refuses the example: {words}"),
            }
        };
        Ok(Self {
            with_rules: start(setup)?,
            without: start(without_rules)?,
        })
    }

    /// Forgets all connections.
    fn forget(&mut self) -> Result<()> {
        self.with_rules.run(&[], Duration::ZERO).map(drop)
    }

    fn number(&mut self, command: &str) -> Result<u64> {
        let text = self.with_rules.shell(command)?;
        text.trim()
            .parse()
            .with_context(|| format!("{command}: {text:?}"))
    }

    /// That all flows are tracked: nothing was lost on the way.
    fn holds(&mut self, flows: u32) -> Result<()> {
        let count = self.number("cat /proc/sys/net/netfilter/nf_conntrack_count")?;
        ensure!(
            count == u64::from(flows),
            "Linux tracks {count} of {flows} flows"
        );
        Ok(())
    }

    /// Picoseconds of a packet that the rules cost.
    fn difference(&mut self, flood: Flood) -> Result<u64> {
        let without = self.without.flood(flood)?;
        let with_rules = self.with_rules.flood(flood)?;
        let more = with_rules.saturating_sub(without);
        Ok((more.as_nanos() * 1000 / u128::from(flood.packets.max(1))) as u64)
    }
}

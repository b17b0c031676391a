//! The engine's own figures, on this machine.

use super::blacklist;
use super::flood::{Flood, Way, neighbours};
use super::{FLOWS, Figure, NEW_FLOWS, PACKETS, Sample, System};
use crate::configuration::{Configuration, MTU, firewall_mac};
use anyhow::{Context, Result, anyhow, ensure};
use firewalldom::policy::{InterfaceId, Policy};
use firewalldom::time::Instant;
use firewalldom::{AHEAD, Budget, Checksum, Firewall, Frame, Head, Link, Verdict};
use std::time::Duration;

/// Frames whose headers are brought into the cache before their packets are timed.
const BATCH: usize = 64;

/// One engine.
struct Engine {
    firewall: Firewall,
    now: Instant,
}

/// Measures all but new flows, a round after the other.
///
/// # Errors
/// When the engine does not forward what it should.
pub fn measure(
    configuration: &Configuration,
    policy: &Policy,
    rounds: u32,
    tell: &mut dyn FnMut(Sample),
) -> Result<()> {
    let mut said = |figure, flows, value| {
        tell(Sample {
            figure,
            system: System::Firewalldom,
            flows,
            value,
        });
    };
    for flows in FLOWS {
        let mut engine = Engine::new(policy, flows)?;
        engine.pass(Flood::each(flows, Way::Out))?;
        engine.pass(Flood::each(flows, Way::Back))?;
        for round in 0..rounds {
            let flood = Flood::any(flows, PACKETS, u64::from(round));
            said(Figure::Established, flows, engine.pass(flood)?);
        }
    }
    let listed = blacklist::with_blacklist(configuration);
    for _ in 0..rounds {
        let started = std::time::Instant::now();
        let compiled = listed.compile();
        let compiled = compiled.map_err(|report| anyhow!("the blacklist: {report:?}"))?;
        // Far less than the compiler, and much of it is the table of flows.
        let mut engine = Engine::new(&compiled.policy, blacklist::FLOWS)?;
        let load = started.elapsed().as_nanos() * 1000;
        said(Figure::LoadListed, 0, u64::try_from(load)?);
        let flood = Flood::each(blacklist::FLOWS, Way::Out);
        said(Figure::NewListed, flood.flows, engine.pass(flood)?);
    }
    said(Figure::FlowBytes, NEW_FLOWS, flow_bytes(policy)?);
    Ok(())
}

/// What a new flow costs, from an empty table on.
///
/// # Errors
/// When the engine does not forward what it should.
pub fn new_flows(policy: &Policy) -> Result<Sample> {
    let mut engine = Engine::new(policy, NEW_FLOWS)?;
    Ok(Sample {
        figure: Figure::New,
        system: System::Firewalldom,
        flows: NEW_FLOWS,
        value: engine.pass(Flood::each(NEW_FLOWS, Way::Out))?,
    })
}

/// Bytes of the table for each flow that it holds when it refuses one: all are assured, so that none
/// makes room.
fn flow_bytes(policy: &Policy) -> Result<u64> {
    const CAPACITY: u32 = 4096;
    let mut engine = Engine::new(policy, CAPACITY)?;
    for way in [Way::Out, Way::Back] {
        engine.pass(Flood::each(CAPACITY, way))?;
    }
    // An answered flow that is used for longer than two seconds is assured.
    engine.now = engine.now + Duration::from_secs(3);
    engine.pass(Flood::each(CAPACITY, Way::Out))?;
    ensure!(
        engine.pass(Flood::each(CAPACITY + 1, Way::Out)).is_err(),
        "a full table takes another flow"
    );
    let held = engine.firewall.flows().now;
    let bytes = Budget::BYTES_PER_FLOW * CAPACITY as usize;
    Ok(bytes.div_ceil(held) as u64)
}

impl Engine {
    fn new(policy: &Policy, flows: u32) -> Result<Self> {
        let links: Vec<Link> = (0..policy.interfaces.len())
            .map(|link| Link {
                mac: firewall_mac(link),
                mtu: MTU,
            })
            .collect();
        let addresses: Vec<_> = policy
            .interfaces
            .iter()
            .map(|one| one.addresses[0])
            .collect();
        let now = Instant(1_000_000_000_000);
        let budget = Budget {
            flows: flows as usize,
        };
        let mut firewall = Firewall::new(policy, &links, budget, [7; 32], now)
            .context("the engine refuses the policy")?;
        for neighbour in neighbours(flows) {
            let asked = addresses[usize::from(neighbour.link)].address;
            let mut request = vec![0xff; 6];
            request.extend(neighbour.mac());
            request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            request.extend(neighbour.mac());
            request.extend(neighbour.address.octets());
            request.extend([0; 6]);
            request.extend(asked.octets());
            let mut head = Head::new();
            head.load(&request);
            let mut frame = Frame {
                head: &mut head,
                len: request.len(),
                tail: &request.as_slice(),
                checksum: Checksum::Unknown,
                gso: None,
            };
            firewall.ingress(now, InterfaceId(neighbour.link), &mut frame);
        }
        while firewall.take_output().is_some() {}
        Ok(Self { firewall, now })
    }

    /// Picoseconds of a packet, all of them forwarded.
    fn pass(&mut self, flood: Flood) -> Result<u64> {
        let link = InterfaceId(flood.link());
        let mut heads = vec![Head::new(); BATCH];
        let mut frames = flood.frames();
        let mut elapsed = Duration::ZERO;
        let (mut passed, mut sent) = (0u32, 0u32);
        loop {
            let mut lengths = Vec::with_capacity(BATCH);
            for (head, bytes) in heads.iter_mut().zip(frames.by_ref()) {
                head.load(&bytes);
                lengths.push(bytes.len());
            }
            if lengths.is_empty() {
                break;
            }
            let started = std::time::Instant::now();
            // As the appliance takes them from a ring.
            let bursts = heads[..lengths.len()].chunks_mut(AHEAD);
            for (heads, lengths) in bursts.zip(lengths.chunks(AHEAD)) {
                self.firewall.look_ahead(link, heads);
                for (head, len) in heads.iter_mut().zip(lengths) {
                    let mut frame = Frame {
                        head,
                        len: *len,
                        tail: &firewalldom::NoTail,
                        checksum: Checksum::Unknown,
                        gso: None,
                    };
                    let verdict = self.firewall.ingress(self.now, link, &mut frame);
                    passed += u32::from(matches!(verdict, Verdict::Forward { .. }));
                }
            }
            elapsed += started.elapsed();
            sent += lengths.len() as u32;
        }
        ensure!(passed == sent, "the engine forwards {passed} of {sent}");
        Ok((elapsed.as_nanos() * 1000 / u128::from(sent.max(1))) as u64)
    }
}

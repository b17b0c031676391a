//! What is measured in the lab: both systems in turn, again and again, in one boot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as FilePath;

use anyhow::{Context, Result};
use qemu_tests::{DebianRouter, Lab, Machine};

use super::packets::{Path, RATES};
use super::samples::{Hypercalls, Memory, Samples, Sizes, Start, Stream, System, Way};
use super::{BenchOptions, Benchmark, MEMORY_MIB};
use crate::appliance::FIREWALLDOM;
use crate::run::hits::{self, Source};
use crate::run::scenario::{ADDED, Direction, Forwarder, Scenario};
use crate::run::traffic::{self, side};
use crate::run::{Firewall, INSIDE, OUTSIDE, debian};

/// Runs that may be repeated because something went wrong, before it is an error.
const REPEATED_MAX: u32 = 2;

/// The benchmarks that start domains.
#[derive(Clone, Copy)]
struct Wanted {
    start: bool,
    tcp: bool,
    packets: bool,
}

impl Wanted {
    fn of(options: &BenchOptions) -> Self {
        let wanted = |benchmark| options.benchmarks.contains(&benchmark);
        Self {
            start: wanted(Benchmark::Start),
            tcp: wanted(Benchmark::Tcp),
            packets: wanted(Benchmark::Packets),
        }
    }

    fn any(self) -> bool {
        self.start || self.tcp || self.packets
    }

    /// Removes the samples that are to be taken anew.
    fn forget(self, samples: &mut Samples) {
        if self.start {
            samples.starts.clear();
        }
        if self.tcp {
            samples.streams.clear();
        }
        if self.packets {
            samples.packets.clear();
        }
    }
}

/// The networks, and what is needed to put either system between them.
pub(super) struct Rounds<'a> {
    machine: &'a Machine,
    firewall: &'a Firewall,
    scenario: Scenario<'a>,
    router: DebianRouter,
    /// Paths of the configurations in dom0.
    ours: String,
    theirs: String,
    tell: &'a dyn Fn(&str),
}

impl<'a> Rounds<'a> {
    /// Builds the networks and puts the files of both systems where dom0 sees them.
    pub(super) fn prepare(
        lab: &Lab,
        machine: &'a Machine,
        firewall: &'a Firewall,
        tell: &'a dyn Fn(&str),
    ) -> Result<Self> {
        let router = debian::router(&firewall.site, &firewall.policy, &firewall.config());
        Ok(Self {
            machine,
            firewall,
            scenario: Scenario::prepare(machine, firewall.sides()?, traffic::TWO_INTERFACES)?,
            ours: firewall.put(machine)?,
            theirs: machine.put_debian_router(lab, &router)?,
            router,
            tell,
        })
    }

    /// What was given to `xl create`, by the name of the system; without comments.
    pub(super) fn configurations(&self) -> Result<BTreeMap<String, String>> {
        let share = self.machine.share();
        let read = |name: &str| -> Result<String> {
            let path = share.join(name);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            Ok(plain_configuration(&text, &self.firewall.directory))
        };
        let ours = read(&format!("{FIREWALLDOM}/{FIREWALLDOM}.cfg"))?;
        let theirs = read(&format!("{}.cfg", self.router.name))?;
        Ok([(FIREWALLDOM, ours), ("debian", theirs)]
            .map(|(name, text)| (name.to_owned(), text))
            .into())
    }

    /// Lengths of the files.
    pub(super) fn sizes(&self, empty_bytes: u64) -> Result<Sizes> {
        let share = self.machine.share();
        let length = |name: &FilePath| -> Result<u64> {
            let path = share.join(name);
            let metadata = path
                .metadata()
                .with_context(|| path.display().to_string())?;
            Ok(metadata.len())
        };
        let image = &self.firewall.built.image;
        Ok(Sizes {
            firewalldom_bytes: image.bytes.len() as u64,
            policy_bytes: self.firewall.built.policy_bytes.unwrap_or(0) as u64,
            empty_bytes,
            debian_kernel_bytes: length("vmlinuz".as_ref())?,
            debian_ramdisk_bytes: length(format!("{}.initrd", self.router.name).as_ref())?,
            target: image.target.triple().to_owned(),
        })
    }

    /// Everything that `cargo image run` tries, in the memory of the benchmarks.
    pub(super) fn memory(&self) -> Result<Memory> {
        (self.tell)("trying the whole job in little memory");
        let forwarder = self.start(System::Firewalldom)?;
        let source = Source::new(&self.firewall.site);
        let cases = self
            .scenario
            .try_all(traffic::TWO_INTERFACES, &forwarder, &source)?;
        self.scenario.shut_down(&forwarder)?;
        let good = cases.iter().filter(|case| case.as_expected()).count();
        Ok(Memory {
            firewalldom_mib: MEMORY_MIB,
            debian_mib: debian::MEMORY_MIB,
            cases: u32::try_from(cases.len())?,
            as_expected: u32::try_from(good)?,
        })
    }

    /// Every run of the benchmarks that start domains; how many had to be repeated. Samples of
    /// those that were measured before are replaced.
    pub(super) fn all(&self, options: &BenchOptions, samples: &mut Samples) -> Result<u32> {
        let wanted = Wanted::of(options);
        wanted.forget(samples);
        if !wanted.any() {
            return Ok(0);
        }
        in_turn(
            System::BOTH,
            options.runs,
            samples,
            self.tell,
            |system, run, samples| self.once(system, run, wanted, samples),
            |system| self.destroy(system),
        )
    }

    /// One start, and everything that is measured of it.
    fn once(&self, system: System, run: u32, wanted: Wanted, samples: &mut Samples) -> Result<()> {
        let forwarder = self.start(system)?;
        if wanted.start {
            samples.starts.push(Start {
                system,
                run,
                xl_create_us: microseconds(forwarder.xl_create),
                first_packet_us: microseconds(forwarder.first_packet),
            });
        }
        if wanted.tcp {
            for way in [Way::Out, Way::In] {
                let stream = self.stream(system, run, way, &forwarder)?;
                samples.streams.push(stream);
            }
        }
        if wanted.packets {
            self.packets(system, run, &forwarder, samples)?;
        }
        self.scenario.shut_down(&forwarder)
    }

    fn name(&self, system: System) -> &str {
        match system {
            System::Debian => &self.router.name,
            _ => FIREWALLDOM,
        }
    }

    /// Makes sure that the system is gone, and whatever still measured or sent.
    fn destroy(&self, system: System) -> Result<()> {
        let name = self.name(system);
        self.machine.dom0(&format!(
            "xl destroy '{name}' 2>/dev/null; killall -q xentop iperf3 ping; true"
        ))?;
        Ok(())
    }

    fn start(&self, system: System) -> Result<Forwarder> {
        let name = self.name(system);
        let config = match system {
            System::Debian => &self.theirs,
            _ => &self.ours,
        };
        let forwarder = self.scenario.start(name, config, INSIDE, OUTSIDE)?;
        match system {
            System::Debian => {
                let ready = self.router.ready_line();
                self.machine
                    .wait_for_console(name, &ready, debian::READY_LIMIT)?;
            }
            _ => self.scenario.wait_ready(&forwarder)?,
        }
        Ok(forwarder)
    }

    fn stream(&self, system: System, run: u32, way: Way, forwarder: &Forwarder) -> Result<Stream> {
        let direction = match way {
            Way::Out => Direction::FromClient,
            Way::In => Direction::FromServer,
        };
        let stream = self
            .scenario
            .throughput(forwarder, INSIDE, OUTSIDE, direction)?;
        Ok(Stream {
            system,
            run,
            way,
            bits_per_second: (stream.megabits_per_second * 1e6) as u64,
            bytes: stream.bytes,
            cpu_us: (stream.cpu_seconds * 1e6) as u64,
            hypercalls: None,
        })
    }

    fn packets(
        &self,
        system: System,
        run: u32,
        forwarder: &Forwarder,
        samples: &mut Samples,
    ) -> Result<()> {
        let sides = self.scenario.sides();
        let path = Path {
            machine: self.machine,
            inside: side(sides, INSIDE)?,
            outside: side(sides, OUTSIDE)?,
            forwarder,
        };
        let hypercalls = || match system {
            System::Debian => Ok(None),
            _ => self.hypercalls(forwarder).map(Some),
        };
        path.open()?;
        for rate in RATES {
            samples
                .packets
                .push(path.send(system, run, rate, hypercalls)?);
        }
        Ok(())
    }

    /// What the firewall has counted since its start.
    fn hypercalls(&self, forwarder: &Forwarder) -> Result<Hypercalls> {
        // The second command only marks the end: a line may be seen before all of it is there.
        let commands = "hypercalls\\nrules";
        let answer = hits::ask(
            self.machine,
            &forwarder.name,
            &forwarder.console_tty,
            commands,
            "end of rules",
        )?;
        Hypercalls::parse(&answer)
            .with_context(|| format!("the domain does not tell its hypercalls: {answer:?}"))
    }
}

/// Has both systems measured in turn by `once`, so many times; how many had to be repeated, after `clean_up`.
pub(super) fn in_turn<S: Clone>(
    systems: [System; 2],
    runs: u32,
    samples: &mut S,
    tell: &dyn Fn(&str),
    once: impl Fn(System, u32, &mut S) -> Result<()>,
    clean_up: impl Fn(System) -> Result<()>,
) -> Result<u32> {
    let mut repeated = 0;
    for run in 0..runs {
        // Who goes first changes: neither shall always find the machine as the other left it.
        let mut order = systems;
        if run % 2 == 1 {
            order.reverse();
        }
        for system in order {
            tell(&format!("run {} of {runs}: {}", run + 1, system.name()));
            loop {
                let before = samples.clone();
                let Err(error) = once(system, run, samples) else {
                    break;
                };
                // Minutes of good samples are not thrown away for one that failed; that it did
                // is written down.
                *samples = before;
                repeated += 1;
                if repeated > REPEATED_MAX {
                    return Err(error);
                }
                tell(&format!("once more, because that failed: {error:#}"));
                clean_up(system)?;
            }
        }
    }
    Ok(repeated)
}

/// What was given to `xl create`, without comments, and without where the checkout lies, which is nobody's
/// business.
pub(super) fn plain_configuration(text: &str, checkout: &FilePath) -> String {
    let lines = text.lines().filter(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let folder = checkout.display().to_string();
    let lines = lines.map(|line| line.replace(&folder, "."));
    lines.collect::<Vec<_>>().join("\n") + "\n" + &ADDED.replace("; ", "\n") + "\n"
}

pub(super) fn microseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

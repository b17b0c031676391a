//! Inside the namespaces: a Debian root made of unpacked packages, links, Shorewall, frames.

mod connections;
mod gateway;
mod meters;
mod root;
mod wire;

use crate::figures::flood::Flood;
use crate::protocol::{self, Reply, Request};
use crate::step::{Output, Outputs, Step};
use anyhow::{Context, Result, bail};
use connections::Connections;
use gateway::Loaded;
use meters::Meters;
use std::io::{stdin, stdout};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use wire::Wire;

/// A namespace's state.
struct Namespace {
    wires: Vec<Wire>,
    connections: Connections,
    meters: Meters,
}

/// Answers requests on standard input until it ends. The process must be in network, mount and PID
/// namespaces of its own, as root of them.
///
/// # Errors
/// When the namespaces cannot be furnished, or nobody listens any more.
pub fn serve(packages: &Path, root: &Path) -> Result<()> {
    let (mut input, mut output) = (stdin().lock(), stdout().lock());
    let mut namespace = match root::enter(packages, root).and_then(|()| Namespace::new()) {
        Ok(namespace) => namespace,
        Err(error) => {
            protocol::send(&mut output, &Reply::Failed(format!("{error:#}")))?;
            return Ok(());
        }
    };
    protocol::send(&mut output, &Reply::Done)?;
    // Its end is how the test says good-bye.
    while let Ok(request) = protocol::receive(&mut input) {
        let reply = namespace
            .answer(request)
            .unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
        protocol::send(&mut output, &reply)?;
    }
    Ok(())
}

impl Namespace {
    fn new() -> Result<Self> {
        Ok(Self {
            wires: Vec::new(),
            connections: Connections::open()?,
            meters: Meters::default(),
        })
    }

    fn answer(&mut self, request: Request) -> Result<Reply> {
        match request {
            Request::Load(setup) => match gateway::load(&setup)? {
                Loaded::Refused(words) => Ok(Reply::Refused(words)),
                Loaded::Running(wires) => {
                    self.wires = wires;
                    self.meters = Meters::of_rules()?;
                    Ok(Reply::Done)
                }
            },
            Request::Neighbours(neighbours) => {
                gateway::add_neighbours(&self.wires, &neighbours)?;
                Ok(Reply::Done)
            }
            Request::Run { steps, settle_us } => {
                let settle = Duration::from_micros(settle_us.into());
                Ok(Reply::Outputs(self.run(&steps, settle)?))
            }
            Request::Flood(flood) => Ok(Reply::Took(self.flood(flood)?)),
            Request::Shell(command) => Ok(Reply::Text(shell(&command)?)),
        }
    }

    fn run(&mut self, steps: &[Step], settle: Duration) -> Result<Outputs> {
        self.meters.forget()?;
        self.connections.forget()?;
        // What the kernel said of its own since the last run.
        self.drain(&mut Vec::new());
        let mut outputs = Outputs::with_capacity(steps.len());
        for step in steps {
            let mut came = Vec::new();
            match step {
                Step::Pause(micros) => thread::sleep(Duration::from_micros((*micros).into())),
                Step::Elapse(seconds) => self.connections.elapse(*seconds)?,
                Step::Send { .. } | Step::Answer { .. } => {
                    if let Some((link, bytes)) = step.frame(&outputs) {
                        self.send(link, &bytes, settle, &mut came)?;
                    }
                }
            }
            outputs.push(came);
        }
        Ok(outputs)
    }

    /// Sends packets and throws away what comes out: where sockets are full, nothing is copied.
    fn flood(&mut self, flood: Flood) -> Result<Duration> {
        /// Frames that are made at once.
        const BATCH: usize = 1024;
        let wire = self.wires.get_mut(usize::from(flood.link()));
        let wire = wire.context("no such link")?;
        let mut frames = flood.frames();
        let mut elapsed = Duration::ZERO;
        loop {
            let batch: Vec<_> = frames.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(elapsed);
            }
            let started = Instant::now();
            for frame in &batch {
                wire.send(frame)?;
            }
            elapsed += started.elapsed();
        }
    }

    fn send(
        &mut self,
        link: u8,
        bytes: &[u8],
        settle: Duration,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let wire = self.wires.get_mut(usize::from(link));
        wire.context("no such link")?.send(bytes)?;
        self.drain(outputs);
        if !settle.is_zero() {
            thread::sleep(settle);
            self.drain(outputs);
        }
        Ok(())
    }

    fn drain(&mut self, outputs: &mut Vec<Output>) {
        for (link, wire) in (0..).zip(&mut self.wires) {
            while let Some(bytes) = wire.receive() {
                outputs.push(Output { link, bytes });
            }
        }
    }
}

/// Runs a command in the root's shell: what it printed.
fn shell(command: &str) -> Result<String> {
    let output = Command::new("/bin/sh").args(["-c", command]).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if !output.status.success() {
        bail!("{command}: {}\n{text}", output.status);
    }
    Ok(text)
}

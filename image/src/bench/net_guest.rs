//! Guests of our own, which send and count: the lab's `net-guest`.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use qemu_tests::{Command, Machine};

use super::metered::{let_work, metered};
use super::samples::{Hypercalls, Packets, System};
use crate::build::{self, Program, TargetChoice};
use crate::run::scenario::ADDED;
use crate::workspace::Workspace;

/// Where they have their kernel from.
const KERNEL: &str = "net-guest.xen";

/// How long `xl create` of one may take.
pub(super) const CREATE_LIMIT: Duration = Duration::from_secs(60);

/// How long one may take to say something.
pub(super) const SAYING_LIMIT: Duration = Duration::from_secs(30);

/// Packets that a sender may send at once: half of what a ring holds. It is not always let run in time.
const BURST: u32 = 128;

/// Seconds at each rate.
pub(super) const SECONDS: u64 = 5;

/// Compiles its kernel.
pub(super) fn build(workspace: &Workspace, target: TargetChoice) -> Result<Vec<u8>> {
    let wanted = Program {
        package: "guests".to_owned(),
        binary: "net-guest".to_owned(),
        features: vec!["xen".to_owned()],
        manifest: None,
        environment: Vec::new(),
    };
    Ok(build::program(workspace, &wanted, target)?.bytes)
}

/// Puts its kernel where dom0 sees it.
pub(super) fn put(machine: &Machine, kernel: &[u8]) -> Result<()> {
    Ok(std::fs::write(machine.share().join(KERNEL), kernel)?)
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct NetGuest {
    pub(super) name: String,
    pub(super) address: String,
    /// Whose station it sends to.
    pub(super) gateway: String,
    /// As xl.cfg(5) has it.
    pub(super) vif: String,
}

impl NetGuest {
    /// Writes its configuration, with words for its command line: the path in dom0.
    pub(super) fn put_config(&self, machine: &Machine, words: &str) -> Result<String> {
        let Self {
            name,
            address,
            gateway,
            vif,
        } = self;
        let added = ADDED.replace("; ", "\n");
        let config = format!(
            "name = '{name}'\ntype = 'pv'\nkernel = '/share/{KERNEL}'\nmemory = 8\n\
             extra = 'address={address} gateway={gateway} {words}'\nvif = ['{vif}']\n{added}\n"
        );
        let path = format!("/tmp/{name}.cfg");
        machine.put(&path, config.as_bytes())?;
        Ok(path)
    }

    /// Creates it.
    pub(super) fn create(&self, machine: &Machine, words: &str) -> Result<()> {
        machine.forget_guest_console(&self.name)?;
        let config = self.put_config(machine, words)?;
        let command = Command::new(["xl", "create", "-q", "-e", &config]).limit(CREATE_LIMIT);
        machine.check(&command)?;
        Ok(())
    }

    /// Types a character on its console.
    pub(super) fn type_to(&self, machine: &Machine, key: char) -> Result<()> {
        let name = &self.name;
        machine.dom0(&format!(
            "printf {key} > $(xenstore-read /local/domain/$(xl domid {name})/console/tty)"
        ))?;
        Ok(())
    }

    /// Ends it.
    pub(super) fn destroy(&self, machine: &Machine) -> Result<()> {
        machine.dom0(&format!("xl destroy {}", self.name))?;
        Ok(())
    }

    /// Creates it, as one that waits to send 64-byte packets of 16 connections at a rate.
    pub(super) fn create_sender(&self, machine: &Machine, to: &str, rate: u32) -> Result<()> {
        let words =
            format!("role=send wait=true to={to} frame=64 flows=16 rate={rate} burst={BURST}");
        self.create(machine, &words)?;
        machine.wait_for_console(&self.name, "connected", SAYING_LIMIT)?;
        Ok(())
    }

    /// Has it send for some seconds: how many it sent, and microseconds.
    pub(super) fn send(&self, machine: &Machine) -> Result<(u64, u64)> {
        self.type_to(machine, 'g')?;
        let_work(SECONDS);
        self.type_to(machine, 's')?;
        let said = machine.wait_for_console(&self.name, "packets/s", SAYING_LIMIT)?;
        sent_line(&said).ok_or_else(|| anyhow!("it said {said:?}"))
    }
}

/// Who is between the two, and what it has called Xen for so far, where it counts.
pub(super) struct Middle<'a> {
    pub(super) machine: &'a Machine,
    pub(super) system: System,
    /// The domain's name.
    pub(super) domain: &'a str,
    pub(super) hypercalls: &'a dyn Fn() -> Result<Option<Hypercalls>>,
}

impl Middle<'_> {
    /// 64-byte packets of 16 connections from one of our guests to another.
    pub(super) fn packets(
        &self,
        run: u32,
        source: &NetGuest,
        sink: &NetGuest,
        rate: u32,
    ) -> Result<Packets> {
        let machine = self.machine;
        sink.create(machine, "role=receive port=7000 answer=64")?;
        machine.wait_for_console(&sink.name, "listening", SAYING_LIMIT)?;
        source.create_sender(machine, &sink.address, rate)?;
        // Whatever of their coming the domain still works on.
        let_work(2);
        let before = (self.hypercalls)()?;
        let ((sent, sent_us, received), cpu_us) = metered(machine, self.domain, || {
            let (sent, sent_us) = source.send(machine)?;
            // The end is said for two seconds.
            let line = format!("{}: received ", source.address);
            let report = machine.wait_for_console(&sink.name, &line, SAYING_LIMIT)?;
            let received = received_line(&report).with_context(|| format!("it said {report:?}"))?;
            Ok((sent, sent_us, received))
        })?;
        let after = (self.hypercalls)()?;
        source.destroy(machine)?;
        sink.destroy(machine)?;
        Ok(Packets {
            system: self.system,
            run,
            asked_per_second: rate,
            sent,
            sent_us,
            received,
            cpu_us,
            hypercalls: before.zip(after).map(|(before, after)| after.since(before)),
        })
    }
}

/// `sent 5000 datagrams to each of 1 in 10003 ms, 499 packets/s`: how many, and microseconds.
fn sent_line(console: &str) -> Option<(u64, u64)> {
    let (_, rest) = console.split_once("sent ")?;
    let (count, rest) = rest.split_once(" datagrams to each of ")?;
    let (_, rest) = rest.split_once(" in ")?;
    let (milliseconds, _) = rest.split_once(" ms")?;
    let milliseconds: u64 = milliseconds.parse().ok()?;
    Some((count.parse().ok()?, milliseconds * 1000))
}

/// `10.0.3.9: received 5000 of 5000, …`: how many.
pub(super) fn received_line(console: &str) -> Option<u64> {
    let (_, rest) = console.split_once(": received ")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// `12 for other ports, …`, said last: how many.
pub(super) fn others_line(console: &str) -> Option<u64> {
    let (before, _) = console.rsplit_once(" for other ports")?;
    before.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_small_guests_say_is_read() {
        let sent = "10.0.3.9 is 00:16:3e:00:00:01, connected\r\nsending\r\nsent 5000 datagrams to each of 1 in 10003 ms, 499 packets/s\r\n";
        assert_eq!(sent_line(sent), Some((5000, 10_003_000)));
        assert_eq!(sent_line("sending\r\n"), None);
        let received = "listening\r\n10.0.3.9: received 4999 of 5000, 1 missing, 0 twice, 0 out of order, 0 with wrong bytes; 500 packets/s\r\n";
        assert_eq!(received_line(received), Some(4999));
        assert_eq!(received_line("listening\r\n"), None);
        let others = "listening\r\n0 for other ports, 0 for the closed port\r\n31 for other ports, 0 for the closed port\r\n";
        assert_eq!(others_line(others), Some(31));
        assert_eq!(others_line("listening\r\n"), None);
    }
}

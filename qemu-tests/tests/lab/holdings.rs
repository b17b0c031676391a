//! What a backend of guests has taken: to be the same when all that came has gone.

use crate::bench::expect;
use crate::stat;
use anyhow::Result;
use qemu_tests::Machine;
use serde_json::Value;

/// What a backend of guests holds.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// Bytes that are not single pages in use: what is free, and what was given to the heap.
    pub(crate) memory: u64,
    /// Bytes in use of the heap.
    heap: u64,
    /// Event channels, of any state.
    pub(crate) ports: String,
    /// Watches; nothing where xenstored does not say.
    watches: String,
    /// Guests' vifs in xenstore, and what is said of them.
    nodes: String,
    /// Domains.
    domains: String,
    /// What it has dropped so far, to be looked at when something is missing.
    pub(crate) drops: String,
}

/// How much of the heap may be in use that was not: of tables that grew, and of lines yet to be written.
const HEAP_SLACK: u64 = 32 * 1024;

/// How much where many guests were there at once, for each: room in tables, which is kept for those who come next.
const HEAP_OF_GUEST: u64 = 2 * 1024;

impl Holdings {
    pub(crate) fn of(machine: &Machine, backend: &str) -> Result<Self> {
        // A vif that leaves (Closing, Closed) leaves its directory for as long as the toolstack takes to read it.
        machine.dom0(&format!(
            "sleep 3
             vifs=/local/domain/$(xl domid {backend})/backend/vif
             while xenstore-ls -f $vifs 2>/dev/null | grep -q '/state = \"[56]\"'; do sleep 1; done"
        ))?;
        let answer = stat::answer(machine, backend)?;
        let memory = |what: &str| stat::number(&answer, &format!("/memory_bytes/{what}"));
        let id = stat::number(&answer, "/domid");
        // Xen tells of the ports of all domains at once, more than its console keeps of many.
        let ports = machine.dom0(&format!("lsevtchn {id} | wc -l"))?;
        expect(ports.trim() != "0", || "no event channels".to_owned())?;
        let watches = machine.dom0(&format!(
            "xenstore-control quota {id} 2>/dev/null | grep -w watches; true"
        ))?;
        let home = format!("/local/domain/{id}");
        let nodes = machine.dom0(&format!(
            "xenstore-ls -f {home} | grep -E '^{home}/(backend/vif|error)/.*/(state|error) '; true"
        ))?;
        let domains = machine.dom0("xl list | awk 'NR > 1 { print $1 }'")?;
        Ok(Self {
            memory: memory("free") + memory("heap"),
            heap: memory("heap_used"),
            ports,
            watches,
            nodes,
            domains,
            drops: match &answer["firewall"] {
                Value::Null => answer["interfaces"].to_string(),
                firewall => firewall["dropped"]["by_name"].to_string(),
            },
        })
    }

    pub(crate) fn are_same(&self, after: &Self) -> bool {
        self.are_same_after_many(after, 0)
    }

    /// The same, when there have been so many more guests at once than ever before.
    pub(crate) fn are_same_after_many(&self, after: &Self, guests: usize) -> bool {
        self.memory == after.memory
            && after.heap <= self.heap + HEAP_SLACK.max(guests as u64 * HEAP_OF_GUEST)
            && (&self.ports, &self.watches) == (&after.ports, &after.watches)
            && (&self.nodes, &self.domains) == (&after.nodes, &after.domains)
    }
}

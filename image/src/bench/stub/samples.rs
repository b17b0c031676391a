//! What was measured of device models, as it was measured, and the file that keeps it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bench::conditions::Conditions;

/// Who emulates a guest's computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceModel {
    /// Ours.
    Stubdom,
    /// Debian's, in dom0.
    Qemu,
}

impl DeviceModel {
    /// Both, ours first.
    pub const BOTH: [Self; 2] = [Self::Stubdom, Self::Qemu];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stubdom => "stubdom",
            Self::Qemu => "QEMU in dom0",
        }
    }

    /// The name of its guest.
    pub(super) fn domain(self) -> &'static str {
        match self {
            Self::Stubdom => "of-stubdom",
            Self::Qemu => "of-qemu",
        }
    }
}

/// Everything that was measured of one suite: `docs/results/stubdom-SUITE.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Debian's code name.
    pub suite: String,
    /// The circumstances.
    pub conditions: Conditions,
    /// Bytes of `stubdom.xen`, stripped.
    pub image_bytes: u64,
    /// `stubdomain_memory=` of all that was measured.
    pub memory_mib: u32,
    /// Guests that a BIOS starts.
    pub starts: Vec<Start>,
    /// Guests that read ports.
    pub port_reads: Vec<PortReads>,
    /// Guests whose Linux a boot loader starts.
    pub linux_starts: Vec<LinuxStart>,
    /// What those, and others that are started without one, read and wrote.
    pub disk_loads: Vec<DiskLoad>,
}

impl Record {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(name)?;
        serde_json::from_str(&text).with_context(name)
    }

    /// The file's text.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// A guest that a BIOS starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Who emulates its computer.
    pub model: DeviceModel,
    /// From the start of `xl create` to its end.
    pub xl_create_us: u64,
    /// From the start of `xl create` to the first line of what the BIOS has read from the disk.
    pub prompt_us: u64,
    /// Resident memory of what dom0 runs as its device model, or in its place.
    pub resident_kib: u64,
}

/// Ports that a guest has read one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReads {
    /// Who emulates its computer.
    pub model: DeviceModel,
    /// How many.
    pub reads: u64,
    /// How long it took.
    pub us: u64,
}

/// A guest whose Linux a boot loader starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxStart {
    /// Who emulates its computer.
    pub model: DeviceModel,
    /// From the start of `xl create` to the first prompt.
    pub shell_us: u64,
}

/// An emulated disk controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    /// PIIX3's, with bus-master DMA.
    Ide,
    /// SATA, with native command queuing.
    Ahci,
}

impl Controller {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ide, Self::Ahci];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ide => "IDE",
            Self::Ahci => "AHCI",
        }
    }
}

/// How a disk is read and written, past the guest's page cache, one request at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// A MiB after the other.
    Read,
    /// The same, and a flush in the end.
    Write,
    /// 4 KiB here and there.
    RandomRead,
    /// The same, and a flush in the end.
    RandomWrite,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::RandomRead, Self::RandomWrite];

    /// By the name that the program in the guest gives it.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::RandomRead => "random_read",
            Self::RandomWrite => "random_write",
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Read => "sequential reads",
            Self::Write => "sequential writes",
            Self::RandomRead => "random reads of 4 KiB",
            Self::RandomWrite => "random writes of 4 KiB",
        }
    }
}

/// What a guest has read from an emulated disk, or written to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLoad {
    /// Who emulates its computer.
    pub model: DeviceModel,
    /// By which controller.
    pub controller: Controller,
    /// How.
    pub pattern: Pattern,
    /// How much.
    pub bytes: u64,
    /// How long it took.
    pub us: u64,
}

impl DiskLoad {
    /// Reads what the program in the guest says of it: its name, bytes, microseconds.
    pub(super) fn parse(model: DeviceModel, controller: Controller, line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let mut next = || words.next();
        Some(Self {
            model,
            controller,
            pattern: Pattern::parse(next()?)?,
            bytes: next()?.parse().ok()?,
            us: next()?.parse().ok()?,
        })
    }
}

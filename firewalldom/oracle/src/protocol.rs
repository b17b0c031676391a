//! What the test and the process inside the namespace say to each other: postcard behind a length.

use crate::figures::flood::Flood;
use crate::step::{Outputs, Step};
use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

/// What the namespace is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make the links, compile the configuration and start it. Once in a namespace's life.
    Load(Setup),
    /// These neighbours are on the links too.
    Neighbours(Vec<Neighbour>),
    /// Forget all connections, then take these steps.
    Run {
        /// What happens, in order.
        steps: Vec<Step>,
        /// How long to wait for output after each frame, in microseconds; 0: only for what is there
        /// when the frame has been handed over, which is all there is unless the machine is busy.
        settle_us: u32,
    },
    /// Send these as fast as can be; how long that took.
    Flood(Flood),
    /// Run this shell command and say what it printed.
    Shell(String),
}

/// A gateway to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Files of the Shorewall folder: names and contents. None: no firewall at all.
    pub shorewall: Vec<(String, Vec<u8>)>,
    /// Whether Shorewall's own `update` is to see them first: they were written for an older one.
    pub age: Age,
    /// In the order of the policy's interfaces.
    pub links: Vec<LinkSetup>,
    /// As `ip route add` takes them.
    pub routes: Vec<String>,
    /// Whose hardware address is known from the start.
    pub neighbours: Vec<Neighbour>,
}

/// For which Shorewall a configuration was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Age {
    /// This one.
    #[default]
    Current,
    /// An older one.
    Older,
}

/// A link between the firewall and those on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkSetup {
    /// `eth0`.
    pub name: String,
    /// The firewall's hardware address.
    pub mac: [u8; 6],
    /// In bytes, without the Ethernet header.
    pub mtu: u16,
    /// As `ip address add` takes them.
    pub addresses: Vec<String>,
}

/// A station on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Neighbour {
    /// Number of the link.
    pub link: u8,
    /// Its address; its hardware address follows from it.
    pub address: Ipv4Addr,
}

impl Neighbour {
    /// Its hardware address: the address itself behind a locally administered prefix.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.address.octets();
        [0x02, 0, a, b, c, d]
    }
}

/// What the namespace answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// Shorewall refuses the configuration, in its own words.
    Refused(String),
    /// What came out after each step.
    Outputs(Outputs),
    /// What a flood took.
    Took(Duration),
    /// What a shell command printed.
    Text(String),
    /// The oracle itself failed.
    Failed(String),
}

/// No message is longer.
const MAX_BYTES: usize = 1 << 30;

/// Writes a message.
///
/// # Errors
/// When the other side is gone.
pub fn send<T: Serialize>(to: &mut impl Write, message: &T) -> Result<()> {
    let bytes = postcard::to_allocvec(message)?;
    let length = u32::try_from(bytes.len()).context("a message of 4 GiB")?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&bytes)?;
    to.flush()?;
    Ok(())
}

/// Reads a message.
///
/// # Errors
/// When the other side is gone, or speaks another language.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    ensure!(length <= MAX_BYTES, "a message of {length} bytes");
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(postcard::from_bytes(&bytes)?)
}

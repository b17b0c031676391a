//! Network cards: one driver per file, all behind [`Nic`].
//!
//! A driver is the [`Interface`] of minios-rs, as the two ends of a vif are: a relay or a bridge passes
//! frames between cards, backends and frontends and never looks which of them it has.
//!
//! | file | cards |
//! |---|---|
//! | `e1000.rs` | Intel 82540EM and its like, which emulators offer |
//! | `e1000e.rs` | Intel 82574L and 82583V |
//! | `virtio.rs` | virtio-net, as emulators and clouds offer it |
//!
//! What drivers share: `device.rs` (what a driver has to do), `life.rs` (all the rest: up, reset, silent,
//! stopped), `intel.rs` (the registers and descriptors that Intel's gigabit cards have in common), `buffers.rs`
//! (pages for a card to fill), `outgoing.rs` (what it is sending), `offload.rs` (where a checksum is).
//!
//! # What a card can do to us
//! It does what its descriptors let it: with an IOMMU it reaches this domain's memory, and no other's.
//! What it says is checked. Which page a descriptor stands for, and how far it has come, is never read
//! back from what it can write, but known here; the length of what it received is bounded by the page,
//! the pieces of a frame by what a frame can have. A card that stops answering is reset, by its own
//! registers, and lost frames are counted.

mod buffers;
mod device;
mod e1000;
mod e1000e;
mod intel;
mod life;
pub(crate) mod offload;
mod outgoing;
mod virtio;

use alloc::boxed::Box;
use core::time::Duration;
use minios_rs::hardware::Hardware;
use minios_rs::net::front::{HEAD_MAX, TransmitError};
use minios_rs::net::{ETHERNET_HEADER, FRAME_SLOTS_MAX, Interface, MacAddress, Slice};
use minios_rs::pci::{self, Command, Function, InterruptKind};
use minios_rs::task::Executor;
use minios_rs::time::Instant;
use minios_rs::xen::{OutOfMemory, PAGE_SIZE};
use thiserror::Error as ThisError;

/// Descriptors of a ring: with 16 bytes each, a page.
const RING: usize = 256;

/// How long a card may take to come up.
const START_TIME: Duration = Duration::from_secs(5);

/// What a card is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Pages to receive into.
    pub buffers: u16,
    /// Bytes of an IP packet: longer frames are neither sent nor taken.
    pub mtu: u16,
    /// Which frames it takes.
    pub filter: Filter,
}

/// Which frames a card takes from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All: others' addresses are behind it, as behind a bridge.
    All,
    /// Those for its own address, and for groups.
    Own,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            buffers: 192,
            mtu: 1500,
            filter: Filter::All,
        }
    }
}

/// What is at the other end of a card's cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing, or nothing that answers.
    Down,
    /// Another station or a switch, at so many Mbit/s. 0: the card does not say.
    Up(u32),
}

/// How a card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It works.
    Up,
    /// It is being reset.
    Resetting,
    /// It does not answer; now and then it is tried again.
    Silent,
    /// [`Nic::stop`] was called.
    Stopped,
}

/// What happened, by reason. All of them only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received whole, and passed on.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames given to the card.
    pub transmitted_frames: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
    /// Received frames dropped: the card says that they came damaged.
    pub dropped_error: u64,
    /// Received frames dropped: shorter than an Ethernet header, or longer than they may be.
    pub dropped_size: u64,
    /// Received frames dropped: the card describes what cannot be.
    pub dropped_malformed: u64,
    /// Frames that the card itself had no room for, by its own count.
    pub missed: u64,
    /// Frames that were with the card when it was reset.
    pub lost: u64,
    /// Interrupts served.
    pub interrupts: u64,
    /// Resets, the first one left out.
    pub resets: u64,
    /// Changes of the link.
    pub link_changes: u64,
    /// Tokens given back that were not this card's to take.
    pub foreign_tokens: u64,
}

/// A card that is driven.
pub trait Nic<X: Hardware>: Interface<X> {
    /// What it is.
    fn model(&self) -> &'static str;

    /// How its interrupt comes.
    fn interrupt_kind(&self) -> InterruptKind;

    /// How it is.
    fn state(&self) -> State;

    /// Its cable.
    fn link(&self) -> Link;

    /// What happened.
    fn statistics(&self) -> Statistics;

    /// Whether a frame of any number of pieces can be sent now. One that cannot send at all has room: what it
    /// is given is lost at once.
    fn has_room(&mut self) -> bool;

    /// Once a turn, before anything else: serves its interrupt, looks after it, brings a reset on. When to
    /// call it next if nothing happens.
    fn poll(&mut self, now: Instant) -> Option<Instant>;

    /// Resets it. What it was sending is lost.
    fn reset(&mut self, now: Instant);

    /// Silences it for good, before its function goes. What it was sending comes back by
    /// [`Interface::completed`].
    fn stop(&mut self);
}

/// Why a card could not be brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// Its function, or the backend of that.
    #[error(transparent)]
    Pci(#[from] pci::Error),
    /// No pages.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Nobody here drives it.
    #[error("no driver for the card {0:04x}:{1:04x}")]
    Unknown(u16, u16),
    /// Its address is none that a station may have.
    #[error("the card has no address")]
    NoAddress,
    /// It does not answer.
    #[error("the card does not answer")]
    Silent,
}

/// Finds the driver of a card and brings the card up. Dropped half-way, or failing, it leaves the card
/// unable to reach memory.
///
/// # Errors
/// [`Error`].
pub async fn bring_up<X: Hardware>(
    function: &Function<X>,
    executor: &Executor,
    config: Config,
) -> Result<Box<dyn Nic<X>>, Error> {
    let identity = function.identity().await?;
    let id = (identity.vendor, identity.device);
    let started = match id {
        (intel::VENDOR, device) if e1000::CHIP.devices.contains(&device) => {
            let started = intel::start(&e1000::CHIP, function, executor, config).await;
            started.map(|card| Box::new(card) as Box<dyn Nic<X>>)
        }
        (intel::VENDOR, device) if e1000e::CHIP.devices.contains(&device) => {
            let started = intel::start(&e1000e::CHIP, function, executor, config).await;
            started.map(|card| Box::new(card) as Box<dyn Nic<X>>)
        }
        (virtio::VENDOR, virtio::DEVICE) => {
            let started = virtio::start(function, executor, config).await;
            started.map(|card| Box::new(card) as Box<dyn Nic<X>>)
        }
        _ => Err(Error::Unknown(id.0, id.1)),
    };
    match started {
        Ok(card) => Ok(card),
        Err(error) => {
            // What it was told of may be others' by now.
            let _ = function.command(Command::empty(), Command::MASTER).await;
            Err(error)
        }
    }
}

/// Whether a frame can be sent at all: its length.
fn sound<P>(head: &[u8], tail: &[Slice<P>], frame_max: usize) -> Result<usize, TransmitError> {
    let payload: usize = tail.iter().map(|slice| usize::from(slice.len)).sum();
    let total = head.len() + payload;
    if head.is_empty()
        || head.len() > HEAD_MAX
        || tail.len() >= FRAME_SLOTS_MAX
        || !(ETHERNET_HEADER..=frame_max).contains(&total)
    {
        return Err(TransmitError::Size);
    }
    let is_sound = |slice: &Slice<P>| {
        slice.len != 0
            && usize::from(slice.offset) + usize::from(slice.len) <= PAGE_SIZE
            && slice.buffer.is_lendable()
    };
    match tail.iter().all(is_sound) {
        true => Ok(total),
        false => Err(TransmitError::Invalid),
    }
}

/// The address as a card's registers have it: the first byte lowest.
fn station(low: u32, high: u32) -> Option<MacAddress> {
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    let address = MacAddress([a, b, c, d, e, f]);
    address.is_station().then_some(address)
}

#[cfg(any(test, feature = "fake"))]
pub mod model;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fake"))]
pub mod virtio_model;

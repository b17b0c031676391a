//! Network devices (xen/io/netif.h).
//!
//! [`Front`] is the frontend of a vif, [`Back`] the backend of a guest's, [`Interface`] either.
//!
//! A front never moves payload: a received frame is a list of [`Slice`]s of pages that its backend
//! filled, and the same slices can follow a header of ours out of another [`Front`]. See [`front`] for
//! who may see which page when, and [`back`] for how a back has Xen copy it instead, once.
//!
//! ```no_run
//! use minios_rs::net::{Front, Offload, front::TAIL_MAX};
//! use minios_rs::xen::Xen;
//!
//! /// Passes on what came in at one vif, its first 128 bytes rewritten.
//! fn forward<X: Xen>(inside: &mut Front<X>, outside: &mut Front<X>) {
//!     while let Some(frame) = inside.receive() {
//!         let mut head = [0; 128];
//!         if frame.read(0, &mut head) < head.len() || frame.slots[0].len <= 128 {
//!             inside.recycle_frame(frame);
//!             continue;
//!         }
//!         let offload = Offload { checksum: frame.checksum, gso: frame.gso };
//!         let mut slots = frame.slots.into_iter();
//!         let mut tail: heapless::Vec<_, TAIL_MAX> = slots.by_ref().take(TAIL_MAX).collect();
//!         tail[0].advance(128);
//!         // A frame that came in all the slots there are would need one more: dropped.
//!         let rest = slots.next();
//!         if rest.is_none() {
//!             let _ = outside.transmit(&head, &mut tail, offload);
//!         }
//!         for slice in tail.into_iter().chain(rest) {
//!             inside.recycle(slice.buffer);
//!         }
//!     }
//!     while let Some(buffer) = outside.completed() {
//!         inside.recycle(buffer);
//!     }
//!     inside.flush();
//!     outside.flush();
//! }
//! ```

#![forbid(unsafe_code)]

pub mod back;
pub mod bridge;
mod claim;
mod frame;
pub mod front;
mod interface;
pub mod moderation;
pub mod offload;
pub mod queue;

pub use back::{Back, Backends, Outlet};
pub use claim::Claim;
pub use frame::{FRAME_SLOTS_MAX, FrontId, Received, RxBuffer, Slice};
pub use front::{
    Config, Counters, Error, Features, Front, Link, State, StillInUse, TransmitError, Wake,
};
pub use interface::{Egress, Interface};
pub use moderation::Moderation;

use thiserror::Error;

/// Bytes of an Ethernet header: no frame is shorter.
pub const ETHERNET_HEADER: usize = 14;

/// What is known of a frame's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: whoever needs to know must compute it.
    #[default]
    Unknown,
    /// It is right.
    Validated,
    /// The field holds the pseudo-header's sum only; the data never left the machine. Whoever puts
    /// the frame on a wire fills it in.
    Blank,
}

/// What a frame longer than the MTU is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP segments over IPv4.
    TcpV4,
    /// TCP segments over IPv6.
    TcpV6,
}

/// A frame that is to be cut into segments where it leaves the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Into what.
    pub kind: GsoKind,
    /// Bytes of payload in each segment; not 0.
    pub size: u16,
}

/// What the frame's receiver need not do, or still has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum.
    pub checksum: Checksum,
    /// Segmentation; only with a blank checksum.
    pub gso: Option<Gso>,
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether one station may have it: it is no group's, and not zero.
    pub fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

/// Not six hexadecimal bytes with colons between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an Ethernet address of a station")]
pub struct BadMacAddress;

impl core::str::FromStr for MacAddress {
    type Err = BadMacAddress;

    fn from_str(text: &str) -> Result<Self, BadMacAddress> {
        let mut bytes = [0; 6];
        let mut parts = text.trim().split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .ok_or(BadMacAddress)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadMacAddress)?;
        }
        if parts.next().is_some() {
            Err(BadMacAddress)
        } else {
            Ok(Self(bytes))
        }
    }
}

impl core::fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let text = "00:16:3e:0a:Ff:01";
        let mac: MacAddress = text.parse().unwrap();
        assert_eq!(mac, MacAddress([0, 0x16, 0x3e, 0x0a, 0xff, 1]));
        assert_eq!(mac.to_string(), text.to_lowercase());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "00:16:3e:00:00",
            "00:16:3e:00:00:00:00",
            "0:16:3e:00:00:00",
            "00:16:3e:00:00:0g",
            "+1:16:3e:00:00:00",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}

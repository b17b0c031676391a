//! Consoles beyond the first: `device/console/N` of a domain, a stream of bytes each way with whoever
//! plays the backend (xen/io/console.h).
//!
//! The toolstack gives a stub domain one for each serial port of its guest, and two for the streams
//! of saved state. A [`Front`] can be written to and read from the moment it is there, whether or not
//! a backend ever comes: it never waits, and what does not fit is the writer's to keep or to drop.
//! The handshake is a task of its own, [`Link::follow`].
//!
//! ```no_run
//! # use minios_rs::{xen::Xen, xenstore::Client, consoles::{self, Front}};
//! # async fn example<X: Xen>(xen: &X, store: &Client<X>) -> Result<(), Box<dyn std::error::Error>> {
//! let (mut front, link) = Front::open(xen, store, 3).await?;
//! let written = front.write(b"hello\r\n")?;
//! link.follow().await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

use crate::abi::errno::ENOMEM;
use crate::abi::io::console::ConsoleInterface;
use crate::ring::Corrupt;
use crate::ring::stream::{Layout, Reader, Writer};
use crate::xen::{Access, BoundPort, DomId, Granted, ResourceError, Xen};
use crate::xenbus::{self, Device, XenbusState};
use crate::xenstore::Client;
use alloc::string::ToString;
use core::mem::offset_of;
use thiserror::Error as ThisError;

/// Bytes that the backend may have written, and this end not yet read.
pub const INPUT_SIZE: usize = 1024;
/// Bytes that this end may have written, and the backend not yet read.
pub const OUTPUT_SIZE: usize = 2048;

const INPUT: Layout = Layout {
    buffer: offset_of!(ConsoleInterface, input),
    size: INPUT_SIZE,
    cons: offset_of!(ConsoleInterface, in_cons),
    prod: offset_of!(ConsoleInterface, in_prod),
};
const OUTPUT: Layout = Layout {
    buffer: offset_of!(ConsoleInterface, output),
    size: OUTPUT_SIZE,
    cons: offset_of!(ConsoleInterface, out_cons),
    prod: offset_of!(ConsoleInterface, out_prod),
};

/// States of a backend that may have the ring mapped.
const HOLDING: [XenbusState; 2] = [XenbusState::CONNECTED, XenbusState::CLOSING];

/// Why a console could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The handshake.
    #[error(transparent)]
    Xenbus(#[from] xenbus::Error),
    /// Memory, grants or ports.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

/// This end of a console.
pub struct Front<X: Xen> {
    page: Granted<X>,
    port: BoundPort<X>,
    reader: Reader,
    writer: Writer,
}

/// Its end in xenstore.
pub struct Link<X: Xen> {
    device: Device<X>,
}

impl<X: Xen> Front<X> {
    /// Takes what the console of that number needs, and shows it to the backend. One that this domain has closed is
    /// opened anew, once the backend is ready for that.
    ///
    /// # Errors
    /// [`Error`]; [`xenbus::Error::Gone`] if the toolstack made no such console.
    pub async fn open(xen: &X, store: &Client<X>, index: u32) -> Result<(Self, Link<X>), Error> {
        let mut device = Device::frontend(store, "console", index).await?;
        if device.own_state().await? == XenbusState::CLOSED {
            device.switch_to(XenbusState::INITIALISING).await?;
            let is_ready = |state| [XenbusState::INIT_WAIT, XenbusState::UNKNOWN].contains(&state);
            device.wait_until(&is_ready).await?;
        }
        let front = match Self::new(xen, device.other_id()) {
            Ok(front) => front,
            Err(error) => {
                // The first error is the one to report, whatever becomes of this.
                let _ = device.fatal(ENOMEM, &error.to_string()).await;
                return Err(error.into());
            }
        };
        let reference = front.page.reference().0.to_string();
        let port = front.port.number().0.to_string();
        let keys = [("ring-ref", &*reference), ("port", &*port)];
        device.publish(&keys, XenbusState::INITIALISED).await?;
        Ok((front, Link { device }))
    }

    fn new(xen: &X, backend: DomId) -> Result<Self, ResourceError> {
        let port = BoundPort::allocate(xen, backend)?;
        Ok(Self {
            page: Granted::allocate(xen, backend, Access::ReadWrite)?,
            port,
            reader: Reader::new(INPUT),
            writer: Writer::new(OUTPUT),
        })
    }

    /// Takes what has come; 0 if nothing has.
    ///
    /// # Errors
    /// [`Corrupt`]: the backend's index cannot be. Nothing will ever come out again.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, Corrupt> {
        let count = self.reader.read(self.page.page(), into)?;
        self.tell(count);
        Ok(count)
    }

    /// Puts in as much as there is room for, and says how much that was. When the backend has made
    /// room again, an event comes.
    ///
    /// # Errors
    /// [`Corrupt`]: the backend's index cannot be. Nothing will ever go in again.
    pub fn write(&mut self, from: &[u8]) -> Result<usize, Corrupt> {
        let count = self.writer.write(self.page.page(), from)?;
        self.tell(count);
        Ok(count)
    }

    /// Whether the backend has read all that was written.
    ///
    /// # Errors
    /// [`Corrupt`], as [`Front::write`].
    pub fn is_drained(&self) -> Result<bool, Corrupt> {
        Ok(self.writer.unread(self.page.page())? == 0)
    }

    fn tell(&self, moved: usize) {
        // Neither ring has a place where the peer could say that it does not want to know.
        if moved > 0 {
            // Xen refuses only what is no port of ours.
            let _ = self.port.notify();
        }
    }
}

impl<X: Xen> Link<X> {
    /// Closes the console from this side, and waits until the backend has let go of the ring.
    ///
    /// # Errors
    /// xenstore's; that the console is gone is none.
    pub async fn close(mut self) -> Result<(), xenbus::Error> {
        match self.device.switch_to(XenbusState::CLOSED).await {
            Ok(()) | Err(xenbus::Error::Gone) => {}
            Err(error) => return Err(error),
        }
        let has_let_go = |state| !HOLDING.contains(&state);
        self.device.wait_until(&has_let_go).await.map(drop)
    }

    /// Sees the backend come, and go. A backend that goes does not come back to the same console.
    ///
    /// # Errors
    /// xenstore's; that the console is gone is none.
    pub async fn follow(mut self) -> Result<(), xenbus::Error> {
        // As Linux' frontend: some backends wait for this with nothing more than InitWait.
        let there = [
            XenbusState::INIT_WAIT,
            XenbusState::INITIALISED,
            XenbusState::CONNECTED,
        ];
        let followed = match self.device.wait_for(&there).await {
            Ok(_) => self.device.switch_to(XenbusState::CONNECTED).await,
            Err(xenbus::Error::Closing) => Ok(()),
            Err(error) => Err(error),
        };
        match followed {
            Ok(()) => self.device.close().await,
            Err(xenbus::Error::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;

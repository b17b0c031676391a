//! The server's end of a vchan: a stream of bytes both ways with one client at a time in another
//! domain (xen/io/libxenvchan.h), as `libxenvchan` and `vchan-socket-proxy` speak it.
//!
//! One page holds both rings, 1,024 bytes from the client and 2,048 to it. Clients come and go;
//! each begins with empty rings.
//!
//! # One client after another
//! A client says that it is there by writing 1 to `cli_live`, and 0 when it goes. A server that
//! looks seldom sees 1 before and 1 after, and misses that it now talks to another one, who waits
//! for a greeting for ever. Nobody but the server reads that byte. So it answers 1 with 2, which
//! means `not yet connected` to nobody: the next 1 is the next client, whatever happened in between.
//! (No bit of the other bytes could tell as much: a client's first write to them may come after its
//! `cli_live`, and would then look like a second client.)
//!
//! ```no_run
//! # use minios_rs::{xen::{DomId, Xen}, xenstore::Client, vchan::{Peer, Server}};
//! # async fn serve<X: Xen>(xen: &X, store: &Client<X>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut server = Server::new(xen, DomId(0))?;
//! server.publish(store, "data/echo").await?;
//! // In the main loop, after every event:
//! let mut bytes = [0; 128];
//! match server.poll() {
//!     Peer::Arrived => server.write(b"hello\n").map(drop)?,
//!     Peer::Present => {
//!         let count = server.read(&mut bytes)?;
//!         server.write(&bytes[..count]).map(drop)?;
//!     }
//!     Peer::Absent => {}
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

use crate::abi::io::libxenvchan::{VCHAN_NOTIFY_READ, VCHAN_NOTIFY_WRITE, VchanInterface};
use crate::ring::Corrupt;
use crate::ring::stream::{Layout, Reader, Writer};
use crate::xen::{Access, BoundPort, DomId, Granted, ResourceError, SharedPage, Xen};
use crate::xenbus::Boxed;
use crate::xenstore::{self, Client};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

/// Bytes that the client may have written, and this end not yet read.
pub const LEFT_SIZE: usize = 1 << LEFT_ORDER;
/// Bytes that this end may have written, and the client not yet read.
pub const RIGHT_SIZE: usize = 1 << RIGHT_ORDER;

const LEFT_ORDER: u16 = 10;
const RIGHT_ORDER: u16 = 11;

const LEFT: Layout = Layout {
    buffer: 1024,
    size: LEFT_SIZE,
    cons: offset_of!(VchanInterface, left.cons),
    prod: offset_of!(VchanInterface, left.prod),
};
const RIGHT: Layout = Layout {
    buffer: 2048,
    size: RIGHT_SIZE,
    cons: offset_of!(VchanInterface, right.cons),
    prod: offset_of!(VchanInterface, right.prod),
};

/// The word with both orders.
const ORDERS: usize = offset_of!(VchanInterface, left_order);
/// The word with `cli_live`, `srv_live`, `cli_notify` and `srv_notify`, from its low byte up.
const LIVE: usize = offset_of!(VchanInterface, cli_live);

/// A byte of the word [`LIVE`].
const fn byte(field: usize, value: u8) -> u32 {
    (value as u32) << (8 * (field - LIVE))
}

const SERVER_LIVES: u32 = byte(offset_of!(VchanInterface, srv_live), 1);
const TELL_ME: usize = offset_of!(VchanInterface, cli_notify);
const TELL_IT: usize = offset_of!(VchanInterface, srv_notify);

/// What a client writes to `cli_live`.
const CONNECTED: u8 = 1;
/// What stands there before, and once the server has noticed it.
const NOTICED: u8 = 2;

/// Whether there is a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// No.
    Absent,
    /// One that was not there before; nothing of what another one wrote or did not read is left.
    Arrived,
    /// The same one as before.
    Present,
}

/// The server's end.
pub struct Server<X: Xen> {
    page: Granted<X>,
    port: BoundPort<X>,
    reader: Reader,
    writer: Writer,
    is_client_there: bool,
}

impl<X: Xen> Server<X> {
    /// A vchan for clients in one domain, which no client finds before [`Server::publish`].
    ///
    /// # Errors
    /// [`ResourceError`].
    pub fn new(xen: &X, client: DomId) -> Result<Self, ResourceError> {
        let port = BoundPort::allocate(xen, client)?;
        let page = Granted::allocate(xen, client, Access::ReadWrite)?;
        let orders = u32::from(LEFT_ORDER) | u32::from(RIGHT_ORDER) << 16;
        page.page().word(ORDERS).store(orders, Ordering::Relaxed);
        let live = byte(LIVE, NOTICED) | SERVER_LIVES | byte(TELL_ME, VCHAN_NOTIFY_WRITE);
        page.page().word(LIVE).store(live, Ordering::Release);
        Ok(Self {
            page,
            port,
            reader: Reader::new(LEFT),
            writer: Writer::new(RIGHT),
            is_client_there: false,
        })
    }

    /// Writes the two nodes below `directory` by which a client finds it.
    ///
    /// # Errors
    /// xenstore's.
    pub fn publish<'a>(
        &'a self,
        store: &'a Client<X>,
        directory: &'a str,
    ) -> Boxed<'a, Result<(), xenstore::Error>> {
        Box::pin(async move {
            let reference = self.page.reference().0.to_string();
            let port = self.port.number().0.to_string();
            // A client that watches tries as soon as the first of them is there.
            let written = store.transaction(async |transaction| {
                let node = format!("{directory}/ring-ref");
                transaction.write(&node, &reference).await?;
                let node = format!("{directory}/event-channel");
                transaction.write(&node, &port).await
            });
            written.await
        })
    }

    /// Looks whether there is a client. Between two calls, reading and writing is with the one that
    /// was there at the first.
    pub fn poll(&mut self) -> Peer {
        let live = self.page.page().word(LIVE);
        let noticed = live.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word as u8 == CONNECTED).then_some(word & !0xff | byte(LIVE, NOTICED))
        });
        match noticed {
            Ok(_) => {
                self.empty();
                self.is_client_there = true;
                Peer::Arrived
            }
            Err(word) if word as u8 == NOTICED && self.is_client_there => Peer::Present,
            Err(_) => {
                if self.is_client_there {
                    self.is_client_there = false;
                    // So that the next one finds nothing even if it is quicker than the next look.
                    self.empty();
                }
                Peer::Absent
            }
        }
    }

    fn empty(&mut self) {
        self.reader.discard(self.page.page());
        self.writer.rewind(self.page.page());
    }

    /// Takes what the client wrote; 0 if there is nothing.
    ///
    /// # Errors
    /// [`Corrupt`]: the client's indices cannot be. The next client starts anew.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, Corrupt> {
        // Each time, because a client takes the wish back when it sends the event; and before
        // looking, so that what comes after the look brings one.
        self.wish(VCHAN_NOTIFY_WRITE);
        let count = self.reader.read(self.page.page(), into)?;
        if count > 0 {
            self.tell(VCHAN_NOTIFY_READ);
        }
        Ok(count)
    }

    /// Gives the client as much as there is room for, and says how much that was. When it has made
    /// room again, an event comes.
    ///
    /// # Errors
    /// [`Corrupt`], as [`Server::read`].
    pub fn write(&mut self, from: &[u8]) -> Result<usize, Corrupt> {
        let mut count = self.writer.write(self.page.page(), from)?;
        if count < from.len() {
            self.wish(VCHAN_NOTIFY_READ);
            // It may have read in between, and told nobody.
            count += self.writer.write(self.page.page(), &from[count..])?;
        }
        if count > 0 {
            self.tell(VCHAN_NOTIFY_WRITE);
        }
        Ok(count)
    }

    /// Asks the client for events.
    fn wish(&self, bit: u8) {
        let word = self.page.page().word(LIVE);
        word.fetch_or(byte(TELL_ME, bit), Ordering::SeqCst);
    }

    /// Sends the client an event if it asked for one.
    fn tell(&self, bit: u8) {
        let bit = byte(TELL_IT, bit);
        let word = self.page.page().word(LIVE);
        if word.fetch_and(!bit, Ordering::SeqCst) & bit != 0 {
            // Xen refuses only what is no port of ours.
            let _ = self.port.notify();
        }
    }
}

impl<X: Xen> Drop for Server<X> {
    fn drop(&mut self) {
        let word = self.page.page().word(LIVE);
        word.fetch_and(!SERVER_LIVES, Ordering::SeqCst);
        let _ = self.port.notify();
    }
}

#[cfg(test)]
mod tests;

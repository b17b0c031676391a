//! What a relay asks of an interface, whichever end of a vif it is.

#![forbid(unsafe_code)]

use super::front::{TransmitError, Wake};
use super::{Back, Front, FrontId, MacAddress, Offload, Received, RxBuffer, Slice};
use crate::ring::Pending;
use crate::xen::{DomId, Xen};

/// Whose pages an interface can send payload from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Lends pages to its backend: a slice has to lie in a page that can be lent, and is fetched first
    /// if it does not ([`Interface::fetch`] of the interface it came in at).
    Lends,
    /// Has Xen copy: any slice will do.
    Copies,
}

/// One end of a vif, to pass frames between and never look which end it is. A relay for both is
///
/// ```
/// use minios_rs::net::{Egress, Interface, Offload, Received, back::HEAD_MAX};
/// use minios_rs::xen::Xen;
///
/// /// Passes on what came in at one interface, its header rewritten.
/// fn forward<X: Xen>(ingress: &mut dyn Interface<X>, egress: &mut dyn Interface<X>) {
///     let mut frame = Received::default();
///     while ingress.receive_into(&mut frame) {
///         let mut head = [0; HEAD_MAX];
///         let read = frame.read(0, &mut head);
///         let offload = Offload { checksum: frame.checksum, gso: frame.gso };
///         // What is rewritten is sent from the caller's own memory.
///         let used = read.min(usize::from(frame.slots[0].len));
///         if used == usize::from(frame.slots[0].len) {
///             ingress.recycle(frame.slots.remove(0).buffer);
///         } else {
///             frame.slots[0].advance(used as u16);
///         }
///         let fetched = match egress.egress() {
///             Egress::Lends => ingress.fetch(frame.slots.as_mut_view()),
///             Egress::Copies => Ok(()),
///         };
///         if fetched.is_ok() {
///             let _ = egress.transmit_slots(&head[..used], frame.slots.as_mut_view(), offload);
///         }
///         while let Some(slice) = frame.slots.pop() {
///             ingress.recycle(slice.buffer);
///         }
///     }
///     // Copies are done and frames shown; then what was used is given back, and answered.
///     egress.flush();
///     while let Some(buffer) = egress.completed() {
///         ingress.recycle(buffer);
///     }
///     ingress.flush();
/// }
/// ```
pub trait Interface<X: Xen> {
    /// Which connection this is: the [`RxBuffer::owner`] of its buffers.
    fn id(&self) -> FrontId;

    /// The domain at the other end.
    fn peer(&self) -> DomId;

    /// The vif's address: of a front its own, of a back the guest's.
    fn mac(&self) -> MacAddress;

    /// Bytes of an IP packet that the network takes.
    fn mtu(&self) -> u16;

    /// Whether it works.
    fn is_open(&self) -> bool;

    /// How it sends.
    fn egress(&self) -> Egress;

    /// Puts the next frame into `frame`, which should be empty. False: there is none.
    fn receive_into(&mut self, frame: &mut Received<X::Page>) -> bool;

    /// Makes every slice of frames received here one that can be lent.
    ///
    /// # Errors
    /// [`TransmitError`]; the slices are then as they were.
    fn fetch(
        &mut self,
        slots: &mut heapless::VecView<Slice<X::Page>>,
    ) -> Result<(), TransmitError> {
        // But for a back's, whatever is received lies in pages of ours already.
        match slots.iter().all(|slice| slice.buffer.is_lendable()) {
            true => Ok(()),
            false => Err(TransmitError::Invalid),
        }
    }

    /// Sends a frame: `head`, which is copied at once, then `tail`.
    ///
    /// # Errors
    /// [`TransmitError`]. What is then still in `tail` is the caller's to recycle.
    fn transmit_slots(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError>;

    /// The next buffer that was sent and is no longer used: give it to its owner.
    fn completed(&mut self) -> Option<RxBuffer<X::Page>>;

    /// Takes a buffer back.
    fn recycle(&mut self, buffer: RxBuffer<X::Page>);

    /// Shows the peer what was done since the last time.
    fn flush(&mut self);

    /// The final check before sleeping.
    fn park_until(&mut self, wake: Wake) -> Pending;
}

impl<X: Xen> Interface<X> for Front<X> {
    fn id(&self) -> FrontId {
        Front::id(self)
    }

    fn peer(&self) -> DomId {
        self.backend()
    }

    fn mac(&self) -> MacAddress {
        Front::mac(self)
    }

    fn mtu(&self) -> u16 {
        Front::mtu(self)
    }

    fn is_open(&self) -> bool {
        self.state() == super::front::State::Open
    }

    fn egress(&self) -> Egress {
        Egress::Lends
    }

    fn receive_into(&mut self, frame: &mut Received<X::Page>) -> bool {
        Front::receive_into(self, frame)
    }

    fn transmit_slots(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        Front::transmit_slots(self, head, tail, offload)
    }

    fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        Front::completed(self)
    }

    fn recycle(&mut self, buffer: RxBuffer<X::Page>) {
        Front::recycle(self, buffer);
    }

    fn flush(&mut self) {
        Front::flush(self);
    }

    fn park_until(&mut self, wake: Wake) -> Pending {
        Front::park_until(self, wake)
    }
}

impl<X: Xen> Interface<X> for Back<X> {
    fn id(&self) -> FrontId {
        Back::id(self)
    }

    fn peer(&self) -> DomId {
        self.frontend()
    }

    fn mac(&self) -> MacAddress {
        self.settings().mac
    }

    fn mtu(&self) -> u16 {
        self.settings().mtu
    }

    fn is_open(&self) -> bool {
        self.state() == super::back::State::Open
    }

    fn egress(&self) -> Egress {
        Egress::Copies
    }

    fn receive_into(&mut self, frame: &mut Received<X::Page>) -> bool {
        Back::receive_into(self, frame)
    }

    fn fetch(
        &mut self,
        slots: &mut heapless::VecView<Slice<X::Page>>,
    ) -> Result<(), TransmitError> {
        Back::fetch(self, slots)
    }

    fn transmit_slots(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        Back::transmit(self, head, tail, offload)
    }

    fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        Back::completed(self)
    }

    fn recycle(&mut self, buffer: RxBuffer<X::Page>) {
        Back::recycle(self, buffer);
    }

    fn flush(&mut self) {
        Back::flush(self);
    }

    fn park_until(&mut self, wake: Wake) -> Pending {
        Back::park_until(self, wake)
    }
}

#[cfg(test)]
mod tests;

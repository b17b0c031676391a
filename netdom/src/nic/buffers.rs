//! Pages for a card to fill, and where each of them is.

use alloc::vec::Vec;
use minios_rs::hardware::Hardware;
use minios_rs::net::{FrontId, RxBuffer};
use minios_rs::xen::OutOfMemory;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// With us.
    Free,
    /// With the card.
    Posted,
    /// With whoever passes the frame on.
    Lent,
}

struct Buffer<P> {
    page: P,
    address: u64,
    place: Place,
}

/// A card's receive buffers, of a page each.
pub(super) struct Buffers<X: Hardware> {
    owner: FrontId,
    buffers: Vec<Buffer<X::Page>>,
    free: Vec<u16>,
}

impl<X: Hardware> Buffers<X> {
    pub(super) fn new(xen: &X, owner: FrontId, count: u16) -> Result<Self, OutOfMemory> {
        let mut buffers = Vec::with_capacity(count.into());
        for _ in 0..count {
            let page = xen.allocate_page()?;
            let address = xen.machine_address(&page);
            buffers.push(Buffer {
                page,
                address,
                place: Place::Free,
            });
        }
        Ok(Self {
            owner,
            buffers,
            free: (0..count).rev().collect(),
        })
    }

    /// A free one and its machine address, to be given to the card.
    pub(super) fn post(&mut self) -> Option<(u16, u64)> {
        let index = self.free.pop()?;
        let buffer = &mut self.buffers[usize::from(index)];
        buffer.place = Place::Posted;
        Some((index, buffer.address))
    }

    /// One that the card has filled, to be passed on.
    pub(super) fn lend(&mut self, index: u16) -> RxBuffer<X::Page> {
        let buffer = &mut self.buffers[usize::from(index)];
        assert_eq!(buffer.place, Place::Posted, "only the card's are filled");
        buffer.place = Place::Lent;
        RxBuffer::of_card(self.owner, index, buffer.page.clone())
    }

    /// One that the card has no more use for, and nobody else.
    pub(super) fn unpost(&mut self, index: u16) {
        let buffer = &mut self.buffers[usize::from(index)];
        assert_eq!(buffer.place, Place::Posted, "only the card's come back");
        buffer.place = Place::Free;
        self.free.push(index);
    }

    /// One that was passed on. False: it is not of these, or here already.
    pub(super) fn recycle(&mut self, token: &RxBuffer<X::Page>) -> bool {
        let Some(buffer) = self.buffers.get_mut(usize::from(token.index())) else {
            return false;
        };
        if token.owner() != self.owner || buffer.place != Place::Lent {
            return false;
        }
        buffer.place = Place::Free;
        self.free.push(token.index());
        true
    }
}

//! What is sent: a chain of descriptors for each frame, which may come back in any order.

use super::prefix::{self, PREFIX};
use super::queue::{NEXT, NO_INTERRUPT, Queue};
use super::registers::{Features, NO_VECTOR, Windows};
use crate::nic::RING;
use crate::nic::device::Corrupt;
use crate::nic::offload;
use crate::nic::outgoing::{Carried, Heads};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use minios_rs::hardware::Hardware;
use minios_rs::net::front::{HEAD_MAX, TransmitError};
use minios_rs::net::{Checksum, FRAME_SLOTS_MAX, GsoKind, Offload, RxBuffer, Slice};
use minios_rs::xen::OutOfMemory;

/// A frame on its way out.
struct Chain<P> {
    carried: heapless::Vec<Carried<P>, FRAME_SLOTS_MAX>,
    descriptors: heapless::Vec<u16, FRAME_SLOTS_MAX>,
}

pub(super) struct Transmitter<X: Hardware> {
    xen: X,
    queue: Queue<X>,
    features: Features,
    heads: Heads<X>,
    /// By their first descriptor.
    chains: Vec<Option<Chain<X::Page>>>,
    free: Vec<u16>,
    in_flight: usize,
    completed: VecDeque<RxBuffer<X::Page>>,
}

impl<X: Hardware> Transmitter<X> {
    pub(super) fn new(xen: &X) -> Result<Self, OutOfMemory> {
        Ok(Self {
            xen: xen.clone(),
            queue: Queue::new(xen, 1)?,
            features: Features::empty(),
            heads: Heads::new(xen)?,
            chains: (0..RING).map(|_| None).collect(),
            free: Vec::new(),
            in_flight: 0,
            completed: VecDeque::with_capacity(RING),
        })
    }

    /// Sets it up with a card that was reset. False: the card has no such queue.
    pub(super) fn program(&mut self, windows: &Windows<X>, features: Features) -> bool {
        // What was sent is looked for by time.
        if !self.queue.program(windows, NO_VECTOR, NO_INTERRUPT) {
            return false;
        }
        self.features = features;
        self.free = (0..self.queue.size as u16).rev().collect();
        self.in_flight = 0;
        true
    }

    pub(super) fn show(&mut self, windows: &Windows<X>) {
        self.queue.show(windows);
    }

    /// Whether frames are on their way out.
    pub(super) fn is_sending(&self) -> bool {
        self.in_flight > 0
    }

    pub(super) fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        self.completed.pop_front()
    }

    pub(super) fn has_completed(&self) -> bool {
        !self.completed.is_empty()
    }

    /// What was to be sent is not: how many frames.
    pub(super) fn abandon(&mut self) -> u64 {
        let mut lost = 0;
        for head in 0..RING {
            if self.chains[head].is_some() {
                lost += 1;
                self.finish(head);
            }
        }
        lost
    }

    /// Gives back what the chain that begins at a descriptor carried.
    fn finish(&mut self, head: usize) {
        let Some(chain) = self.chains.get_mut(head).and_then(Option::take) else {
            return;
        };
        for carried in chain.carried {
            match carried {
                Carried::Head(place) => self.heads.free(place),
                Carried::Tail(buffer) => self.completed.push_back(buffer),
                Carried::Nothing => {}
            }
        }
        self.free.extend(chain.descriptors);
        self.in_flight -= 1;
    }

    /// Takes back what was sent: whether there was any.
    pub(super) fn reap(&mut self) -> Result<bool, Corrupt> {
        let count = self.queue.came_back(self.in_flight)?;
        for _ in 0..count {
            let (head, _) = self.queue.back(0);
            if self.chains.get(head).is_none_or(Option::is_none) {
                return Err(Corrupt);
            }
            self.finish(head);
            self.queue.advance(1);
        }
        Ok(count > 0)
    }

    /// Whether a frame of any number of pieces fits.
    pub(super) fn has_room(&self) -> bool {
        self.free.len() >= FRAME_SLOTS_MAX.min(self.queue.size) && !self.heads.is_empty()
    }

    pub(super) fn send(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        // QEMU offers none where what is behind it cannot fill them in.
        let mut own = [0; HEAD_MAX];
        let own = &mut own[..head.len()];
        let (head, offload) = match offload {
            Offload {
                checksum: Checksum::Blank,
                gso: None,
            } if !self.features.contains(Features::CHECKSUM) => {
                own.copy_from_slice(head);
                match offload::fill(own, tail) {
                    true => (&*own, Offload::default()),
                    false => return Err(TransmitError::NotOffered),
                }
            }
            offload => (head, offload),
        };
        let needed = match offload {
            Offload { gso: Some(gso), .. } if gso.kind == GsoKind::TcpV4 => Features::HOST_TSO4,
            Offload { gso: Some(_), .. } => Features::HOST_TSO6,
            _ => Features::empty(),
        };
        if !self.features.contains(needed) {
            return Err(TransmitError::NotOffered);
        }
        let prefix = prefix::prefix_of(head, offload)?;
        let count = 1 + tail.len();
        if self.free.len() < count {
            return Err(TransmitError::Full);
        }
        let (place, address) = self.heads.place(&prefix, head).ok_or(TransmitError::Full)?;
        let mut chain = Chain {
            carried: heapless::Vec::new(),
            descriptors: heapless::Vec::new(),
        };
        let mut pieces = heapless::Vec::<(u64, usize), FRAME_SLOTS_MAX>::new();
        let _ = pieces.push((address, PREFIX + head.len()));
        let _ = chain.carried.push(Carried::Head(place));
        while !tail.is_empty() {
            let slice = tail.remove(0);
            let Some(page) = slice.buffer.page() else {
                unreachable!("each was found lendable");
            };
            let address = self.xen.machine_address(page) + u64::from(slice.offset);
            let _ = pieces.push((address, slice.len.into()));
            let _ = chain.carried.push(Carried::Tail(slice.buffer));
        }
        for _ in 0..count {
            let free = self.free.pop().expect("so many are free");
            let _ = chain.descriptors.push(free);
        }
        for (number, (address, len)) in pieces.into_iter().enumerate() {
            let at = usize::from(chain.descriptors[number]);
            match chain.descriptors.get(number + 1) {
                Some(&next) => self.queue.describe(at, address, len, NEXT, next.into()),
                None => self.queue.describe(at, address, len, 0, 0),
            }
        }
        let first = usize::from(chain.descriptors[0]);
        self.chains[first] = Some(chain);
        self.in_flight += 1;
        self.queue.give(first);
        Ok(())
    }
}

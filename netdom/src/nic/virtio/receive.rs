//! What is received: buffers of a page, of which a frame takes several if the card may merge them.

use super::prefix::{self, PREFIX};
use super::queue::{Queue, WRITE};
use super::registers::{Features, Windows};
use crate::nic::RING;
use crate::nic::buffers::Buffers;
use crate::nic::device::{Common, Corrupt};
use alloc::vec::Vec;
use minios_rs::hardware::Hardware;
use minios_rs::net::{ETHERNET_HEADER, FRAME_SLOTS_MAX, Received, Slice};
use minios_rs::xen::{OutOfMemory, PAGE_SIZE, SharedPage};

pub(super) struct Receiver<X: Hardware> {
    queue: Queue<X>,
    /// The buffer of each descriptor that the card has.
    posted: Vec<Option<u16>>,
    free: Vec<u16>,
    is_merging: bool,
}

impl<X: Hardware> Receiver<X> {
    pub(super) fn new(xen: &X) -> Result<Self, OutOfMemory> {
        Ok(Self {
            queue: Queue::new(xen, 0)?,
            posted: alloc::vec![None; RING],
            free: Vec::new(),
            is_merging: false,
        })
    }

    /// Sets it up with a card that was reset. False: the card has no such queue.
    pub(super) fn program(
        &mut self,
        windows: &Windows<X>,
        vector: u16,
        features: Features,
    ) -> bool {
        if !self.queue.program(windows, vector, 0) {
            return false;
        }
        self.is_merging = features.contains(Features::MERGED_BUFFERS);
        self.free = (0..self.queue.size as u16).rev().collect();
        true
    }

    /// Takes back all that the card had.
    pub(super) fn take_back(&mut self, buffers: &mut Buffers<X>) {
        let posted = self.posted.iter_mut();
        posted
            .filter_map(Option::take)
            .for_each(|index| buffers.unpost(index));
    }

    /// Gives the card every free page.
    pub(super) fn post(&mut self, buffers: &mut Buffers<X>) {
        while let Some(&at) = self.free.last() {
            let Some((index, address)) = buffers.post() else {
                return;
            };
            self.free.pop();
            let at = usize::from(at);
            self.posted[at] = Some(index);
            self.queue.describe(at, address, PAGE_SIZE, WRITE, 0);
            self.queue.give(at);
        }
    }

    pub(super) fn show(&mut self, windows: &Windows<X>) {
        self.queue.show(windows);
    }

    pub(super) fn has_frame(&self) -> bool {
        !matches!(self.queue.came_back(self.with_card()), Ok(0))
    }

    /// Descriptors that the card has.
    fn with_card(&self) -> usize {
        self.queue.size - self.free.len()
    }

    /// Takes the next buffer that came back, and how much of it is written.
    fn take_buffer(&mut self) -> Result<(u16, usize), Corrupt> {
        let (at, len) = self.queue.back(0);
        let posted = self.posted.get_mut(at).and_then(Option::take);
        let index = posted.ok_or(Corrupt)?;
        self.queue.advance(1);
        self.free.push(at as u16);
        Ok((index, len))
    }

    /// Drops `count` buffers that came back.
    fn drop_buffers(&mut self, count: usize, buffers: &mut Buffers<X>) -> Result<(), Corrupt> {
        for _ in 0..count {
            let (index, _) = self.take_buffer()?;
            buffers.unpost(index);
        }
        Ok(())
    }

    /// Puts the next frame into `frame`. `Ok(false)`: there is none.
    pub(super) fn take(
        &mut self,
        common: &mut Common<X>,
        frame: &mut Received<X::Page>,
    ) -> Result<bool, Corrupt> {
        // Each turn takes a buffer at least, and none is given meanwhile.
        for _ in 0..RING {
            let ready = self.queue.came_back(self.with_card())?;
            if ready == 0 {
                return Ok(false);
            }
            let (index, len) = self.take_buffer()?;
            let first = common.buffers.lend(index);
            let mut prefix = [0; PREFIX];
            if let Some(page) = first.page() {
                page.read(0, &mut prefix);
            }
            let count = match self.is_merging {
                true => usize::from(u16::from_le_bytes([prefix[10], prefix[11]])),
                false => 1,
            };
            if count == 0
                || count > ready
                || count > FRAME_SLOTS_MAX
                || !(PREFIX + 1..=PAGE_SIZE).contains(&len)
            {
                common.buffers.recycle(&first);
                common.statistics.dropped_malformed += 1;
                self.drop_buffers(count.clamp(1, ready) - 1, &mut common.buffers)?;
                continue;
            }
            frame.len = (len - PREFIX) as u32;
            let slice = Slice {
                buffer: first,
                offset: PREFIX as u16,
                len: (len - PREFIX) as u16,
            };
            assert!(frame.slots.push(slice).is_ok(), "the frame was empty");
            let mut is_sound = true;
            for _ in 1..count {
                let (index, len) = match self.take_buffer() {
                    Ok(taken) => taken,
                    Err(corrupt) => {
                        give_up(frame, &mut common.buffers);
                        return Err(corrupt);
                    }
                };
                is_sound &= (1..=PAGE_SIZE).contains(&len);
                frame.len += len.min(PAGE_SIZE) as u32;
                let slice = Slice {
                    buffer: common.buffers.lend(index),
                    offset: 0,
                    len: len.min(PAGE_SIZE) as u16,
                };
                assert!(frame.slots.push(slice).is_ok(), "no more than fit");
            }
            match prefix::describe(&prefix) {
                Some((checksum, gso)) if is_sound => {
                    let len_max = match gso {
                        Some(_) => usize::from(u16::MAX),
                        None => common.frame_max(),
                    };
                    if (ETHERNET_HEADER..=len_max).contains(&(frame.len as usize)) {
                        frame.checksum = checksum;
                        frame.gso = gso;
                        return Ok(true);
                    }
                    common.statistics.dropped_size += 1;
                }
                _ => common.statistics.dropped_malformed += 1,
            }
            give_up(frame, &mut common.buffers);
        }
        Ok(false)
    }
}

/// Takes a frame's buffers back that nobody is to see.
fn give_up<X: Hardware>(frame: &mut Received<X::Page>, buffers: &mut Buffers<X>) {
    while let Some(slice) = frame.slots.pop() {
        buffers.recycle(&slice.buffer);
    }
    frame.len = 0;
}

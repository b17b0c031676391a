//! Between the interfaces' rings and the engine: frames come out of one ring, are judged, and go
//! into another, their payload untouched in the pages it came in.

mod queue;

use crate::moderation::Moderation;
use crate::offload::{from_ring, gso_from_ring, gso_to_ring, offload, to_ring};
use crate::policy::InterfaceId;
use crate::time::Instant;
use crate::{Firewall, Frame, Head, Tail, TailError, Verdict};
use alloc::vec::Vec;
use core::time::Duration;
use minios_rs::net;
use minios_rs::xen::Xen;
use queue::{Payload, Queue};

/// Frames taken from one interface before the others get their turn.
const BURST: usize = 64;

/// How long until a closed backend is asked again for the pages that it still uses.
const RELEASE_RETRY: Duration = Duration::from_millis(100);

/// A frame this long or shorter is copied whole: its pages go back to its sender at once.
const WHOLE: usize = Head::CAPACITY;

/// Buffers of an interface that are never lent: what it receives for others goes on while one
/// egress stands still.
const RESERVED: u16 = 64;

/// Bytes of a longer frame that are copied: all headers, unless there are many options.
const HEADERS: usize = 128;

/// Frames lost between rings and engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The egress ring and the queue before it were full.
    pub egress_full: u64,
    /// The egress ring does not take such a frame: too many pages, too long, or the interface is gone.
    pub not_sendable: u64,
}

impl Losses {
    /// Each kind with its name for tables and statistics.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("egress ring full", self.egress_full),
            ("not sendable on the egress ring", self.not_sendable),
        ]
        .into_iter()
    }
}

struct Port<X: Xen> {
    front: net::Front<X>,
    waiting: Queue<X>,
    /// How many of its buffers each egress holds, waiting or sent.
    lent: Vec<u16>,
    /// Closed, and all its pages are ours again.
    is_released: bool,
}

/// The firewall at work: every interface's rings, and the engine between them.
pub struct Relay<X: Xen> {
    ports: Vec<Port<X>>,
    firewall: Firewall,
    losses: Losses,
    moderation: Moderation,
}

/// The payload of a frame that still lies in its sender's pages.
struct InPages<'a, X: Xen>(&'a net::Received<X::Page>);

impl<X: Xen> Tail for InPages<'_, X> {
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), TailError> {
        if self.0.read(offset, into) == into.len() {
            Ok(())
        } else {
            Err(TailError)
        }
    }
}

impl<X: Xen> Relay<X> {
    /// `fronts` in the order of the policy's interfaces.
    pub fn new(fronts: Vec<net::Front<X>>, firewall: Firewall) -> Self {
        let count = fronts.len();
        let ports = fronts.into_iter().map(|front| Port {
            front,
            waiting: Queue::new(),
            lent: alloc::vec![0; count],
            is_released: false,
        });
        Self {
            ports: ports.collect(),
            firewall,
            losses: Losses::default(),
            moderation: Moderation::default(),
        }
    }

    /// The engine.
    pub fn firewall(&self) -> &Firewall {
        &self.firewall
    }

    /// The engine.
    pub fn firewall_mut(&mut self) -> &mut Firewall {
        &mut self.firewall
    }

    /// The interfaces, in the order of the policy.
    pub fn fronts(&self) -> impl Iterator<Item = &net::Front<X>> {
        self.ports.iter().map(|port| &port.front)
    }

    /// What got lost here.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// What the interface's backend did that cannot be, if anything.
    pub fn breach(&self, number: usize) -> Option<net::front::Breach> {
        match self.ports.get(number)?.front.state() {
            net::State::Broken(breach) => Some(breach),
            net::State::Open | net::State::Closed => None,
        }
    }

    /// Stops an interface whose backend is gone, and lets go of its rings as soon as the backend has.
    /// Frames for it are lost from here on, and counted.
    pub fn close(&mut self, number: usize) {
        let Some(port) = self.ports.get_mut(number) else {
            return;
        };
        if port.front.state() != net::State::Closed {
            port.front.close();
            let let_go = |_: &[u8], _: &mut Payload<X>, _| Ok(());
            while let Some((_, mut payload)) = self.ports[number].waiting.try_first(let_go) {
                self.losses.not_sendable += 1;
                give_back(&mut self.ports, number, &mut payload);
            }
        }
    }

    /// Does what there is to do, and says when to call again if no event comes before: `now` or
    /// earlier means at once.
    pub fn turn(&mut self, now: Instant) -> Option<Instant> {
        for number in 0..self.ports.len() {
            self.finish(number);
        }
        let mut again = false;
        let mut unreleased = false;
        let mut frames = 0;
        for number in 0..self.ports.len() {
            if self.ports[number].front.state() == net::State::Closed {
                unreleased |= !self.release(number);
            } else {
                let taken = self.take(number, now);
                again |= taken == BURST;
                frames += taken;
            }
        }
        self.moderation.count(now, frames);
        let deadline = self.firewall.poll(now);
        self.send_own();
        for port in &mut self.ports {
            port.front.flush();
        }
        let wake = self.moderation.wake();
        for port in &mut self.ports {
            again |= port.front.state() == net::State::Open
                && port.front.park_until(wake) == minios_rs::ring::Pending::Work;
        }
        if again {
            return Some(now);
        }
        let retry = unreleased.then(|| now + RELEASE_RETRY);
        let look = self.moderation.deadline(now);
        [deadline, retry, look].into_iter().flatten().min()
    }

    /// Takes a closed interface's pages back; whether all came.
    fn release(&mut self, number: usize) -> bool {
        let port = &mut self.ports[number];
        port.is_released = port.is_released || port.front.release().is_ok();
        port.is_released
    }

    /// Pages whose frames were sent go back to the interface they came in by; then what waited is sent.
    fn finish(&mut self, number: usize) {
        while let Some(buffer) = self.ports[number].front.completed() {
            return_lent(&mut self.ports, number, buffer);
        }
        loop {
            let Port { front, waiting, .. } = &mut self.ports[number];
            let offered = waiting.try_first(|head, payload, offload| {
                front.transmit_slots(head, payload.as_mut_view(), offload)
            });
            match offered {
                None | Some((Err(net::TransmitError::Full), _)) => return,
                Some((Ok(()), _)) => {}
                Some((Err(_), mut payload)) => {
                    self.losses.not_sendable += 1;
                    give_back(&mut self.ports, number, &mut payload);
                }
            }
        }
    }

    /// Takes, judges and passes on up to [`BURST`] frames; how many came.
    fn take(&mut self, number: usize, now: Instant) -> usize {
        let ingress = InterfaceId(number as u8);
        // One place for all of them: both are large, and moving them is most of a small packet's cost.
        let mut received = net::Received::default();
        let mut head = Head::new();
        for taken in 0..BURST {
            if !self.ports[number].front.receive_into(&mut received) {
                return taken;
            }
            fill(&mut head, &received);
            let tail = InPages::<X>(&received);
            let mut frame = Frame {
                head: &mut head,
                len: received.len as usize,
                tail: &tail,
                checksum: from_ring(received.checksum),
                gso: received.gso.map(gso_from_ring),
            };
            let verdict = self.firewall.ingress(now, ingress, &mut frame);
            let (len, payload_at) = (frame.len, frame.tail_offset());
            match verdict {
                Verdict::Forward { egress } if is_full(&received, payload_at) => {
                    self.send_merged(ingress, egress, &head, &mut received, payload_at, len);
                }
                Verdict::Forward { egress } => {
                    let wanted = len.saturating_sub(head.bytes().len());
                    if self.trim(&mut received.slots, payload_at, wanted) {
                        let offload = offload(&received);
                        self.send(ingress, egress, &head, &mut received.slots, offload);
                    } else {
                        self.losses.not_sendable += 1;
                    }
                }
                Verdict::Local | Verdict::Parked | Verdict::Drop(_) => {
                    recycle_all(&mut self.ports, &mut received.slots);
                }
            }
        }
        BURST
    }

    /// Leaves the pages that hold `wanted` bytes of a frame from `offset` on; the others go back at
    /// once. False: they are too short; all went back.
    fn trim(&mut self, slots: &mut Payload<X>, offset: usize, wanted: usize) -> bool {
        let (mut skip, mut wanted) = (offset, wanted);
        for slice in slots.iter_mut() {
            let skipped = skip.min(usize::from(slice.len));
            skip -= skipped;
            slice.offset += skipped as u16;
            slice.len = (usize::from(slice.len) - skipped).min(wanted) as u16;
            wanted -= usize::from(slice.len);
        }
        if wanted > 0 {
            recycle_all(&mut self.ports, slots);
            return false;
        }
        // Those with bytes lie together: empty are the first, used up, and the last, not wanted.
        while slots.last().is_some_and(|slice| slice.len == 0)
            && let Some(slice) = slots.pop()
        {
            recycle(&mut self.ports, slice.buffer);
        }
        while slots.first().is_some_and(|slice| slice.len == 0) {
            recycle(&mut self.ports, slots.remove(0).buffer);
        }
        true
    }

    /// Notes that pages of one interface go to another; false, and the frame is lost, if that is
    /// more than its share.
    ///
    /// Each egress may hold an equal part of what is not [`RESERVED`]: a backend that stops
    /// answering costs the others nothing.
    fn lend(
        &mut self,
        ingress: InterfaceId,
        egress: InterfaceId,
        payload: &mut Payload<X>,
    ) -> bool {
        let others = (self.ports.len() as u16).saturating_sub(1).max(1);
        let share = (net::Config::default().rx_buffers - RESERVED) / others;
        let (ingress, egress) = (usize::from(ingress.0), usize::from(egress.0));
        let lent = self
            .ports
            .get_mut(ingress)
            .and_then(|port| port.lent.get_mut(egress));
        if let Some(lent) = lent
            && usize::from(*lent) + payload.len() <= usize::from(share)
        {
            *lent += payload.len() as u16;
            return true;
        }
        self.losses.egress_full += 1;
        recycle_all(&mut self.ports, payload);
        false
    }

    /// Puts a frame into its egress ring, unless others wait for it already: frames of one flow keep
    /// their order.
    fn offer(
        &mut self,
        egress: InterfaceId,
        head: &[u8],
        payload: &mut Payload<X>,
        offload: net::Offload,
    ) -> Result<(), net::TransmitError> {
        let port = &mut self.ports[usize::from(egress.0)];
        if port.waiting.is_empty() {
            port.front
                .transmit_slots(head, payload.as_mut_view(), offload)
        } else {
            Err(net::TransmitError::Full)
        }
    }

    /// Counts a frame that was lent pages but not sent, and takes them back.
    fn lose(&mut self, egress: InterfaceId, payload: &mut Payload<X>, error: net::TransmitError) {
        match error {
            net::TransmitError::Full => self.losses.egress_full += 1,
            _ => self.losses.not_sendable += 1,
        }
        give_back(&mut self.ports, usize::from(egress.0), payload);
    }

    fn send(
        &mut self,
        ingress: InterfaceId,
        egress: InterfaceId,
        head: &Head,
        payload: &mut Payload<X>,
        offload: net::Offload,
    ) {
        if !self.lend(ingress, egress, payload) {
            return;
        }
        let Err(error) = self.offer(egress, head.bytes(), payload, offload) else {
            return;
        };
        let waiting = &mut self.ports[usize::from(egress.0)].waiting;
        if error != net::TransmitError::Full || !waiting.push(head, payload, offload) {
            self.lose(egress, payload, error);
        }
    }

    /// Sends a frame of as many slots as there may be: a header slot before them would be one too
    /// many, so all of the first slot is copied behind the headers. Rare (no Linux sends such), so
    /// it may allocate, and it does not wait for room.
    fn send_merged(
        &mut self,
        ingress: InterfaceId,
        egress: InterfaceId,
        head: &Head,
        received: &mut net::Received<X::Page>,
        payload_at: usize,
        len: usize,
    ) {
        let first = received
            .slots
            .first()
            .map_or(0, |slice| usize::from(slice.len));
        let mut bytes = head.bytes().to_vec();
        let headers = bytes.len();
        // Not what lies behind the packet: the engine may have cut the frame within this slot.
        bytes.resize((headers + first - payload_at).min(len), 0);
        received.read(payload_at, &mut bytes[headers..]);
        let wanted = len.saturating_sub(bytes.len());
        let offload = offload(received);
        let payload = &mut received.slots;
        if !self.trim(payload, first, wanted) {
            self.losses.not_sendable += 1;
            return;
        }
        if !self.lend(ingress, egress, payload) {
            return;
        }
        if let Err(error) = self.offer(egress, &bytes, payload, offload) {
            self.lose(egress, payload, error);
        }
    }

    /// Frames that the engine made itself.
    fn send_own(&mut self) {
        while let Some((egress, frame)) = self.firewall.take_output() {
            let offload = net::Offload {
                checksum: to_ring(frame.checksum),
                gso: frame.gso.map(gso_to_ring),
            };
            let Some(port) = self.ports.get_mut(usize::from(egress.0)) else {
                continue;
            };
            match port.front.transmit_bytes(&frame.bytes, offload) {
                Ok(()) => {}
                Err(net::TransmitError::Full) => self.losses.egress_full += 1,
                Err(_) => self.losses.not_sendable += 1,
            }
        }
    }
}

/// Whether what lies behind the headers fills every slot a frame may have.
fn is_full<P>(received: &net::Received<P>, payload_at: usize) -> bool {
    let first = received
        .slots
        .first()
        .map_or(0, |slice| usize::from(slice.len));
    received.slots.len() > net::front::TAIL_MAX && payload_at < first
}

/// Copies the headers out of the sender's pages, once: whole frames if they are small.
fn fill<P: minios_rs::xen::SharedPage>(head: &mut Head, received: &net::Received<P>) {
    let len = received.len as usize;
    let copy = |count: usize, head: &mut Head| {
        head.fill(count, |bytes| {
            received.read(0, bytes);
        });
    };
    if len <= WHOLE {
        return copy(len, head);
    }
    copy(HEADERS, head);
    let bytes = head.bytes();
    let has_long_headers =
        bytes[12..14] == [0x08, 0x00] && (bytes[14] & 0x0f > 5 || bytes[23] == 1);
    if has_long_headers {
        copy(WHOLE, head);
    }
}

fn recycle<X: Xen>(ports: &mut [Port<X>], buffer: net::RxBuffer<X::Page>) {
    let owner = buffer.owner();
    if let Some(port) = ports.iter_mut().find(|port| port.front.id() == owner) {
        port.front.recycle(buffer);
    }
}

fn recycle_all<X: Xen>(ports: &mut [Port<X>], slots: &mut Payload<X>) {
    while let Some(slice) = slots.pop() {
        recycle(ports, slice.buffer);
    }
}

/// A page that `egress` held goes back to the interface it came in by.
fn return_lent<X: Xen>(ports: &mut [Port<X>], egress: usize, buffer: net::RxBuffer<X::Page>) {
    let owner = buffer.owner();
    if let Some(port) = ports.iter_mut().find(|port| port.front.id() == owner) {
        if let Some(lent) = port.lent.get_mut(egress) {
            *lent = lent.saturating_sub(1);
        }
        port.front.recycle(buffer);
    }
}

fn give_back<X: Xen>(ports: &mut [Port<X>], egress: usize, payload: &mut Payload<X>) {
    while let Some(slice) = payload.pop() {
        return_lent(ports, egress, slice.buffer);
    }
}

//! A netfront to meet netback in tests: correct unless told otherwise, and able to write whatever a hostile
//! one could. With it comes what the toolstack writes.

#![forbid(unsafe_code)]

use super::netback::Which;
use super::{Domain, Page, World};
use crate::abi::io::netif::{
    ExtraInfo, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, RxRequest,
    RxResponse, TxExtraInfo, TxRequest, TxResponse, XEN_NETIF_EXTRA_FLAG_MORE,
    XEN_NETIF_EXTRA_TYPE_GSO,
};
use crate::abi::io::ring::REQ_PROD;
use crate::ring::{FrontRing, Notify};
use crate::xen::{Access, BoundPort, DomId, Granted, PAGE_SIZE, SharedPage};
use crate::xenbus::XenbusState;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// What a good and modern frontend says it takes.
pub const TAKES: [(&str, &str); 6] = [
    ("request-rx-copy", "1"),
    ("feature-rx-notify", "1"),
    ("feature-sg", "1"),
    ("feature-gso-tcpv4", "1"),
    ("feature-gso-tcpv6", "1"),
    ("feature-ipv6-csum-offload", "1"),
];

/// How to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Queues.
    pub queues: u32,
    /// Event channels of each: 1 or 2.
    pub channels: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            queues: 1,
            channels: 1,
        }
    }
}

/// A frame the backend sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The first response's flags.
    pub flags: u16,
    /// GSO type and segment size.
    pub gso: Option<(u8, u16)>,
    /// Responses, extra infos left out.
    pub slots: usize,
    /// One of them was an error.
    pub is_error: bool,
}

struct Queue {
    tx: FrontRing<Page, TxRequest, TxResponse>,
    rx: FrontRing<Page, RxRequest, RxResponse>,
    /// Granted as long as it lives.
    rings: [Granted<Domain>; 2],
    ports: Vec<BoundPort<Domain>>,
    sent: BTreeMap<u16, Granted<Domain>>,
    posted: BTreeMap<u16, Granted<Domain>>,
    next_id: u16,
}

/// The frontend of one vif.
pub struct Netfront {
    domain: Domain,
    back: DomId,
    index: u32,
    own: String,
    theirs: String,
    queues: Vec<Queue>,
}

impl Netfront {
    /// Makes both halves of a vif in xenstore, as libxl does, with `settings` for the backend.
    pub fn announce(
        world: &World,
        back: DomId,
        front: DomId,
        index: u32,
        settings: &[(&str, &str)],
    ) -> Self {
        let netfront = Self {
            domain: world.domain(front),
            back,
            index,
            own: format!("/local/domain/{}/device/vif/{index}", front.0),
            theirs: format!("/local/domain/{}/backend/vif/{}/{index}", back.0, front.0),
            queues: Vec::new(),
        };
        netfront.make(settings);
        netfront
    }

    /// Writes the toolstack's nodes, anew if they were removed.
    pub fn make(&self, settings: &[(&str, &str)]) {
        let world = self.domain.world();
        let (own, theirs) = (&self.own, &self.theirs);
        let front = self.domain.id();
        let mac = format!("00:16:3e:00:{:02x}:{:02x}", front.0, self.index);
        for (key, value) in [
            ("frontend", own.clone()),
            ("frontend-id", front.0.to_string()),
            ("online", "1".into()),
            ("script", "/etc/xen/scripts/vif-bridge".into()),
            ("mac", mac.clone()),
            ("bridge", "xenbr0".into()),
            ("hotplug-status", String::new()),
            ("handle", self.index.to_string()),
            ("type", "vif".into()),
        ] {
            world.write_node(&format!("{theirs}/{key}"), value);
        }
        for (key, value) in settings {
            world.write_node(&format!("{theirs}/{key}"), value);
        }
        for (key, value) in [
            ("backend", theirs.clone()),
            ("backend-id", self.back.0.to_string()),
            ("handle", self.index.to_string()),
            ("mac", mac),
            ("state", "1".into()),
        ] {
            world.write_node(&format!("{own}/{key}"), value);
        }
        world.write_node(&format!("{theirs}/state"), "1");
    }

    /// As `xl network-detach` starts: the backend is told that the vif is to go, unless it is gone already.
    pub fn detach(&self) {
        if self.backend_state() == XenbusState::UNKNOWN {
            return;
        }
        let world = self.domain.world();
        world.write_node(&format!("{}/online", self.theirs), "0");
        world.write_node(&format!("{}/state", self.theirs), "5");
    }

    /// Its directory in xenstore.
    pub fn node(&self) -> &str {
        &self.own
    }

    /// The backend's directory.
    pub fn backend_node(&self) -> &str {
        &self.theirs
    }

    /// The domain it runs in.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The backend's state.
    pub fn backend_state(&self) -> XenbusState {
        let text = self.domain.world().node(&format!("{}/state", self.theirs));
        XenbusState(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Writes one of its keys.
    pub fn write(&self, key: &str, value: impl AsRef<[u8]>) {
        self.domain
            .world()
            .write_node(&format!("{}/{key}", self.own), value);
    }

    /// Writes its state.
    pub fn switch_to(&self, state: XenbusState) {
        self.write("state", state.0.to_string());
    }

    /// Makes rings and publishes them, with what it takes; not its state.
    pub fn publish(&mut self, shape: Shape, takes: &[(&str, &str)]) {
        for (key, value) in takes {
            self.write(key, value);
        }
        self.queues = (0..shape.queues).map(|_| self.queue(shape)).collect();
        if shape.queues > 1 {
            self.write("multi-queue-num-queues", shape.queues.to_string());
        }
        for (number, queue) in self.queues.iter().enumerate() {
            let prefix = match shape.queues {
                1 => String::new(),
                _ => format!("queue-{number}/"),
            };
            let [tx, rx] = &queue.rings;
            self.write(
                &format!("{prefix}tx-ring-ref"),
                tx.reference().0.to_string(),
            );
            self.write(
                &format!("{prefix}rx-ring-ref"),
                rx.reference().0.to_string(),
            );
            let names: &[&str] = match shape.channels {
                1 => &["event-channel"],
                _ => &["event-channel-tx", "event-channel-rx"],
            };
            for (name, port) in names.iter().zip(&queue.ports) {
                self.write(&format!("{prefix}{name}"), port.number().0.to_string());
            }
        }
    }

    /// Makes rings with a full set of buffers and says that it is connected.
    pub fn connect(&mut self, shape: Shape) {
        self.publish(shape, &TAKES);
        for queue in 0..self.queues.len() {
            self.post(queue, 256);
        }
        self.switch_to(XenbusState::CONNECTED);
    }

    fn queue(&self, shape: Shape) -> Queue {
        let ring = || {
            Granted::allocate(&self.domain, self.back, Access::ReadWrite).expect("a page is free")
        };
        let rings = [ring(), ring()];
        let port = |_| BoundPort::allocate(&self.domain, self.back).expect("a port is free");
        Queue {
            tx: FrontRing::new(rings[0].page().clone()),
            rx: FrontRing::new(rings[1].page().clone()),
            rings,
            ports: (0..shape.channels).map(port).collect(),
            sent: BTreeMap::new(),
            posted: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Drops rings, buffers and ports. What the backend still maps is lost.
    pub fn drop_rings(&mut self) {
        self.queues.clear();
    }

    /// Goes away without a word, as a domain that was destroyed does.
    pub fn vanish(&mut self) {
        self.drop_rings();
        self.domain.world().remove_node(&self.own);
    }

    /// Events that the backend has sent to a queue, over all its ports.
    pub fn events_received(&self, queue: usize) -> u64 {
        let ports = self.queues[queue].ports.iter();
        ports
            .map(|port| self.domain.events_received(port.number()))
            .sum()
    }

    /// Sends an event, needed or not.
    pub fn notify(&self, queue: usize) {
        for port in &self.queues[queue].ports {
            let _ = port.notify();
        }
    }

    /// Posts buffers, as many as there is room for; how many.
    pub fn post(&mut self, queue: usize, count: usize) -> usize {
        let (domain, back) = (self.domain.clone(), self.back);
        let queue = &mut self.queues[queue];
        let mut done = 0;
        while done < count && queue.rx.free() > 0 {
            let id = queue.rx.next_slot();
            let granted =
                Granted::allocate(&domain, back, Access::ReadWrite).expect("a page is free");
            let gref = granted.reference().0;
            let pushed = queue.rx.push(&RxRequest { id, pad: 0, gref });
            assert!(pushed.is_ok(), "there is room");
            queue.posted.insert(id, granted);
            done += 1;
        }
        if queue.rx.publish() == Notify::Needed {
            let _ = queue.ports[queue.ports.len() - 1].notify();
        }
        done
    }

    /// Posts one buffer by that reference.
    pub fn post_raw(&mut self, queue: usize, request: RxRequest) {
        let queue = &mut self.queues[queue];
        let _ = queue.rx.push(&request);
        let _ = queue.rx.publish();
    }

    /// Grants a page with these bytes at `offset`, which stays granted until its answer.
    fn page(&mut self, queue: usize, bytes: &[u8], offset: u16) -> (u16, u32) {
        let granted =
            Granted::allocate(&self.domain, self.back, Access::ReadOnly).expect("a page is free");
        granted.page().write(usize::from(offset), bytes);
        let queue = &mut self.queues[queue];
        let id = queue.next_id;
        queue.next_id = queue.next_id.wrapping_add(1);
        let reference = granted.reference().0;
        queue.sent.insert(id, granted);
        (id, reference)
    }

    /// The requests of a frame in these slots, each at `offset` in a page of its own. Nothing is sent yet.
    pub fn requests(
        &mut self,
        queue: usize,
        slots: &[&[u8]],
        offset: u16,
        flags: u16,
    ) -> Vec<TxRequest> {
        let total: usize = slots.iter().map(|slot| slot.len()).sum();
        let mut requests = Vec::new();
        for (number, slot) in slots.iter().enumerate() {
            let (id, gref) = self.page(queue, slot, offset);
            let more = if number + 1 < slots.len() {
                NETTXF_MORE_DATA
            } else {
                0
            };
            let (first, size) = match number {
                0 => (flags, total),
                _ => (0, slot.len()),
            };
            requests.push(TxRequest {
                gref,
                offset,
                flags: first | more,
                id,
                size: size as u16,
            });
        }
        requests
    }

    /// Sends a frame in these slots, each at the start of a page of its own. False if there is no room.
    pub fn send(
        &mut self,
        queue: usize,
        slots: &[&[u8]],
        flags: u16,
        extras: &[ExtraInfo],
    ) -> bool {
        if (self.queues[queue].tx.free() as usize) < slots.len() + extras.len() {
            return false;
        }
        let flags = match extras {
            [] => flags,
            _ => flags | NETTXF_EXTRA_INFO,
        };
        let requests = self.requests(queue, slots, 0, flags);
        self.push(queue, &requests[0]);
        for (number, extra) in extras.iter().enumerate() {
            let more = if number + 1 < extras.len() {
                XEN_NETIF_EXTRA_FLAG_MORE
            } else {
                0
            };
            let info = ExtraInfo {
                flags: extra.flags | more,
                ..*extra
            };
            self.push_extra(queue, info);
        }
        for request in &requests[1..] {
            self.push(queue, request);
        }
        self.show(queue);
        true
    }

    /// Writes one request as it is, to be shown.
    pub fn push(&mut self, queue: usize, request: &TxRequest) {
        let _ = self.queues[queue].tx.push(request);
    }

    /// Writes one extra info as it is, to be shown.
    pub fn push_extra(&mut self, queue: usize, info: ExtraInfo) {
        let entry = TxExtraInfo { info, pad: 0 };
        let _ = self.queues[queue].tx.push_as(&entry);
    }

    /// Shows the backend what was written, and notifies it if it asked to be.
    pub fn show(&mut self, queue: usize) {
        let queue = &mut self.queues[queue];
        if queue.tx.publish() == Notify::Needed {
            let _ = queue.ports[0].notify();
        }
    }

    /// Takes the backend's answers, and ends the grants they free.
    pub fn answers(&mut self, queue: usize) -> Vec<TxResponse> {
        let queue = &mut self.queues[queue];
        let mut answers = Vec::new();
        while let Ok(response) = queue.tx.pop() {
            queue.sent.remove(&response.id);
            answers.push(response);
        }
        let _ = queue.tx.arm(0);
        answers
    }

    /// Requests without an answer.
    pub fn outstanding(&self, queue: usize) -> u32 {
        self.queues[queue].tx.outstanding()
    }

    /// Takes every frame the backend has sent. Panics if it breaks the protocol's rules.
    pub fn receive(&mut self, queue: usize) -> Vec<Frame> {
        let queue = &mut self.queues[queue];
        let mut frames = Vec::new();
        loop {
            let mut frame = Frame::default();
            let (mut more, mut extra) = (true, false);
            while more || extra {
                let slot = queue.rx.slot(0);
                let Ok(response) = queue.rx.pop() else {
                    assert!(frame.slots == 0, "a frame comes whole");
                    let _ = queue.rx.arm(0);
                    return frames;
                };
                let buffer = queue.posted.remove(&slot);
                if extra {
                    let info = ExtraInfo::read_from_bytes(response.as_bytes()).expect("8 bytes");
                    assert_eq!(info.kind, XEN_NETIF_EXTRA_TYPE_GSO, "there is no other");
                    frame.gso = Some((info.gso_type, info.gso_size));
                    extra = info.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0;
                    continue;
                }
                assert_eq!(response.id, slot, "a response lies where its request did");
                more = response.flags & NETRXF_MORE_DATA != 0;
                extra = response.flags & NETRXF_EXTRA_INFO != 0;
                if frame.slots == 0 {
                    frame.flags = response.flags;
                }
                frame.slots += 1;
                match (usize::try_from(response.status), buffer) {
                    (Ok(len), Some(buffer)) => {
                        assert!(len > 0 && usize::from(response.offset) + len <= PAGE_SIZE);
                        let mut part = vec![0; len];
                        buffer.page().read(usize::from(response.offset), &mut part);
                        frame.bytes.extend(part);
                    }
                    _ => frame.is_error = true,
                }
            }
            frames.push(frame);
        }
    }

    /// Ends the grants of what it has sent, as a frontend may at any time.
    pub fn revoke_sent(&mut self, queue: usize) {
        self.queues[queue].sent.clear();
    }

    /// Ends the grants of the buffers it has posted.
    pub fn revoke_posted(&mut self, queue: usize) {
        self.queues[queue].posted.clear();
    }

    /// Goes on sending what lies in its ring, a request each time the backend looks for some.
    pub fn send_without_end(&self, queue: usize) {
        self.queues[queue].tx.memory().raise_when_read(REQ_PROD);
    }

    /// Overwrites every page it has sent and not yet had an answer for.
    pub fn scribble_sent(&mut self, queue: usize, byte: u8) {
        for granted in self.queues[queue].sent.values() {
            granted.page().write(0, &[byte; PAGE_SIZE]);
        }
    }

    /// A copy of each buffer that is posted, in any order.
    pub fn posted_bytes(&self, queue: usize) -> Vec<Vec<u8>> {
        let read = |granted: &Granted<Domain>| {
            let mut bytes = vec![0; PAGE_SIZE];
            granted.page().read(0, &mut bytes);
            bytes
        };
        self.queues[queue].posted.values().map(read).collect()
    }

    /// Writes a word of a ring's page.
    pub fn poke(&mut self, queue: usize, which: Which, offset: usize, value: u32) {
        let page = match which {
            Which::Tx => self.queues[queue].tx.memory(),
            Which::Rx => self.queues[queue].rx.memory(),
        };
        page.word(offset).store(value, Ordering::Relaxed);
    }
}

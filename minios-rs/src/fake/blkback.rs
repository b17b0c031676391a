//! A blkback to meet blkfront in tests: a disk in memory, correct unless told otherwise, strict about what it is asked,
//! and able to answer whatever a hostile one could.

#![forbid(unsafe_code)]

use super::{Domain, Foreign, World};
use crate::abi::io::blkif::{
    BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST, BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_DISCARD,
    BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT, BLKIF_OP_READ, BLKIF_OP_WRITE,
    BLKIF_OP_WRITE_BARRIER, BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY, Request,
    RequestDiscard, RequestIndirect, Response, SECTOR, Segment, VDISK_READONLY,
    XEN_IO_PROTO_ABI_X86_64,
};
use crate::ring::{BackRing, Notify, RingPages};
use crate::xen::{Access, DomId, GrantRef, PAGE_SIZE, Port, SharedPage, Xen};
use crate::xenbus::XenbusState;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// Sectors in a page.
const PAGE_SECTORS: u8 = (PAGE_SIZE / SECTOR) as u8;

/// What a backend offers.
#[derive(Clone, Copy, Debug)]
pub struct Offers {
    /// `feature-flush-cache`.
    pub flush: bool,
    /// `feature-barrier`.
    pub barrier: bool,
    /// `feature-discard`.
    pub discard: bool,
    /// `feature-max-indirect-segments`; 0: none.
    pub indirect: u16,
    /// `max-ring-page-order`, if it says one.
    pub ring_order: Option<u32>,
    /// `info` says that it is read-only.
    pub read_only: bool,
    /// `sector-size`.
    pub sector_size: u32,
    /// It keeps pages mapped.
    pub persistent: bool,
}

impl Default for Offers {
    /// As Linux' backend of a file.
    fn default() -> Self {
        Self {
            flush: true,
            barrier: true,
            discard: true,
            indirect: 32,
            ring_order: Some(4),
            read_only: false,
            sector_size: 512,
            persistent: true,
        }
    }
}

struct Connected {
    port: Port,
    ring: BackRing<RingPages<Foreign>, Request, Response>,
    /// Pages that stay mapped, by their reference.
    mapped: BTreeMap<u32, Foreign>,
}

/// The backend of one disk.
pub struct Blkback {
    domain: Domain,
    front: DomId,
    index: u32,
    own: String,
    theirs: String,
    /// What it offers from the next connection on.
    pub offers: Offers,
    /// What is read.
    pub disk: Vec<u8>,
    /// What is left after the power was lost.
    pub stable: Vec<u8>,
    connected: Option<Connected>,
    /// Requests that were taken and not looked at.
    held: VecDeque<Request>,
    /// Ids the frontend uses now.
    in_flight: BTreeSet<u64>,
    /// Keep requests until [`Blkback::serve_held`].
    pub hold: bool,
    /// The status of the next request of that operation, which is not done.
    pub refuse: Option<(u8, i16)>,
    /// It has scribbled on its own ring: what it makes of it is no longer the frontend's fault.
    pub hostile: bool,
    /// Each operation it was asked, and how many segments.
    pub asked: Vec<(u8, usize)>,
    /// Events sent.
    pub notifications: u64,
}

impl Blkback {
    /// Makes both halves of a disk in xenstore, as the toolstack does, and waits for the frontend.
    pub fn announce(
        world: &World,
        backend: DomId,
        front: DomId,
        index: u32,
        sectors: usize,
        offers: Offers,
    ) -> Self {
        let mut back = Self {
            domain: world.domain(backend),
            front,
            index,
            own: String::new(),
            theirs: format!("/local/domain/{}/device/vbd/{index}", front.0),
            offers,
            disk: vec![0; sectors * SECTOR],
            stable: vec![0; sectors * SECTOR],
            connected: None,
            held: VecDeque::new(),
            in_flight: BTreeSet::new(),
            hold: false,
            refuse: None,
            hostile: false,
            asked: Vec::new(),
            notifications: 0,
        };
        back.attach(backend);
        back
    }

    /// Makes both halves anew, in this domain: the old one's are as they were left.
    pub fn attach(&mut self, backend: DomId) {
        let world = self.domain.world().clone();
        self.domain = world.domain(backend);
        let (index, front) = (self.index, self.front.0);
        self.own = format!("/local/domain/{}/backend/vbd/{front}/{index}", backend.0);
        let theirs = &self.theirs;
        for (key, value) in [
            ("backend-id", backend.0.to_string()),
            ("virtual-device", index.to_string()),
            ("device-type", "disk".to_string()),
            ("backend", self.own.clone()),
            ("state", "1".to_string()),
        ] {
            world.write_node(&format!("{theirs}/{key}"), value);
        }
        for (key, value) in [
            ("frontend", theirs.clone()),
            ("frontend-id", front.to_string()),
            ("online", "1".to_string()),
        ] {
            world.write_node(&format!("{}/{key}", self.own), value);
        }
        if let Some(order) = self.offers.ring_order {
            self.write("max-ring-page-order", &order.to_string());
        }
        self.switch_to(XenbusState::INIT_WAIT);
    }

    /// Its directory in xenstore.
    pub fn node(&self) -> &str {
        &self.own
    }

    /// The frontend's directory.
    pub fn frontend_node(&self) -> &str {
        &self.theirs
    }

    fn write(&self, key: &str, value: &str) {
        let node = format!("{}/{key}", self.own);
        self.domain.world().write_node(&node, value);
    }

    /// Writes its state.
    pub fn switch_to(&self, state: XenbusState) {
        self.write("state", &state.0.to_string());
    }

    /// Its state, or the frontend's.
    pub fn state(&self, directory: &str) -> XenbusState {
        let text = self.domain.world().node(&format!("{directory}/state"));
        XenbusState(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Does the next step, as Linux' backend does.
    pub fn step(&mut self) {
        let own = self.state(&self.own);
        if own == XenbusState::UNKNOWN {
            return;
        }
        match self.state(&self.theirs) {
            XenbusState::INITIALISED | XenbusState::CONNECTED if own == XenbusState::INIT_WAIT => {
                self.connected = Some(self.join());
                self.describe();
                self.switch_to(XenbusState::CONNECTED);
            }
            XenbusState::CLOSING
                if own == XenbusState::CONNECTED || own == XenbusState::INIT_WAIT =>
            {
                self.switch_to(XenbusState::CLOSING);
            }
            XenbusState::CLOSED if own != XenbusState::CLOSED => {
                self.disconnect();
                self.switch_to(XenbusState::CLOSED);
            }
            XenbusState::INITIALISING if own == XenbusState::CLOSED => {
                self.switch_to(XenbusState::INIT_WAIT);
            }
            _ => {}
        }
        if self.state(&self.own) == XenbusState::CONNECTED {
            self.serve();
        }
    }

    fn join(&self) -> Connected {
        let world = self.domain.world().clone();
        let key = |name: &str| world.node(&format!("{}/{name}", self.theirs));
        let number = |name: &str| -> u32 {
            let value = key(name).and_then(|value| value.parse().ok());
            value.unwrap_or_else(|| panic!("the frontend has published {name}"))
        };
        assert_eq!(key("protocol").as_deref(), Some(XEN_IO_PROTO_ABI_X86_64));
        assert_eq!(number("feature-persistent"), 1);
        // As Linux does: whether there is an order decides what the references are called.
        let names: Vec<String> = match key("ring-page-order") {
            None => vec!["ring-ref".to_string()],
            Some(order) => {
                let order: u32 = order.parse().expect("a number");
                assert!(order <= self.offers.ring_order.unwrap_or(0));
                assert_eq!(number("num-ring-pages"), 1 << order);
                (0..1 << order)
                    .map(|page| format!("ring-ref{page}"))
                    .collect()
            }
        };
        let map = |name: &String| {
            let reference = GrantRef(number(name));
            let mapped = self.domain.map(self.front, reference, Access::ReadWrite);
            mapped.expect("the ring is granted")
        };
        Connected {
            ring: BackRing::new(RingPages::new(names.iter().map(map).collect())),
            port: self
                .domain
                .bind_port(self.front, Port(number("event-channel")))
                .expect("the port is ours"),
            mapped: BTreeMap::new(),
        }
    }

    /// What Linux' backend says only once it is connected.
    fn describe(&self) {
        let Offers {
            flush,
            barrier,
            discard,
            ..
        } = self.offers;
        let flag = |flag: bool| u32::from(flag).to_string();
        let info = if self.offers.read_only {
            VDISK_READONLY
        } else {
            0
        };
        for (key, value) in [
            ("sectors", (self.disk.len() / SECTOR).to_string()),
            ("sector-size", self.offers.sector_size.to_string()),
            ("info", info.to_string()),
            ("feature-flush-cache", flag(flush)),
            ("feature-barrier", flag(barrier)),
            ("feature-persistent", flag(self.offers.persistent)),
        ] {
            self.write(key, &value);
        }
        if discard {
            self.write("feature-discard", "1");
            self.write("discard-granularity", "4096");
        }
        if self.offers.indirect > 0 {
            let segments = self.offers.indirect.to_string();
            self.write("feature-max-indirect-segments", &segments);
        }
    }

    /// Makes the disk longer or shorter, and says so.
    pub fn resize(&mut self, sectors: usize) {
        self.disk.resize(sectors * SECTOR, 0);
        self.stable.resize(sectors * SECTOR, 0);
        self.write("sectors", &sectors.to_string());
        self.switch_to(self.state(&self.own));
    }

    /// Lets go of the ring, the port, and every page.
    pub fn disconnect(&mut self) {
        if let Some(connected) = self.connected.take() {
            self.domain.close_port(connected.port);
        }
        self.held.clear();
        self.in_flight.clear();
    }

    /// Goes away without a word, as a domain that was destroyed does.
    pub fn vanish(&mut self) {
        self.disconnect();
        self.domain.world().remove_node(&self.own);
    }

    /// What was written and not flushed is lost.
    pub fn lose_power(&mut self) {
        self.disk.clone_from(&self.stable);
    }

    /// Whether a frontend is connected.
    pub fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    fn connected(&mut self) -> &mut Connected {
        self.connected.as_mut().expect("the backend is connected")
    }

    /// Whether the frontend has sent an event since the last time.
    pub fn take_event(&mut self) -> bool {
        let port = self.connected().port;
        self.domain.take_event(port)
    }

    /// Entries of the ring.
    pub fn ring_entries(&mut self) -> u32 {
        self.connected().ring.entries()
    }

    /// Pages that stay mapped.
    pub fn mapped(&mut self) -> usize {
        self.connected().mapped.len()
    }

    /// Takes what was asked, and does it unless it is to hold requests.
    pub fn serve(&mut self) {
        let hostile = self.hostile;
        let Some(connected) = &mut self.connected else {
            return;
        };
        loop {
            match connected.ring.pop() {
                Ok(request) => {
                    let is_new = self.in_flight.insert(request.id);
                    assert!(hostile || is_new, "an id is used once at a time");
                    self.held.push_back(request);
                }
                Err(error) => {
                    let is_empty = error == crate::ring::ReadError::Empty;
                    assert!(hostile || is_empty, "a frontend asks no more than fits");
                    break;
                }
            }
        }
        if !self.hold {
            self.serve_held(usize::MAX);
        }
        if let Some(connected) = &self.connected {
            let _ = connected.ring.arm();
        }
    }

    /// Does so many of the requests that were held, the oldest first.
    pub fn serve_held(&mut self, count: usize) {
        for _ in 0..count {
            let Some(request) = self.held.pop_front() else {
                break;
            };
            let (operation, status) = self.perform(&request);
            self.answer(request.id, operation, status);
        }
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The oldest request that is held, which then is not.
    pub fn take_held(&mut self) -> Option<Request> {
        self.held.pop_front()
    }

    /// Answers, be it asked or not.
    pub fn answer(&mut self, id: u64, operation: u8, status: i16) {
        self.in_flight.remove(&id);
        let Some(connected) = &mut self.connected else {
            return;
        };
        if connected.ring.unanswered() == 0 {
            return;
        }
        connected.ring.push(&Response {
            id,
            operation,
            status,
            ..Response::default()
        });
        if connected.ring.publish() == Notify::Needed {
            self.notifications += 1;
            let _ = self.domain.notify(connected.port);
        }
    }

    /// Writes a word of the ring.
    pub fn poke(&mut self, offset: usize, value: u32) {
        use crate::ring::RingMemory;
        let memory = self.connected().ring.memory();
        memory.ring_word(offset).store(value, Ordering::Relaxed);
    }

    /// Does what is asked: the operation that the answer names, and the status.
    fn perform(&mut self, request: &Request) -> (u8, i16) {
        let (operation, sector, segments) = match request.operation {
            BLKIF_OP_INDIRECT => {
                let (indirect, _) =
                    RequestIndirect::read_from_prefix(request.as_bytes()).expect("it is shorter");
                let Some(segments) = self.indirect_segments(&indirect) else {
                    return (indirect.indirect_op, BLKIF_RSP_ERROR);
                };
                (indirect.indirect_op, indirect.sector_number, segments)
            }
            BLKIF_OP_DISCARD => (request.operation, request.sector_number, Vec::new()),
            operation => {
                let count = usize::from(request.nr_segments);
                let is_short = count <= BLKIF_MAX_SEGMENTS_PER_REQUEST;
                assert!(self.hostile || is_short, "{count} segments");
                let count = count.min(BLKIF_MAX_SEGMENTS_PER_REQUEST);
                let segments = request.seg[..count].to_vec();
                (operation, request.sector_number, segments)
            }
        };
        assert!(
            self.hostile || u32::from(request.handle) == self.index & 0xffff || is_long(request),
            "the disk's number"
        );
        self.asked.push((operation, segments.len()));
        if let Some((refused, status)) = self.refuse
            && refused == operation
        {
            self.refuse = None;
            return (operation, status);
        }
        let done = match operation {
            BLKIF_OP_READ | BLKIF_OP_WRITE => self.transfer(operation, sector, &segments),
            BLKIF_OP_WRITE_BARRIER | BLKIF_OP_FLUSH_DISKCACHE => {
                let is_offered = match operation {
                    BLKIF_OP_FLUSH_DISKCACHE => self.offers.flush,
                    _ => self.offers.barrier,
                };
                assert!(self.hostile || is_offered && segments.is_empty());
                self.stable.clone_from(&self.disk);
                Some(())
            }
            BLKIF_OP_DISCARD => self.discard(request),
            _ => {
                assert!(self.hostile, "operation {operation}");
                return (operation, BLKIF_RSP_EOPNOTSUPP);
            }
        };
        assert!(self.hostile || done.is_some(), "{request:?} cannot be");
        let status = done.map_or(BLKIF_RSP_ERROR, |()| BLKIF_RSP_OKAY);
        (operation, status)
    }

    fn discard(&mut self, request: &Request) -> Option<()> {
        let (request, _) = RequestDiscard::read_from_prefix(request.as_bytes()).ok()?;
        let range = self.range(request.sector_number, request.nr_sectors)?;
        if !self.offers.discard || self.offers.read_only || request.flag != 0 {
            return None;
        }
        self.disk[range].fill(0);
        Some(())
    }

    /// The bytes of sectors of the disk.
    fn range(&self, sector: u64, sectors: u64) -> Option<core::ops::Range<usize>> {
        let multiple = u64::from(self.offers.sector_size) / SECTOR as u64;
        let is_whole = sector.is_multiple_of(multiple) && sectors.is_multiple_of(multiple);
        let end = sector.checked_add(sectors)?;
        let is_inside = end <= (self.disk.len() / SECTOR) as u64;
        let bytes = |sector: u64| sector as usize * SECTOR;
        (is_whole && is_inside).then(|| bytes(sector)..bytes(end))
    }

    /// A page the frontend granted.
    fn page(&mut self, reference: u32) -> Option<Foreign> {
        if let Some(page) = self.connected().mapped.get(&reference) {
            return Some(page.clone());
        }
        let mapped = self
            .domain
            .map(self.front, GrantRef(reference), Access::ReadWrite);
        let page = mapped.ok()?;
        if self.offers.persistent {
            self.connected().mapped.insert(reference, page.clone());
        }
        Some(page)
    }

    fn indirect_segments(&mut self, request: &RequestIndirect) -> Option<Vec<Segment>> {
        let count = usize::from(request.nr_segments);
        let is_offered = count <= usize::from(self.offers.indirect);
        assert!(self.hostile || is_offered && count > 0, "{count} segments");
        let bytes = count * size_of::<Segment>();
        if !is_offered || bytes > BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST * PAGE_SIZE {
            return None;
        }
        let mut segments = Vec::new();
        for (index, reference) in request.indirect_grefs.iter().enumerate() {
            let left = count.saturating_sub(index * PAGE_SIZE / size_of::<Segment>());
            if left == 0 {
                assert!(self.hostile || *reference == 0);
                break;
            }
            let page = self.page(*reference);
            assert!(self.hostile || page.is_some(), "the list is granted");
            let page = page?;
            for at in 0..left.min(PAGE_SIZE / size_of::<Segment>()) {
                let mut bytes = [0; size_of::<Segment>()];
                page.read(at * bytes.len(), &mut bytes);
                segments.push(Segment::read_from_bytes(&bytes).ok()?);
            }
        }
        Some(segments)
    }

    fn transfer(&mut self, operation: u8, sector: u64, segments: &[Segment]) -> Option<()> {
        let mut at = sector;
        if segments.is_empty() || operation == BLKIF_OP_WRITE && self.offers.read_only {
            return None;
        }
        for segment in segments {
            let (first, last) = (segment.first_sect, segment.last_sect);
            if last < first || last >= PAGE_SECTORS {
                return None;
            }
            let sectors = u64::from(last - first) + 1;
            let range = self.range(at, sectors)?;
            let page = self.page(segment.gref)?;
            let offset = usize::from(first) * SECTOR;
            match operation {
                BLKIF_OP_READ => page.write(offset, &self.disk[range]),
                _ => page.read(offset, &mut self.disk[range]),
            }
            at += sectors;
        }
        Some(())
    }
}

/// Whether the disk's number stands elsewhere in it.
fn is_long(request: &Request) -> bool {
    request.operation == BLKIF_OP_INDIRECT
}

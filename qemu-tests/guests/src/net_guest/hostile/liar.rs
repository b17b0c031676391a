//! A netfront by hand: rings in pages of its own, and whatever is to be written into them.

use crate::{word, word_or};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::sync::atomic::Ordering;
use core::time::Duration;
use guests::packet::{self, Path, Seen, UDP_PAYLOAD, UdpChecksum};
use minios_rs::abi::io::netif::{
    ExtraInfo, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, RxRequest,
    RxResponse, TxExtraInfo, TxRequest, TxResponse, XEN_NETIF_EXTRA_FLAG_MORE,
};
use minios_rs::net::MacAddress;
use minios_rs::ring::FrontRing;
use minios_rs::xen::{Access, BoundPort, DomId, GrantRef, Granted, PAGE_SIZE, SharedPage};
use minios_rs::xenbus::{Device, XenbusState};
use minios_rs::{Domain, Pv, mm};

/// Entries of either ring.
pub(super) const ENTRIES: usize = 256;

/// Pages that what is sent lies in, used in turn.
const PAGES: usize = 64;

/// What firewalldom calls itself on guests' vifs; elsewhere `station=` says who is to be sent to.
const FIREWALL_MAC: MacAddress = MacAddress([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);

/// Where liars may send to.
pub(super) const DISCARD: u16 = 9;

/// How long anything honest may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a lie could not be told.
pub(super) type Outcome<T = ()> = Result<T, String>;

/// What was answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    pub(super) okay: u32,
    pub(super) error: u32,
}

/// A vif's rings, as the frontend that made them sees them.
pub(super) struct Rings {
    pub(super) transmit: FrontRing<mm::Page, TxRequest, TxResponse>,
    pub(super) receive: FrontRing<mm::Page, RxRequest, RxResponse>,
    pub(super) grants: [Granted<Pv>; 2],
    pub(super) port: BoundPort<Pv>,
    pages: Vec<Granted<Pv>>,
    next_page: usize,
    next_id: u16,
    /// By ring slot.
    pub(super) posted: Vec<Option<Granted<Pv>>>,
}

impl Rings {
    /// Rings that are granted to `reader`, and a port for `backend`.
    pub(super) fn new(backend: DomId, reader: DomId, access: Access) -> Outcome<Self> {
        let text = |error| format!("{error}");
        let ring = || Granted::allocate(&Pv, reader, access).map_err(text);
        let grants = [ring()?, ring()?];
        let mut pages = Vec::with_capacity(PAGES);
        for _ in 0..PAGES {
            pages.push(Granted::allocate(&Pv, backend, Access::ReadOnly).map_err(text)?);
        }
        Ok(Self {
            transmit: FrontRing::new(grants[0].page().clone()),
            receive: FrontRing::new(grants[1].page().clone()),
            grants,
            port: BoundPort::allocate(&Pv, backend).map_err(|error| format!("{error}"))?,
            pages,
            next_page: 0,
            next_id: 0,
            posted: (0..ENTRIES).map(|_| None).collect(),
        })
    }

    /// The next page for something to send, and its grant.
    pub(super) fn page(&mut self) -> &Granted<Pv> {
        self.next_page = (self.next_page + 1) % PAGES;
        &self.pages[self.next_page]
    }

    /// The page that was used last.
    pub(super) fn last_page(&self) -> mm::Page {
        self.pages[self.next_page].page().clone()
    }

    pub(super) fn id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1) % ENTRIES as u16;
        self.next_id
    }

    /// The requests of a frame in these slots, each at `offset` of a page. Nothing is sent yet.
    pub(super) fn requests(&mut self, slots: &[&[u8]], flags: u16) -> Vec<TxRequest> {
        let total: usize = slots.iter().map(|slot| slot.len()).sum();
        let mut requests = Vec::new();
        for (number, slot) in slots.iter().enumerate() {
            let page = self.page();
            page.page().write(0, slot);
            let gref = page.reference().0;
            let is_last = number + 1 == slots.len();
            let (first, size) = match number {
                0 => (flags, total),
                _ => (0, slot.len()),
            };
            requests.push(TxRequest {
                gref,
                offset: 0,
                flags: first | if is_last { 0 } else { NETTXF_MORE_DATA },
                id: self.id(),
                size: size as u16,
            });
        }
        requests
    }

    /// Writes the request of a frame that is said to begin a page, to be shown.
    pub(super) fn push_one(&mut self, gref: u32, flags: u16, size: usize) {
        let (offset, size) = (0, size as u16);
        let id = self.id();
        self.push(&[TxRequest {
            gref,
            offset,
            flags,
            id,
            size,
        }]);
    }

    /// Writes requests as they are, to be shown. What finds no room is left out.
    pub(super) fn push(&mut self, requests: &[TxRequest]) {
        for request in requests {
            let _ = self.transmit.push(request);
        }
    }

    pub(super) fn push_extra(&mut self, info: ExtraInfo) {
        let _ = self.transmit.push_as(&TxExtraInfo { info, pad: 0 });
    }

    /// Shows what was written, and sends an event whether it was asked for or not.
    pub(super) fn show(&mut self) {
        let _ = self.transmit.publish();
        let _ = self.port.notify();
    }

    /// Sends a frame in these slots.
    pub(super) fn send(&mut self, slots: &[&[u8]], flags: u16, extras: &[ExtraInfo]) {
        let extra = match extras {
            [] => 0,
            _ => NETTXF_EXTRA_INFO,
        };
        let requests = self.requests(slots, flags | extra);
        self.push(&requests[..1]);
        for (number, info) in extras.iter().enumerate() {
            let more = match number + 1 < extras.len() {
                true => XEN_NETIF_EXTRA_FLAG_MORE,
                false => 0,
            };
            self.push_extra(ExtraInfo {
                flags: info.flags | more,
                ..*info
            });
        }
        self.push(&requests[1..]);
        self.show();
    }

    /// Takes what was answered.
    pub(super) fn answers(&mut self) -> Answers {
        let mut answers = Answers::default();
        while let Ok(response) = self.transmit.pop() {
            match response.status {
                NETIF_RSP_OKAY => answers.okay += 1,
                NETIF_RSP_NULL => {}
                _ => answers.error += 1,
            }
        }
        // So that the backend sends events as it would to others.
        let _ = self.transmit.arm(0);
        answers
    }

    /// Posts buffers of this kind, as many as there is room for.
    pub(super) fn post(&mut self, reader: DomId, access: Access) -> Outcome {
        while self.receive.free() > 0 {
            let id = self.receive.next_slot();
            let granted = Granted::allocate(&Pv, reader, access);
            let granted = granted.map_err(|error| format!("a buffer: {error}"))?;
            let gref = granted.reference().0;
            let _ = self.receive.push(&RxRequest { id, pad: 0, gref });
            self.posted[usize::from(id)] = Some(granted);
        }
        self.show_buffers();
        Ok(())
    }

    pub(super) fn show_buffers(&mut self) {
        let _ = self.receive.publish();
        let _ = self.port.notify();
    }

    /// Takes what has come, posts the same buffers again, and says how many answers to pings there were.
    pub(super) fn take(&mut self) -> u32 {
        let mut echoes = 0;
        loop {
            let slot = self.receive.slot(0);
            let Ok(response) = self.receive.pop() else {
                break;
            };
            let Some(granted) = self.posted[usize::from(slot)].take() else {
                continue;
            };
            let mut frame = [0; 128];
            let at = usize::from(response.offset).min(PAGE_SIZE - frame.len());
            let len = usize::try_from(response.status).unwrap_or(0);
            granted.page().read(at, &mut frame);
            let seen = packet::read(&frame[..len.min(frame.len())]);
            echoes += u32::from(seen == Seen::EchoReply);
            let id = self.receive.next_slot();
            let gref = granted.reference().0;
            let _ = self.receive.push(&RxRequest { id, pad: 0, gref });
            self.posted[usize::from(id)] = Some(granted);
        }
        let _ = self.receive.publish();
        let _ = self.receive.arm(0);
        echoes
    }

    /// Writes a word of a ring's page.
    pub(super) fn poke(&self, which: usize, offset: usize, value: u32) {
        let word = self.grants[which].page().word(offset);
        word.store(value, Ordering::SeqCst);
    }
}

/// A guest that lies.
pub(super) struct Liar {
    pub(super) domain: Domain,
    pub(super) device: Device<Pv>,
    mac: MacAddress,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    target: Ipv4Addr,
    /// Whose frames these are.
    station: MacAddress,
    pub(super) rings: Rings,
}

/// In which way the keys that are published differ from an honest frontend's.
pub(super) enum Keys<'a> {
    /// They do not.
    Honest,
    /// One has another value.
    But(&'a str, &'a [u8]),
    /// One is left out.
    Without(&'a str),
}

impl Liar {
    /// Finds the vif and makes rings, granted to its backend.
    pub(super) async fn meet(domain: &Domain) -> Outcome<Self> {
        let text = |error| format!("{error}");
        let mut device = Device::frontend(&domain.store, "vif", 0)
            .await
            .map_err(text)?;
        let offered = [XenbusState::INIT_WAIT];
        device.wait_for(&offered).await.map_err(text)?;
        let mac = domain.store.read_text("device/vif/0/mac").await;
        let mac = mac.map_err(|error| format!("{error}"))?;
        let backend = device.other_id();
        Ok(Self {
            domain: domain.clone(),
            device,
            mac: mac.parse().map_err(|error| format!("{error}"))?,
            address: word(domain.command_line, "address")?,
            gateway: word(domain.command_line, "gateway")?,
            target: word(domain.command_line, "to")?,
            station: word_or(domain.command_line, "station", FIREWALL_MAC)?,
            rings: Rings::new(backend, backend, Access::ReadWrite)?,
        })
    }

    pub(super) fn backend(&self) -> DomId {
        self.device.other_id()
    }

    pub(super) async fn sleep(&self, milliseconds: u64) {
        let duration = Duration::from_millis(milliseconds);
        self.domain.executor.sleep(duration).await;
    }

    /// Calls `each` again and again for so long, with so many microseconds for others in between.
    /// None would be no pause: time would stand still.
    pub(super) async fn keep_on(
        &mut self,
        milliseconds: u64,
        pause: u64,
        mut each: impl FnMut(&mut Self),
    ) {
        let executor = self.domain.executor.clone();
        let end = executor.now().after(Duration::from_millis(milliseconds));
        while executor.now() < end {
            each(self);
            executor.sleep(Duration::from_micros(pause)).await;
        }
    }

    /// Posts honest buffers, publishes honest keys, and waits until the backend is connected.
    pub(super) async fn connect(&mut self) -> Outcome {
        self.rings.post(self.backend(), Access::ReadWrite)?;
        self.connect_as_it_is().await
    }

    /// The same with whatever buffers were posted.
    pub(super) async fn connect_as_it_is(&mut self) -> Outcome {
        self.publish(Keys::Honest).await?;
        let wanted = [XenbusState::CONNECTED];
        let connected = self.device.wait_for(&wanted);
        let timely = self.domain.executor.timeout(PATIENCE, connected).await;
        match timely {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("connecting: {error}")),
            Err(_) => Err("connecting: no answer".to_string()),
        }
    }

    /// Writes the keys, and Connected.
    pub(super) async fn publish(&self, keys: Keys<'_>) -> Outcome {
        let [transmit, receive] = &self.rings.grants;
        let number = |reference: GrantRef| reference.0.to_string();
        let honest = [
            ("tx-ring-ref", number(transmit.reference())),
            ("rx-ring-ref", number(receive.reference())),
            ("event-channel", self.rings.port.number().0.to_string()),
            ("request-rx-copy", "1".to_string()),
            ("feature-sg", "1".to_string()),
            ("feature-gso-tcpv4", "1".to_string()),
        ];
        for (key, value) in &honest {
            match keys {
                Keys::Without(other) if other == *key => self.remove(key).await?,
                _ => self.write(key, value).await?,
            }
        }
        // What an earlier connection left behind.
        self.remove("multi-queue-num-queues").await?;
        if let Keys::But(key, value) = keys {
            self.write(key, value).await?;
        }
        self.switch_to(XenbusState::CONNECTED).await
    }

    /// Writes a node of the device's.
    pub(super) async fn write(&self, key: &str, value: impl AsRef<[u8]>) -> Outcome {
        let path = format!("device/vif/0/{key}");
        let written = self.domain.store.write(&path, value).await;
        written.map_err(|error| format!("{path}: {error}"))
    }

    /// Removes a node of the device's, if it is there.
    async fn remove(&self, key: &str) -> Outcome {
        let path = format!("device/vif/0/{key}");
        match self.domain.store.rm(&path).await {
            Err(error) if !error.is_not_found() => Err(format!("{path}: {error}")),
            _ => Ok(()),
        }
    }

    pub(super) async fn switch_to(&self, state: XenbusState) -> Outcome {
        self.write("state", state.0.to_string()).await
    }

    /// The backend's state; 0 if there is none.
    pub(super) async fn backend_state(&self) -> u32 {
        match self.device.other_state().await {
            Ok(state) => state.0,
            Err(_) => 0,
        }
    }

    /// The path of what it sends, by its gateway or to that.
    fn path(&self, to: Ipv4Addr) -> Path {
        Path {
            from: (self.mac, self.address),
            to: (self.station, to),
        }
    }

    /// A ping of the gateway's own address, which it answers.
    pub(super) fn ping(&self, len: usize, number: u16) -> Vec<u8> {
        let mut frame = alloc::vec![0; len];
        packet::write_echo(&mut frame, self.path(self.gateway), number);
        frame
    }

    /// A frame of so many bytes with a datagram for another guest, its checksum blank.
    pub(super) fn datagram(&self, len: usize, port: u16) -> Vec<u8> {
        let mut frame = alloc::vec![0x5a; len.max(UDP_PAYLOAD)];
        let path = self.path(self.target);
        packet::write_udp(&mut frame, path, (DISCARD, port), UdpChecksum::Blank);
        frame
    }

    /// Waits until there is room for so many requests, which there is unless the backend does not answer.
    pub(super) async fn room(&mut self, requests: u32) -> Outcome {
        for _ in 0..1000 {
            self.rings.answers();
            self.rings.take();
            if self.rings.transmit.free() >= requests {
                return Ok(());
            }
            self.sleep(5).await;
        }
        Err("nothing is answered".to_string())
    }

    /// Whether it is heard: of a ping there is an answer.
    pub(super) async fn is_heard(&mut self) -> bool {
        self.rings.answers();
        self.rings.take();
        for number in 0..5 {
            let ping = self.ping(98, number);
            self.rings.send(&[&ping], 0, &[]);
            for _ in 0..20 {
                self.sleep(20).await;
                self.rings.answers();
                if self.rings.take() > 0 {
                    return true;
                }
            }
        }
        false
    }

    /// As [`Liar::is_heard`], where nothing else would make sense.
    pub(super) async fn must_be_heard(&mut self) -> Outcome {
        match self.is_heard().await {
            true => Ok(()),
            false => Err("not heard before it lied".to_string()),
        }
    }
}

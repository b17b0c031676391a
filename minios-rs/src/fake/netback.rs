//! A netback to meet netfront in tests: correct unless told otherwise, and able to write whatever
//! a hostile one could.

#![forbid(unsafe_code)]

use super::{Domain, Foreign, World};
use crate::abi::io::netif::{
    ExtraInfo, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA,
    NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, RxRequest,
    RxResponse, TxRequest, TxResponse, XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_GSO,
    XEN_NETIF_NR_SLOTS_MIN,
};
use crate::ring::{BackRing, Corrupt, Notify};
use crate::xen::{Access, DomId, Errno, GrantRef, Port, SharedPage, Xen};
use crate::xenbus::XenbusState;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// What a good and modern backend offers.
pub const OFFERS: [&str; 5] = [
    "feature-rx-copy",
    "feature-sg",
    "feature-gso-tcpv4",
    "feature-gso-tcpv6",
    "feature-ipv6-csum-offload",
];

/// One of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What the frontend transmits.
    Tx,
    /// What it receives.
    Rx,
}

/// A frame the frontend sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes, copied by grant.
    pub bytes: Vec<u8>,
    /// The first request's flags.
    pub flags: u16,
    /// GSO type and segment size.
    pub gso: Option<(u8, u16)>,
    /// Its requests, extra infos left out.
    pub requests: Vec<TxRequest>,
}

struct Connected {
    port: Port,
    tx: BackRing<Foreign, TxRequest, TxResponse>,
    rx: BackRing<Foreign, RxRequest, RxResponse>,
}

/// The backend of one vif.
pub struct Netback {
    domain: Domain,
    front: DomId,
    own: String,
    theirs: String,
    connected: Option<Connected>,
    /// Requests taken but not answered, if answers are held back.
    unanswered: Vec<u16>,
    /// Ids the frontend uses now.
    in_flight: BTreeSet<u16>,
    /// Keep the answers of what is received until [`Netback::answer_all`].
    pub hold_answers: bool,
    /// It has scribbled on its own rings: what it makes of them is no longer the frontend's fault.
    pub hostile: bool,
    /// Events sent.
    pub notifications: u64,
}

impl Netback {
    /// Makes both halves of a vif in xenstore, as the toolstack does, and waits for the frontend.
    pub fn announce(
        world: &World,
        backend: DomId,
        front: DomId,
        index: u32,
        offers: &[&str],
    ) -> Self {
        let domain = world.domain(backend);
        let own = format!(
            "/local/domain/{}/backend/vif/{}/{index}",
            backend.0, front.0
        );
        let theirs = format!("/local/domain/{}/device/vif/{index}", front.0);
        world.write_node(&format!("{theirs}/backend"), &own);
        world.write_node(&format!("{theirs}/backend-id"), backend.0.to_string());
        world.write_node(&format!("{theirs}/handle"), index.to_string());
        world.write_node(
            &format!("{theirs}/mac"),
            format!("00:16:3e:00:00:{index:02x}"),
        );
        world.write_node(&format!("{theirs}/state"), "1");
        world.write_node(&format!("{own}/frontend"), &theirs);
        world.write_node(&format!("{own}/frontend-id"), front.0.to_string());
        world.write_node(&format!("{own}/online"), "1");
        for offer in offers {
            world.write_node(&format!("{own}/{offer}"), "1");
        }
        world.write_node(&format!("{own}/state"), "2");
        Self {
            domain,
            front,
            own,
            theirs,
            connected: None,
            unanswered: Vec::new(),
            in_flight: BTreeSet::new(),
            hold_answers: false,
            hostile: false,
            notifications: 0,
        }
    }

    /// Its directory in xenstore.
    pub fn node(&self) -> &str {
        &self.own
    }

    /// The frontend's directory.
    pub fn frontend_node(&self) -> &str {
        &self.theirs
    }

    /// The domain it runs in.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Writes its state.
    pub fn switch_to(&self, state: XenbusState) {
        self.domain
            .world()
            .write_node(&format!("{}/state", self.own), state.0.to_string());
    }

    fn state(&self, directory: &str) -> XenbusState {
        let text = self.domain.world().node(&format!("{directory}/state"));
        XenbusState(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Does the next step of the handshake, as Linux's backend does.
    pub fn step(&mut self) {
        let own = self.state(&self.own);
        match self.state(&self.theirs) {
            XenbusState::CONNECTED if own == XenbusState::INIT_WAIT => {
                self.connected = Some(self.join());
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
    }

    fn join(&self) -> Connected {
        let key = |name: &str| -> u32 {
            let value = self.domain.world().node(&format!("{}/{name}", self.theirs));
            value
                .and_then(|value| value.parse().ok())
                .expect("the frontend has published a number")
        };
        assert_eq!(key("request-rx-copy"), 1);
        let watched = format!("{}/feature-rx-notify", self.theirs);
        assert!(
            self.domain.world().node(&watched).is_none(),
            "Linux' netback may lose its interrupt if it watches for stalls"
        );
        let map = |name: &str| {
            self.domain
                .map(self.front, GrantRef(key(name)), Access::ReadWrite)
        };
        Connected {
            tx: BackRing::new(map("tx-ring-ref").expect("the ring is granted")),
            rx: BackRing::new(map("rx-ring-ref").expect("the ring is granted")),
            port: self
                .domain
                .bind_port(self.front, Port(key("event-channel")))
                .expect("the port is ours"),
        }
    }

    /// Lets go of the rings and the port.
    pub fn disconnect(&mut self) {
        if let Some(connected) = self.connected.take() {
            self.domain.close_port(connected.port);
        }
        self.in_flight.clear();
        self.unanswered.clear();
    }

    /// Goes away without a word, as a domain that was destroyed does.
    pub fn vanish(&mut self) {
        self.disconnect();
        self.domain.world().remove_node(&self.own);
    }

    fn connected(&mut self) -> &mut Connected {
        self.connected.as_mut().expect("the backend is connected")
    }

    /// Whether the frontend has sent an event since the last time.
    pub fn take_event(&mut self) -> bool {
        let port = self.connected().port;
        self.domain.take_event(port)
    }

    /// Events the frontend has sent.
    pub fn events_received(&mut self) -> u64 {
        let port = self.connected().port;
        self.domain.events_received(port)
    }

    /// Takes every frame the frontend has sent, and answers them unless told to hold answers.
    /// Panics if the frontend breaks the protocol's rules.
    pub fn receive(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.receive_one() {
            frames.push(frame);
        }
        if !self.hold_answers {
            self.answer_all();
        }
        let _ = self.connected().tx.arm();
        frames
    }

    fn receive_one(&mut self) -> Option<Frame> {
        let first = self.connected().tx.pop().ok()?;
        let mut taken = vec![first];
        let mut gso = None;
        let mut extra = first.flags & NETTXF_EXTRA_INFO != 0;
        while extra {
            let slot = self
                .connected()
                .tx
                .pop()
                .expect("an extra info comes with its frame");
            let (info, _) = ExtraInfo::read_from_prefix(slot.as_bytes()).expect("a slot is longer");
            assert_eq!(info.kind, XEN_NETIF_EXTRA_TYPE_GSO);
            gso = Some((info.gso_type, info.gso_size));
            extra = info.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0;
            self.unanswered.push(u16::MAX);
        }
        let mut more = first.flags & NETTXF_MORE_DATA != 0;
        while more {
            let slot = self.connected().tx.pop().expect("a frame comes whole");
            assert_eq!(
                slot.flags & !NETTXF_MORE_DATA,
                0,
                "only the first slot has other flags"
            );
            more = slot.flags & NETTXF_MORE_DATA != 0;
            taken.push(slot);
        }
        assert!(
            taken.len() <= XEN_NETIF_NR_SLOTS_MIN,
            "{} slots",
            taken.len()
        );
        let known =
            NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED | NETTXF_MORE_DATA | NETTXF_EXTRA_INFO;
        assert_eq!(first.flags & !known, 0);
        let rest: usize = taken[1..].iter().map(|slot| usize::from(slot.size)).sum();
        let head = usize::from(first.size)
            .checked_sub(rest)
            .expect("the first slot holds the whole size");
        let mut bytes = Vec::new();
        for (index, slot) in taken.iter().enumerate() {
            let len = if index == 0 {
                head
            } else {
                usize::from(slot.size)
            };
            assert!(len > 0, "no slot is empty");
            let mut part = vec![0; len];
            self.domain
                .copy_from(
                    self.front,
                    GrantRef(slot.gref),
                    usize::from(slot.offset),
                    &mut part,
                )
                .expect("what is sent can be read");
            let writable = self.domain.copy_to(self.front, GrantRef(slot.gref), 0, &[]);
            assert!(writable.is_err(), "what is sent cannot be written");
            bytes.extend(part);
            assert!(
                self.in_flight.insert(slot.id),
                "an id is used once at a time"
            );
            self.unanswered.push(slot.id);
        }
        // Extra infos lie behind the first slot; answers go in the order of the requests.
        if gso.is_some() {
            let start = self.unanswered.len() - taken.len() - 1;
            self.unanswered.swap(start, start + 1);
        }
        Some(Frame {
            bytes,
            flags: first.flags,
            gso,
            requests: taken,
        })
    }

    /// Answers all that was held back.
    pub fn answer_all(&mut self) {
        for id in core::mem::take(&mut self.unanswered) {
            self.in_flight.remove(&id);
            let status = if id == u16::MAX {
                NETIF_RSP_NULL
            } else {
                NETIF_RSP_OKAY
            };
            self.connected().tx.push(&TxResponse { id, status });
        }
        self.publish();
    }

    /// Answers one request that was held back, whatever was asked; if there is none, does nothing.
    pub fn answer(&mut self, id: u16, status: i16) {
        if self.unanswered.pop().is_none() {
            return;
        }
        self.in_flight.remove(&id);
        self.connected().tx.push(&TxResponse { id, status });
        self.publish();
    }

    /// Sends a frame in these slots, each at `offset` in its page. False if the frontend has not
    /// posted enough buffers; then nothing is sent.
    pub fn deliver(
        &mut self,
        slots: &[&[u8]],
        offset: u16,
        flags: u16,
        extras: &[ExtraInfo],
    ) -> bool {
        let front = self.front;
        let (domain, hostile) = (self.domain.clone(), self.hostile);
        let rx = &mut self.connected().rx;
        let needed = (slots.len() + extras.len()) as u32;
        let available = rx.available().unwrap_or_else(|Corrupt| {
            assert!(hostile, "a frontend posts no more than fits");
            // Whoever is hostile may have written the frontend's own index.
            0
        });
        if available < needed {
            return false;
        }
        for (index, slot) in slots.iter().enumerate() {
            let request = rx.pop().expect("counted above");
            let copied = domain.copy_to(front, GrantRef(request.gref), usize::from(offset), slot);
            assert!(
                hostile || copied.is_ok(),
                "a posted buffer can be written: {copied:?}"
            );
            let more = if index + 1 < slots.len() {
                NETRXF_MORE_DATA
            } else {
                0
            };
            let first = if index > 0 {
                0
            } else {
                flags
                    | if extras.is_empty() {
                        0
                    } else {
                        NETRXF_EXTRA_INFO
                    }
            };
            rx.push(&RxResponse {
                id: request.id,
                offset,
                flags: more | first,
                status: slot.len() as i16,
            });
            if index == 0 {
                for (number, extra) in extras.iter().enumerate() {
                    let _ = rx.pop().expect("counted above");
                    let more = if number + 1 < extras.len() {
                        XEN_NETIF_EXTRA_FLAG_MORE
                    } else {
                        0
                    };
                    rx.push_as(&ExtraInfo {
                        flags: extra.flags | more,
                        ..*extra
                    });
                }
            }
        }
        self.publish();
        true
    }

    /// Buffers the frontend has posted and that were not used yet.
    pub fn posted(&mut self) -> u32 {
        self.connected()
            .rx
            .available()
            .expect("the frontend's index is possible")
    }

    /// Answers posted buffers with these responses, as they are but for the id where it is `None`.
    /// Stops where no buffer is posted, and says how many were answered.
    pub fn respond(&mut self, responses: &[(Option<u16>, RxResponse)]) -> usize {
        let rx = &mut self.connected().rx;
        let mut done = 0;
        for (id, response) in responses {
            let Ok(request) = rx.pop() else { break };
            rx.push(&RxResponse {
                id: id.unwrap_or(request.id),
                ..*response
            });
            done += 1;
        }
        self.publish();
        done
    }

    /// Writes a word of a ring's page.
    pub fn poke(&mut self, which: Which, offset: usize, value: u32) {
        let connected = self.connected();
        let page = match which {
            Which::Tx => connected.tx.memory(),
            Which::Rx => connected.rx.memory(),
        };
        page.word(offset).store(value, Ordering::Relaxed);
    }

    /// Maps a page the frontend granted, read-only.
    ///
    /// # Errors
    /// As [`Domain::map`].
    pub fn map(&self, reference: u32) -> Result<Foreign, Errno> {
        self.domain
            .map(self.front, GrantRef(reference), Access::ReadOnly)
    }

    fn publish(&mut self) {
        let connected = self.connected.as_mut().expect("the backend is connected");
        let notify = [connected.tx.publish(), connected.rx.publish()].contains(&Notify::Needed);
        if notify {
            self.notifications += 1;
            let _ = self.domain.notify(connected.port);
        }
        // It looks at buffers when it needs them, and wants an event only if there are none.
        let _ = connected.rx.arm();
    }
}

//! The vif, its addresses and its gateway's.

use crate::{word, word_or};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::net::Ipv4Addr;
use core::time::Duration;
use guests::packet::{self, Path, Seen};
use minios_rs::net::{Config, Front, MacAddress, Offload, Received, State};
use minios_rs::ring::Pending;
use minios_rs::time::Instant;
use minios_rs::{Domain, Pv, mm};

/// Bytes of the longest frame that is sent or looked at.
pub(crate) const FRAME_MAX: usize = 1514;

/// How long an answer to ARP is waited for.
const ARP_PATIENCE: Duration = Duration::from_millis(200);

/// A host behind its vif.
pub(crate) struct Station {
    front: Front<Pv>,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    gateway_mac: Option<MacAddress>,
    /// When the gateway's station was asked for.
    asked: Option<Instant>,
    received: Received<mm::Page>,
    frame: Box<[u8; FRAME_MAX]>,
}

impl Station {
    pub(crate) async fn connect(domain: &Domain) -> Result<Self, String> {
        let address = word(domain.command_line, "address")?;
        let gateway = word(domain.command_line, "gateway")?;
        let vif = word_or(domain.command_line, "vif", 0)?;
        let connected = Front::connect(&domain.xen, &domain.store, vif, Config::default());
        let (front, link) = connected.await.map_err(|error| format!("{error}"))?;
        let watched = domain.executor.spawn(async move {
            let mut link = link;
            let ended = link.backend_ending().await;
            log::error!("Test result: ERROR: the backend ended: {ended:?}");
        });
        assert!(watched.is_ok(), "the first tasks fit");
        Ok(Self {
            front,
            address,
            gateway,
            gateway_mac: None,
            asked: None,
            received: Received::default(),
            frame: Box::new([0; FRAME_MAX]),
        })
    }

    pub(crate) fn say_so(&mut self) {
        // Whoever stands in front of this host learns where it is, if it does not know it already.
        self.ask();
        let (mac, address) = self.itself();
        log::info!("{address} is {mac}, connected");
    }

    fn itself(&self) -> (MacAddress, Ipv4Addr) {
        (self.front.mac(), self.address)
    }

    /// The path to a host behind the gateway; `None` until the gateway has said where it is.
    pub(crate) fn path_to(&self, address: Ipv4Addr) -> Option<Path> {
        Some(Path {
            from: self.itself(),
            to: (self.gateway_mac?, address),
        })
    }

    /// Asks for the gateway's station again, if it has not answered; when to call again.
    pub(crate) fn resolve(&mut self, now: Instant) -> Instant {
        if self
            .asked
            .is_none_or(|asked| now.since(asked) >= ARP_PATIENCE)
        {
            self.asked = Some(now);
            self.ask();
        }
        now.after(ARP_PATIENCE)
    }

    fn ask(&mut self) {
        let request = packet::arp(self.itself(), None, self.gateway);
        // A question that finds no room is asked again.
        let _ = self.front.transmit_bytes(&request, Offload::default());
    }

    /// Takes the next datagram that came to this host: who sent it, its ports (from, to), and what it
    /// carries. ARP and pings are answered, and the rest passed over.
    pub(crate) fn receive(&mut self) -> Option<(Ipv4Addr, (u16, u16), &[u8])> {
        let itself = self.itself();
        let found = loop {
            if !self.front.receive_into(&mut self.received) {
                break None;
            }
            let len = self.received.read(0, &mut *self.frame);
            while let Some(slice) = self.received.slots.pop() {
                self.front.recycle(slice.buffer);
            }
            match packet::read(&self.frame[..len]) {
                Seen::ArpRequest { from, wanted } if wanted == self.address => {
                    let reply = packet::arp(itself, Some(from.0), from.1);
                    // Whoever gets none asks again.
                    let _ = self.front.transmit_bytes(&reply, Offload::default());
                }
                Seen::EchoRequest { path } if path.to == itself => {
                    packet::answer_echo(&mut self.frame[..len], path);
                    let _ = self
                        .front
                        .transmit_bytes(&self.frame[..len], Offload::default());
                }
                Seen::ArpReply { from } if from.1 == self.gateway => {
                    self.gateway_mac = Some(from.0);
                }
                Seen::Udp { path, .. } if path.to == itself => break Some(len),
                _ => {}
            }
        };
        // Read once more: what is given out borrows the frame.
        match packet::read(&self.frame[..found?]) {
            Seen::Udp {
                path,
                ports,
                payload,
            } => Some((path.from.1, ports, payload)),
            _ => None,
        }
    }

    /// Sends a frame; false if there is no room now.
    pub(crate) fn send(&mut self, frame: &[u8], offload: Offload) -> bool {
        self.front.transmit_bytes(frame, offload).is_ok()
    }

    /// Whether the interface works.
    pub(crate) fn is_open(&self) -> bool {
        self.front.state() == State::Open
    }

    /// Shows what was sent, and posts the buffers of what was received again.
    pub(crate) fn flush(&mut self) {
        // Nothing that was sent is anybody else's.
        while self.front.completed().is_some() {}
        self.front.flush();
    }

    /// The same. Whether there is something to do before sleeping.
    pub(crate) fn park(&mut self) -> Pending {
        self.flush();
        self.front.park()
    }
}

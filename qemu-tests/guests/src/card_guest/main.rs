//! A domain with a network card of its own, driven by netdom's drivers: asks QEMU's user network, by ARP,
//! ping and DHCP, whether frames go out and come in whole. With `ring=elsewhere` it has the card look for its
//! descriptors in the memory of others.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;
use guests::packet::{self, BROADCAST, Path, Seen, UDP_PAYLOAD, UdpChecksum};
use minios_rs::hardware::Hardware;
use minios_rs::net::{Checksum, MacAddress, Offload, Received, RxBuffer, Slice};
use minios_rs::pci::Address;
use minios_rs::time::Instant;
use minios_rs::{Boot, Domain, Pv, entry};
use netdom::cards::{Cards, Traffic};
use netdom::nic::{Config, Link, Nic};

mod elsewhere;

entry!(main);

/// Who answers in QEMU's user network, and who we are there.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// Pings that are to be answered.
const PINGS: u16 = 600;
/// Bytes of the first pings: as many as go out as a header.
const SHORT: usize = 512;
/// Received payloads that go out again in one frame.
const PIECES: usize = 3;
/// How long one question waits for its answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often one is asked.
const TRIES: u32 = 20;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Link,
    Arp,
    Ping(u16),
    Dhcp,
    Done,
}

struct Asker<X: Hardware> {
    step: Step,
    asked: Option<Instant>,
    tries: u32,
    gateway: MacAddress,
    /// Payload that came, in the pages it came in, to be sent from there.
    kept: Vec<Slice<X::Page>>,
    chained: u32,
    wrong: u32,
}

fn main(boot: Boot) -> ! {
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&["pci"]);
    if guests::argument(domain.command_line, "ring") == Some("elsewhere") {
        elsewhere::run(domain);
    }
    let cards = Cards::start(
        &domain.xen,
        &domain.store,
        &domain.executor,
        Config::default(),
    );
    let cards = cards.expect("the first task fits");
    let mut asker = Asker::<Pv>::new();
    domain.run(|now| {
        let next = cards.turn(now, &mut asker);
        // Questions are repeated in time.
        let soon = now.after(PATIENCE);
        Some(next.map_or(soon, |next| next.min(soon)))
    })
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(7)).collect()
}

const PLAIN: Offload = Offload {
    checksum: Checksum::Unknown,
    gso: None,
};
const BLANK: Offload = Offload {
    checksum: Checksum::Blank,
    gso: None,
};

impl<X: Hardware> Traffic<X> for Asker<X> {
    fn exchange(&mut self, now: Instant, _: Address, nic: &mut dyn Nic<X>) -> Option<Instant> {
        while let Some(buffer) = nic.completed() {
            nic.recycle(buffer);
        }
        let mut frame = Received::default();
        while nic.receive_into(&mut frame) {
            let mut bytes = vec![0; frame.len as usize];
            frame.read(0, &mut bytes);
            self.take(nic, &bytes, &mut frame);
            while let Some(slice) = frame.slots.pop() {
                nic.recycle(slice.buffer);
            }
        }
        if self.step == Step::Link && nic.link() != Link::Down {
            self.go(Step::Arp);
        }
        let is_due = self.asked.is_none_or(|asked| now.since(asked) >= PATIENCE);
        if !is_due || matches!(self.step, Step::Link | Step::Done) {
            return None;
        }
        self.tries += 1;
        if self.tries > TRIES {
            log::error!("Test result: FAILURE: no answer");
            self.step = Step::Done;
            return None;
        }
        self.asked = Some(now);
        self.ask(nic);
        None
    }

    fn take_back(&mut self, _: RxBuffer<X::Page>) {}
}

impl<X: Hardware> Asker<X> {
    fn new() -> Self {
        Self {
            step: Step::Link,
            asked: None,
            tries: 0,
            gateway: BROADCAST,
            kept: Vec::new(),
            chained: 0,
            wrong: 0,
        }
    }

    fn go(&mut self, step: Step) {
        self.step = step;
        self.asked = None;
        self.tries = 0;
    }

    fn ask(&mut self, nic: &mut dyn Nic<X>) {
        let us = (nic.mac(), OURS);
        let path = Path {
            from: us,
            to: (self.gateway, GATEWAY),
        };
        match self.step {
            Step::Arp => send(nic, &packet::arp(us, None, GATEWAY), &mut Vec::new(), PLAIN),
            Step::Ping(number) if self.kept.len() == PIECES => {
                // The headers from here, the payload from the pages it came in.
                let payload = pattern(SHORT - UDP_PAYLOAD).repeat(PIECES);
                let mut whole = vec![0; UDP_PAYLOAD];
                whole.extend(payload);
                packet::write_echo(&mut whole, path, number);
                send(nic, &whole[..UDP_PAYLOAD], &mut self.kept, PLAIN);
                self.chained += 1;
            }
            Step::Ping(number) => {
                let mut whole = vec![0; UDP_PAYLOAD];
                whole.extend(pattern(SHORT - UDP_PAYLOAD));
                packet::write_echo(&mut whole, path, number);
                send(nic, &whole, &mut Vec::new(), PLAIN);
            }
            Step::Dhcp => {
                let mut frame = vec![0; UDP_PAYLOAD];
                frame.extend(discover(us.0));
                let path = Path {
                    from: (us.0, Ipv4Addr::UNSPECIFIED),
                    to: (BROADCAST, Ipv4Addr::BROADCAST),
                };
                // The server checks the sum: the card has to have filled it in.
                packet::write_udp(&mut frame, path, (68, 67), UdpChecksum::Blank);
                send(nic, &frame, &mut Vec::new(), BLANK);
            }
            Step::Link | Step::Done => {}
        }
    }

    fn take(&mut self, nic: &mut dyn Nic<X>, bytes: &[u8], frame: &mut Received<X::Page>) {
        match (packet::read(bytes), self.step) {
            (Seen::ArpReply { from }, Step::Arp) if from.1 == GATEWAY => {
                self.gateway = from.0;
                log::info!("{GATEWAY} is at {}", from.0);
                self.go(Step::Ping(0));
            }
            (Seen::ArpRequest { from, wanted }, _) if wanted == OURS => {
                let answer = packet::arp((nic.mac(), OURS), Some(from.0), from.1);
                send(nic, &answer, &mut Vec::new(), PLAIN);
            }
            (Seen::EchoReply, Step::Ping(number)) => {
                let came = u16::from_be_bytes([bytes[40], bytes[41]]);
                if came != number {
                    return;
                }
                let one = pattern(SHORT - UDP_PAYLOAD);
                let payload = &bytes[UDP_PAYLOAD..];
                if !payload.chunks(one.len()).all(|part| part == one) {
                    self.wrong += 1;
                }
                if payload.len() == one.len() && self.kept.len() < PIECES {
                    let mut slice = frame.slots.remove(0);
                    slice.advance(UDP_PAYLOAD as u16);
                    self.kept.push(slice);
                }
                match number + 1 {
                    PINGS => {
                        log::info!(
                            "{PINGS} pings answered, {} from the pages of others",
                            self.chained
                        );
                        self.go(Step::Dhcp);
                    }
                    next => self.go(Step::Ping(next)),
                }
            }
            (
                Seen::Udp {
                    ports: (67, 68),
                    payload,
                    ..
                },
                Step::Dhcp,
            ) => {
                let offered = payload.get(16..20).unwrap_or_default();
                let counted = nic.statistics();
                let whole = offered == OURS.octets() && self.wrong == 0 && self.chained > 100;
                let verdict = if whole { "SUCCESS" } else { "FAILURE" };
                log::info!(
                    "received {}, sent {}, interrupts {}, resets {}",
                    counted.received_frames,
                    counted.transmitted_frames,
                    counted.interrupts,
                    counted.resets
                );
                log::info!("Test result: {verdict}");
                self.step = Step::Done;
            }
            _ => {}
        }
    }
}

fn send<X: Hardware>(
    nic: &mut dyn Nic<X>,
    head: &[u8],
    tail: &mut Vec<Slice<X::Page>>,
    offload: Offload,
) {
    let mut slots = heapless::Vec::<_, PIECES>::new();
    for slice in tail.drain(..) {
        assert!(slots.push(slice).is_ok(), "no more are kept");
    }
    if let Err(error) = nic.transmit_slots(head, slots.as_mut_view(), offload) {
        log::error!("not sent: {error}");
        while let Some(slice) = slots.pop() {
            nic.recycle(slice.buffer);
        }
    }
}

/// A DHCP discovery (RFC 2131): the fixed part, the cookie, the kind, the end.
fn discover(mac: MacAddress) -> Vec<u8> {
    let mut message = vec![0; 300];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(b"card");
    message[28..34].copy_from_slice(&mac.0);
    message[236..244].copy_from_slice(&[0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
    message
}

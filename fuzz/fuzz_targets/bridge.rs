//! A learning bridge whose ports come, go and send what they like, beside a model that remembers everything:
//! nobody gets what is another port's, nobody speaks in another's name, and no port takes another's room.

#![no_main]

use arbitrary::Arbitrary;
use core::time::Duration;
use libfuzzer_sys::fuzz_target;
use minios_rs::net::MacAddress;
use minios_rs::net::bridge::{
    AGEING, AttachError, Bridge, Decision, LEARNED_MAX, Learning, PORTS_MAX, PortId, Refusal,
    WIRE_LEARNED_MAX,
};
use minios_rs::time::Instant;
use std::collections::BTreeMap;

const LOCAL: MacAddress = MacAddress([2, 0, 0, 0, 0, 0]);

/// Fewer stations than a port has room for, so that the model knows which are remembered.
const STATIONS: u8 = 48;
const _: () = assert!((STATIONS as usize) < LEARNED_MAX);

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Address {
    Station(u8),
    Local,
    Group(u8),
    Raw([u8; 6]),
}

impl Address {
    fn mac(self) -> MacAddress {
        match self {
            Self::Station(number) => MacAddress([2, 0, 0, 0, 1, number % STATIONS]),
            Self::Local => LOCAL,
            Self::Group(low) => MacAddress([1, 0x80, 0xc2, 0, 0, low]),
            Self::Raw(bytes) => MacAddress(bytes),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Attach(Address, bool),
    AttachWire,
    Detach(u8),
    /// A frame from one to another, cut to so many bytes of its addresses.
    Frame(u8, Address, Address, u8),
    /// As many stations as fill a port's room, or more.
    Crowd(u8, u16),
    Wait(u16),
}

struct Port {
    id: PortId,
    mac: Option<MacAddress>,
    learning: Learning,
}

#[derive(Default)]
struct Model {
    ports: Vec<Port>,
    /// Where a station was last heard that is nobody's own.
    heard: BTreeMap<[u8; 6], (PortId, Instant)>,
    /// A port's room may be used up: what is learned is not known any more.
    is_crowded: bool,
}

impl Model {
    fn owner(&self, mac: MacAddress) -> Option<PortId> {
        let port = self.ports.iter().find(|port| port.mac == Some(mac));
        port.map(|port| port.id)
    }

    fn room(&self) -> usize {
        let room = |port: &Port| match (port.learning, port.mac) {
            (Learning::Off, _) => 1,
            (Learning::On, Some(_)) => 1 + LEARNED_MAX,
            (Learning::On, None) => WIRE_LEARNED_MAX,
        };
        self.ports.iter().map(room).sum()
    }

    fn may_send(&self, port: &Port, source: MacAddress) -> bool {
        match self.owner(source) {
            Some(owner) => owner == port.id,
            None => source != LOCAL && port.learning == Learning::On,
        }
    }

    fn check(&self, now: Instant, port: PortId, destination: MacAddress, decision: Decision) {
        let to = |owner: PortId| match owner == port {
            true => Decision::Drop(Refusal::Returning),
            false => Decision::Port(owner),
        };
        let learned = self.heard.get(&destination.0);
        let fresh = learned.filter(|(_, heard)| now.since(*heard) < AGEING);
        let [first, .., last] = destination.0;
        if destination.0[..5] == [1, 0x80, 0xc2, 0, 0] && last < 16 {
            assert_eq!(decision, Decision::Drop(Refusal::Reserved));
        } else if destination == LOCAL {
            assert_eq!(decision, Decision::Local);
        } else if first & 1 != 0 {
            assert_eq!(decision, Decision::Everyone);
        } else if let Some(owner) = self.owner(destination) {
            assert_eq!(decision, to(owner));
        } else if !self.is_crowded {
            let expected = fresh.map_or(Decision::Learners, |(at, _)| to(*at));
            assert_eq!(decision, expected);
        } else if let Decision::Port(at) = decision {
            let learner = self.ports.iter().find(|other| other.id == at);
            assert!(at != port && learner.is_some_and(|it| it.learning == Learning::On));
        } else {
            let returns = Decision::Drop(Refusal::Returning);
            assert!([Decision::Learners, returns].contains(&decision));
        }
    }
}

fn frame(destination: MacAddress, source: MacAddress) -> [u8; 12] {
    let mut frame = [0; 12];
    frame[..6].copy_from_slice(&destination.0);
    frame[6..].copy_from_slice(&source.0);
    frame
}

fuzz_target!(|steps: Vec<Step>| {
    let mut bridge = Bridge::new(LOCAL);
    let mut model = Model::default();
    let mut now = Instant(1);
    for step in steps {
        match step {
            Step::Attach(address, learns) => {
                let mac = address.mac();
                let learning = if learns { Learning::On } else { Learning::Off };
                match bridge.attach(mac, learning) {
                    Ok(id) => {
                        assert!(model.owner(mac).is_none() && mac.is_station() && mac != LOCAL);
                        model.heard.remove(&mac.0);
                        let mac = Some(mac);
                        model.ports.push(Port { id, mac, learning });
                    }
                    Err(AttachError::Mac) => assert!(!mac.is_station() || mac == LOCAL),
                    Err(AttachError::MacTaken) => assert!(model.owner(mac).is_some()),
                    Err(AttachError::Full) => assert_eq!(model.ports.len(), PORTS_MAX),
                }
            }
            Step::AttachWire => match bridge.attach_wire() {
                Ok(id) => model.ports.push(Port {
                    id,
                    mac: None,
                    learning: Learning::On,
                }),
                Err(_) => assert_eq!(model.ports.len(), PORTS_MAX),
            },
            Step::Detach(number) if !model.ports.is_empty() => {
                let port = model
                    .ports
                    .swap_remove(usize::from(number) % model.ports.len());
                bridge.detach(port.id);
                model.heard.retain(|_, (at, _)| *at != port.id);
            }
            Step::Frame(number, destination, source, cut) if !model.ports.is_empty() => {
                let port = &model.ports[usize::from(number) % model.ports.len()];
                let (id, own) = (port.id, port.mac);
                let (destination, source) = (destination.mac(), source.mac());
                let whole = frame(destination, source);
                let bytes = &whole[..12 - usize::from(cut % 16).min(12)];
                let decision = bridge.ingress(now, id, bytes);
                if bytes.len() < 12 || !source.is_station() {
                    assert_eq!(decision, Decision::Drop(Refusal::Malformed));
                } else if !model.may_send(port, source) {
                    assert_eq!(decision, Decision::Drop(Refusal::Spoofed));
                } else {
                    if own != Some(source) {
                        model.heard.insert(source.0, (id, now));
                    }
                    model.check(now, id, destination, decision);
                }
            }
            Step::Crowd(number, count) if !model.ports.is_empty() => {
                let port = &model.ports[usize::from(number) % model.ports.len()];
                model.is_crowded |= port.learning == Learning::On;
                for station in 0..count % 2048 {
                    let [high, low] = station.to_be_bytes();
                    let source = MacAddress([6, 0, 0, 0, high, low]);
                    bridge.ingress(now, port.id, &frame(LOCAL, source));
                }
            }
            Step::Wait(seconds) => now = now.after(Duration::from_secs(seconds.into())),
            _ => {}
        }
        // `Raw` addresses may be more than a port has room for.
        model.is_crowded |= model.heard.len() >= LEARNED_MAX;
        assert!(bridge.stations() <= model.room());
        for port in &model.ports {
            assert!(!bridge.floods(Decision::Everyone, Some(port.id), port.id));
            let learns = port.learning == Learning::On;
            assert_eq!(bridge.floods(Decision::Learners, None, port.id), learns);
        }
    }
});

//! Many flows: UDP from hosts behind the firewall of `examples/two-interfaces` to one outside.

use crate::configuration::firewall_mac;
use crate::packet::{Packet, Ports, Transport};
use crate::protocol::Neighbour;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The links, in the order of the policy's interfaces.
pub const NET: u8 = 0;
/// The inside's.
pub const LOC: u8 = 1;

/// The far end.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// The firewall's address there, which masquerading gives all flows.
const FIREWALL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Flows of each inside host; each host talks to a port of its own, so that masquerading finds every
/// source port free.
const PORTS: u32 = 50_000;
/// Payload of each datagram, in bytes.
const PAYLOAD: usize = 64;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// From the inside.
    Out,
    /// The answers.
    Back,
}

/// In which order the flows' packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// One after the other, from that one on.
    Ascending(u32),
    /// Any flow may be next; which it is, this seed says.
    Random(u64),
}

/// So many packets of so many flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flood {
    /// Flows.
    pub flows: u32,
    /// Packets.
    pub packets: u32,
    /// Their way.
    pub way: Way,
    /// Whose they are.
    pub order: Order,
}

impl Flood {
    /// A packet of each flow.
    #[must_use]
    pub const fn each(flows: u32, way: Way) -> Self {
        Self {
            flows,
            packets: flows,
            way,
            order: Order::Ascending(0),
        }
    }

    /// A packet from the inside of each of so many of the flows.
    #[must_use]
    pub const fn some(flows: u32, first: u32, packets: u32) -> Self {
        Self {
            flows,
            packets,
            way: Way::Out,
            order: Order::Ascending(first),
        }
    }

    /// Packets from the inside, of any of the flows.
    #[must_use]
    pub const fn any(flows: u32, packets: u32, seed: u64) -> Self {
        Self {
            flows,
            packets,
            way: Way::Out,
            order: Order::Random(seed),
        }
    }

    /// The link that they come in by.
    #[must_use]
    pub const fn link(&self) -> u8 {
        match self.way {
            Way::Out => LOC,
            Way::Back => NET,
        }
    }

    /// The frames.
    pub fn frames(self) -> impl Iterator<Item = Vec<u8>> {
        let seed = match self.order {
            Order::Ascending(_) => 0,
            Order::Random(seed) => seed,
        };
        let mut random = Rng::with_seed(seed);
        (0..self.packets).map(move |packet| {
            let number = match self.order {
                Order::Ascending(first) => (first + packet) % self.flows.max(1),
                Order::Random(_) => random.u32(0..self.flows.max(1)),
            };
            frame(number, self.way)
        })
    }
}

fn inside(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 3, 10).to_bits() + number / PORTS)
}

/// Who is on the links while there are so many flows.
pub fn neighbours(flows: u32) -> impl Iterator<Item = Neighbour> {
    let hosts = (0..flows.max(1))
        .step_by(PORTS as usize)
        .map(|number| Neighbour {
            link: LOC,
            address: inside(number),
        });
    hosts.chain([Neighbour {
        link: NET,
        address: ROUTER,
    }])
}

/// A packet of a flow.
fn frame(number: u32, way: Way) -> Vec<u8> {
    let near = Ports {
        source: 1024 + (number % PORTS) as u16,
        destination: 80 + (number / PORTS) as u16,
    };
    let (link, station, source, destination, ports) = match way {
        Way::Out => (LOC, inside(number), inside(number), FAR, near),
        Way::Back => {
            let ports = Ports {
                source: near.destination,
                destination: near.source,
            };
            (NET, ROUTER, FAR, FIREWALL, ports)
        }
    };
    let from = Neighbour {
        link,
        address: station,
    };
    let payload = vec![0x5a; PAYLOAD];
    Packet::new(source, destination, Transport::Udp(ports, payload))
        .frame(from.mac(), firewall_mac(usize::from(link)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::View;
    use std::collections::BTreeSet;

    #[test]
    fn slices_are_the_whole() {
        let slices = (0..4).flat_map(|slice| Flood::some(64, slice * 16, 16).frames());
        assert!(slices.eq(Flood::each(64, Way::Out).frames()));
    }

    #[test]
    fn no_two_flows_are_alike_and_each_answer_is_to_a_port_that_is_free() {
        let count = 3 * PORTS;
        let ends = |way| -> BTreeSet<_> {
            let frames = Flood::each(count, way).frames();
            frames
                .map(|frame| {
                    let view = View::of_frame(&frame).unwrap();
                    let ports = view.ports().unwrap();
                    (view.source(), ports.source, ports.destination)
                })
                .collect()
        };
        assert_eq!(ends(Way::Out).len(), count as usize);
        assert_eq!(ends(Way::Back).len(), count as usize);
    }
}

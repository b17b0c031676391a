//! What the shortest way knows of each interface, and what passed there.

use crate::counters::{InterfaceTraffic, Traffic};
use crate::headers::Station;
use crate::policy::{InterfaceId, RouteFilter};
use crate::site::Port;
use alloc::boxed::Box;
use alloc::vec;

/// Established packets that leave by the interface that they came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hairpins {
    /// Rules leave them alone.
    Unjudged,
    /// Rules have a say.
    Judged,
}

/// An interface, for packets that take the shortest way: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Gate {
    /// The link-layer address that they have.
    pub(crate) station: Station,
    /// All that came in, whatever way it took.
    ingress: Traffic,
    /// What left by the shortest way.
    egress: Traffic,
    /// Whether their sources must be where they come from.
    pub(crate) filters_sources: bool,
    /// Whether they may leave by it, too.
    pub(crate) routes_back: bool,
}

impl Gate {
    /// No frame has what it asks for.
    const CLOSED: Self = Self {
        station: Station::NONE,
        ingress: Traffic::NONE,
        egress: Traffic::NONE,
        filters_sources: true,
        routes_back: false,
    };

    fn open(&mut self, port: &Port, hairpins: Hairpins) {
        self.station = Station::of(port.mac.0);
        self.filters_sources = port.route_filter != RouteFilter::Off;
        self.routes_back = port.route_back && hairpins == Hairpins::Unjudged;
    }
}

/// One for every number that an interface may have, so that none needs to be compared with a length.
pub(crate) struct Gates(Box<[Gate; Self::COUNT]>);

impl Gates {
    const COUNT: usize = 1 << u8::BITS;

    /// All closed.
    pub(crate) fn new() -> Self {
        let gates = vec![Gate::CLOSED; Self::COUNT].into_boxed_slice();
        Self(gates.try_into().unwrap_or_else(|_| unreachable!()))
    }

    /// From now on lets packets in by these interfaces, and by no others.
    pub(crate) fn open(&mut self, ports: &[Port], hairpins: Hairpins) {
        for gate in self.0.iter_mut() {
            gate.station = Station::NONE;
        }
        for (gate, port) in self.0.iter_mut().zip(ports) {
            // Where a packet may leave depends on where it came in: that is for the whole way.
            if port.also.is_empty() {
                gate.open(port, hairpins);
            }
        }
    }

    /// Where packets are let in, they are by this port's address from now on.
    pub(crate) fn move_to(&mut self, interface: InterfaceId, port: &Port) {
        let gate = &mut self.0[usize::from(interface.0)];
        if gate.station != Station::NONE {
            gate.station = Station::of(port.mac.0);
        }
    }

    #[inline(always)]
    pub(crate) const fn of(&self, interface: InterfaceId) -> &Gate {
        &self.0[interface.0 as usize]
    }

    #[inline(always)]
    pub(crate) const fn came_in(&mut self, interface: InterfaceId, len: usize) {
        self.0[interface.0 as usize].ingress.count(len);
    }

    #[inline(always)]
    pub(crate) const fn went_out(&mut self, interface: InterfaceId, len: usize) {
        self.0[interface.0 as usize].egress.count(len);
    }

    /// What came in, and what left by the shortest way, by interface.
    pub(crate) fn traffic(&self) -> impl Iterator<Item = InterfaceTraffic> + '_ {
        self.0.iter().map(|gate| InterfaceTraffic {
            ingress: gate.ingress,
            egress: gate.egress,
        })
    }
}

//! The file `proxyarp`: addresses of others that ARP is answered for.

use std::net::Ipv4Addr;

use firewalldom::policy::{InterfaceId, Prefix, Proxied, Route};

use crate::address;
use crate::columns::{Row, Schema, yes};
use crate::reader::rows;
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::world::World;

const PROXY_ARP: Schema = Schema {
    columns: &[
        "address",
        "interface",
        "external",
        "haveroute",
        "persistent",
    ],
    required: 3,
};

impl World {
    /// Reads the file, if there is one. Unless a line says that there is one already, it makes the route to
    /// its address as well.
    pub(crate) fn read_proxy_arp(&mut self, session: &mut Session<'_>) {
        for row in rows(session, "proxyarp", &PROXY_ARP) {
            self.read_proxied(session, &row);
        }
        self.proxied.sort();
        self.proxied.dedup();
    }

    fn read_proxied(&mut self, session: &mut Session<'_>, row: &Row) {
        let (Some(host), Some(external)) = (row.get(0), row.get(2)) else {
            session.error(
                row.span,
                "a line of proxyarp needs an address and the interface it is asked for on",
                "one of them is empty",
                "write: 192.0.2.9 eth1 eth0",
            );
            return;
        };
        let has_route = yes(session, row.get(3)) == Some(true);
        // It says what becomes of the route when Shorewall stops: then nothing is forwarded here.
        yes(session, row.get(4));
        let address = address::single(session, host);
        let inside = row.get(1);
        let external = self.one_interface(session, external);
        let interface = inside.map(|word| self.one_interface(session, word));
        if inside.is_none() && !has_route {
            session.error(
                row.span,
                "without an interface there is no route to the address",
                "behind which interface is it?",
                "name it in the second column, or write Yes in the fourth",
            );
            return;
        }
        let (Some(address), Some(external)) = (address, external) else {
            return;
        };
        // The file's own interfaces answer for everything, the others for nothing else, unless their options
        // say it.
        if let Some(Some(interface)) = interface
            && !self.proxy_arp_said.contains(&interface)
        {
            self.interfaces[usize::from(interface.0)].proxy_arp = true;
        }
        self.proxied.push(Proxied {
            address,
            interface: external,
        });
        match interface {
            Some(None) => {}
            // The route to a guest comes with it.
            Some(Some(interface)) if !has_route && !self.is_backend(interface) => {
                // Shorewall replaces what route there is.
                let destination = Prefix {
                    address,
                    length: 32,
                };
                self.routes.retain(|route| route.destination != destination);
                self.routes.push(Route {
                    destination,
                    gateway: None,
                    interface,
                    metric: 0,
                });
            }
            _ => self.warn_without_route(session, host, address, external),
        }
    }

    /// An interface that is one: of those that a `+` stands for, nobody could say which.
    fn one_interface(&self, session: &mut Session<'_>, word: &Word) -> Option<InterfaceId> {
        if word.text().ends_with('+') {
            session.error(
                word.span(),
                format!("proxyarp takes no `{}`: Shorewall wants one interface here", word.text()),
                "which of them?",
                "for guests write - and, in the fourth column, Yes: the route to a guest comes with it",
            );
            return None;
        }
        self.interface(session, word)
    }

    fn is_backend(&self, interface: InterfaceId) -> bool {
        self.interfaces[usize::from(interface.0)].is_backend()
    }

    /// Says that nobody will ever answer: no route to the address leads to another interface.
    fn warn_without_route(
        &self,
        session: &mut Session<'_>,
        word: &Word,
        address: Ipv4Addr,
        external: InterfaceId,
    ) {
        let lies_in = |network, length| address::share_prefix(address, network, length);
        let mut interfaces = self.interfaces.iter().enumerate();
        let by_link = interfaces.any(|(number, interface)| {
            let mut prefixes = interface.addresses.iter();
            usize::from(external.0) != number
                && (interface.is_backend()
                    || prefixes.any(|prefix| lies_in(prefix.address, prefix.length)))
        });
        let mut routes = self.routes.iter();
        let by_route = routes.any(|route| {
            let to = route.destination;
            route.interface != external && lies_in(to.address, to.length)
        });
        if !by_link && !by_route {
            session.report(
                Finding::warning("no route leads to this address by another interface").at(
                    word.span(),
                    "nobody is answered who asks for it, here as on Linux",
                ),
            );
        }
    }
}

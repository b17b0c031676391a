//! Whether a packet's source is where it came from: `routefilter`, Linux' `rp_filter` (RFC 3704), and
//! `rpfilter`, netfilter's.

use crate::firewall::Firewall;
use crate::frame::Frame;
use crate::judge::Check;
use crate::packet::{Packet, UDP};
use crate::path::{Tracked, Way};
use crate::policy::{InterfaceId, RouteFilter, States};
use crate::reason::Reason;
use crate::route::Route;
use crate::site::Site;
use crate::time::Instant;

impl Site {
    /// `routefilter`, asked of every packet that came by `from` and can be routed.
    ///
    /// As Linux does it, a source that is a broadcast address fails, and so does, where the check is
    /// loose, one that is reached by another interface while `from` has no address of its own.
    #[inline(always)]
    pub(crate) fn filter_route(&self, from: InterfaceId, source: u32) -> Result<(), Reason> {
        match self.ports[usize::from(from.0)].route_filter {
            RouteFilter::Off => Ok(()),
            filter => self.filter_route_by(filter, from, source),
        }
    }

    fn filter_route_by(
        &self,
        filter: RouteFilter,
        from: InterfaceId,
        source: u32,
    ) -> Result<(), Reason> {
        let is_good = match self.routes.get(source) {
            Route::Via { egress, .. } if egress == from => true,
            Route::Via { .. } => {
                filter == RouteFilter::Loose && self.routes.primary(from).is_some()
            }
            // 0.0.0.0, of who has no address yet: to 255.255.255.255 only, which was checked.
            Route::Martian => source == 0,
            _ => false,
        };
        if is_good {
            Ok(())
        } else {
            Err(Reason::ReversePath)
        }
    }
}

impl Firewall {
    /// `rpfilter`, asked before destinations are translated of whatever is not ESTABLISHED.
    pub(crate) fn check_reverse_path(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        from: InterfaceId,
    ) -> Result<(), Reason> {
        let port = &self.site.ports[usize::from(from.0)];
        let asked = States::NEW.union(States::RELATED).union(States::INVALID);
        if !port.rpfilter || !asked.contains(tracked.state()) {
            return Ok(());
        }
        let tuple = packet.tuple;
        let asks_for_address = port.dhcp
            && tuple.protocol == UDP
            && tuple.source == 0
            && (tuple.source_port, tuple.destination_port) == (68, 67);
        let back = self.site.routes.get(tuple.source);
        let is_good = matches!(back, Route::Via { egress, .. } if egress == from);
        if is_good || asks_for_address {
            return Ok(());
        }
        let way = Way {
            from: Some(from),
            egress: None,
            route: self.site.routes.get(tuple.destination),
            back: Some(back),
            source_zone: None,
            leaving: tuple,
        };
        self.except(now, frame, packet, tracked, &way, Check::ReversePath)?;
        Ok(())
    }
}

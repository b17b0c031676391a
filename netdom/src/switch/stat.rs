//! What is counted of bridges and their ports, for whoever asks in dom0 ([`minios_rs::stat`]).

use super::Switch;
use alloc::format;
use alloc::string::ToString;
use minios_rs::hardware::Hardware;
use minios_rs::stat::{Count, Direction, Interface, Report};

impl<X: Hardware> Switch<X> {
    /// Adds every bridge, with what got lost there, and every guest's vif to what the domain counts.
    pub fn fill(&self, report: &mut Report) {
        let segments = self.segments.iter().filter(|segment| segment.is_used);
        let bridges = segments.map(|segment| {
            let mut wire = match (segment.sides[segment.active].address, segment.wire) {
                (Some(card), Some(_)) => format!("wire {card}"),
                (Some(card), None) => format!("wire {card} is not there"),
                (None, _) => "no wire".to_string(),
            };
            if let Some(vlan) = segment.config.vlan {
                wire = format!("{wire}, VLAN {vlan}");
            }
            let losses = segment.losses.iter().filter(|(_, count)| *count > 0);
            Interface {
                name: segment.config.name.clone(),
                state: format!("{wire}, {} stations", segment.bridge.stations()),
                received: Direction {
                    errors: losses
                        .map(|(name, count)| Count::new(name, count))
                        .collect(),
                    ..Direction::default()
                },
                ..Interface::default()
            }
        });
        report.interfaces.extend(bridges);
        let guests = self.guests.iter();
        let guests = guests.map(|guest| Interface::of_back(&guest.name, &*guest.back));
        report.interfaces.extend(guests);
        report.state = match self.guests.len() {
            1 => "serving 1 vif".to_string(),
            count => format!("serving {count} vifs"),
        };
    }
}

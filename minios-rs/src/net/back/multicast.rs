//! Multicast control: the groups whose frames a frontend wants, so that nothing is copied for it that it would
//! throw away (netif.h, `feature-multicast-control`).

#![forbid(unsafe_code)]

use crate::net::MacAddress;

/// Groups that one vif remembers. A frontend that wants more is told so for each, and has to ask for all
/// multicast by not asking for the control.
pub const GROUPS_MAX: usize = 64;

/// Whether frontends are offered multicast control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MulticastControl {
    /// They are.
    Offered,
    /// They are not: every multicast frame goes to each.
    Withheld,
}

/// What a frontend asks for in a transmit request that carries no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Join(MacAddress),
    Leave(MacAddress),
}

/// The groups of one vif.
#[derive(Debug)]
pub(super) struct Groups {
    control: MulticastControl,
    /// The frontend wants no others (`request-multicast-control`).
    is_filtering: bool,
    joined: heapless::Vec<MacAddress, GROUPS_MAX>,
}

/// There is no room for another group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJoined;

impl Groups {
    pub(super) fn new(control: MulticastControl, is_requested: bool) -> Self {
        Self {
            control,
            is_filtering: is_requested && control == MulticastControl::Offered,
            joined: heapless::Vec::new(),
        }
    }

    pub(super) fn is_offered(&self) -> bool {
        self.control == MulticastControl::Offered
    }

    /// Does what the frontend asked for. Joining twice is joining once, and to leave what was never joined is
    /// no error.
    pub(super) fn change(&mut self, change: Change) -> Result<(), NotJoined> {
        match change {
            Change::Join(group) if self.joined.contains(&group) => Ok(()),
            Change::Join(group) => self.joined.push(group).map_err(|_| NotJoined),
            Change::Leave(group) => {
                if let Some(at) = self.joined.iter().position(|joined| *joined == group) {
                    self.joined.swap_remove(at);
                }
                Ok(())
            }
        }
    }

    /// Whether the frontend wants a frame to this address. Unicast and broadcast frames it always does.
    pub(super) fn wants(&self, destination: &[u8]) -> bool {
        if !self.is_filtering || destination.first().is_none_or(|first| first & 1 == 0) {
            return true;
        }
        destination.starts_with(&[0xff; 6])
            || self
                .joined
                .iter()
                .any(|group| destination.starts_with(&group.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: MacAddress = MacAddress([0x01, 0, 0x5e, 0, 0, 0xfb]);

    #[test]
    fn who_asks_for_control_gets_its_groups_and_what_is_no_multicast() {
        let mut groups = Groups::new(MulticastControl::Offered, true);
        let unicast = [0, 0x16, 0x3e, 0, 0, 1];
        assert!(groups.wants(&unicast) && groups.wants(&[0xff; 6]));
        assert!(!groups.wants(&GROUP.0));
        for _ in 0..2 {
            assert_eq!(groups.change(Change::Join(GROUP)), Ok(()));
            assert!(groups.wants(&GROUP.0) && !groups.wants(&[0x33, 0x33, 0, 0, 0, 1]));
        }
        for _ in 0..2 {
            assert_eq!(groups.change(Change::Leave(GROUP)), Ok(()));
            assert!(!groups.wants(&GROUP.0));
        }
    }

    #[test]
    fn who_does_not_ask_or_was_not_offered_it_gets_everything() {
        for (control, is_requested) in [
            (MulticastControl::Offered, false),
            (MulticastControl::Withheld, true),
        ] {
            assert!(Groups::new(control, is_requested).wants(&GROUP.0));
        }
    }

    #[test]
    fn more_groups_than_there_is_room_for_are_refused() {
        let mut groups = Groups::new(MulticastControl::Offered, true);
        let group = |number: usize| MacAddress([1, 0, 0x5e, 0, 0, number as u8]);
        for number in 0..GROUPS_MAX {
            assert_eq!(groups.change(Change::Join(group(number))), Ok(()));
        }
        let more = group(GROUPS_MAX);
        assert_eq!(groups.change(Change::Join(more)), Err(NotJoined));
        assert_eq!(groups.change(Change::Leave(group(3))), Ok(()));
        assert_eq!(groups.change(Change::Join(more)), Ok(()));
    }
}

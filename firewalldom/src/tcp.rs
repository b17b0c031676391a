//! TCP as a tracker in the middle sees it: netfilter's states and transitions here, its window and
//! the cases where tracker and ends disagree in the modules below.

mod connection;
mod history;
mod segment;
mod window;

pub(crate) use connection::{Fate, Progress};
pub(crate) use segment::{Offer, Segment};
pub(crate) use window::{Connection, Outstanding, Plain};

use crate::flow::Direction;
use crate::packet::flags::{ACK, FIN, PSH, RST, SYN, URG};

/// State of a tracked connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Not a TCP flow, or its first segment.
    #[default]
    None,
    SynSent,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    /// Both sides sent a SYN.
    SynSent2,
}

impl State {
    const ALL: [Self; 10] = [
        Self::None,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::SynSent2,
    ];

    /// The state that `state as u8` was.
    pub(crate) const fn from_number(number: u8) -> Self {
        if (number as usize) < Self::ALL.len() {
            Self::ALL[number as usize]
        } else {
            Self::None
        }
    }
}

/// What a segment is to the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No flag that means anything; or no segment yet.
    Bare,
    Syn,
    SynAck,
    Fin,
    Ack,
    Reset,
}

impl Kind {
    /// By its flags.
    pub(crate) const fn of(flags: u8) -> Self {
        if flags & RST != 0 {
            Self::Reset
        } else if flags & SYN != 0 {
            if flags & ACK != 0 {
                Self::SynAck
            } else {
                Self::Syn
            }
        } else if flags & FIN != 0 {
            Self::Fin
        } else if flags & ACK != 0 {
            Self::Ack
        } else {
            Self::Bare
        }
    }
}

/// Whether sequence number `a` comes after `b`, on the circle of 32 bits (RFC 9293, 3.4).
#[inline(always)]
const fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

/// What a segment does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is now in this state.
    To(State),
    /// Let it pass, but learn nothing: the other side's answer tells.
    Ignore,
    /// Fits no connection in this state.
    Invalid,
}

/// The transition that `segment` in `direction` makes.
pub(crate) fn step(state: State, direction: Direction, segment: Kind) -> Step {
    use State::{
        Close, CloseWait, Established, FinWait, LastAck, None, SynReceived, SynSent, SynSent2,
        TimeWait,
    };
    // Nearly every segment there is.
    if let (Kind::Ack, Established) = (segment, state) {
        return Step::To(Established);
    }
    match (direction, segment, state) {
        (Direction::Original, Kind::Syn, None | SynSent | TimeWait | Close)
        | (Direction::Reply, Kind::Syn, TimeWait) => Step::To(SynSent),
        (_, Kind::Syn, SynSent2) | (Direction::Reply, Kind::Syn, SynSent) => Step::To(SynSent2),
        (Direction::Original, Kind::Syn, _) => Step::Ignore,

        (Direction::Original, Kind::SynAck, SynReceived | SynSent2)
        | (Direction::Reply, Kind::SynAck, SynSent | SynSent2) => Step::To(SynReceived),
        (Direction::Reply, Kind::SynAck, None) => Step::Invalid,
        (Direction::Reply, Kind::SynAck, _) => Step::Ignore,

        (_, Kind::Fin, SynReceived | Established) => Step::To(FinWait),
        (_, Kind::Fin, FinWait | CloseWait | LastAck) => Step::To(LastAck),

        // Loose: a connection that was there before the firewall is picked up.
        (Direction::Original, Kind::Ack, None | SynReceived) => Step::To(Established),
        (Direction::Reply, Kind::Ack, SynReceived) => Step::To(SynReceived),
        (Direction::Reply, Kind::Ack, SynSent | SynSent2) => Step::Ignore,
        (_, Kind::Ack, FinWait | CloseWait) => Step::To(CloseWait),
        (_, Kind::Ack, LastAck) => Step::To(TimeWait),
        (_, Kind::Fin | Kind::Ack, TimeWait) => Step::To(TimeWait),
        (_, Kind::Fin | Kind::Ack, Close) => Step::To(Close),

        (_, Kind::Reset, None) => Step::Invalid,
        (_, Kind::Reset, _) => Step::To(Close),

        _ => Step::Invalid,
    }
}

/// Whether a segment may begin a connection, or pick one up.
pub(crate) fn starts(segment: Kind) -> bool {
    matches!(step(State::None, Direction::Original, segment), Step::To(_))
}

/// Flag combinations that a real stack sends; PSH says nothing.
pub(crate) const fn plausible(flags: u8) -> bool {
    const SYN_ACK: u8 = SYN | ACK;
    const SYN_URG: u8 = SYN | URG;
    const RST_ACK: u8 = RST | ACK;
    const FIN_ACK: u8 = FIN | ACK;
    const FIN_ACK_URG: u8 = FIN | ACK | URG;
    const ACK_URG: u8 = ACK | URG;
    matches!(
        flags & !PSH & 0x3f,
        SYN | SYN_ACK | SYN_URG | RST | RST_ACK | FIN_ACK | FIN_ACK_URG | ACK | ACK_URG
    )
}

/// What `tcpflags` drops: combinations used by scanners, and a SYN from port 0.
pub(crate) const fn scanner(flags: u8, source_port: u16) -> bool {
    let all = flags & 0x3f;
    if all & !PSH == ACK {
        return false;
    }
    all == FIN | URG | PSH
        || all == 0
        || all & (SYN | RST) == SYN | RST
        || all & (FIN | RST) == FIN | RST
        || all & (SYN | FIN) == SYN | FIN
        || all & (PSH | FIN | ACK) == PSH | FIN
        || (source_port == 0 && all & (FIN | SYN | RST | ACK) == SYN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    #[test]
    fn scanners_are_known_by_every_combination_of_flags() {
        // The rules of Shorewall's chain tcpflags: of these flags, exactly those.
        let rules: [(u8, u8); 6] = [
            (0x3f, FIN | URG | PSH),
            (0x3f, 0),
            (SYN | RST, SYN | RST),
            (FIN | RST, FIN | RST),
            (SYN | FIN, SYN | FIN),
            (ACK | PSH | FIN, PSH | FIN),
        ];
        for flags in 0..=u8::MAX {
            let is_odd = rules
                .iter()
                .any(|(looked_at, set)| flags & looked_at == *set);
            assert_eq!(scanner(flags, 1), is_odd, "{flags:#x}");
            let opens = flags & (FIN | SYN | RST | ACK) == SYN;
            assert_eq!(scanner(flags, 0), is_odd || opens, "{flags:#x}, port 0");
        }
    }

    #[test]
    fn only_nine_combinations_of_flags_are_plausible() {
        let real: [&[u8]; 9] = [
            &[SYN],
            &[SYN, ACK],
            &[SYN, URG],
            &[RST],
            &[RST, ACK],
            &[FIN, ACK],
            &[FIN, ACK, URG],
            &[ACK],
            &[ACK, URG],
        ];
        let real = real.map(|flags| flags.iter().sum::<u8>());
        for flags in 0..=u8::MAX {
            let of_state = flags & (FIN | SYN | RST | ACK | URG);
            assert_eq!(plausible(flags), real.contains(&of_state), "{flags:#x}");
        }
    }

    #[test]
    fn a_connection_opens_and_closes() {
        let mut state = State::None;
        for (direction, segment, expected) in [
            (Original, Kind::Syn, State::SynSent),
            (Reply, Kind::SynAck, State::SynReceived),
            (Original, Kind::Ack, State::Established),
            (Reply, Kind::Ack, State::Established),
            (Original, Kind::Fin, State::FinWait),
            (Reply, Kind::Ack, State::CloseWait),
            (Reply, Kind::Fin, State::LastAck),
            (Original, Kind::Ack, State::TimeWait),
            (Original, Kind::Syn, State::SynSent),
        ] {
            assert_eq!(
                step(state, direction, segment),
                Step::To(expected),
                "{segment:?} in {state:?}"
            );
            state = expected;
        }
    }

    #[test]
    fn only_a_syn_or_a_bare_ack_starts_a_connection() {
        for segment in [Kind::SynAck, Kind::Fin, Kind::Reset, Kind::Bare] {
            assert_eq!(
                step(State::None, Original, segment),
                Step::Invalid,
                "{segment:?}"
            );
        }
        assert_eq!(
            step(State::None, Original, Kind::Ack),
            Step::To(State::Established)
        );
    }

    #[test]
    fn scans_are_told_from_segments() {
        for flags in [
            0,
            FIN | URG | PSH,
            SYN | RST,
            SYN | FIN,
            FIN | RST | ACK,
            PSH | FIN,
        ] {
            assert!(scanner(flags, 1234), "{flags:#x}");
        }
        for flags in [
            SYN,
            SYN | ACK,
            ACK,
            ACK | PSH,
            FIN | ACK,
            FIN | PSH | ACK,
            RST,
            RST | ACK,
        ] {
            assert!(!scanner(flags, 1234), "{flags:#x}");
            assert!(plausible(flags), "{flags:#x}");
        }
        assert!(scanner(SYN, 0));
        assert!(!scanner(ACK, 0));
    }
}

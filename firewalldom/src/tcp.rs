//! TCP as a tracker in the middle sees it: netfilter's states and transitions, without windows.

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

/// What a segment is to the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Syn,
    SynAck,
    Fin,
    Ack,
    Reset,
    /// No flag that means anything.
    Bare,
}

impl Segment {
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
pub(crate) fn step(state: State, direction: Direction, segment: Segment) -> Step {
    use State::{
        Close, CloseWait, Established, FinWait, LastAck, None, SynReceived, SynSent, SynSent2,
        TimeWait,
    };
    // Nearly every segment there is.
    if let (Segment::Ack, Established) = (segment, state) {
        return Step::To(Established);
    }
    match (direction, segment, state) {
        (Direction::Original, Segment::Syn, None | SynSent | TimeWait | Close)
        | (Direction::Reply, Segment::Syn, TimeWait) => Step::To(SynSent),
        (_, Segment::Syn, SynSent2) | (Direction::Reply, Segment::Syn, SynSent) => {
            Step::To(SynSent2)
        }
        (Direction::Original, Segment::Syn, _) => Step::Ignore,

        (Direction::Original, Segment::SynAck, SynReceived | SynSent2)
        | (Direction::Reply, Segment::SynAck, SynSent | SynSent2) => Step::To(SynReceived),
        (Direction::Reply, Segment::SynAck, None) => Step::Invalid,
        (Direction::Reply, Segment::SynAck, _) => Step::Ignore,

        (_, Segment::Fin, SynReceived | Established) => Step::To(FinWait),
        (_, Segment::Fin, FinWait | CloseWait | LastAck) => Step::To(LastAck),

        // Loose: a connection that was there before the firewall is picked up.
        (Direction::Original, Segment::Ack, None | SynReceived) => Step::To(Established),
        (Direction::Reply, Segment::Ack, SynReceived) => Step::To(SynReceived),
        (Direction::Reply, Segment::Ack, SynSent | SynSent2) => Step::Ignore,
        (_, Segment::Ack, FinWait | CloseWait) => Step::To(CloseWait),
        (_, Segment::Ack, LastAck) => Step::To(TimeWait),
        (_, Segment::Fin | Segment::Ack, TimeWait) => Step::To(TimeWait),
        (_, Segment::Fin | Segment::Ack, Close) => Step::To(Close),

        (_, Segment::Reset, None) => Step::Invalid,
        (_, Segment::Reset, _) => Step::To(Close),

        _ => Step::Invalid,
    }
}

/// Whether a segment may begin a connection, or pick one up.
pub(crate) fn starts(segment: Segment) -> bool {
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
    fn a_connection_opens_and_closes() {
        let mut state = State::None;
        for (direction, segment, expected) in [
            (Original, Segment::Syn, State::SynSent),
            (Reply, Segment::SynAck, State::SynReceived),
            (Original, Segment::Ack, State::Established),
            (Reply, Segment::Ack, State::Established),
            (Original, Segment::Fin, State::FinWait),
            (Reply, Segment::Ack, State::CloseWait),
            (Reply, Segment::Fin, State::LastAck),
            (Original, Segment::Ack, State::TimeWait),
            (Original, Segment::Syn, State::SynSent),
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
        for segment in [Segment::SynAck, Segment::Fin, Segment::Reset, Segment::Bare] {
            assert_eq!(
                step(State::None, Original, segment),
                Step::Invalid,
                "{segment:?}"
            );
        }
        assert_eq!(
            step(State::None, Original, Segment::Ack),
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

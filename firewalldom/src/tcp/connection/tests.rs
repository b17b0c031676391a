use super::*;
use crate::packet::flags::{ACK, FIN, RST, SYN};
use Direction::{Original, Reply};

/// A tracked connection with all its flow knows of it.
struct Tracked {
    connection: Connection,
    state: State,
    progress: Progress,
    timeouts: Timeouts,
}

const CLIENT: u32 = 0xffff_ff00;
const SERVER: u32 = 5000;

impl Tracked {
    /// A connection of which the SYN was seen.
    fn begun(syn: &Segment<'_>) -> Self {
        let timeouts = Timeouts::default();
        let (connection, state, _) = Connection::open(syn, &timeouts).unwrap();
        Self {
            connection,
            state,
            progress: Progress::Unanswered,
            timeouts,
        }
    }

    /// One that both sides have opened, with windows of 1000 bytes.
    fn open() -> Self {
        let mut tracked = Self::begun(&Segment::bare(SYN, CLIENT, 0));
        tracked.take(
            Reply,
            Segment::bare(SYN | ACK, SERVER, CLIENT.wrapping_add(1)),
        );
        tracked.take(Original, Segment::bare(ACK, client(1), server(1)));
        assert_eq!(tracked.state, State::Established);
        tracked
    }

    fn take(&mut self, direction: Direction, segment: Segment<'_>) -> Fate {
        let before = self.state;
        let fate = self.connection.follow(
            &mut self.state,
            self.progress,
            direction,
            &segment,
            &self.timeouts,
        );
        if matches!(fate, Fate::Follows { .. } | Fate::Passes) {
            let opened = matches!(before, State::SynReceived | State::Established);
            if self.progress == Progress::Answered && opened && self.state == State::Established {
                self.progress = Progress::Assured;
            }
            if direction == Reply && self.progress == Progress::Unanswered {
                self.progress = Progress::Answered;
            }
        }
        fate
    }

    #[track_caller]
    fn follows(&mut self, direction: Direction, segment: Segment<'_>, state: State) {
        let fate = self.take(direction, segment);
        assert!(matches!(fate, Fate::Follows { .. }), "{fate:?}");
        assert_eq!(self.state, state);
    }

    /// The lifetime that a segment gives.
    #[track_caller]
    fn lifetime(&mut self, direction: Direction, segment: Segment<'_>) -> u32 {
        match self.take(direction, segment) {
            Fate::Follows { lifetime } => lifetime,
            fate => panic!("{fate:?}"),
        }
    }
}

/// Sequence numbers of either side, counted from its SYN.
fn client(offset: u32) -> u32 {
    CLIENT.wrapping_add(offset)
}

fn server(offset: u32) -> u32 {
    SERVER.wrapping_add(offset)
}

#[test]
fn data_passes_up_to_the_end_of_the_receivers_window_and_no_further() {
    let mut tracked = Tracked::open();
    let data = |offset| Segment::bare(ACK, client(offset), server(1)).carrying(100);
    assert_eq!(tracked.take(Original, data(1902)), Fate::Invalid);
    tracked.follows(Original, data(1), State::Established);
    tracked.follows(Original, data(901), State::Established);
    // The octet after the window: it begins no later than where the window ends.
    tracked.follows(Original, data(1001), State::Established);
    assert_eq!(tracked.take(Original, data(3002)), Fate::Invalid);
    // An answer moves it.
    let answer = Segment::bare(ACK, server(1), client(1101));
    tracked.follows(Reply, answer, State::Established);
    tracked.follows(Original, data(2101), State::Established);
}

#[test]
fn more_than_the_window_passes_untaught_and_what_acknowledges_it_is_believed() {
    let mut tracked = Tracked::open();
    tracked.follows(
        Original,
        Segment::bare(ACK, client(1), server(1)).carrying(1000),
        State::Established,
    );
    let beyond = Segment::bare(ACK, client(1001), server(1));
    tracked.follows(Original, beyond, State::Established);
    let more = Segment::bare(ACK, client(1002), server(1)).carrying(100);
    assert_eq!(tracked.take(Original, more), Fate::Passes);
    let answer = Segment::bare(ACK, server(1), client(1102));
    tracked.follows(Reply, answer, State::Established);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_invalid_and_a_late_one_teaches_nothing() {
    let mut tracked = Tracked::open();
    let answer = |offset| Segment::bare(ACK, server(1), client(offset));
    assert_eq!(tracked.take(Reply, answer(2)), Fate::Invalid);
    tracked.follows(
        Original,
        Segment::bare(ACK, client(1), server(1)).carrying(500),
        State::Established,
    );
    tracked.follows(Reply, answer(501), State::Established);
    tracked.follows(Reply, answer(1), State::Established);
    let known = tracked.connection;
    assert_eq!(
        tracked.take(Reply, answer(501u32.wrapping_sub(66_001))),
        Fate::Passes
    );
    assert_eq!(tracked.connection, known);
}

#[test]
fn a_repeated_segment_from_before_the_window_teaches_nothing() {
    let mut tracked = Tracked::open();
    for offset in (1..5000).step_by(500) {
        tracked.follows(
            Original,
            Segment::bare(ACK, client(offset), server(1)).carrying(500),
            State::Established,
        );
        tracked.follows(
            Reply,
            Segment::bare(ACK, server(1), client(offset + 500)),
            State::Established,
        );
    }
    let known = tracked.connection;
    let old = |offset| Segment::bare(ACK, client(offset), server(1)).carrying(100);
    assert_eq!(tracked.take(Original, old(1)), Fate::Passes);
    assert_eq!(tracked.connection, known);
    tracked.follows(Original, old(5001 - 1100), State::Established);
}

#[test]
fn windows_are_scaled_only_if_both_sides_offer_it() {
    let scaled = [3, 3, 4, 0];
    let syn = Segment::bare(SYN, CLIENT, 0).with_options(&scaled);
    for (options, allowed) in [(&scaled[..], 16_000), (&[], 1000)] {
        let mut tracked = Tracked::begun(&syn);
        let answer = Segment::bare(SYN | ACK, SERVER, client(1)).with_options(options);
        tracked.follows(Reply, answer, State::SynReceived);
        tracked.follows(
            Original,
            Segment::bare(ACK, client(1), server(1)),
            State::Established,
        );
        let data = |offset| Segment::bare(ACK, server(offset), client(1)).carrying(10);
        assert_eq!(tracked.take(Reply, data(2 * allowed)), Fate::Invalid);
        tracked.follows(Reply, data(1 + allowed), State::Established);
    }
}

#[test]
fn what_is_acknowledged_selectively_must_have_been_sent() {
    let permitted = [4, 2, 0, 0];
    let mut tracked = Tracked::begun(&Segment::bare(SYN, CLIENT, 0).with_options(&permitted));
    let answer = Segment::bare(SYN | ACK, SERVER, client(1)).with_options(&permitted);
    tracked.follows(Reply, answer, State::SynReceived);
    tracked.follows(
        Original,
        Segment::bare(ACK, client(1), server(1)),
        State::Established,
    );
    tracked.follows(
        Original,
        Segment::bare(ACK, client(101), server(1)).carrying(100),
        State::Established,
    );
    let block = |from: u32, to: u32| {
        let mut option = vec_of(&[1, 1, 5, 10]);
        option.extend(from.to_be_bytes());
        option.extend(to.to_be_bytes());
        option
    };
    let good = block(client(101), client(201));
    let bad = block(client(101), client(202));
    let ack = Segment::bare(ACK, server(1), client(1));
    tracked.follows(Reply, ack.with_options(&good), State::Established);
    assert_eq!(tracked.take(Reply, ack.with_options(&bad)), Fate::Invalid);
}

fn vec_of(bytes: &[u8]) -> alloc::vec::Vec<u8> {
    bytes.to_vec()
}

#[test]
fn a_reset_ends_an_open_connection_only_with_the_number_that_is_expected() {
    let reset = |offset| Segment::bare(RST, client(offset), 0);
    let mut tracked = Tracked::open();
    tracked.follows(
        Original,
        Segment::bare(ACK, client(1), server(1)).carrying(300),
        State::Established,
    );
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(101)),
        State::Established,
    );
    assert_eq!(tracked.take(Original, reset(100)), Fate::Invalid);
    // In the window, but a challenge may follow.
    let lifetime = tracked.lifetime(Original, reset(102));
    assert_eq!((tracked.state, lifetime), (State::Established, 10));
    let lifetime = tracked.lifetime(Original, reset(101));
    assert_eq!((tracked.state, lifetime), (State::Close, 10));
}

#[test]
fn a_reset_that_follows_its_own_data_ends_the_connection() {
    let mut tracked = Tracked::open();
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
    tracked.follows(
        Original,
        Segment::bare(ACK, client(1), server(1)).carrying(300),
        State::Established,
    );
    tracked.follows(Original, Segment::bare(RST, client(301), 0), State::Close);
}

#[test]
fn a_closed_connection_is_not_judged_by_numbers_any_more() {
    let mut tracked = Tracked::open();
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
    tracked.follows(
        Original,
        Segment::bare(FIN | ACK, client(1), server(1)),
        State::FinWait,
    );
    tracked.follows(
        Reply,
        Segment::bare(RST, server(40_000_000), 0),
        State::Close,
    );
}

#[test]
fn both_sides_may_open_at_once() {
    let mut tracked = Tracked::begun(&Segment::bare(SYN, CLIENT, 0));
    tracked.follows(Reply, Segment::bare(SYN, SERVER, 0), State::SynSent2);
    tracked.follows(
        Original,
        Segment::bare(SYN | ACK, CLIENT, server(1)),
        State::SynReceived,
    );
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
}

#[test]
fn a_syn_on_an_open_connection_is_believed_once_the_other_side_answers_it() {
    let mut tracked = Tracked::open();
    let again = Segment::bare(SYN, 77, 0).offering(500);
    assert_eq!(tracked.take(Original, again), Fate::Passes);
    assert_eq!(tracked.state, State::Established);
    // Anything else than its answer goes on with the old connection.
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
    assert_eq!(tracked.take(Original, again), Fate::Passes);
    tracked.follows(Reply, Segment::bare(SYN | ACK, 99, 78), State::SynReceived);
    tracked.follows(Original, Segment::bare(ACK, 78, 100), State::Established);
    let old = Segment::bare(ACK, client(1), server(1));
    assert_eq!(tracked.take(Original, old), Fate::Invalid);
}

#[test]
fn the_reset_in_answer_to_an_ignored_syn_closes() {
    let mut tracked = Tracked::open();
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
    assert_eq!(
        tracked.take(Original, Segment::bare(SYN, 77, 0)),
        Fate::Passes
    );
    tracked.follows(Reply, Segment::bare(RST | ACK, 0, 78), State::Close);
}

#[test]
fn the_challenge_to_a_syn_acknowledges_no_fin() {
    let mut tracked = Tracked::open();
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
    tracked.follows(
        Original,
        Segment::bare(FIN | ACK, client(1), server(1)),
        State::FinWait,
    );
    tracked.follows(
        Reply,
        Segment::bare(FIN | ACK, server(1), client(2)),
        State::LastAck,
    );
    assert_eq!(
        tracked.take(Original, Segment::bare(SYN, 77, 0)),
        Fate::Passes
    );
    let challenge = Segment::bare(ACK, server(2), client(2));
    assert_eq!(tracked.take(Reply, challenge), Fate::Passes);
    assert_eq!(tracked.state, State::LastAck);
    tracked.follows(
        Original,
        Segment::bare(ACK, client(2), server(2)),
        State::TimeWait,
    );
    assert_eq!(
        tracked.take(Original, Segment::bare(SYN, 77, 0)),
        Fate::Reopens
    );
}

#[test]
fn a_syn_after_an_end_that_was_not_seen_is_the_ends_affair() {
    let mut tracked = Tracked::open();
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
    // Closed by a reset of the other side, so that this side may not know.
    tracked.follows(Reply, Segment::bare(RST, server(1), 0), State::Close);
    assert_eq!(
        tracked.take(Original, Segment::bare(SYN, 77, 0)),
        Fate::Passes
    );
    let mut tracked = Tracked::open();
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
    tracked.follows(Original, Segment::bare(RST, client(1), 0), State::Close);
    assert_eq!(
        tracked.take(Original, Segment::bare(SYN, 77, 0)),
        Fate::Reopens
    );
}

#[test]
fn a_connection_picked_up_in_the_middle_is_judged_liberally() {
    let mut tracked = Tracked::begun(&Segment::bare(ACK, client(1), server(1)));
    assert_eq!(tracked.state, State::Established);
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(900_000), client(700_000)),
        State::Established,
    );
    tracked.follows(
        Original,
        Segment::bare(ACK, client(5_000_000), server(1)),
        State::Established,
    );
}

#[test]
fn time_outs_follow_what_is_unacknowledged_repeated_or_stopped() {
    let mut tracked = Tracked::open();
    let idle = Segment::bare(ACK, server(1), client(1));
    let data = Segment::bare(ACK, client(1), server(1)).carrying(10);
    assert_eq!(tracked.lifetime(Reply, idle), 432_000);
    assert_eq!(tracked.lifetime(Original, data), 300);
    assert_eq!(
        tracked.lifetime(Reply, Segment::bare(ACK, server(1), client(11))),
        432_000
    );
    let closed = Segment::bare(ACK, server(1), client(11)).offering(0);
    assert_eq!(tracked.lifetime(Reply, closed), 300);
    assert_eq!(
        tracked.lifetime(Original, Segment::bare(ACK, client(11), server(1))),
        432_000
    );
    tracked.timeouts.max_retrans = 200;
    let again = Segment::bare(ACK, server(1), client(11)).offering(7);
    for expected in [432_000, 432_000, 432_000, 200, 200] {
        assert_eq!(tracked.lifetime(Reply, again), expected);
    }
    assert_eq!(
        tracked.lifetime(Original, Segment::bare(ACK, client(11), server(1))),
        432_000
    );
}

#[test]
fn two_ends_outside_the_window_one_from_each_side_shorten_the_memory() {
    let mut tracked = Tracked::open();
    tracked.follows(
        Reply,
        Segment::bare(ACK, server(1), client(1)),
        State::Established,
    );
    let far = |direction| match direction {
        Original => Segment::bare(FIN | ACK, client(9_000_000), server(1)),
        Reply => Segment::bare(FIN | ACK, server(9_000_000), client(1)),
    };
    assert_eq!(tracked.progress, Progress::Assured);
    assert_eq!(tracked.take(Original, far(Original)), Fate::Invalid);
    assert_eq!(tracked.take(Original, far(Original)), Fate::Invalid);
    assert_eq!(tracked.take(Reply, far(Reply)), Fate::InvalidAtTheEnd);
}

#[test]
fn after_a_connection_that_was_picked_up_only_its_server_stays_liberal_in_the_next() {
    let timeouts = Timeouts::default();
    let (connection, state, _) =
        Connection::open(&Segment::bare(ACK, CLIENT, SERVER), &timeouts).unwrap();
    let mut tracked = Tracked {
        connection,
        state,
        progress: Progress::Unanswered,
        timeouts,
    };
    let again = CLIENT.wrapping_add(1 << 20);
    let syn = Segment::bare(SYN, again, 0);
    assert_eq!(tracked.take(Original, syn), Fate::Passes);
    let answer = Segment::bare(SYN | ACK, SERVER, again.wrapping_add(1));
    assert!(matches!(tracked.take(Reply, answer), Fate::Follows { .. }));
    let far = 1 << 24;
    let beyond = Segment::bare(ACK, SERVER + far, again.wrapping_add(1));
    assert!(matches!(tracked.take(Reply, beyond), Fate::Follows { .. }));
    let beyond = Segment::bare(ACK, again.wrapping_add(far), SERVER + 1);
    assert_eq!(tracked.take(Original, beyond), Fate::Invalid);
}

#[test]
fn a_syn_without_options_offers_what_the_one_before_it_did() {
    let scaled = [3, 3, 7, 0];
    let syn = Segment::bare(SYN, CLIENT, 0);
    let mut tracked = Tracked::begun(&syn.with_options(&scaled));
    tracked.take(Original, Segment::bare(SYN, CLIENT.wrapping_add(10), 0));
    let end = CLIENT.wrapping_add(11);
    tracked.take(
        Reply,
        Segment::bare(SYN | ACK, SERVER, end).with_options(&scaled),
    );
    tracked.take(Original, Segment::bare(ACK, end, SERVER + 1).offering(100));
    // 100 << 7 is more than the 1000 that the window would be unscaled.
    let far = Segment::bare(ACK, SERVER + 1 + 12_000, end);
    assert!(matches!(tracked.take(Reply, far), Fate::Follows { .. }));
}

#[test]
fn a_reset_that_follows_a_challenge_ends_the_attempt() {
    let mut tracked = Tracked::begun(&Segment::bare(SYN, CLIENT, 0));
    let challenge = Segment::bare(ACK, SERVER, CLIENT.wrapping_sub(5000));
    assert_eq!(tracked.take(Reply, challenge), Fate::Passes);
    let reset = Segment::bare(RST, CLIENT.wrapping_sub(5000), 0);
    assert!(matches!(
        tracked.take(Original, reset),
        Fate::Follows { .. }
    ));
    assert_eq!(tracked.state, State::Close);
}

#[test]
fn an_answer_to_a_syn_that_nobody_sent_changes_nothing() {
    let mut tracked = Tracked::open();
    let data = Segment::bare(ACK, client(1), server(1)).carrying(100);
    tracked.take(Original, data);
    let answer = Segment::bare(SYN | ACK, server(1), client(101));
    assert_eq!(tracked.take(Reply, answer), Fate::Passes);
    assert_eq!(tracked.state, State::Established);
}

#[test]
fn a_challenge_to_a_syn_acknowledges_no_fin() {
    let mut tracked = Tracked::open();
    tracked.take(Original, Segment::bare(FIN | ACK, client(1), server(1)));
    tracked.take(Reply, Segment::bare(FIN | ACK, server(1), client(2)));
    assert_eq!(tracked.state, State::LastAck);
    let syn = Segment::bare(SYN, client(5000), 0);
    assert_eq!(tracked.take(Original, syn), Fate::Passes);
    let challenge = Segment::bare(ACK, server(2), client(2));
    assert_eq!(tracked.take(Reply, challenge), Fate::Passes);
    assert_eq!(tracked.state, State::LastAck);
    // The next one is no challenge.
    assert!(matches!(
        tracked.take(Reply, challenge),
        Fate::Follows { .. }
    ));
    assert_eq!(tracked.state, State::TimeWait);
}

#[test]
fn a_connection_begun_anew_is_not_closing_any_more() {
    let mut tracked = Tracked::open();
    tracked.take(Original, Segment::bare(ACK, client(1), server(1)));
    tracked.take(Original, Segment::bare(FIN | ACK, client(1), server(1)));
    assert_eq!(tracked.state, State::FinWait);
    tracked.take(Original, Segment::bare(SYN, client(5000), 0));
    let answer = Segment::bare(SYN | ACK, server(7000), client(5001));
    tracked.take(Reply, answer);
    assert_eq!(tracked.state, State::SynReceived);
    let ends = (client(5001), server(7001));
    tracked.take(Original, Segment::bare(ACK, ends.0, ends.1));
    assert_eq!(tracked.state, State::Established);
    tracked.take(Reply, Segment::bare(RST, ends.1, 0));
    assert_eq!(tracked.state, State::Close);
    // Neither side closed it: whoever begins again has to be answered first.
    let again = Segment::bare(SYN, client(9000), 0);
    assert_eq!(tracked.take(Original, again), Fate::Passes);
}

#[test]
fn only_a_reset_may_acknowledge_0_without_meaning_it() {
    let mut tracked = Tracked::open();
    let beyond = Segment::bare(ACK, server(1), 0);
    assert_eq!(tracked.take(Reply, beyond), Fate::Invalid);
    let reset = Segment::bare(RST | ACK, server(1), 0);
    assert!(matches!(tracked.take(Reply, reset), Fate::Follows { .. }));
}

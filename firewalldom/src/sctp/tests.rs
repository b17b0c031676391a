use super::*;
use Direction::{Original, Reply};

const CLIENT_TAG: u32 = 0x1111_1111;
const SERVER_TAG: u32 = 0x2222_2222;

fn packet(tag: u32, kinds: &[(u8, u8)]) -> Chunks {
    let list = kinds.iter().map(|&(kind, flags)| Chunk {
        kind,
        flags,
        initiates: match kind {
            INIT => Some(CLIENT_TAG),
            INIT_ACK => Some(SERVER_TAG),
            _ => None,
        },
    });
    Chunks {
        tag,
        list: list.collect(),
    }
}

fn one(tag: u32, kind: u8) -> Chunks {
    packet(tag, &[(kind, 0)])
}

struct Tracked {
    association: Association,
    state: State,
    timeouts: Timeouts,
}

impl Tracked {
    fn begun() -> Self {
        let timeouts = Timeouts::default();
        let (association, state, _) = Association::open(&one(0, INIT), &timeouts).unwrap();
        Self {
            association,
            state,
            timeouts,
        }
    }

    fn open() -> Self {
        let mut tracked = Self::begun();
        for (direction, tag, kind, state) in [
            (Reply, CLIENT_TAG, INIT_ACK, State::CookieWait),
            (Original, SERVER_TAG, COOKIE_ECHO, State::CookieEchoed),
            (Reply, CLIENT_TAG, COOKIE_ACK, State::Established),
        ] {
            assert!(tracked.fits(direction, &one(tag, kind)), "{state:?}");
            assert_eq!(tracked.state, state);
        }
        tracked
    }

    fn take(&mut self, direction: Direction, chunks: &Chunks) -> Fate {
        self.association
            .follow(&mut self.state, direction, chunks, &self.timeouts)
    }

    fn fits(&mut self, direction: Direction, chunks: &Chunks) -> bool {
        matches!(self.take(direction, chunks), Fate::Follows { .. })
    }
}

#[test]
fn an_association_opens_carries_data_and_shuts_down() {
    let mut tracked = Tracked::open();
    assert!(tracked.fits(Original, &one(SERVER_TAG, DATA)));
    assert!(tracked.fits(Reply, &one(CLIENT_TAG, DATA)));
    for (direction, tag, kind, state) in [
        (Reply, CLIENT_TAG, SHUTDOWN, State::ShutdownReceived),
        (Original, SERVER_TAG, SHUTDOWN_ACK, State::ShutdownAckSent),
        (Reply, CLIENT_TAG, SHUTDOWN_COMPLETE, State::Closed),
    ] {
        assert!(tracked.fits(direction, &one(tag, kind)));
        assert_eq!(tracked.state, state);
    }
}

#[test]
fn only_an_init_without_a_tag_a_heartbeat_or_an_answer_to_nothing_begins_one() {
    let timeouts = Timeouts::default();
    let opens = |chunks: &Chunks| Association::open(chunks, &timeouts).is_some();
    assert!(opens(&one(0, INIT)));
    assert!(!opens(&one(7, INIT)));
    assert!(opens(&one(7, HEARTBEAT)));
    assert!(opens(&one(7, SHUTDOWN_ACK)));
    for kind in [DATA, ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK, 3, 200] {
        assert!(!opens(&one(0, kind)), "chunk {kind}");
    }
    assert!(!opens(&packet(7, &[(HEARTBEAT, 0), (DATA, 0)])));
}

#[test]
fn a_packet_with_another_tag_is_invalid() {
    let mut tracked = Tracked::open();
    assert_eq!(
        tracked.take(Original, &one(CLIENT_TAG, DATA)),
        Fate::Invalid
    );
    assert_eq!(tracked.take(Original, &one(0, DATA)), Fate::Invalid);
    // A blind abort; one that reflects the peer's tag says so.
    assert_eq!(tracked.take(Reply, &one(SERVER_TAG, ABORT)), Fate::Invalid);
    assert_eq!(tracked.state, State::Established);
    let reflected = packet(SERVER_TAG, &[(ABORT, FLAG_T)]);
    assert!(tracked.fits(Reply, &reflected));
    assert_eq!(tracked.state, State::Closed);
}

#[test]
fn an_init_that_is_only_repeated_does_not_keep_its_flow() {
    let mut tracked = Tracked::begun();
    assert_eq!(tracked.take(Original, &one(0, INIT)), Fate::Passes);
}

#[test]
fn nothing_but_a_heartbeat_answers_a_heartbeat() {
    let timeouts = Timeouts::default();
    let begun = || {
        let (association, state, _) =
            Association::open(&one(SERVER_TAG, HEARTBEAT), &timeouts).unwrap();
        Tracked {
            association,
            state,
            timeouts,
        }
    };
    let mut tracked = begun();
    assert_eq!(tracked.state, State::HeartbeatSent);
    assert_eq!(tracked.take(Reply, &one(CLIENT_TAG, ABORT)), Fate::Invalid);
    assert!(tracked.fits(Reply, &one(CLIENT_TAG, HEARTBEAT_ACK)));
    assert_eq!(tracked.state, State::Established);
    assert_eq!(tracked.association.tags, [SERVER_TAG, CLIENT_TAG]);
}

#[test]
fn a_tag_that_changed_is_believed_once_both_sides_have_shown_it() {
    let mut tracked = Tracked::open();
    assert_eq!(tracked.take(Original, &one(5, HEARTBEAT)), Fate::Passes);
    // Not by the same side.
    assert_eq!(
        tracked.take(Original, &one(5, HEARTBEAT_ACK)),
        Fate::Invalid
    );
    assert!(tracked.fits(Reply, &one(6, HEARTBEAT_ACK)));
    assert_eq!(tracked.association.tags, [0, 6]);
}

#[test]
fn an_answer_to_an_init_that_names_another_tag_than_agreed_is_invalid() {
    let mut tracked = Tracked::open();
    let mut other = one(CLIENT_TAG, INIT_ACK);
    other.list[0].initiates = Some(9);
    assert_eq!(tracked.take(Reply, &other), Fate::Invalid);
    other.list[0].initiates = None;
    assert_eq!(tracked.take(Reply, &other), Fate::Invalid);
}

//! What waits for room in a guest's ring: for how long, in which order, and whose pages it keeps.

use super::*;
use crate::net::front::Wake;

/// When whoever serves it looks at what nobody tells.
const LOOK: Duration = Duration::from_millis(1);

type Header = heapless::Vec<u8, HEAD_MAX>;

/// A guest that frames go to, and one that their pages are of.
struct Crowd {
    lab: Lab,
    outlet: Outlet<Domain, Header>,
    now: Instant,
}

impl Crowd {
    fn new(takes: &[(&str, &str)]) -> Self {
        let mut lab = Lab::new();
        let to = lab.announce(OTHER, &[]);
        lab.fronts[to].publish(Shape::default(), takes);
        lab.fronts[to].switch_to(XenbusState::CONNECTED);
        lab.settle();
        let outlet = Outlet::new(lab.backs.remove(0));
        lab.connect_beside(GUEST);
        Self {
            lab,
            outlet,
            now: Instant(1_000_000),
        }
    }

    /// A frame that begins with `name`, of whose bytes all but the first 256 are in pages of the other's.
    fn frame(&mut self, name: u8, len: usize) -> (Header, Payload<Domain>) {
        assert!(self.lab.fronts[1].send(0, &[&frame_for(usize::from(name), len, 5)], 0, &[]));
        let mut received = self.lab.backs[0].receive().expect("a frame came");
        let mut head = Header::new();
        head.resize(len.min(HEAD_MAX), 0).expect("it fits");
        received.read(0, &mut head);
        let first = received.slots.remove(0);
        self.lab.backs[0].recycle(first.buffer);
        (head, received.slots)
    }

    /// Sends one, or has it wait: false, it is lost.
    fn pass(&mut self, name: u8, len: usize) -> bool {
        let (head, mut payload) = self.frame(name, len);
        let tail = payload.as_mut_view();
        let sent = self.outlet.offer(&head, tail, PLAIN);
        let is_kept =
            sent == Err(TransmitError::Full) && self.outlet.keep(&head, &mut payload, PLAIN);
        self.give_back(payload);
        sent.is_ok() || is_kept
    }

    fn give_back(&mut self, payload: Payload<Domain>) {
        for slice in payload {
            self.lab.backs[0].recycle(slice.buffer);
        }
    }

    /// A turn so long after the one before: frames that were lost, and how.
    fn turn(&mut self, later: Duration) -> Vec<TransmitError> {
        self.now = self.now.after(later);
        let mut lost = Vec::new();
        while let Some((error, payload)) = self.outlet.send_waiting(self.now) {
            lost.push(error);
            self.give_back(payload);
        }
        self.settle();
        lost
    }

    fn settle(&mut self) {
        self.outlet.settle();
        while let Some(buffer) = self.outlet.completed() {
            self.lab.backs[0].recycle(buffer);
        }
        self.lab.backs[0].flush();
    }

    /// The names of the frames that the guest has got.
    fn got(&mut self) -> Vec<u8> {
        let frames = self.lab.fronts[0].receive(0).into_iter();
        frames.map(|frame| frame.bytes[0]).collect()
    }

    /// Requests of the other's that are not answered.
    fn unanswered(&self) -> u16 {
        self.lab.backs[0].counters().unanswered
    }

    fn end(mut self) {
        while let Some(payload) = self.outlet.drop_waiting() {
            self.give_back(payload);
        }
        self.outlet.close();
        self.settle();
        assert_eq!(self.unanswered(), 0, "all its pages came back");
        drop(self.outlet);
        self.lab.end();
    }
}

impl Lab {
    /// As [`Lab::connect`], where backs were taken out.
    fn connect_beside(&mut self, front: DomId) {
        let number = self.announce(front, &[]);
        self.fronts[number].connect(Shape::default());
        self.settle();
        assert_eq!(self.backs.len(), 1);
    }
}

#[test]
fn what_finds_no_room_waits_and_is_sent_in_its_order() {
    let mut crowd = Crowd::new(&TAKES);
    crowd.lab.fronts[0].post(0, 2);
    for name in 0..6 {
        assert!(crowd.pass(name, if name % 2 == 0 { 60 } else { 1514 }));
    }
    crowd.settle();
    assert_eq!(crowd.got(), [0, 1]);
    assert_eq!((crowd.outlet.waiting_pages(), crowd.unanswered()), (2, 2));
    // Those that come later do not overtake.
    crowd.lab.fronts[0].post(0, 3);
    assert!(crowd.pass(6, 60));
    crowd.settle();
    assert_eq!(crowd.got(), []);
    assert_eq!(crowd.turn(LOOK), []);
    assert_eq!(crowd.got(), [2, 3, 4]);
    crowd.lab.fronts[0].post(0, 9);
    assert_eq!(crowd.turn(LOOK), []);
    assert_eq!(crowd.got(), [5, 6]);
    assert_eq!((crowd.outlet.waiting_pages(), crowd.unanswered()), (0, 0));
    // Nothing waits: at once.
    assert!(crowd.pass(7, 1514));
    crowd.settle();
    assert_eq!(crowd.got(), [7]);
    crowd.end();
}

#[test]
fn a_guest_that_takes_nothing_for_long_loses_it_and_has_nothing_waiting_until_it_does() {
    let mut crowd = Crowd::new(&TAKES);
    assert!(crowd.pass(1, 1514) && crowd.pass(2, 60));
    assert_eq!(crowd.turn(LOOK), []);
    assert_eq!(crowd.turn(PATIENCE - LOOK), []);
    // It took one: it is waited for anew.
    crowd.lab.fronts[0].post(0, 1);
    assert_eq!(crowd.turn(LOOK), []);
    assert_eq!(crowd.got(), [1]);
    assert!(crowd.pass(3, 1514));
    assert_eq!(crowd.turn(PATIENCE - LOOK), []);
    assert_eq!(crowd.unanswered(), 1);
    assert_eq!(crowd.turn(LOOK), [TransmitError::Full; 2]);
    assert_eq!(crowd.unanswered(), 0, "its pages came back");
    assert!(!crowd.pass(4, 1514), "it does not wait");
    assert_eq!(crowd.turn(PATIENCE), []);
    crowd.lab.fronts[0].post(0, 1);
    assert!(crowd.pass(5, 60) && crowd.pass(6, 60));
    crowd.lab.fronts[0].post(0, 1);
    assert_eq!(crowd.turn(LOOK), []);
    assert_eq!(crowd.got(), [5, 6]);
    crowd.end();
}

#[test]
fn copies_of_what_is_for_all_leave_room_for_what_is_for_the_guest_alone() {
    let mut crowd = Crowd::new(&TAKES);
    let short = [9; 60];
    let whole = || Some(Header::from_slice(&short).expect("it fits"));
    let sent = (0..200).filter(|_| crowd.outlet.offer_copy(&short, whole, PLAIN).is_ok());
    assert_eq!(sent.count(), 32);
    assert!(crowd.pass(1, 1514));
    // One that is not in one piece does not wait.
    let long = crowd.outlet.offer_copy(&[9; 1000], || None, PLAIN);
    assert_eq!(long, Err(TransmitError::Full));
    crowd.lab.fronts[0].post(0, 100);
    assert_eq!(crowd.turn(LOOK), []);
    assert_eq!(crowd.got(), [[9; 32].as_slice(), &[1]].concat());
    // What is sent first waits for none, and what is not taken at all is no reason to wait.
    crowd
        .outlet
        .send_first(&[7; 60], PLAIN)
        .expect("there is room");
    let gso = Offload {
        gso: Some(Gso {
            kind: GsoKind::TcpV4,
            size: 0,
        }),
        ..PLAIN
    };
    let refused = crowd.outlet.offer_copy(&short, || unreachable!(), gso);
    assert_eq!(refused, Err(TransmitError::Invalid));
    crowd.settle();
    assert_eq!(crowd.got(), [7]);
    crowd.end();
}

#[test]
fn there_is_room_for_so_many_frames_and_so_many_pages() {
    let mut crowd = Crowd::new(&TAKES);
    let kept = (0..100).filter(|_| crowd.pass(1, 1514)).count();
    assert_eq!((kept, crowd.outlet.waiting_pages()), (64, 64));
    let kept = (0..100).filter(|_| crowd.pass(1, 60)).count();
    assert_eq!(kept, 64);
    assert!(crowd.outlet.takes(1518, PLAIN) && !crowd.outlet.takes(1519, PLAIN));
    crowd.end();
}

#[test]
fn it_is_looked_at_when_patience_ends_or_earlier_where_nobody_tells() {
    let later = |crowd: &Crowd, duration| Some(crowd.now.after(duration));
    for (takes, looked) in [(&TAKES[..], PATIENCE), (&TAKES[..1], LOOK)] {
        let mut crowd = Crowd::new(takes);
        let park = |crowd: &mut Crowd| crowd.outlet.park(crowd.now, Wake::FirstSlot, LOOK);
        assert_eq!(park(&mut crowd), None, "nothing to wait for");
        assert!(crowd.pass(1, 60));
        assert_eq!(park(&mut crowd), later(&crowd, looked));
        assert_eq!(crowd.turn(PATIENCE), [TransmitError::Full]);
        assert_eq!(park(&mut crowd), None);
        // It is kept from sending: what it has to send is not looked at, until that was long enough.
        assert!(crowd.lab.fronts[0].send(0, &[&[1; 60]], 0, &[]));
        assert!(!crowd.outlet.hold(crowd.now));
        assert_eq!(park(&mut crowd), later(&crowd, LOOK));
        crowd.turn(PATIENCE - LOOK / 2);
        assert!(!crowd.outlet.hold(crowd.now));
        assert_eq!(park(&mut crowd), later(&crowd, LOOK / 2));
        crowd.turn(LOOK / 2);
        assert!(crowd.outlet.hold(crowd.now), "that was long enough");
        assert_eq!(park(&mut crowd), Some(crowd.now));
        let frame = crowd.outlet.receive().expect("a frame came");
        crowd.outlet.recycle_frame(frame);
        assert_eq!(park(&mut crowd), None, "it has no more");
        assert!(crowd.lab.fronts[0].send(0, &[&[1; 60]], 0, &[]));
        crowd.outlet.release();
        assert!(!crowd.outlet.hold(crowd.now), "it is held anew");
        crowd.outlet.release();
        assert_eq!(park(&mut crowd), Some(crowd.now));
        crowd.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 48 }))]

    /// Whatever happens, every page comes back once, and frames come in their order.
    #[test]
    fn whatever_comes_in_whatever_order_all_pages_come_back(
        steps in prop::collection::vec((0..6_u8, 0..60_u64), 1..200),
    ) {
        let mut crowd = Crowd::new(&TAKES);
        let (mut passed, mut lost, mut got) = (0_u8, 0, Vec::new());
        for (step, amount) in steps {
            match step {
                0..3 => {
                    lost += usize::from(!crowd.pass(passed, 60 + amount as usize * 60));
                    passed = passed.wrapping_add(1);
                }
                3 => {
                    crowd.lab.fronts[0].post(0, amount as usize % 8);
                }
                4 => lost += crowd.turn(Duration::from_millis(amount)).len(),
                _ => got.extend(crowd.got()),
            }
            crowd.settle();
            crowd.lab.fronts[1].answers(0);
        }
        got.extend(crowd.got());
        prop_assert!(got.is_sorted(), "{got:?}");
        prop_assert!(got.len() + lost <= usize::from(passed));
        crowd.end();
    }
}

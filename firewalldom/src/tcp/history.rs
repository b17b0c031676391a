//! What a connection remembers of its last segment, in sixteen bytes.

use super::{Kind, Offer, Segment};

/// The segment that a direction's next one is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Last {
    /// Acknowledgement and sequence number: one word to compare and to write.
    numbers: [u32; 2],
    /// Sequence numbers it took.
    length: u16,
    /// Not scaled.
    window: u16,
}

impl Last {
    pub(super) const NONE: Self = Self {
        numbers: [0; 2],
        length: 0,
        window: 0,
    };

    #[inline(always)]
    pub(super) const fn new(sequence: u32, acknowledgement: u32, length: u16, window: u16) -> Self {
        Self {
            numbers: [acknowledgement, sequence],
            length,
            window,
        }
    }

    pub(super) const fn of(segment: &Segment<'_>, acknowledgement: u32) -> Self {
        Self::new(
            segment.sequence,
            acknowledgement,
            segment.length,
            segment.window,
        )
    }

    /// Whether a segment has the same numbers, as one that only repeats it must.
    #[inline(always)]
    pub(super) fn has_numbers_of(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }

    #[inline(always)]
    pub(super) const fn sequence(&self) -> u32 {
        self.numbers[1]
    }

    #[inline(always)]
    pub(super) const fn acknowledgement(&self) -> u32 {
        self.numbers[0]
    }

    #[inline(always)]
    pub(super) const fn window(&self) -> u16 {
        self.window
    }

    pub(super) const fn set_sequence(&mut self, sequence: u32) {
        self.numbers[1] = sequence;
    }

    pub(super) const fn set_acknowledgement(&mut self, acknowledgement: u32) {
        self.numbers[0] = acknowledgement;
    }

    #[inline(always)]
    pub(super) const fn end(&self) -> u32 {
        self.sequence().wrapping_add(self.length as u32)
    }
}

/// What one side agreed to, and how far it is: bits 0 to 3 the shift count of its windows plus one, 0
/// if its SYN had no window scale option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed(pub(super) u8);

impl Agreed {
    const SCALE: u8 = 0x0f;
    /// Picked up in the middle: its windows are not known well enough to refuse anything.
    pub(super) const LIBERAL: u8 = 0x10;
    /// Its SYN permitted selective acknowledgements.
    pub(super) const SACK: u8 = 0x20;
    /// It sent data that was not acknowledged yet.
    pub(super) const UNACKNOWLEDGED: u8 = 0x40;
    /// It acknowledged something: `Window::max_acknowledged` is valid.
    pub(super) const ACKNOWLEDGES: u8 = 0x80;

    pub(super) fn offered(offer: Offer) -> Self {
        let mut agreed = Self(offer.scale.map_or(0, |scale| scale + 1));
        agreed.set(Self::SACK, offer.sack);
        agreed
    }

    pub(super) const fn scale(self) -> u32 {
        (self.0 & Self::SCALE).saturating_sub(1) as u32
    }

    pub(super) const fn offers_scale(self) -> bool {
        self.0 & Self::SCALE != 0
    }

    /// Its windows are not scaled, whatever it offered.
    pub(super) fn forget_scale(&mut self) {
        self.0 = self.0 & !Self::SCALE | u8::from(self.offers_scale());
    }

    /// Nothing is known any more, but that nothing was from the start.
    pub(super) fn forget(&mut self) {
        self.0 &= Self::LIBERAL;
    }

    /// A SYN of its with options says all of it anew.
    pub(super) fn renew(&mut self, offer: Offer) {
        self.0 = self.0 & Self::LIBERAL | Self::offered(offer).0;
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8, value: bool) {
        self.0 = if value { self.0 | flag } else { self.0 & !flag };
    }
}

/// What both sides agreed to, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Both(u16);

impl Both {
    const fn of(flag: u8, side: usize) -> u16 {
        (flag as u16) << (side as u32 * u8::BITS)
    }

    #[inline(always)]
    pub(super) const fn new([one, other]: [Agreed; 2]) -> Self {
        Self(u16::from_le_bytes([one.0, other.0]))
    }

    #[inline(always)]
    pub(super) const fn each(self) -> [Agreed; 2] {
        let [one, other] = self.0.to_le_bytes();
        [Agreed(one), Agreed(other)]
    }

    /// Whether a flag is that of one side or of both.
    #[inline(always)]
    pub(super) const fn has_one(self, flag: u8) -> bool {
        self.0 & (Self::of(flag, 0) | Self::of(flag, 1)) != 0
    }

    #[inline(always)]
    pub(super) const fn set(&mut self, side: usize, flag: u8) {
        self.0 |= Self::of(flag, side);
    }

    #[inline(always)]
    pub(super) const fn clear(&mut self, side: usize, flag: u8) {
        self.0 &= !Self::of(flag, side);
    }
}

/// What an ignored SYN offered (as in [`Agreed`]), and what it makes of the segments after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Annotated(u8);

impl Annotated {
    pub(super) const NONE: Self = Self(0);
    /// An answer to it may be a challenge (RFC 5961, 4.2), which acknowledges no FIN.
    pub(super) const CHALLENGE: u8 = 0x40;
    /// Both sides sent a SYN.
    pub(super) const SIMULTANEOUS: u8 = 0x80;

    pub(super) fn ignored(offer: Offer) -> Self {
        Self(Agreed::offered(offer).0)
    }

    pub(super) const fn agreed(self) -> Agreed {
        Agreed(self.0 & !(Self::CHALLENGE | Self::SIMULTANEOUS))
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8, value: bool) {
        self.0 = if value { self.0 | flag } else { self.0 & !flag };
    }
}

/// Kind and direction of the last segment, how often it was repeated, and two facts of the whole
/// connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Course(u8);

impl Course {
    pub(super) const NONE: Self = Self(0);
    const KIND: u8 = 0x07;
    const REPLY_BIT: u32 = 3;
    const REPEATED: u8 = 0x30;
    const ONE_REPEATED: u8 = 0x10;
    /// A FIN was seen while it was open.
    pub(super) const CLOSING: u8 = 0x80;

    /// The last segment counts as repeated so often that the connection is given up soon.
    pub(super) const fn is_given_up(self) -> bool {
        // As many as there is room for: netfilter's max_retrans is 3 as well.
        self.0 & Self::REPEATED == Self::REPEATED
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8, value: bool) {
        self.0 = if value { self.0 | flag } else { self.0 & !flag };
    }

    /// Whether the last segment came from this side (1: the reply direction).
    #[inline(always)]
    pub(super) const fn is_last_of(self, side: usize) -> bool {
        (self.0 >> Self::REPLY_BIT) as usize & 1 == side
    }

    pub(super) const fn is_last(self, kind: Kind) -> bool {
        self.0 & Self::KIND == kind as u8
    }

    pub(super) const fn note(&mut self, kind: Kind, side: usize) {
        let others = self.0 & !(Self::KIND | 1 << Self::REPLY_BIT);
        self.0 = others | kind as u8 | (side as u8) << Self::REPLY_BIT;
    }

    #[cold]
    pub(super) fn repeat(&mut self) {
        if !self.is_given_up() {
            self.0 += Self::ONE_REPEATED;
        }
    }

    /// Not repeated: another segment of this side, an acknowledgement.
    #[inline(always)]
    pub(super) const fn go_on(&mut self, side: usize) {
        let others = self.0 & Self::CLOSING;
        self.0 = others | Kind::Ack as u8 | (side as u8) << Self::REPLY_BIT;
    }
}

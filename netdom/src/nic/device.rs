//! What one driver does otherwise than another: a card's registers and rings. The rest is its life.

use super::buffers::Buffers;
use super::{Config, Link, State, Statistics};
use core::time::Duration;
use minios_rs::hardware::Hardware;
use minios_rs::net::front::TransmitError;
use minios_rs::net::{ETHERNET_HEADER, MacAddress, Offload, Received, RxBuffer, Slice};

/// The card's rings say what cannot be.
pub(super) struct Corrupt;

/// The card, once reset, cannot be had.
pub(super) struct Unfit;

/// How far a reset has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    UnderWay,
    Over,
    /// The card is gone.
    Failed,
}

/// What a look at a card shows.
pub(super) enum Condition {
    Works(Link),
    /// It asks for a reset.
    Broken,
    Gone,
}

/// What a card and its driver both work on.
pub(super) struct Common<X: Hardware> {
    pub(super) config: Config,
    pub(super) buffers: Buffers<X>,
    pub(super) statistics: Statistics,
}

impl<X: Hardware> Common<X> {
    /// Bytes of the longest frame that is not to be cut: with header and a VLAN tag.
    pub(super) fn frame_max(&self) -> usize {
        usize::from(self.config.mtu) + ETHERNET_HEADER + 4
    }
}

/// A card's registers and rings: what one driver does otherwise than another.
pub(super) trait Device<X: Hardware> {
    /// How often a card that is being reset is looked at.
    const RESET_STEP: Duration;

    /// What it is.
    fn model(&self) -> &'static str;

    /// Has it reset itself.
    fn order_reset(&self);

    /// How far the reset is that began `passed` ago.
    fn reset_state(&self, passed: Duration) -> Reset;

    /// Silences one that does not come up.
    fn give_up(&self) {}

    /// Tells one that was reset all that it has to know, and lets it run, without buffers to receive into: its
    /// address, if it says one.
    fn program(&mut self, common: &mut Common<X>) -> Result<Option<MacAddress>, Unfit>;

    /// Lets interrupts come, of one that was programmed.
    fn arm(&self) {}

    /// An interrupt was ended: lets the next one come.
    fn arm_again(&self) {}

    /// The interrupt came: whether the card is to be looked at.
    fn interrupted(&mut self, state: State) -> bool;

    /// How it is.
    fn look(&self) -> Condition;

    /// Counts what the card itself counts; called now and then.
    fn count(&self, _: &mut Statistics) {}

    /// Gives it every free page to receive into.
    fn post(&mut self, buffers: &mut Buffers<X>);

    /// Shows it what it was given.
    fn show(&mut self);

    /// Whether something lies there to be received.
    fn has_frame(&self) -> bool;

    /// Puts the next frame into `frame`. `Ok(false)`: there is none.
    fn receive(
        &mut self,
        common: &mut Common<X>,
        frame: &mut Received<X::Page>,
    ) -> Result<bool, Corrupt>;

    /// Sends a frame of which `head`, `tail` and their length are sound.
    fn transmit(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError>;

    /// Whether a frame of any number of pieces can be sent now.
    fn has_room(&self) -> bool;

    /// Whether frames are on their way out.
    fn is_sending(&self) -> bool;

    /// Takes back what was sent: whether there was any.
    fn reap(&mut self) -> Result<bool, Corrupt>;

    /// A page that was sent from.
    fn completed(&mut self) -> Option<RxBuffer<X::Page>>;

    /// Whether there is one.
    fn has_completed(&self) -> bool;

    /// What was to be sent is not: how many frames. Their pages are others'.
    fn abandon(&mut self) -> u64;

    /// Takes back the buffers that the card had. It must have been reset.
    fn take_back(&mut self, buffers: &mut Buffers<X>);
}

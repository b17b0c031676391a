//! How long a flow is remembered without a packet.

use crate::tcp;

/// Time-outs in seconds; the defaults are netfilter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A SYN without an answer.
    pub syn_sent: u32,
    /// A SYN that was answered.
    pub syn_received: u32,
    /// An open connection.
    pub established: u32,
    /// One side closed.
    pub fin_wait: u32,
    /// Its FIN was acknowledged.
    pub close_wait: u32,
    /// Both sides closed.
    pub last_ack: u32,
    /// Both FINs were acknowledged.
    pub time_wait: u32,
    /// A reset was seen.
    pub close: u32,
    /// Picked up in the middle and never answered.
    pub unacknowledged: u32,
    /// UDP in one direction.
    pub udp: u32,
    /// UDP in both directions.
    pub udp_stream: u32,
    /// ICMP queries.
    pub icmp: u32,
    /// Every other protocol.
    pub generic: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            syn_sent: 120,
            syn_received: 60,
            established: 432_000,
            fin_wait: 120,
            close_wait: 60,
            last_ack: 30,
            time_wait: 120,
            close: 10,
            unacknowledged: 300,
            udp: 30,
            udp_stream: 120,
            icmp: 30,
            generic: 600,
        }
    }
}

impl Timeouts {
    /// Of a connection in this state.
    pub(crate) const fn tcp(&self, state: tcp::State) -> u32 {
        match state {
            tcp::State::None | tcp::State::SynSent | tcp::State::SynSent2 => self.syn_sent,
            tcp::State::SynReceived => self.syn_received,
            tcp::State::Established => self.established,
            tcp::State::FinWait => self.fin_wait,
            tcp::State::CloseWait => self.close_wait,
            tcp::State::LastAck => self.last_ack,
            tcp::State::TimeWait => self.time_wait,
            tcp::State::Close => self.close,
        }
    }
}

//! How long a flow is remembered without a packet.

use crate::tcp;
use crate::time::Deadline;

/// Time-outs in seconds, of which five months are the most that is kept; the defaults are
/// netfilter's.
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
    /// Picked up in the middle and never answered, or with data that is not acknowledged.
    pub unacknowledged: u32,
    /// The same segment three times, or the receiver's window closed.
    pub max_retrans: u32,
    /// UDP in one direction.
    pub udp: u32,
    /// UDP in both directions.
    pub udp_stream: u32,
    /// ICMP queries.
    pub icmp: u32,
    /// GRE in one direction.
    pub gre: u32,
    /// GRE in both directions.
    pub gre_stream: u32,
    /// Every other protocol.
    pub generic: u32,
    /// SCTP.
    pub sctp: SctpTimeouts,
}

/// Time-outs of SCTP in seconds, by the state of the association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SctpTimeouts {
    /// An INIT without an answer, or over.
    pub closed: u32,
    /// An INIT that was answered.
    pub cookie_wait: u32,
    /// The cookie was sent back.
    pub cookie_echoed: u32,
    /// Open.
    pub established: u32,
    /// Who began it shuts it down.
    pub shutdown_sent: u32,
    /// The other side does.
    pub shutdown_received: u32,
    /// And that was acknowledged.
    pub shutdown_ack_sent: u32,
    /// Of another path of an association, a heartbeat was seen.
    pub heartbeat_sent: u32,
}

impl Default for SctpTimeouts {
    fn default() -> Self {
        Self {
            closed: 10,
            cookie_wait: 3,
            cookie_echoed: 3,
            established: 210,
            shutdown_sent: 3,
            shutdown_received: 3,
            shutdown_ack_sent: 3,
            heartbeat_sent: 30,
        }
    }
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
            max_retrans: 300,
            udp: 30,
            udp_stream: 120,
            icmp: 30,
            gre: 30,
            gre_stream: 180,
            generic: 600,
            sctp: SctpTimeouts::default(),
        }
    }
}

impl Timeouts {
    /// The same in tenths of a second, none longer than a flow can tell.
    pub(crate) fn in_ticks(self) -> Self {
        let ticks = |seconds: u32| seconds.saturating_mul(10).min(Deadline::MAX_TICKS);
        Self {
            syn_sent: ticks(self.syn_sent),
            syn_received: ticks(self.syn_received),
            established: ticks(self.established),
            fin_wait: ticks(self.fin_wait),
            close_wait: ticks(self.close_wait),
            last_ack: ticks(self.last_ack),
            time_wait: ticks(self.time_wait),
            close: ticks(self.close),
            unacknowledged: ticks(self.unacknowledged),
            max_retrans: ticks(self.max_retrans),
            udp: ticks(self.udp),
            udp_stream: ticks(self.udp_stream),
            icmp: ticks(self.icmp),
            gre: ticks(self.gre),
            gre_stream: ticks(self.gre_stream),
            generic: ticks(self.generic),
            sctp: SctpTimeouts {
                closed: ticks(self.sctp.closed),
                cookie_wait: ticks(self.sctp.cookie_wait),
                cookie_echoed: ticks(self.sctp.cookie_echoed),
                established: ticks(self.sctp.established),
                shutdown_sent: ticks(self.sctp.shutdown_sent),
                shutdown_received: ticks(self.sctp.shutdown_received),
                shutdown_ack_sent: ticks(self.sctp.shutdown_ack_sent),
                heartbeat_sent: ticks(self.sctp.heartbeat_sent),
            },
        }
    }

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

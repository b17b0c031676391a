//! Flows of SCTP: what they remember stands where TCP's do.

use super::entry::{ASSURED, Flow, REPLIED};
use super::{Direction, Followed, Handle, Opening, Standing, Table};
use crate::sctp::{Association, Chunks, Fate, State};
use crate::tcp::{self, Connection};
use crate::time::{Deadline, Tick};

/// Where a connection would be.
fn keep(association: Association) -> Connection {
    let mut connection = Connection::NONE;
    connection.keep(association.tags, association.notes.into());
    connection
}

fn kept(flow: &Flow) -> Association {
    let (tags, notes) = flow.tcp.kept();
    Association {
        tags,
        notes: notes as u8,
    }
}

impl Table {
    /// Takes a packet of a flow of SCTP.
    pub(crate) fn follow_association(
        &mut self,
        now: Tick,
        handle: Handle,
        chunks: &Chunks,
    ) -> Followed {
        let flow = &mut self.lookup.flows[handle.flow()];
        let direction = handle.direction();
        let before = State::from_number(flow.state() as u8);
        let (mut association, mut state) = (kept(flow), before);
        let fate = association.follow(&mut state, direction, chunks, &self.timeouts);
        flow.tcp = keep(association);
        flow.set_state(tcp::State::from_number(state as u8));
        if state == State::Established && before != state {
            flow.mark(ASSURED);
        }
        match fate {
            Fate::Invalid => return Followed::Invalid,
            Fate::Passes => {}
            Fate::Follows { lifetime } => flow.expire_at(Deadline::at(now.after(lifetime))),
        }
        let answered = flow.is(REPLIED) || direction == Direction::Reply;
        if answered {
            flow.mark(REPLIED);
        }
        Followed::Belongs(if answered {
            Standing::Established
        } else {
            Standing::New
        })
    }

    /// What a packet of SCTP that no flow has the tuple of says of the one it may begin.
    pub(crate) fn opening_of(&self, chunks: &Chunks) -> Option<Opening> {
        let (association, state, lifetime) = Association::open(chunks, &self.timeouts)?;
        Some(Opening {
            connection: Some((keep(association), tcp::State::from_number(state as u8))),
            lifetime,
        })
    }
}

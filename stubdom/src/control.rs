//! What the toolstack and this domain say to each other: what to be, that it is ready, and commands.
//!
//! ```text
//! target                        the guest's number, and /local/domain/G/vm its /vm/UUID
//! /vm/UUID/image/dm-argv/NNN    what it is to be                               arguments
//! device-model/G/qmp-vchan/     where xl's proxy finds us                      qmp over minios_rs::vchan
//! device-model/G/state          "running": xl goes on, and sends cont
//! device-model/G/error          why it does not
//! ```
//!
//! [`Guest::read`] comes first, and nothing is started for a guest that is refused. Then, when all
//! that the machine needs is there, [`Control::announce`]; from there on [`Control::turn`] belongs
//! into the main loop.

use crate::arguments::{Description, Refusal};
use crate::qmp::{Command, Session, Status, Ticket};
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use minios_rs::ring::Corrupt;
use minios_rs::vchan::{Peer, Server};
use minios_rs::xen::{DomId, ResourceError, Xen};
use minios_rs::xenstore::{self, Client};
use thiserror::Error as ThisError;

/// Arguments that are read, at most.
pub const ARGUMENTS_MAX: usize = 1000;

/// Lines and pieces of lines in one turn: a client that writes without end does not hold the guest up.
const ROUNDS_MAX: usize = 64;

/// Bytes of the reason in xenstore: as much as any xenstored takes for a value.
const REASON_MAX: usize = 1024;

/// Why there is no guest to serve.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// xenstore failed.
    #[error(transparent)]
    Xenstore(#[from] xenstore::Error),
    /// This domain was started for itself.
    #[error(
        "this domain is no guest's device model: it is started by device_model_stubdomain_override=1 and stubdomain_kernel= in a guest's configuration"
    )]
    NoTarget,
    /// There is a guest, and no arguments: the toolstack takes this for a stub domain of the old kind.
    #[error("no arguments for a device model: write device_model_version=\"qemu-xen\"")]
    NoArguments,
    /// More than [`ARGUMENTS_MAX`].
    #[error("more arguments for a device model than can be")]
    TooManyArguments,
    /// What it is to be cannot be had.
    #[error("{}", all(.0))]
    Refused(Vec<Refusal>),
}

fn all(refusals: &[Refusal]) -> String {
    let words: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// The guest that this domain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its number.
    pub domid: DomId,
}

impl Guest {
    /// Finds the guest, and reads what its device model is to be. Why it cannot be goes to the log,
    /// and to xenstore.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read<X: Xen>(store: &Client<X>) -> Result<(Self, Description), Error> {
        let target = store.read_number_if_any("target").await?;
        let guest = Self {
            domid: DomId(target.ok_or(Error::NoTarget)?),
        };
        match guest.description(store).await {
            Ok(description) => Ok((guest, description)),
            Err(error) => {
                match &error {
                    Error::Refused(refusals) => {
                        for refusal in refusals {
                            log::error!("{refusal}");
                        }
                    }
                    other => log::error!("{other}"),
                }
                guest.refuse(store, &error.to_string()).await;
                Err(error)
            }
        }
    }

    async fn description<X: Xen>(self, store: &Client<X>) -> Result<Description, Error> {
        let vm = store
            .read_text(&format!("/local/domain/{}/vm", self.domid.0))
            .await?;
        let directory = format!("{vm}/image/dm-argv");
        let numbers = numbers(store, &directory).await?;
        if numbers.is_empty() {
            return Err(Error::NoArguments);
        }
        if numbers.len() > ARGUMENTS_MAX {
            return Err(Error::TooManyArguments);
        }
        let mut arguments = Vec::new();
        for number in numbers {
            // As libxl names them: three digits, or more if they are needed.
            let argument = store.read_text(&format!("{directory}/{number:03}")).await?;
            arguments.push(argument);
        }
        let vbds = self::numbers(store, "device/vbd").await?;
        Description::parse(&arguments, self.domid.0, &vbds).map_err(Error::Refused)
    }

    /// Says in xenstore why the guest does not start. libxl itself only learns, by its own time-out,
    /// that it did not.
    pub async fn refuse<X: Xen>(self, store: &Client<X>, reason: &str) {
        let mut cut = REASON_MAX.min(reason.len());
        while !reason.is_char_boundary(cut) {
            cut -= 1;
        }
        let node = format!("{}/error", self.directory());
        // There is nobody left to tell if that fails too; the log has it all.
        let _ = store.write(&node, &reason[..cut]).await;
    }

    fn directory(self) -> String {
        format!("device-model/{}", self.domid.0)
    }
}

/// A node's children that are numbers, in order, however many digits they are written with.
async fn numbers<X: Xen>(store: &Client<X>, node: &str) -> Result<Vec<u32>, Error> {
    let names = match store.directory(node).await {
        Err(error) if error.is_not_found() => Vec::new(),
        names => names?,
    };
    let numbers: BinaryHeap<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    // A heap's sort is smaller than a slice's.
    Ok(numbers.into_sorted_vec())
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing more until the next event.
    Idle,
    /// There is more: take another turn before sleeping.
    More,
    /// A command; then take another turn.
    ToDo(Ticket, Command),
}

/// Takes the toolstack's commands while the guest lives.
pub struct Control<X: Xen> {
    server: Server<X>,
    session: Session,
    /// A client broke the rings: until the next one comes, there is none.
    is_broken: bool,
}

impl<X: Xen> Control<X> {
    /// Takes the page and the port; nobody finds them before [`Control::announce`].
    ///
    /// # Errors
    /// [`ResourceError`].
    pub fn new(xen: &X) -> Result<Self, ResourceError> {
        Ok(Self {
            server: Server::new(xen, DomId(0))?,
            session: Session::default(),
            is_broken: true,
        })
    }

    /// Says that the device model is ready: xl, which has waited, connects and lets the guest run.
    ///
    /// # Errors
    /// xenstore's.
    pub async fn announce(&self, store: &Client<X>, guest: Guest) -> Result<(), xenstore::Error> {
        let directory = guest.directory();
        self.server
            .publish(store, &format!("{directory}/qmp-vchan"))
            .await?;
        store.write(&format!("{directory}/state"), "running").await
    }

    /// Moves what can be moved both ways. Cheap when nothing has come.
    pub fn turn(&mut self, status: &Status) -> Turn {
        match self.server.poll() {
            Peer::Absent => return Turn::Idle,
            Peer::Arrived => {
                self.session.greet();
                self.is_broken = false;
            }
            Peer::Present if self.is_broken => return Turn::Idle,
            Peer::Present => {}
        }
        self.rounds(status).unwrap_or_else(|_: Corrupt| {
            log::warn!("a client of the control channel broke its rings");
            self.is_broken = true;
            Turn::Idle
        })
    }

    fn rounds(&mut self, status: &Status) -> Result<Turn, Corrupt> {
        for _ in 0..ROUNDS_MAX {
            if !self.session.output().is_empty() {
                let count = self.server.write(self.session.output())?;
                self.session.sent(count);
                if count == 0 {
                    return Ok(Turn::Idle);
                }
                continue;
            }
            if let Some((ticket, command)) = self.session.next(status) {
                return Ok(Turn::ToDo(ticket, command));
            }
            if !self.session.output().is_empty() {
                continue;
            }
            let mut bytes = [0; 256];
            let room = self.session.room().min(bytes.len());
            // No room: a command is under way.
            if room == 0 {
                return Ok(Turn::Idle);
            }
            let count = self.server.read(&mut bytes[..room])?;
            if count == 0 {
                return Ok(Turn::Idle);
            }
            self.session.push(&bytes[..count]);
        }
        Ok(Turn::More)
    }

    /// Answers a command; [`Control::turn`] then sends it.
    pub fn answer(&mut self, ticket: Ticket, outcome: Result<(), &str>) {
        self.session.answer(ticket, outcome);
    }
}

#[cfg(test)]
mod tests;

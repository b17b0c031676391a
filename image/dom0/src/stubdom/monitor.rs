//! The sockets on which libxl speaks QMP.

use super::arguments::Place;
use super::qmp::Session;
use crate::xen;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Clients at a time; who comes after them waits.
const CLIENTS_MAX: usize = 8;

/// All listeners and their clients.
pub(crate) struct Monitors {
    listeners: Vec<UnixListener>,
    clients: Vec<Client>,
}

struct Client {
    stream: UnixStream,
    session: Session,
}

/// Whether the program goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    Quit,
}

impl Monitors {
    pub(crate) fn open(places: &[Place]) -> io::Result<Self> {
        let listeners = places.iter().map(listen).collect::<io::Result<_>>()?;
        Ok(Self {
            listeners,
            clients: Vec::new(),
        })
    }

    /// What to wait for.
    pub(crate) fn waits_for(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let listeners = match self.clients.len() {
            CLIENTS_MAX.. => &[],
            _ => &self.listeners[..],
        };
        let listeners = listeners.iter().map(|listener| (listener.as_fd(), false));
        let clients = self.clients.iter();
        let clients = clients.map(|client| {
            let has_answers = !client.session.answers.is_empty();
            (client.stream.as_fd(), has_answers)
        });
        listeners.chain(clients)
    }

    /// Does all there is to do.
    pub(crate) fn serve(&mut self) -> io::Result<Next> {
        for listener in &self.listeners {
            while self.clients.len() < CLIENTS_MAX {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(true)?;
                        let session = Session::new();
                        self.clients.push(Client { stream, session });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.clients.retain_mut(|client| client.serve().is_ok());
        let quits = |client: &Client| client.session.quits && client.session.answers.is_empty();
        match self.clients.iter().any(quits) {
            true => Ok(Next::Quit),
            false => Ok(Next::GoOn),
        }
    }
}

impl Client {
    /// An error: it is gone, or done with.
    fn serve(&mut self) -> io::Result<()> {
        let mut bytes = [0; 512];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let fed = self.session.feed(&bytes[..count]);
                    fed.map_err(|_| io::ErrorKind::InvalidData)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while !self.session.answers.is_empty() {
            match self.stream.write(&self.session.answers) {
                Ok(count) => drop(self.session.answers.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn listen(place: &Place) -> io::Result<UnixListener> {
    let listener = match place {
        Place::Path(path) => bind(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?,
        Place::Inherited(number) => UnixListener::from(xen::inherited(*number)?),
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        // One that a domain of the same number left behind.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    UnixListener::bind(path)
}

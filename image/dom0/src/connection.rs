//! The real xenstore: the daemon's socket, or the kernel's device where there is none.
//!
//! It is read only when there is something to read, so that a daemon that hangs never hangs the
//! caller; and no thread does it, as rights are given up thread by thread.

use crate::store::{Store, StoreError, Waited};
use minios_rs::abi::io::xs_wire::{
    Header, XS_DIRECTORY, XS_ERROR, XS_READ, XS_RM, XS_TRANSACTION_END, XS_TRANSACTION_START,
    XS_UNWATCH, XS_WATCH, XS_WATCH_EVENT, XS_WRITE,
};
use minios_rs::xenstore::wire::{self, Assembler};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Where daemons listen, and the kernel's ways to one in another domain.
const SOCKETS: [&str; 1] = ["/run/xenstored/socket"];
const DEVICES: [&str; 2] = ["/dev/xen/xenbus", "/proc/xen/xenbus"];

/// How long the daemon may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attempts of a transaction that others get in the way of.
const ATTEMPTS_MAX: usize = 32;

type Message = (Header, Vec<u8>);

/// A connection to xenstored.
pub(crate) struct Connection {
    daemon: File,
    assembler: Assembler,
    /// A watch fired while an answer was waited for.
    changed: bool,
    next_req_id: u32,
}

impl Connection {
    /// Connects as root in dom0 can.
    pub(crate) fn open() -> Result<Self, StoreError> {
        let mut failures = Vec::new();
        for path in SOCKETS {
            match UnixStream::connect(path) {
                Ok(socket) => return Ok(Self::over(OwnedFd::from(socket))),
                Err(error) => failures.push(format!("{path}: {error}")),
            }
        }
        for path in DEVICES {
            match OpenOptions::new().read(true).write(true).open(path) {
                Ok(device) => return Ok(Self::over(device)),
                Err(error) => failures.push(format!("{path}: {error}")),
            }
        }
        Err(StoreError::Connection(format!(
            "cannot reach xenstore: run this in dom0, as root ({})",
            failures.join("; ")
        )))
    }

    fn over(daemon: impl Into<File>) -> Self {
        Self {
            daemon: daemon.into(),
            assembler: Assembler::default(),
            changed: false,
            next_req_id: 1,
        }
    }

    fn request(&mut self, kind: u32, tx_id: u32, parts: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
        let req_id = self.next_req_id;
        self.next_req_id = self.next_req_id.wrapping_add(1);
        let mut message = Vec::new();
        wire::encode(&mut message, kind, req_id, tx_id, parts)
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        // The device takes a message in one piece only.
        self.daemon.write_all(&message).map_err(broken)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some((header, payload)) = self.next(left)? else {
                return Err(StoreError::Connection(format!(
                    "xenstored has not answered for {} s",
                    PATIENCE.as_secs()
                )));
            };
            match header.kind {
                XS_WATCH_EVENT => self.changed = true,
                // The answer to a request that was given up.
                _ if header.req_id != req_id => {}
                XS_ERROR => {
                    let name = payload.strip_suffix(&[0]).unwrap_or(&payload);
                    return Err(match name {
                        b"ENOENT" => StoreError::NotFound,
                        name => StoreError::Refused(String::from_utf8_lossy(name).into_owned()),
                    });
                }
                answer if answer == kind => return Ok(payload),
                _ => {
                    return Err(StoreError::Connection(
                        "xenstored broke the protocol".to_owned(),
                    ));
                }
            }
        }
    }

    /// The next message; `None` if none comes in time.
    fn next(&mut self, patience: Duration) -> Result<Option<Message>, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(message) = self.assembler.take() {
                return Ok(Some(message));
            }
            let wanted = self.assembler.wanted();
            let wanted = wanted.map_err(|_| broken(io::ErrorKind::InvalidData.into()))?;
            let left = deadline.saturating_duration_since(Instant::now());
            match is_readable(&self.daemon, left) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(error)),
            }
            let mut bytes = vec![0; wanted];
            let count = match self.daemon.read(&mut bytes) {
                Ok(0) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(broken)?,
            };
            self.assembler.feed(&bytes[..count]);
        }
    }

    fn attempt(&mut self, guard: &str, path: &str, value: &[u8]) -> Result<(), StoreError> {
        let answer = self.request(XS_TRANSACTION_START, 0, &[b"\0"])?;
        let text = answer.strip_suffix(&[0]).unwrap_or(&answer);
        let tx_id = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|tx_id| *tx_id != 0)
            .ok_or_else(|| StoreError::Connection("xenstored broke the protocol".to_owned()))?;
        let outcome = self
            .request(XS_READ, tx_id, &[guard.as_bytes(), b"\0"])
            .and_then(|_| self.request(XS_WRITE, tx_id, &[path.as_bytes(), b"\0", value]));
        let end: &[u8] = if outcome.is_ok() { b"T\0" } else { b"F\0" };
        let ended = self.request(XS_TRANSACTION_END, tx_id, &[end]);
        outcome.and(ended).map(drop)
    }
}

fn broken(error: io::Error) -> StoreError {
    StoreError::Connection(format!("the connection to xenstored broke: {error}"))
}

/// Whether there is something to read, or the end of it, within `patience`.
fn is_readable(file: &File, patience: Duration) -> io::Result<bool> {
    let patience = Timespec::try_from(patience).map_err(|_| io::ErrorKind::InvalidInput)?;
    let ready = poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&patience))?;
    Ok(ready > 0)
}

impl AsFd for Connection {
    /// To wait for it among others: when it is readable, [`Store::wait`] has something to look at.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.daemon.as_fd()
    }
}

impl Store for Connection {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, StoreError> {
        self.request(XS_READ, 0, &[path.as_bytes(), b"\0"])
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        let names = self.request(XS_DIRECTORY, 0, &[path.as_bytes(), b"\0"])?;
        wire::strings(&names).map_err(|error| StoreError::Connection(error.to_string()))
    }

    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), StoreError> {
        self.request(XS_WRITE, 0, &[path.as_bytes(), b"\0", value])
            .map(drop)
    }

    fn write_if_there(&mut self, guard: &str, path: &str, value: &[u8]) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(guard, path, value) {
                Err(StoreError::Refused(name)) if name == "EAGAIN" => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Refused("EAGAIN, again and again".to_owned()))
    }

    fn remove(&mut self, path: &str) -> Result<(), StoreError> {
        match self.request(XS_RM, 0, &[path.as_bytes(), b"\0"]) {
            Ok(_) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn watch(&mut self, path: &str) -> Result<(), StoreError> {
        self.request(XS_WATCH, 0, &[path.as_bytes(), b"\0stat\0"])
            .map(drop)
    }

    fn unwatch(&mut self, path: &str) -> Result<(), StoreError> {
        self.request(XS_UNWATCH, 0, &[path.as_bytes(), b"\0stat\0"])
            .map(drop)
    }

    fn wait(&mut self, patience: Duration) -> Result<Waited, StoreError> {
        let deadline = Instant::now() + patience;
        while !std::mem::take(&mut self.changed) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left)? {
                None => return Ok(Waited::TimedOut),
                Some((header, _)) if header.kind == XS_WATCH_EVENT => self.changed = true,
                // The answer to a request that was given up.
                Some(_) => {}
            }
        }
        Ok(Waited::Changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// A daemon that answers each request by `reply`, and a connection to it.
    fn daemon(
        mut reply: impl FnMut(Header, Vec<u8>) -> Vec<(u32, Vec<u8>)> + Send + 'static,
    ) -> Connection {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut daemon = Connection::over(OwnedFd::from(theirs));
        thread::spawn(move || {
            while let Ok(Some((header, payload))) = daemon.next(Duration::from_secs(3600)) {
                for (kind, body) in reply(header, payload) {
                    let mut message = Vec::new();
                    let req_id = if kind == XS_WATCH_EVENT {
                        0
                    } else {
                        header.req_id
                    };
                    wire::encode(&mut message, kind, req_id, header.tx_id, &[&body]).unwrap();
                    // In pieces, as a stream may come.
                    for piece in message.chunks(7) {
                        daemon.daemon.write_all(piece).unwrap();
                    }
                }
            }
        });
        Connection::over(OwnedFd::from(ours))
    }

    #[test]
    fn answers_come_back_whole_and_refusals_with_their_names() {
        let mut store = daemon(|header, payload| {
            let reply = match payload.as_slice() {
                b"/there\0" => (header.kind, b"value".to_vec()),
                b"/names\0" => (header.kind, b"a\0b\0".to_vec()),
                b"/secret\0" => (XS_ERROR, b"EACCES\0".to_vec()),
                _ => (XS_ERROR, b"ENOENT\0".to_vec()),
            };
            vec![reply]
        });
        assert_eq!(store.read("/there").unwrap(), b"value");
        assert_eq!(store.list("/names").unwrap(), ["a", "b"]);
        assert!(matches!(store.read("/x"), Err(StoreError::NotFound)));
        assert!(
            matches!(store.read("/secret"), Err(StoreError::Refused(name)) if name == "EACCES")
        );
        store.remove("/x").unwrap();
    }

    #[test]
    fn a_change_before_the_answer_is_not_lost() {
        let event = (XS_WATCH_EVENT, b"/x\0stat\0".to_vec());
        let mut store =
            daemon(move |header, _| vec![event.clone(), (header.kind, b"OK\0".to_vec())]);
        store.watch("/x").unwrap();
        let patience = Duration::from_secs(10);
        assert_eq!(store.wait(patience).unwrap(), Waited::Changed);
        let nothing = store.wait(Duration::from_millis(1)).unwrap();
        assert_eq!(nothing, Waited::TimedOut);
    }

    #[test]
    fn a_transaction_is_tried_again_and_given_up_without_its_guard() {
        let mut conflicts = 2;
        let mut writes = 0;
        let mut store = daemon(move |header, payload| {
            let reply = match (header.kind, payload.as_slice()) {
                (XS_TRANSACTION_START, _) => (header.kind, b"7\0".to_vec()),
                (XS_READ, b"/gone\0") => (XS_ERROR, b"ENOENT\0".to_vec()),
                (XS_READ, b"/writes\0") => (header.kind, vec![writes]),
                (XS_WRITE, b"/path\0value") if header.tx_id == 7 => {
                    writes += 1;
                    (header.kind, b"OK\0".to_vec())
                }
                (XS_TRANSACTION_END, b"T\0") if conflicts > 0 => {
                    conflicts -= 1;
                    (XS_ERROR, b"EAGAIN\0".to_vec())
                }
                (XS_WRITE, _) => (XS_ERROR, b"EINVAL\0".to_vec()),
                (kind, _) => (kind, b"OK\0".to_vec()),
            };
            vec![reply]
        });
        store.write_if_there("/guard", "/path", b"value").unwrap();
        assert_eq!(store.read("/writes").unwrap(), [3]);
        let refused = store.write_if_there("/gone", "/path", b"value");
        assert!(matches!(refused, Err(StoreError::NotFound)));
        assert_eq!(store.read("/writes").unwrap(), [3]);
    }

    #[test]
    fn a_daemon_that_goes_or_talks_nonsense_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut store = Connection::over(OwnedFd::from(ours));
        assert!(matches!(store.read("/"), Err(StoreError::Connection(_))));

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[0xff; 64]).unwrap();
        let mut store = Connection::over(OwnedFd::from(ours));
        assert!(matches!(store.read("/"), Err(StoreError::Connection(_))));

        let mut store = daemon(|_, _| vec![(XS_WRITE, b"OK\0".to_vec())]);
        assert!(matches!(store.read("/"), Err(StoreError::Connection(_))));
    }
}

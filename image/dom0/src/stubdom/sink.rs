//! Where a console leads: a file, a terminal, a stream that is read, or nowhere.

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use thiserror::Error;

/// The consoles with a meaning of their own (libxl's `STUBDOM_CONSOLE_*`); the rest are serial ports.
pub(crate) const LOG: u32 = 0;
pub(crate) const SAVE: u32 = 1;
pub(crate) const RESTORE: u32 = 2;

/// What the log takes, as libxl lets QEMU write: a domain that a guest took over fills no disk.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// What any other file takes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a terminal keeps for whoever looks at it next, besides what Linux keeps: the end.
const BACKLOG_BYTES: usize = 16 * 1024;

/// Where libxl wants a console to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Nowhere.
    Nothing,
    /// Into a file.
    File(PathBuf),
    /// To whoever looks.
    Terminal,
    /// Out of a file.
    Stream(PathBuf),
}

/// It cannot lead there.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "console {console}: `{wanted}` is not served: serial= may be \"pty\", \"file:/a/path\" or \"null\""
)]
pub(crate) struct Unserved {
    console: u32,
    wanted: String,
}

impl Output {
    /// Reads the node `output` of a console; `None`: there is none.
    pub(crate) fn parse(console: u32, text: Option<&str>) -> Result<Self, Unserved> {
        let text = text.unwrap_or("null");
        let path = |prefix| {
            let path = text.strip_prefix(prefix)?;
            path.starts_with('/').then(|| PathBuf::from(path))
        };
        match text {
            "pty" => Ok(Self::Terminal),
            "null" | "none" | "" => Ok(Self::Nothing),
            _ => path("file:")
                .map(Self::File)
                .or_else(|| {
                    path("pipe:")
                        .filter(|_| console == RESTORE)
                        .map(Self::Stream)
                })
                .ok_or_else(|| Unserved {
                    console,
                    wanted: text.to_owned(),
                }),
        }
    }

    /// Opens it. From here on no rights are needed.
    pub(crate) fn open(&self, console: u32) -> io::Result<Sink> {
        let named = |path: &PathBuf, outcome: io::Result<File>| {
            let words = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            outcome.map_err(words)
        };
        let mut options = OpenOptions::new();
        options.create(true).mode(0o600);
        Ok(match self {
            Self::Nothing => Sink::Nothing,
            Self::File(path) if console == LOG => {
                let file = named(path, options.append(true).open(path))?;
                Sink::File(Filed::new(file, LOG_BYTES_MAX, Beyond::Drop))
            }
            Self::File(path) => {
                let file = named(path, options.write(true).truncate(true).open(path))?;
                let beyond = match console {
                    SAVE => Beyond::Hold,
                    _ => Beyond::Drop,
                };
                Sink::File(Filed::new(file, FILE_BYTES_MAX, beyond))
            }
            Self::Terminal => Sink::Terminal(Terminal::open()?),
            Self::Stream(path) => Sink::Stream(Some(named(path, File::open(path))?)),
        })
    }
}

/// What happens with what a file does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// It is lost: who writes a log is not to wait.
    Drop,
    /// It stays in the ring: a save that is not whole is to fail.
    Hold,
}

/// A file, and what it still takes.
pub(crate) struct Filed {
    file: File,
    left: u64,
    limit: u64,
    beyond: Beyond,
}

impl Filed {
    pub(crate) fn new(file: File, limit: u64, beyond: Beyond) -> Self {
        Self {
            file,
            left: limit,
            limit,
            beyond,
        }
    }

    /// How many of the bytes are done with.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let fits = bytes
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut written = 0;
        while written < fits {
            match self.file.write(&bytes[written..fits]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A full disk, most likely.
                Err(_) => break,
            }
        }
        self.left -= written as u64;
        match self.beyond {
            Beyond::Drop => bytes.len(),
            Beyond::Hold => written,
        }
    }
}

/// A terminal of Linux', which `xl console` opens.
pub(crate) struct Terminal {
    master: File,
    /// Kept open: without anybody the master would report its end again and again.
    _slave: OwnedFd,
    name: String,
    backlog: VecDeque<u8>,
}

impl Terminal {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        // What the guest prints is shown as it is, and what is typed is not echoed: the guest does that.
        let mut attributes = tcgetattr(&slave)?;
        attributes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &attributes)?;
        fcntl_setfl(&master, OFlags::NONBLOCK)?;
        Ok(Self {
            master: File::from(master),
            _slave: slave,
            name: name.to_string_lossy().into_owned(),
            backlog: VecDeque::new(),
        })
    }

    fn take(&mut self, bytes: &[u8]) {
        self.backlog.extend(bytes);
        self.flush();
        let excess = self.backlog.len().saturating_sub(BACKLOG_BYTES);
        self.backlog.drain(..excess);
    }

    /// Shows what waits, as far as somebody reads it.
    fn flush(&mut self) {
        while !self.backlog.is_empty() {
            match self.master.write(self.backlog.as_slices().0) {
                Ok(0) => return,
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Where a console leads, opened.
pub(crate) enum Sink {
    Nothing,
    File(Filed),
    Terminal(Terminal),
    /// `None` when it was read to its end.
    Stream(Option<File>),
}

impl Sink {
    /// Takes what the domain printed: how many bytes are done with.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::File(file) => file.take(bytes),
            Self::Terminal(terminal) => {
                terminal.take(bytes);
                bytes.len()
            }
            Self::Nothing | Self::Stream(_) => bytes.len(),
        }
    }

    /// What there is to type, at most so much; never waits.
    pub(crate) fn give(&mut self, into: &mut [u8]) -> usize {
        if into.is_empty() {
            return 0;
        }
        match self {
            Self::Terminal(terminal) => terminal.master.read(into).unwrap_or(0),
            Self::Stream(stream) => {
                let count = stream
                    .as_mut()
                    .map_or(0, |file| file.read(into).unwrap_or(0));
                if count == 0 {
                    *stream = None;
                }
                count
            }
            Self::Nothing | Self::File(_) => 0,
        }
    }

    /// Somebody may have read what a terminal showed.
    pub(crate) fn flush(&mut self) {
        if let Self::Terminal(terminal) = self {
            terminal.flush();
        }
    }

    /// A front end connects. A file that is to be whole begins anew: it is one save, not all there were.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        if let Self::File(filed) = self
            && filed.beyond == Beyond::Hold
        {
            filed.file.set_len(0)?;
            filed.file.rewind()?;
            filed.left = filed.limit;
        }
        Ok(())
    }

    /// The terminal's name.
    pub(crate) fn terminal(&self) -> Option<&str> {
        match self {
            Self::Terminal(terminal) => Some(&terminal.name),
            _ => None,
        }
    }

    /// The terminal, and whether something waits for a reader of it.
    pub(crate) fn waits_for(&self) -> Option<(BorrowedFd<'_>, bool)> {
        match self {
            Self::Terminal(terminal) => {
                Some((terminal.master.as_fd(), !terminal.backlog.is_empty()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn outputs_are_read_as_libxl_writes_them() {
        let parse = |console, text| Output::parse(console, text);
        assert_eq!(parse(3, Some("pty")), Ok(Output::Terminal));
        assert_eq!(parse(2, None), Ok(Output::Nothing));
        assert_eq!(parse(4, Some("null")), Ok(Output::Nothing));
        let path = PathBuf::from("/var/lib/xen/qemu-save.4");
        assert_eq!(
            parse(1, Some("file:/var/lib/xen/qemu-save.4")),
            Ok(Output::File(path))
        );
        let path = PathBuf::from("/var/lib/xen/qemu-resume.4");
        assert_eq!(
            parse(2, Some("pipe:/var/lib/xen/qemu-resume.4")),
            Ok(Output::Stream(path))
        );
        for wanted in [
            "tcp::4444,server",
            "pipe:/x",
            "file:x",
            "/dev/ttyS0",
            "stdio",
        ] {
            let error = parse(3, Some(wanted)).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("console 3: `{wanted}` is not")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_log_is_appended_to_and_never_longer_than_it_may_be() {
        let folder = folder();
        let path = folder.path().join("log");
        fs::write(&path, "before\n").unwrap();
        let mut sink = Output::File(path.clone()).open(LOG).unwrap();
        assert_eq!(sink.take(b"line\n"), 5);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nline\n");
        let block = [b'x'; 2048];
        for _ in 0..1000 {
            assert_eq!(sink.take(&block), block.len());
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 7 + LOG_BYTES_MAX);
    }

    #[test]
    fn a_save_is_whole_or_waits_and_the_next_begins_anew() {
        let folder = folder();
        let path = folder.path().join("save");
        let file = File::create(&path).unwrap();
        let mut sink = Sink::File(Filed::new(file, 6, Beyond::Hold));
        sink.begin().unwrap();
        assert_eq!(sink.take(b"abcd"), 4);
        assert_eq!(sink.take(b"efgh"), 2);
        assert_eq!(sink.take(b"gh"), 0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "abcdef");
        sink.begin().unwrap();
        assert_eq!(sink.take(b"xyz"), 3);
        assert_eq!(fs::read_to_string(&path).unwrap(), "xyz");
    }

    #[test]
    fn what_cannot_be_written_is_lost_from_a_log_and_held_of_a_save() {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(Filed::new(full(), 100, Beyond::Drop).take(b"abc"), 3);
        assert_eq!(Filed::new(full(), 100, Beyond::Hold).take(b"abc"), 0);
    }

    #[test]
    fn a_stream_is_given_once_from_its_start_to_its_end() {
        let folder = folder();
        let path = folder.path().join("resume");
        fs::write(&path, "0123456789").unwrap();
        let mut sink = Output::Stream(path).open(RESTORE).unwrap();
        let mut into = [0; 7];
        assert_eq!((sink.give(&mut into), &into), (7, b"0123456"));
        assert_eq!(sink.give(&mut []), 0);
        assert_eq!((sink.give(&mut into), &into[..3]), (3, &b"789"[..]));
        assert_eq!((sink.give(&mut into), sink.give(&mut into)), (0, 0));
        assert_eq!(sink.take(b"nobody listens"), 14);
    }

    #[test]
    fn a_terminal_shows_what_is_printed_and_gives_what_is_typed() {
        let mut sink = Output::Terminal.open(3).unwrap();
        let name = sink.terminal().unwrap().to_owned();
        assert!(name.starts_with("/dev/pts/"), "{name}");
        let mut user = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&name)
            .unwrap();
        assert_eq!(sink.take(b"login: \r\n"), 9);
        let mut shown = [0; 9];
        user.read_exact(&mut shown).unwrap();
        assert_eq!(&shown, b"login: \r\n");
        user.write_all(b"root\r").unwrap();
        let mut typed = [0; 16];
        assert_eq!(sink.give(&mut typed), 5);
        assert_eq!(&typed[..5], b"root\r");
        assert_eq!(sink.give(&mut typed), 0);
    }

    #[test]
    fn nobody_at_a_terminal_holds_nobody_up_and_the_end_is_kept() {
        let mut sink = Output::Terminal.open(3).unwrap();
        let text: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        for block in text.chunks(2048) {
            assert_eq!(sink.take(block), block.len());
        }
        let Sink::Terminal(terminal) = &mut sink else {
            panic!("a terminal")
        };
        assert_eq!(terminal.backlog.len(), BACKLOG_BYTES);
        assert!(text.ends_with(terminal.backlog.make_contiguous()));
    }
}

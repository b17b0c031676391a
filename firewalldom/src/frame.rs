//! A frame as the engine gets it: a private head, and a tail that stays with its sender.

use crate::flow::Guess;
use crate::reason::Reason;
use alloc::vec;
use alloc::vec::Vec;
use smoltcp::wire::EthernetAddress;

/// Length of an Ethernet header in bytes; there are no VLAN tags on a vif.
pub(crate) const ETHERNET: usize = 14;

/// The first bytes of a frame, in memory that no peer can write: checked, rewritten and sent from here.
#[derive(Clone)]
pub struct Head {
    bytes: [u8; Self::CAPACITY],
    len: usize,
    /// The flow that it seems to be of, if that was looked for.
    pub(crate) guess: Guess,
    /// Where what was found of its rules is kept, if they were looked for; else beyond the last.
    pub(crate) sought: u8,
}

impl Head {
    /// How many bytes it takes: Ethernet, and two IPv4 headers with all options and an ICMP error
    /// between them, fit.
    pub const CAPACITY: usize = 256;

    /// An empty head.
    pub const fn new() -> Self {
        Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
            guess: Guess::UNKNOWN,
            sought: u8::MAX,
        }
    }

    /// Lets `write` fill the first `len` bytes (at most [`Head::CAPACITY`]).
    pub fn fill(&mut self, len: usize, write: impl FnOnce(&mut [u8])) {
        self.len = len.min(Self::CAPACITY);
        self.guess = Guess::UNKNOWN;
        self.sought = u8::MAX;
        write(&mut self.bytes[..self.len]);
    }

    /// Copies the first bytes of `frame`, as many as fit.
    pub fn load(&mut self, frame: &[u8]) {
        let len = frame.len().min(Self::CAPACITY);
        self.fill(len, |bytes| bytes.copy_from_slice(&frame[..len]));
    }

    /// What it holds.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The first `N` bytes, whether it holds them or not.
    #[inline(always)]
    pub(crate) fn start<const N: usize>(&self) -> &[u8; N] {
        const { assert!(N <= Self::CAPACITY) };
        self.bytes.first_chunk().unwrap_or_else(|| unreachable!())
    }

    /// The first `N` bytes, whether it holds them or not.
    #[inline(always)]
    pub(crate) fn first_mut<const N: usize>(&mut self) -> &mut [u8; N] {
        const { assert!(N <= Self::CAPACITY) };
        self.bytes
            .first_chunk_mut()
            .unwrap_or_else(|| unreachable!())
    }

    /// Bytes that it holds.
    #[inline(always)]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl AsRef<[u8]> for Head {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Head {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Head").field(&self.bytes()).finish()
    }
}

/// The bytes of a frame beyond its [`Head`], in the sender's pages.
///
/// They may change at any time: what is read is a private copy, and nothing decided from the head
/// is ever looked up here again.
pub trait Tail {
    /// Copies `into.len()` bytes from `offset`, counted from the start of the frame.
    ///
    /// # Errors
    /// The bytes are not there, or cannot be reached.
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), TailError>;
}

/// The tail could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload cannot be read")]
pub struct TailError;

/// The tail of a frame that is all head.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTail;

impl Tail for NoTail {
    fn read(&self, _: usize, into: &mut [u8]) -> Result<(), TailError> {
        if into.is_empty() {
            Ok(())
        } else {
            Err(TailError)
        }
    }
}

/// A whole frame in one slice: for tests, and for frames that were copied anyway.
impl Tail for &[u8] {
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), TailError> {
        let end = offset.checked_add(into.len()).ok_or(TailError)?;
        into.copy_from_slice(self.get(offset..end).ok_or(TailError)?);
        Ok(())
    }
}

/// What is known of the TCP or UDP checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: it is verified before the packet may start or use a flow.
    #[default]
    Unknown,
    /// Someone who is trusted with it verified it (`NETRXF_data_validated`).
    Validated,
    /// The field holds only the sum of the pseudo-header; whoever puts the frame on a wire completes
    /// it (`NETRXF_csum_blank`).
    Blank,
}

/// A frame that stands for many: whoever puts it on a wire cuts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// What it is cut into.
    pub kind: GsoKind,
    /// Payload bytes of each segment.
    pub size: u16,
}

/// What a GSO frame is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4 (`XEN_NETIF_GSO_TYPE_TCPV4`).
    TcpV4,
    /// TCP over IPv6 (`XEN_NETIF_GSO_TYPE_TCPV6`).
    TcpV6,
}

/// A frame on its way in.
pub struct Frame<'a> {
    /// Its first bytes: all of them, if there are at most [`Head::CAPACITY`].
    pub head: &'a mut Head,
    /// Length of the whole frame in bytes. [`Verdict::Forward`](crate::Verdict::Forward) may have
    /// shortened it to what the IPv4 header says, or lengthened one that is all head.
    pub len: usize,
    /// The bytes beyond the head.
    pub tail: &'a dyn Tail,
    /// What is known of its TCP or UDP checksum.
    pub checksum: Checksum,
    /// Whether it stands for many.
    pub gso: Option<Gso>,
}

impl Frame<'_> {
    /// Where, in the frame as it came, the bytes begin that follow the head when it is sent.
    pub fn tail_offset(&self) -> usize {
        self.head.bytes().len()
    }

    /// Cuts padding behind the first `len` bytes off.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.head.truncate(len);
    }

    /// The same, where there hardly ever is any.
    #[inline(always)]
    pub(crate) fn trim(&mut self, len: usize) {
        if len != self.len {
            self.truncate(len);
        }
    }

    /// Puts bytes into a frame that is all head; false, and nothing changes, if there is no room.
    pub(crate) fn insert<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool {
        let len = self.head.len;
        if len != self.len || offset > len || len + N > Head::CAPACITY {
            return false;
        }
        self.head.bytes.copy_within(offset..len, offset + N);
        self.head.bytes[offset..offset + N].copy_from_slice(&bytes);
        self.head.len += N;
        self.len += N;
        true
    }

    /// Copies `into.len()` bytes from `offset`, from the head as far as it goes.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Reason> {
        let head = self.head.bytes();
        let private = head.len().saturating_sub(offset).min(into.len());
        if private > 0 {
            into[..private].copy_from_slice(&head[offset..offset + private]);
        }
        let rest = &mut into[private..];
        if rest.is_empty() {
            return Ok(());
        }
        self.tail
            .read(offset + private, rest)
            .map_err(|TailError| Reason::Unreadable)
    }

    /// The frame's bytes from `offset` to its end, copied.
    pub(crate) fn copy_from(&self, offset: usize) -> Result<Vec<u8>, Reason> {
        let mut bytes = vec![0; self.len.saturating_sub(offset)];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// A frame made, or kept, by the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    /// All of it, Ethernet header included.
    pub bytes: Vec<u8>,
    /// What is known of its TCP or UDP checksum.
    pub checksum: Checksum,
    /// Whether it stands for many.
    pub gso: Option<Gso>,
}

impl OwnedFrame {
    pub(crate) fn address(&mut self, source: EthernetAddress, destination: EthernetAddress) {
        write_ethernet(&mut self.bytes, source, destination);
    }
}

/// Writes an Ethernet header for IPv4 over the first 14 bytes.
pub(crate) fn write_ethernet(
    bytes: &mut [u8],
    source: EthernetAddress,
    destination: EthernetAddress,
) {
    let header = bytes.first_chunk_mut().unwrap_or_else(|| unreachable!());
    fill_ethernet(header, source, destination);
}

/// The same.
#[inline(always)]
pub(crate) fn fill_ethernet(
    bytes: &mut [u8; ETHERNET],
    source: EthernetAddress,
    destination: EthernetAddress,
) {
    bytes[0..6].copy_from_slice(&destination.0);
    bytes[6..12].copy_from_slice(&source.0);
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
}

//! The kernel's connection tracking, over nfnetlink: forget everything, or let time pass for it.
//!
//! Linux reads a clock that a test cannot move. But what it does with that clock for connections is
//! to compare it with each entry's time-out, and that can be set: subtracting from all of them is
//! the same as waiting.

use anyhow::{Context, Result, bail};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use std::os::fd::OwnedFd;

/// linux/netlink.h
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// linux/netfilter/nfnetlink_conntrack.h: the subsystem in the upper byte.
const IPCTNL_MSG_CT_NEW: u16 = 0x100;
const IPCTNL_MSG_CT_GET: u16 = 0x101;
const IPCTNL_MSG_CT_DELETE: u16 = 0x102;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TIMEOUT: u16 = 7;
const NLA_TYPE_MASK: u16 = 0x3fff;
const AF_INET: u8 = 2;
/// Netlink header and nfgenmsg.
const HEADER: usize = 20;
const ENOENT: i32 = 2;

/// A connection's original direction as the kernel wrote it, and the seconds left to it.
struct Entry {
    tuple: Vec<u8>,
    timeout_s: u32,
}

/// A socket to the kernel's connection tracking.
pub(super) struct Connections {
    socket: OwnedFd,
}

impl Connections {
    pub(super) fn open() -> Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )
        .context("a netlink socket")?;
        Ok(Self { socket })
    }

    /// Forgets every connection.
    pub(super) fn forget(&self) -> Result<()> {
        self.ask(IPCTNL_MSG_CT_DELETE, &[])
    }

    /// Lets `seconds` pass for every connection.
    pub(super) fn elapse(&self, seconds: u32) -> Result<()> {
        for entry in self.entries()? {
            match entry.timeout_s.saturating_sub(seconds) {
                0 => self.ask(IPCTNL_MSG_CT_DELETE, &entry.tuple)?,
                left => {
                    let mut attributes = entry.tuple;
                    attributes.extend(8u16.to_ne_bytes());
                    attributes.extend(CTA_TIMEOUT.to_ne_bytes());
                    attributes.extend(left.to_be_bytes());
                    self.ask(IPCTNL_MSG_CT_NEW, &attributes)?;
                }
            }
        }
        Ok(())
    }

    /// Sends a request and waits for its acknowledgement. An entry that is gone already is no error.
    fn ask(&self, kind: u16, attributes: &[u8]) -> Result<()> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK, attributes)?;
        self.each_message(|_, _| ())
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        self.send(IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, &[])?;
        let mut entries = Vec::new();
        self.each_message(|kind, attributes| {
            if kind == IPCTNL_MSG_CT_NEW {
                entries.extend(entry(attributes));
            }
        })?;
        Ok(entries)
    }

    fn send(&self, kind: u16, flags: u16, attributes: &[u8]) -> Result<()> {
        let length = u32::try_from(HEADER + attributes.len())?;
        let mut message = Vec::new();
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        // Sequence number and port: one request at a time, to the kernel.
        message.extend([0; 8]);
        // nfgenmsg: family, version, resource.
        message.extend([AF_INET, 0, 0, 0]);
        message.extend(attributes);
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &message, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// Gives each message of the answer to `take`, up to its end.
    fn each_message(&self, mut take: impl FnMut(u16, &[u8])) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = &buffer[..length];
            while rest.len() >= 16 {
                let length = u32::from_ne_bytes(rest[..4].try_into()?) as usize;
                let kind = u16::from_ne_bytes(rest[4..6].try_into()?);
                let message = rest.get(..length).context("a cut netlink message")?;
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let error = message.get(16..20).context("a cut netlink error")?;
                        return match -i32::from_ne_bytes(error.try_into()?) {
                            0 | ENOENT => Ok(()),
                            error => {
                                let error = std::io::Error::from_raw_os_error(error);
                                bail!("connection tracking: {error}")
                            }
                        };
                    }
                    _ => take(kind, message.get(HEADER..).unwrap_or_default()),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// Reads what [`Connections::elapse`] needs of an entry.
fn entry(mut attributes: &[u8]) -> Option<Entry> {
    let (mut tuple, mut timeout_s) = (None, None);
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]) & NLA_TYPE_MASK;
        let attribute = attributes.get(..length.max(4))?;
        match kind {
            CTA_TUPLE_ORIG => tuple = Some(attribute.to_vec()),
            CTA_TIMEOUT => {
                timeout_s = Some(u32::from_be_bytes(attribute.get(4..8)?.try_into().ok()?));
            }
            _ => {}
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    let mut tuple = tuple?;
    tuple.resize(tuple.len().next_multiple_of(4), 0);
    Some(Entry {
        tuple,
        timeout_s: timeout_s?,
    })
}

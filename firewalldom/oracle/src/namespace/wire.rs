//! The far end of a link: a packet socket among the peers.

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use smoltcp::phy::{Device, Medium, RawSocket, RxToken, TxToken};
use smoltcp::time::Instant;
use std::fs::File;
use std::os::fd::AsFd;

/// A packet socket. Frames that it sends itself do not come back to it, and nobody else sends there:
/// what it receives, the firewall sent.
pub(super) struct Wire {
    pub(super) name: String,
    socket: RawSocket,
}

impl Wire {
    /// Opens the links' far ends, `(link, far end)`, in this network namespace.
    pub(super) fn open_all(names: &[(String, String)]) -> Result<Vec<Self>> {
        let open = |(name, far): &(String, String)| {
            let socket = RawSocket::new(far, Medium::Ethernet)
                .with_context(|| format!("a packet socket on {far}"))?;
            let name = name.clone();
            Ok(Self { name, socket })
        };
        names.iter().map(open).collect()
    }

    /// Puts a frame on the link. When this returns, the kernel has usually done all it will do.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let most = self.socket.capabilities().max_transmission_unit;
        ensure!(
            (14..=most).contains(&bytes.len()),
            "a frame of {} bytes on a link of {most}",
            bytes.len()
        );
        let token = self.socket.transmit(Instant::ZERO).context("transmit")?;
        token.consume(bytes.len(), |buffer| buffer.copy_from_slice(bytes));
        Ok(())
    }

    /// A frame that came out, if there is one.
    pub(super) fn receive(&mut self) -> Option<Vec<u8>> {
        let (token, _) = self.socket.receive(Instant::ZERO)?;
        Some(token.consume(<[u8]>::to_vec))
    }
}

/// Does something, and starts what it starts, in another network namespace.
pub(super) fn within<T>(namespace: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = File::open("/proc/self/ns/net")?;
    enter(&File::open(namespace).with_context(|| namespace.to_owned())?)?;
    let result = work();
    enter(&own)?;
    result
}

fn enter(namespace: &File) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("entering a network namespace")
}

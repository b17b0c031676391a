//! A vchan's client to meet the server in tests: does what `libxenvchan` does, as directly, and can
//! write whatever a hostile one could.

#![forbid(unsafe_code)]

use super::{Domain, Foreign, World};
use crate::abi::io::libxenvchan::{VCHAN_NOTIFY_READ, VCHAN_NOTIFY_WRITE, VchanInterface};
use crate::xen::{Access, BoundPort, DomId, GrantRef, Port, SharedPage};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

/// A connection, gone when dropped.
pub struct Client {
    domain: Domain,
    page: Foreign,
    port: BoundPort<Domain>,
}

impl Client {
    /// Connects domain 0 to the server whose nodes are in this directory; `None` while they are not
    /// there.
    pub fn connect(world: &World, server: DomId, directory: &str) -> Option<Self> {
        let domain = world.domain(DomId(0));
        let number =
            |key: &str| -> Option<u32> { world.node(&format!("{directory}/{key}"))?.parse().ok() };
        let reference = GrantRef(number("ring-ref")?);
        let theirs = Port(number("event-channel")?);
        let port = BoundPort::bind(&domain, server, theirs).expect("the port is for domain 0");
        let page = domain
            .map(server, reference, Access::ReadWrite)
            .expect("the page is granted to domain 0");
        let client = Self { domain, page, port };
        assert_eq!(client.u16_at(offset_of!(VchanInterface, left_order)), 10);
        assert_eq!(client.u16_at(offset_of!(VchanInterface, right_order)), 11);
        client.set_byte(offset_of!(VchanInterface, cli_live), 1);
        let notify = offset_of!(VchanInterface, srv_notify);
        client.set_byte(notify, VCHAN_NOTIFY_WRITE);
        let _ = client.port.notify();
        Some(client)
    }

    /// The shared page.
    pub fn page(&self) -> &Foreign {
        &self.page
    }

    /// Whether the server is there.
    pub fn is_open(&self) -> bool {
        self.byte(offset_of!(VchanInterface, srv_live)) == 1
    }

    /// Whether the server sent an event since this was last asked.
    pub fn take_event(&self) -> bool {
        self.domain.take_event(self.port.number())
    }

    /// Writes as much as there is room for.
    pub fn write(&self, from: &[u8]) -> usize {
        let cons = self.word(offset_of!(VchanInterface, left.cons));
        let prod = self.word(offset_of!(VchanInterface, left.prod));
        let used = prod.wrapping_sub(cons) as usize;
        let count = from.len().min(1024 - used);
        if count < from.len() {
            self.request(VCHAN_NOTIFY_READ);
        }
        for (index, byte) in (prod as usize..).zip(&from[..count]) {
            self.page.write(1024 + index % 1024, &[*byte]);
        }
        let prod = prod.wrapping_add(count as u32);
        self.page
            .word(offset_of!(VchanInterface, left.prod))
            .store(prod, Ordering::SeqCst);
        self.send(VCHAN_NOTIFY_WRITE);
        count
    }

    /// Reads all there is; nothing if the indices cannot be, as the real one.
    pub fn read(&self) -> Vec<u8> {
        self.request(VCHAN_NOTIFY_WRITE);
        let cons = self.word(offset_of!(VchanInterface, right.cons));
        let prod = self.word(offset_of!(VchanInterface, right.prod));
        let ready = prod.wrapping_sub(cons) as usize;
        if ready == 0 || ready > 2048 {
            return Vec::new();
        }
        let mut bytes = vec![0; ready];
        for (index, byte) in (cons as usize..).zip(&mut bytes) {
            self.page
                .read(2048 + index % 2048, core::slice::from_mut(byte));
        }
        self.page
            .word(offset_of!(VchanInterface, right.cons))
            .store(prod, Ordering::SeqCst);
        self.send(VCHAN_NOTIFY_READ);
        bytes
    }

    fn request(&self, bit: u8) {
        let at = offset_of!(VchanInterface, srv_notify);
        self.set_byte(at, self.byte(at) | bit);
    }

    fn send(&self, bit: u8) {
        let at = offset_of!(VchanInterface, cli_notify);
        let wished = self.byte(at);
        self.set_byte(at, wished & !bit);
        if wished & bit != 0 {
            let _ = self.port.notify();
        }
    }

    fn word(&self, offset: usize) -> u32 {
        self.page.word(offset).load(Ordering::SeqCst)
    }

    fn u16_at(&self, offset: usize) -> u16 {
        let mut bytes = [0; 2];
        self.page.read(offset, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    fn byte(&self, offset: usize) -> u8 {
        let mut bytes = [0];
        self.page.read(offset, &mut bytes);
        bytes[0]
    }

    fn set_byte(&self, offset: usize, value: u8) {
        self.page.write(offset, &[value]);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.set_byte(offset_of!(VchanInterface, cli_live), 0);
        let _ = self.port.notify();
    }
}

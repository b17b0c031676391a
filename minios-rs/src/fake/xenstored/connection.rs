//! One domain's ring page: requests come in, answers and events go out as there is room.

use crate::abi::io::xs_wire::{
    DomainInterface, Header, XENSTORE_RING_SIZE, XS_ERROR, XS_WATCH_EVENT,
};
use crate::fake::Page;
use crate::xen::{Port, SharedPage};
use crate::xenstore::wire::{self, Assembler};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

const REQ_CONS: usize = offset_of!(DomainInterface, req_cons);
const REQ_PROD: usize = offset_of!(DomainInterface, req_prod);
const RSP: usize = offset_of!(DomainInterface, rsp);
const RSP_CONS: usize = offset_of!(DomainInterface, rsp_cons);
const RSP_PROD: usize = offset_of!(DomainInterface, rsp_prod);

pub(super) struct Connection {
    pub(super) page: Page,
    port: Port,
    assembler: Assembler,
    out: VecDeque<u8>,
}

impl Connection {
    pub(super) fn new(page: Page, port: Port) -> Self {
        Self {
            page,
            port,
            assembler: Assembler::default(),
            out: VecDeque::new(),
        }
    }

    /// The requests that have come whole.
    pub(super) fn take(&mut self) -> Vec<(Header, Vec<u8>)> {
        let prod = self.page.word(REQ_PROD).load(Ordering::Acquire);
        let mut cons = self.page.word(REQ_CONS).load(Ordering::Relaxed);
        assert!(
            prod.wrapping_sub(cons) as usize <= XENSTORE_RING_SIZE,
            "the client overran the ring"
        );
        let mut requests = Vec::new();
        while cons != prod {
            let mut byte = [0];
            self.page
                .read(cons as usize % XENSTORE_RING_SIZE, &mut byte);
            self.assembler.feed(&byte);
            cons = cons.wrapping_add(1);
            self.assembler
                .wanted()
                .expect("the client announces no more than 4 KiB");
            requests.extend(self.assembler.take());
        }
        self.page.word(REQ_CONS).store(cons, Ordering::Release);
        requests
    }

    /// Answers a request; an answer that would be too long is an error.
    pub(super) fn reply(&mut self, kind: u32, to: Header, body: &[u8]) {
        let encoded = wire::encode(&mut self.out, kind, to.req_id, to.tx_id, &[body]);
        if encoded.is_err() {
            let _ = wire::encode(&mut self.out, XS_ERROR, to.req_id, to.tx_id, &[b"E2BIG\0"]);
        }
    }

    /// An event of a watch.
    pub(super) fn tell(&mut self, path: &str, token: &str) {
        let parts: [&[u8]; 4] = [path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        let _ = wire::encode(&mut self.out, XS_WATCH_EVENT, 0, 0, &parts);
    }

    /// Bytes that no xenstored would send.
    pub(super) fn inject(&mut self, bytes: &[u8]) {
        self.out.extend(bytes);
    }

    /// Moves what waits to the ring; the port to notify if anything moved.
    pub(super) fn send(&mut self) -> Option<Port> {
        let mut prod = self.page.word(RSP_PROD).load(Ordering::Relaxed);
        let cons = self.page.word(RSP_CONS).load(Ordering::Acquire);
        let room = XENSTORE_RING_SIZE.saturating_sub(prod.wrapping_sub(cons) as usize);
        let count = room.min(self.out.len());
        for byte in self.out.drain(..count) {
            self.page
                .write(RSP + prod as usize % XENSTORE_RING_SIZE, &[byte]);
            prod = prod.wrapping_add(1);
        }
        self.page.word(RSP_PROD).store(prod, Ordering::Release);
        (count > 0).then_some(self.port)
    }
}

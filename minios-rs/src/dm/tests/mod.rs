//! A device model, and a guest of the simulated Xen.

use super::*;
use crate::abi::errno::{EEXIST, EINVAL, ENOENT, EPERM};
use crate::abi::hvm::ioreq::*;
use crate::fake::hvm::{Access, Hvm, Ram};
use crate::fake::{Domain, Fault, Usage, World};
use crate::xen::PAGE_SIZE;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

mod guest;
mod memory;
mod server;

const GUEST: DomId = DomId(5);
const STUB: DomId = DomId(6);

/// Every port there is.
const PORTS: Range = Range::Port(0, 0xffff);

struct Lab {
    world: World,
    stub: Domain,
    hvm: Hvm,
    guest: Guest<Domain>,
}

impl Lab {
    fn new(vcpus: usize, pages: u64) -> Self {
        let world = World::new();
        let stub = world.domain(STUB);
        let hvm = world.hvm(GUEST, STUB, vcpus, pages);
        let guest = Guest::new(stub.clone(), GUEST);
        Self {
            world,
            stub,
            hvm,
            guest,
        }
    }

    /// A server for every port, switched on.
    fn server(&self) -> Server<Domain> {
        let mut server = Server::create(&self.guest).unwrap();
        server.ranges().map(PORTS).unwrap();
        server.enable().unwrap();
        server
    }

    /// Nothing is held of the guest, and Xen has not ended it.
    fn assert_clean(&self) {
        assert_eq!(self.hvm.crashed(), None);
        assert_eq!(self.hvm.servers(), 0);
        assert_eq!(self.hvm.mapped(), (0, 0));
        assert_eq!(self.stub.usage(), Usage::default());
        assert_eq!(self.world.domain(GUEST).usage().ports, 0);
    }
}

fn port_read(port: u64, size: u32) -> Ioreq {
    Ioreq {
        addr: port,
        count: 1,
        size,
        flags: FLAGS_DIR,
        kind: IOREQ_TYPE_PIO,
        ..Ioreq::default()
    }
}

fn port_write(port: u64, size: u32, data: u64) -> Ioreq {
    Ioreq {
        data,
        flags: 0,
        ..port_read(port, size)
    }
}

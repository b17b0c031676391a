//! An ioreq server: where Xen puts what the guest's vCPUs do to devices, and waits for the answers.
//!
//! Xen's state machine for each vCPU's request is its own: READY is Xen's to set, INPROCESS and
//! RESP_READY are ours, in that order and once each, and anything else ends the guest (CVE-2018-10981 is
//! what became of it where it did not). So nothing is written but to a request that was found READY, and
//! then its state, and the data of a read.

#![forbid(unsafe_code)]

use super::request::{Refusal, buffered_size};
use super::{DeviceModel, Guest, MapError, Request};
use crate::abi::hvm::dm_op::{
    CreateIoreqServer, DestroyIoreqServer, GetIoreqServerInfo, IoreqServerRange,
    SetIoreqServerState, XEN_DMOP_CREATE_IOREQ_SERVER, XEN_DMOP_DESTROY_IOREQ_SERVER,
    XEN_DMOP_GET_IOREQ_SERVER_INFO, XEN_DMOP_IO_RANGE_MEMORY, XEN_DMOP_IO_RANGE_PCI,
    XEN_DMOP_IO_RANGE_PORT, XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER, XEN_DMOP_NO_GFNS,
    XEN_DMOP_SET_IOREQ_SERVER_STATE, XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER,
};
use crate::abi::hvm::hvm_op::HVM_IOREQSRV_BUFIOREQ_ATOMIC;
use crate::abi::hvm::ioreq::{
    BUF_IOREQ, BufIoreq, FLAGS_DATA_IS_PTR, FLAGS_DIR, FLAGS_STATE, IOREQ_BUFFER_SLOT_NUM, Ioreq,
    READ_POINTER, STATE_IOREQ_INPROCESS, STATE_IOREQ_READY, STATE_IORESP_READY, WRITE_POINTER,
};
use crate::abi::memory::{
    XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ, XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ,
};
use crate::xen::{BoundPort, Errno, PAGE_SIZE, Port, SharedPage};
use alloc::vec::Vec;
use core::mem::{offset_of, size_of};
use core::sync::atomic::Ordering;
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

/// vCPUs that a guest may have: as many as have a request in one page, and as Xen gives an HVM guest.
pub const VCPUS_MAX: usize = PAGE_SIZE / size_of::<Ioreq>();

/// How often the buffered ring's two counts are looked at for a pair that belongs together.
const LOOKS_MAX: usize = 8;

/// The word of a request that its state is in, with the other flags and the type.
const STATE_WORD: usize = offset_of!(Ioreq, pad);
/// Where the flags begin in that word.
const FLAGS_SHIFT: usize = 8 * (offset_of!(Ioreq, flags) - STATE_WORD);

/// Accesses that Xen hands to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Range {
    /// Ports, from the first to the last.
    Port(u16, u16),
    /// Guest physical addresses that are no RAM, from the first to the last.
    Memory(u64, u64),
    /// The configuration space of one function on bus 0: device << 3 | function.
    Function(u8),
}

/// Why there is no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ServerError {
    /// Xen refused.
    #[error("Xen makes no ioreq server: {0}")]
    Refused(#[from] Errno),
    /// Its pages cannot be mapped.
    #[error("the ioreq server's pages: {0}")]
    Page(#[from] MapError),
    /// There are none, or more than [`VCPUS_MAX`].
    #[error("a guest with {0} vCPUs")]
    Vcpus(u32),
    /// A port of Xen's cannot be bound.
    #[error("no event channel to the guest's vCPUs: {0}")]
    Port(Errno),
}

/// Why a server serves no more. The guest cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// The buffered ring's counts say more than it holds, or end inside a request.
    #[error("the ring of buffered requests is corrupt")]
    Ring,
    /// Xen cannot be told of an answer.
    #[error("a vCPU cannot be told of its answer: {0}")]
    Notify(Errno),
}

/// A server as Xen knows it, ended when dropped.
struct Registration<X: DeviceModel> {
    guest: Guest<X>,
    id: u16,
}

impl<X: DeviceModel> Drop for Registration<X> {
    fn drop(&mut self) {
        let argument = DestroyIoreqServer {
            id: self.id,
            pad: 0,
        };
        // A guest that is gone has taken its server along.
        let _ = self.guest.call(XEN_DMOP_DESTROY_IOREQ_SERVER, argument);
    }
}

/// The ioreq server of a guest's device model.
pub struct Server<X: DeviceModel> {
    requests: X::Resource,
    buffered: X::Resource,
    /// By vCPU; none before [`Server::enable`].
    ports: Vec<BoundPort<X>>,
    buffered_port: BoundPort<X>,
    vcpus: usize,
    refused: Refused,
    /// Last: Xen ends a server more readily that nobody maps and listens to.
    registration: Registration<X>,
}

/// Requests that were not served, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    counts: [u64; Refused::REASONS],
}

impl Refused {
    const REASONS: usize = 5;

    /// For one reason.
    pub fn of(&self, reason: Refusal) -> u64 {
        self.counts[reason as usize]
    }

    /// For any.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn count(&mut self, reason: Refusal) {
        self.counts[reason as usize] += 1;
    }
}

/// What a server is handed. A handle, so that a device can move while a request is served.
pub struct Ranges<X: DeviceModel> {
    guest: Guest<X>,
    id: u16,
}

impl<X: DeviceModel> Ranges<X> {
    /// Has Xen send these accesses.
    ///
    /// # Errors
    /// Xen's: EEXIST if it overlaps with one that is mapped, ENOSPC beyond 256 of a kind.
    pub fn map(&self, range: Range) -> Result<(), Errno> {
        self.change(XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER, range)
    }

    /// No longer does.
    ///
    /// # Errors
    /// Xen's: ENOENT if that is not mapped.
    pub fn unmap(&self, range: Range) -> Result<(), Errno> {
        self.change(XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER, range)
    }

    fn change(&self, op: u32, range: Range) -> Result<(), Errno> {
        let (kind, start, end) = match range {
            Range::Port(first, last) => (XEN_DMOP_IO_RANGE_PORT, first.into(), last.into()),
            Range::Memory(first, last) => (XEN_DMOP_IO_RANGE_MEMORY, first, last),
            Range::Function(function) => (XEN_DMOP_IO_RANGE_PCI, function.into(), function.into()),
        };
        let argument = IoreqServerRange {
            id: self.id,
            pad: 0,
            kind,
            start,
            end,
        };
        self.guest.call(op, argument).map(drop)
    }
}

impl<X: DeviceModel> Server<X> {
    /// A server for a guest. It is sent nothing before [`Server::enable`]; map its ranges first, so that no access
    /// of an early vCPU finds nobody.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn create(guest: &Guest<X>) -> Result<Self, ServerError> {
        let vcpus = guest.vcpus()?;
        if vcpus == 0 || vcpus as usize > VCPUS_MAX {
            return Err(ServerError::Vcpus(vcpus));
        }
        let argument = CreateIoreqServer {
            handle_bufioreq: HVM_IOREQSRV_BUFIOREQ_ATOMIC,
            ..CreateIoreqServer::default()
        };
        let id = guest.call(XEN_DMOP_CREATE_IOREQ_SERVER, argument)?.id;
        let registration = Registration {
            guest: guest.clone(),
            id,
        };
        // Before anything else is asked of the server: once Xen has put its pages at addresses of the
        // guest's, where the guest reaches them too (XSA-197), it does not give them out like this.
        let map = |frame| {
            let xen = guest.xen();
            xen.acquire_resource(guest.domain(), id, frame)
        };
        let buffered = map(XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ)?;
        let requests = map(XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ)?;
        let argument = GetIoreqServerInfo {
            id,
            flags: XEN_DMOP_NO_GFNS,
            ..GetIoreqServerInfo::default()
        };
        let info = guest.call(XEN_DMOP_GET_IOREQ_SERVER_INFO, argument)?;
        let port = Port(info.bufioreq_port);
        let buffered_port = BoundPort::bind(guest.xen(), guest.domain(), port);
        Ok(Self {
            requests,
            buffered,
            ports: Vec::with_capacity(vcpus as usize),
            buffered_port: buffered_port.map_err(ServerError::Port)?,
            vcpus: vcpus as usize,
            refused: Refused::default(),
            registration,
        })
    }

    /// How many vCPUs the guest may have.
    pub fn vcpus(&self) -> usize {
        self.vcpus
    }

    /// Requests that were not served.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// What it is handed.
    pub fn ranges(&self) -> Ranges<X> {
        Ranges {
            guest: self.registration.guest.clone(),
            id: self.registration.id,
        }
    }

    /// Lets requests come, and binds the ports that wake this domain for them.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn enable(&mut self) -> Result<(), ServerError> {
        self.set_state(1)?;
        let guest = &self.registration.guest;
        // Xen has written the ports when it switched the server on, not before.
        for vcpu in self.ports.len()..self.vcpus {
            let word = vcpu * size_of::<Ioreq>() + offset_of!(Ioreq, vp_eport);
            let port = Port(self.requests.word(word).load(Ordering::Acquire));
            let bound = BoundPort::bind(guest.xen(), guest.domain(), port);
            self.ports.push(bound.map_err(ServerError::Port)?);
        }
        Ok(())
    }

    /// Lets no more requests come. Those that have are answered by [`Server::serve`] as before.
    ///
    /// # Errors
    /// Xen's.
    pub fn disable(&self) -> Result<(), Errno> {
        self.set_state(0)
    }

    fn set_state(&self, enabled: u8) -> Result<(), Errno> {
        let argument = SetIoreqServerState {
            id: self.registration.id,
            enabled,
            pad: 0,
        };
        let guest = &self.registration.guest;
        guest
            .call(XEN_DMOP_SET_IOREQ_SERVER_STATE, argument)
            .map(drop)
    }

    /// Has `answer` answer what has come: every buffered write, and at most one request of each vCPU. What
    /// it returns for a read without `data_is_pointer` is what the guest reads; else nobody looks at it.
    /// How many requests there were.
    ///
    /// One that is refused ([`Refusal`]) is answered with all bits set, and counted.
    ///
    /// # Errors
    /// [`Broken`]. With [`Broken::Notify`] all other vCPUs were served.
    pub fn serve(&mut self, mut answer: impl FnMut(&Request) -> u64) -> Result<usize, Broken> {
        let mut served = self.drain(&mut answer)?;
        let mut result = Ok(());
        for vcpu in 0..self.ports.len() {
            if !self.is_ready(vcpu) {
                continue;
            }
            // What the vCPU wrote before it waits comes before what it waits for.
            served += self.drain(&mut answer)?;
            if self.answer_one(vcpu, &mut answer) {
                served += 1;
                if let Err(error) = self.ports[vcpu].notify() {
                    result = Err(Broken::Notify(error));
                }
            }
        }
        result.map(|()| served)
    }

    fn is_ready(&self, vcpu: usize) -> bool {
        let word = self
            .requests
            .word(vcpu * size_of::<Ioreq>() + STATE_WORD)
            .load(Ordering::Acquire);
        state(word) == STATE_IOREQ_READY
    }

    /// Answers the request of a vCPU that was found ready. False: it is none after all.
    fn answer_one(&mut self, vcpu: usize, answer: &mut impl FnMut(&Request) -> u64) -> bool {
        let at = vcpu * size_of::<Ioreq>();
        let mut copy = Ioreq::default();
        self.requests.read(at, copy.as_mut_bytes());
        if copy.flags & FLAGS_STATE != STATE_IOREQ_READY {
            return false;
        }
        self.set_request_state(at, &copy, STATE_IOREQ_INPROCESS);
        let data = match Request::parse(&copy) {
            Ok(request) => answer(&request),
            Err(reason) => {
                self.refused.count(reason);
                u64::MAX
            }
        };
        // Only there does Xen look at it.
        if copy.flags & (FLAGS_DIR | FLAGS_DATA_IS_PTR) == FLAGS_DIR {
            let data_at = at + offset_of!(Ioreq, data);
            self.requests.write(data_at, data.as_bytes());
        }
        self.set_request_state(at, &copy, STATE_IORESP_READY);
        true
    }

    /// Sets a request's state, and leaves what else is in that word as it was copied.
    fn set_request_state(&self, at: usize, copy: &Ioreq, state: u8) {
        let flags = copy.flags & !FLAGS_STATE | state;
        let word = [copy.pad as u8, (copy.pad >> 8) as u8, flags, copy.kind];
        self.requests
            .word(at + STATE_WORD)
            .store(u32::from_le_bytes(word), Ordering::Release);
    }

    /// Has `answer` take every buffered write that there is. As many as the ring holds: whoever writes more
    /// meanwhile waits for the next turn.
    fn drain(&mut self, answer: &mut impl FnMut(&Request) -> u64) -> Result<usize, Broken> {
        let mut served = 0;
        while served < IOREQ_BUFFER_SLOT_NUM {
            let Some((read, ready)) = self.buffered_counts() else {
                break;
            };
            if ready == 0 {
                break;
            }
            let first = self.buffered_entry(read);
            let slots = if buffered_size(first) == 8 { 2 } else { 1 };
            if ready as usize > IOREQ_BUFFER_SLOT_NUM || ready < slots {
                return Err(Broken::Ring);
            }
            let second = (slots == 2).then(|| self.buffered_entry(read.wrapping_add(1)));
            // Atomic, and a difference: Xen takes multiples of the ring's length off both counts at times.
            let read_pointer = self.buffered.word(READ_POINTER);
            read_pointer.fetch_add(slots, Ordering::AcqRel);
            match Request::parse_buffered(first, second) {
                Ok(request) => {
                    let _ = answer(&request);
                }
                Err(reason) => self.refused.count(reason),
            }
            served += 1;
        }
        Ok(served)
    }

    /// The consumer's count, and how many entries are there. `None`: Xen is changing both; it tells again.
    fn buffered_counts(&self) -> Option<(u32, u32)> {
        let read_pointer = self.buffered.word(READ_POINTER);
        for _ in 0..LOOKS_MAX {
            let read = read_pointer.load(Ordering::Acquire);
            let write = self.buffered.word(WRITE_POINTER).load(Ordering::Acquire);
            // Only Xen makes it smaller, by as much as the other: a pair if it is as it was.
            if read_pointer.load(Ordering::Acquire) == read {
                return Some((read, write.wrapping_sub(read)));
            }
        }
        None
    }

    fn buffered_entry(&self, count: u32) -> BufIoreq {
        let slot = count as usize % IOREQ_BUFFER_SLOT_NUM;
        let mut bytes = [0; size_of::<BufIoreq>()];
        let at = BUF_IOREQ + slot * size_of::<BufIoreq>();
        self.buffered.read(at, &mut bytes);
        BufIoreq::read_from_bytes(&bytes).expect("as many bytes as it has")
    }

    /// The port that tells of buffered writes.
    pub fn buffered_port(&self) -> Port {
        self.buffered_port.number()
    }

    /// The ports that tell of the vCPUs' requests.
    pub fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        self.ports.iter().map(BoundPort::number)
    }
}

/// The state in a request's [`STATE_WORD`].
fn state(word: u32) -> u8 {
    (word >> FLAGS_SHIFT) as u8 & FLAGS_STATE
}

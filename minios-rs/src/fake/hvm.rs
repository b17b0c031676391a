//! HVM guests for the simulated Xen: vCPUs that wait for their device model, and memory that it maps.
//!
//! Xen's part of the protocol is as strict as Xen, and where Xen only loses its way, stricter: a state that is not the
//! next one, a port or any other byte of a request that the device model changed ends the guest
//! ([`Hvm::crashed`]); an answer that nobody was told of is not looked at.

#![forbid(unsafe_code)]

extern crate std;

use super::page::Memory;
use super::{Binding, Channel, Domain, Fault, World};
use crate::abi::errno::{EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM, ESRCH};
use crate::abi::hvm::dm_op::*;
use crate::abi::hvm::hvm_op::{HVM_IOREQSRV_BUFIOREQ_ATOMIC, HVM_IOREQSRV_BUFIOREQ_OFF};
use crate::abi::hvm::ioreq::*;
use crate::abi::hvm::params::HVM_PARAM_ACPI_S_STATE;
use crate::abi::memory::{
    XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ, XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ,
};
use crate::abi::xen::nr;
use crate::dm::{self, DeviceModel, MapError, WINDOW_PAGES};
use crate::xen::{DomId, Errno, OutOfMemory, PAGE_SIZE, Port, SharedPage};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::mem::{offset_of, size_of};
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{FromBytes, IntoBytes};

/// ioreq servers of a guest, at most.
const SERVERS_MAX: u16 = 8;
/// Ranges of a kind, at most.
const RANGES_MAX: usize = 256;
/// The ports of Xen's own that a guest's vCPUs wait at begin here.
const XEN_PORTS: u32 = 3000;

/// What can be done to a page of a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ram {
    /// Everything.
    Writable,
    /// Mapping it for reading, which a device model does not.
    ReadOnly,
}

/// What an HVM guest did to a device, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It waits for the device model.
    Waits,
    /// Nobody has asked for it: Xen answers.
    Unclaimed,
}

#[derive(Default)]
struct Vcpu {
    /// What it waits for, as Xen wrote it, and the state that Xen has seen last.
    waits: Option<(Ioreq, u8)>,
}

#[derive(Default)]
struct Server {
    handles_buffered: bool,
    is_enabled: bool,
    ioreqs: Option<Rc<Memory>>,
    buffered: Option<Rc<Memory>>,
    ports: Vec<Port>,
    buffered_port: Option<Port>,
    ranges: BTreeMap<u32, Vec<(u64, u64)>>,
}

pub(super) struct State {
    emulator: DomId,
    vcpus: Vec<Vcpu>,
    ram: BTreeMap<u64, (Rc<Memory>, Ram)>,
    servers: BTreeMap<u16, Server>,
    crashed: Option<String>,
    shutdown: Option<u32>,
    isa: [u8; 16],
    intx: BTreeMap<(u8, u8), u8>,
    links: [u8; 4],
    messages: Vec<(u64, u32)>,
    parameters: BTreeMap<u32, u64>,
    dirty: Option<BTreeSet<u64>>,
    resources: Rc<Cell<usize>>,
    shown: Rc<Cell<usize>>,
}

/// An HVM guest, for tests to be the guest and Xen.
#[derive(Clone)]
pub struct Hvm {
    world: World,
    id: DomId,
}

impl World {
    /// An HVM guest with its device model in `emulator`, and memory from address 0 on.
    pub fn hvm(&self, id: DomId, emulator: DomId, vcpus: usize, pages: u64) -> Hvm {
        self.domain(id);
        let state = State {
            emulator,
            vcpus: (0..vcpus).map(|_| Vcpu::default()).collect(),
            ram: BTreeMap::new(),
            servers: BTreeMap::new(),
            crashed: None,
            shutdown: None,
            isa: [0; 16],
            intx: BTreeMap::new(),
            links: [0; 4],
            messages: Vec::new(),
            parameters: BTreeMap::new(),
            dirty: None,
            resources: Rc::default(),
            shown: Rc::default(),
        };
        self.inner.guests.borrow_mut().insert(id, state);
        let hvm = Hvm {
            world: self.clone(),
            id,
        };
        hvm.add_ram(0..pages, Ram::Writable);
        hvm
    }
}

impl Hvm {
    /// Its number.
    pub fn id(&self) -> DomId {
        self.id
    }

    fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        let mut guests = self.world.inner.guests.borrow_mut();
        what(guests.get_mut(&self.id).expect("made with its handle"))
    }

    /// Why Xen ended it.
    pub fn crashed(&self) -> Option<String> {
        self.with(|state| state.crashed.clone())
    }

    /// Why its device model ended it (`SHUTDOWN_*`).
    pub fn shutdown(&self) -> Option<u32> {
        self.with(|state| state.shutdown)
    }

    /// The level of an ISA interrupt line.
    pub fn isa_level(&self, line: usize) -> u8 {
        self.with(|state| state.isa[line])
    }

    /// The level of a pin of a device on PCI bus 0.
    pub fn intx_level(&self, device: u8, pin: u8) -> u8 {
        self.with(|state| state.intx.get(&(device, pin)).copied().unwrap_or(0))
    }

    /// Where the PCI links go.
    pub fn links(&self) -> [u8; 4] {
        self.with(|state| state.links)
    }

    /// Messages that came.
    pub fn messages(&self) -> Vec<(u64, u32)> {
        self.with(|state| state.messages.clone())
    }

    /// ioreq servers there are.
    pub fn servers(&self) -> usize {
        self.with(|state| state.servers.len())
    }

    /// Pages of servers that are mapped, and pages of its memory that are.
    pub fn mapped(&self) -> (usize, usize) {
        self.with(|state| (state.resources.get(), state.shown.get()))
    }

    /// Memory at guest frames `gfns`, zeroed.
    pub fn add_ram(&self, gfns: Range<u64>, kind: Ram) {
        self.with(|state| {
            let new = gfns.map(|gfn| (gfn, (Rc::new(Memory::new()), kind)));
            state.ram.extend(new);
        });
    }

    /// Gives a page back to Xen. Who maps it maps the page that it was.
    pub fn remove_ram(&self, gfn: u64) {
        self.with(|state| state.ram.remove(&gfn));
    }

    /// Reads memory as a vCPU does. Panics where there is none.
    pub fn peek(&self, address: u64, into: &mut [u8]) {
        self.bytes(address, into.len(), |page, at, index| {
            page.read(at, core::slice::from_mut(&mut into[index]));
        });
    }

    /// Writes memory as a vCPU does. Panics where there is none.
    pub fn poke(&self, address: u64, from: &[u8]) {
        self.bytes(address, from.len(), |page, at, index| {
            page.write(at, &from[index..=index]);
        });
    }

    fn bytes(&self, address: u64, length: usize, mut what: impl FnMut(&Memory, usize, usize)) {
        self.with(|state| {
            for (index, at) in (address..).take(length).enumerate() {
                let page = state.ram.get(&(at / PAGE_SIZE as u64));
                let (page, _) = page.expect("a vCPU touches memory");
                what(page, at as usize % PAGE_SIZE, index);
            }
        });
    }

    /// Keeps book of pages the device model says it wrote.
    pub fn start_log_dirty(&self) {
        self.with(|state| state.dirty = Some(BTreeSet::new()));
    }

    /// Those it did since this was last asked.
    pub fn take_dirty(&self) -> Vec<u64> {
        self.with(|state| {
            let taken = state.dirty.as_mut().map(core::mem::take);
            taken.unwrap_or_default().into_iter().collect()
        })
    }

    fn crash(&self, reason: String) {
        self.with(|state| {
            state.crashed.get_or_insert(reason);
        });
    }

    /// A vCPU accesses a device, or Xen tells of something in its name. State and port are Xen's to fill in.
    pub fn raise(&self, vcpu: usize, mut request: Ioreq) -> Access {
        let taken = self.with(|state| {
            assert!(
                state.vcpus[vcpu].waits.is_none(),
                "a vCPU that waits does nothing"
            );
            let server = state
                .servers
                .values()
                .find(|server| server.claims(&request))?;
            let page = server.ioreqs.clone().expect("enabled with its page");
            Some((page, server.ports[vcpu]))
        });
        let Some((page, port)) = taken else {
            return Access::Unclaimed;
        };
        let at = vcpu * size_of::<Ioreq>();
        let mut old = Ioreq::default();
        page.read(at, old.as_mut_bytes());
        if old.flags & FLAGS_STATE != STATE_IOREQ_NONE || old.vp_eport != port.0 {
            self.crash(format!(
                "a bad state or event channel before a request: {old:?}"
            ));
            return Access::Waits;
        }
        request.vp_eport = port.0;
        request.flags = request.flags & !FLAGS_STATE | STATE_IOREQ_READY;
        page.write(at, request.as_bytes());
        self.with(|state| state.vcpus[vcpu].waits = Some((request, STATE_IOREQ_READY)));
        self.tell(port);
        Access::Waits
    }

    /// A vCPU, or Xen in its name, writes without waiting. False: the ring is full, or there is none.
    pub fn raise_buffered(&self, kind: u8, address: u32, size: u32, data: u64) -> bool {
        let found = self.with(|state| {
            let mut servers = state.servers.values();
            let server = servers.find(|server| server.is_enabled && server.handles_buffered)?;
            Some((server.buffered.clone()?, server.buffered_port?))
        });
        let Some((page, port)) = found else {
            return false;
        };
        let counts = || {
            let count = |at| page.word(at).load(Ordering::Relaxed);
            (count(READ_POINTER), count(WRITE_POINTER))
        };
        let (read, write) = counts();
        let slots = if size == 8 { 2 } else { 1 };
        if write.wrapping_sub(read) > IOREQ_BUFFER_SLOT_NUM as u32 - slots {
            return false;
        }
        let head =
            u32::from(kind) | size.trailing_zeros() << HEAD_SIZE_SHIFT | address << HEAD_ADDR_SHIFT;
        for (slot, data) in (0..slots).zip([data as u32, (data >> 32) as u32]) {
            let at = write.wrapping_add(slot) as usize % IOREQ_BUFFER_SLOT_NUM;
            let entry = BufIoreq { head, data };
            page.write(BUF_IOREQ + at * size_of::<BufIoreq>(), entry.as_bytes());
        }
        let write = write.wrapping_add(slots);
        page.word(WRITE_POINTER).store(write, Ordering::Relaxed);
        let length = IOREQ_BUFFER_SLOT_NUM as u32;
        if read >= length {
            let whole = read / length * length;
            page.word(READ_POINTER)
                .store(read - whole, Ordering::Relaxed);
            page.word(WRITE_POINTER)
                .store(write - whole, Ordering::Relaxed);
        }
        self.tell(port);
        true
    }

    /// What a vCPU that waits goes on with: the answer, if there is one and it was told.
    pub fn complete(&self, vcpu: usize) -> Option<u64> {
        let (page, port, request, seen) = self.with(|state| {
            let (request, seen) = state.vcpus[vcpu].waits?;
            let server = state.servers.values().next()?;
            Some((server.ioreqs.clone()?, server.ports[vcpu], request, seen))
        })?;
        let at = vcpu * size_of::<Ioreq>();
        let mut now = Ioreq::default();
        page.read(at, now.as_mut_bytes());
        let state = now.flags & FLAGS_STATE;
        if state < seen || state > STATE_IORESP_READY {
            self.crash(format!("a weird state transition: {seen} to {state}"));
            return None;
        }
        let is_direct_read = now.flags & (FLAGS_DIR | FLAGS_DATA_IS_PTR) == FLAGS_DIR;
        let mut expected = request;
        expected.flags = now.flags & FLAGS_STATE | request.flags & !FLAGS_STATE;
        if is_direct_read {
            expected.data = now.data;
        }
        if now != expected {
            self.crash(format!("the device model changed {request:?} to {now:?}"));
            return None;
        }
        let told = self.world.domain(self.id).take_event(port);
        self.with(|guest| guest.vcpus[vcpu].waits = Some((request, state)));
        if state != STATE_IORESP_READY || !told {
            return None;
        }
        now.flags = now.flags & !FLAGS_STATE | STATE_IOREQ_NONE;
        page.write(at, now.as_bytes());
        self.with(|guest| guest.vcpus[vcpu].waits = None);
        Some(now.data)
    }

    /// Writes bytes of the requests' page, as a guest could that had it at an address of its own.
    pub fn scribble(&self, offset: usize, bytes: &[u8]) {
        if let Some(page) = self.page(|server| server.ioreqs.clone()) {
            page.write(offset, bytes);
        }
    }

    /// Writes bytes of the buffered ring's page.
    pub fn scribble_buffered(&self, offset: usize, bytes: &[u8]) {
        if let Some(page) = self.page(|server| server.buffered.clone()) {
            page.write(offset, bytes);
        }
    }

    /// Reads bytes of the requests' page.
    pub fn requests(&self) -> [u8; PAGE_SIZE] {
        let mut bytes = [0; PAGE_SIZE];
        if let Some(page) = self.page(|server| server.ioreqs.clone()) {
            page.read(0, &mut bytes);
        }
        bytes
    }

    fn page(&self, which: impl Fn(&Server) -> Option<Rc<Memory>>) -> Option<Rc<Memory>> {
        self.with(|state| state.servers.values().find_map(which))
    }

    /// Xen sends an event from one of its ports.
    fn tell(&self, port: Port) {
        // Fails only if a test closed what is Xen's.
        let world = self.world.domain(self.id);
        let _ = crate::xen::Xen::notify(&world, port);
    }

    /// A port of Xen's that the device model may bind to.
    fn xen_port(&self, emulator: DomId) -> Port {
        self.world.domain(self.id).with(self.id, |domain| {
            let free = (XEN_PORTS..).find(|port| !domain.channels.contains_key(port));
            let port = free.expect("numbers do not end");
            let channel = Channel {
                binding: Binding::Unbound { remote: emulator },
                pending: false,
                received: 0,
            };
            domain.channels.insert(port, channel);
            Port(port)
        })
    }

    fn close_xen_ports(&self, ports: impl IntoIterator<Item = Port>) {
        let world = self.world.domain(self.id);
        for port in ports {
            crate::xen::Xen::close_port(&world, port);
        }
    }
}

impl Server {
    /// Whether an access is this server's to answer. What is no access goes to every server.
    fn claims(&self, request: &Ioreq) -> bool {
        let (kind, first) = match request.kind {
            IOREQ_TYPE_PIO => (XEN_DMOP_IO_RANGE_PORT, request.addr),
            IOREQ_TYPE_COPY => (XEN_DMOP_IO_RANGE_MEMORY, request.addr),
            IOREQ_TYPE_PCI_CONFIG => (XEN_DMOP_IO_RANGE_PCI, request.addr >> 32),
            _ => return self.is_enabled,
        };
        let ranges = self.ranges.get(&kind);
        let holds = |&(start, end): &(u64, u64)| (start..=end).contains(&first);
        self.is_enabled && ranges.is_some_and(|ranges| ranges.iter().any(holds))
    }

    fn map(&mut self, range: &IoreqServerRange) -> Result<(), Errno> {
        let ranges = self.ranges.entry(range.kind).or_default();
        let overlaps = |&(start, end): &(u64, u64)| start <= range.end && range.start <= end;
        if ranges.iter().any(overlaps) {
            return Err(EEXIST);
        }
        if ranges.len() == RANGES_MAX {
            return Err(ENOSPC);
        }
        ranges.push((range.start, range.end));
        Ok(())
    }

    fn unmap(&mut self, range: &IoreqServerRange) -> Result<(), Errno> {
        let ranges = self.ranges.entry(range.kind).or_default();
        let found = ranges
            .iter()
            .position(|&(start, end)| (start, end) == (range.start, range.end));
        ranges.swap_remove(found.ok_or(ENOENT)?);
        Ok(())
    }
}

fn argument<T: FromBytes>(operation: &DmOp) -> T {
    let (value, _) = T::read_from_prefix(operation.u.as_bytes()).expect("no larger than the union");
    value
}

fn must_be_zero(pad: impl Into<u64>) -> Result<(), Errno> {
    match pad.into() {
        0 => Ok(()),
        _ => Err(EINVAL),
    }
}

fn level(value: u8) -> Result<u8, Errno> {
    match value {
        0 | 1 => Ok(value),
        _ => Err(EINVAL),
    }
}

fn range_of(operation: &DmOp) -> Result<IoreqServerRange, Errno> {
    let range: IoreqServerRange = argument(operation);
    must_be_zero(range.pad)?;
    match range.kind {
        XEN_DMOP_IO_RANGE_PORT | XEN_DMOP_IO_RANGE_MEMORY | XEN_DMOP_IO_RANGE_PCI
            if range.start <= range.end =>
        {
            Ok(range)
        }
        _ => Err(EINVAL),
    }
}

impl State {
    fn server(&mut self, id: u16) -> Result<&mut Server, Errno> {
        self.servers.get_mut(&id).ok_or(ENOENT)
    }

    /// Operations that touch nothing but the guest.
    fn operate(&mut self, operation: &mut DmOp, bytes: &mut [u8]) -> Result<(), Errno> {
        match operation.op {
            XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER => {
                let range = range_of(operation)?;
                self.server(range.id)?.map(&range)
            }
            XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER => {
                let range = range_of(operation)?;
                self.server(range.id)?.unmap(&range)
            }
            XEN_DMOP_SET_IOREQ_SERVER_STATE => {
                let state: SetIoreqServerState = argument(operation);
                must_be_zero(state.pad)?;
                self.server(state.id)?.enable(state.enabled != 0)
            }
            XEN_DMOP_SET_PCI_INTX_LEVEL => {
                let line: SetPciIntxLevel = argument(operation);
                if line.domain != 0 || line.bus != 0 || line.device > 31 || line.intx > 3 {
                    return Err(EINVAL);
                }
                let level = level(line.level)?;
                self.intx.insert((line.device, line.intx), level);
                Ok(())
            }
            XEN_DMOP_SET_ISA_IRQ_LEVEL => {
                let line: SetIsaIrqLevel = argument(operation);
                let level = level(line.level)?;
                *self.isa.get_mut(usize::from(line.isa_irq)).ok_or(EINVAL)? = level;
                Ok(())
            }
            XEN_DMOP_SET_PCI_LINK_ROUTE => {
                let route: SetPciLinkRoute = argument(operation);
                let link = self.links.get_mut(usize::from(route.link)).ok_or(EINVAL)?;
                if route.isa_irq > 15 {
                    return Err(EINVAL);
                }
                *link = route.isa_irq;
                Ok(())
            }
            XEN_DMOP_MODIFIED_MEMORY => self.modified(&argument(operation), bytes),
            XEN_DMOP_INJECT_MSI => {
                let message: InjectMsi = argument(operation);
                must_be_zero(message.pad)?;
                self.messages.push((message.addr, message.data));
                Ok(())
            }
            XEN_DMOP_REMOTE_SHUTDOWN => {
                let shutdown: RemoteShutdown = argument(operation);
                self.shutdown.get_or_insert(shutdown.reason);
                Ok(())
            }
            XEN_DMOP_NR_VCPUS => {
                let vcpus = self.vcpus.len() as u64;
                operation.u[0] = vcpus;
                Ok(())
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    fn modified(&mut self, header: &ModifiedMemory, bytes: &mut [u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Err(EINVAL);
        }
        let last = self.ram.keys().next_back().copied().unwrap_or(0);
        let Some(dirty) = &mut self.dirty else {
            return Ok(());
        };
        let size = size_of::<ModifiedMemoryExtent>();
        if bytes.len() / size < header.nr_extents as usize || header.opaque != 0 {
            return Err(EINVAL);
        }
        for extent in bytes.chunks_exact(size).take(header.nr_extents as usize) {
            let extent = ModifiedMemoryExtent::read_from_bytes(extent).map_err(|_| EFAULT)?;
            let end = extent.first_pfn.wrapping_add(u64::from(extent.nr));
            // As in Xen, which leaves out the last page there is.
            if extent.pad != 0 || end <= extent.first_pfn || end > last {
                return Err(EINVAL);
            }
            dirty.extend(extent.first_pfn..end);
        }
        Ok(())
    }
}

impl Server {
    fn enable(&mut self, wanted: bool) -> Result<(), Errno> {
        if wanted && !self.is_enabled {
            let page = self.ioreqs.as_ref().ok_or(ENOENT)?;
            for (vcpu, port) in self.ports.iter().enumerate() {
                let at = vcpu * size_of::<Ioreq>() + offset_of!(Ioreq, vp_eport);
                page.word(at).store(port.0, Ordering::Relaxed);
            }
        }
        self.is_enabled = wanted;
        Ok(())
    }
}

impl Domain {
    /// The guest, if it is there and this domain's.
    fn guest(&self, id: DomId) -> Result<Hvm, Errno> {
        let guests = self.world.inner.guests.borrow();
        let known = self.world.inner.domains.borrow().contains_key(&id);
        let state = guests.get(&id).ok_or(if known { EINVAL } else { ESRCH })?;
        if state.emulator != self.id {
            return Err(EPERM);
        }
        Ok(Hvm {
            world: self.world.clone(),
            id,
        })
    }

    fn create_server(&self, guest: &Hvm, operation: &mut DmOp) -> Result<(), Errno> {
        let mut wish: CreateIoreqServer = argument(operation);
        for pad in wish.pad {
            must_be_zero(pad)?;
        }
        if wish.handle_bufioreq > HVM_IOREQSRV_BUFIOREQ_ATOMIC {
            return Err(EINVAL);
        }
        let free = guest.with(|state| (0..SERVERS_MAX).find(|id| !state.servers.contains_key(id)));
        wish.id = free.ok_or(ENOSPC)?;
        let vcpus = guest.with(|state| state.vcpus.len());
        let handles_buffered = wish.handle_bufioreq != HVM_IOREQSRV_BUFIOREQ_OFF;
        let server = Server {
            handles_buffered,
            ports: (0..vcpus).map(|_| guest.xen_port(self.id)).collect(),
            buffered_port: handles_buffered.then(|| guest.xen_port(self.id)),
            ..Server::default()
        };
        guest.with(|state| state.servers.insert(wish.id, server));
        let bytes = operation.u.as_mut_bytes();
        bytes[..size_of::<CreateIoreqServer>()].copy_from_slice(wish.as_bytes());
        Ok(())
    }

    fn server_info(&self, guest: &Hvm, operation: &mut DmOp) -> Result<(), Errno> {
        let mut info: GetIoreqServerInfo = argument(operation);
        let port = guest.with(|state| Ok(state.server(info.id)?.buffered_port))?;
        if info.flags != XEN_DMOP_NO_GFNS {
            // Xen would put the pages into the guest's memory, where the guest reaches them.
            return Err(EINVAL);
        }
        info.bufioreq_port = port.map_or(0, |port| port.0);
        operation.u.as_mut_bytes().copy_from_slice(info.as_bytes());
        Ok(())
    }

    fn destroy_server(&self, guest: &Hvm, operation: &DmOp) -> Result<(), Errno> {
        let which: DestroyIoreqServer = argument(operation);
        must_be_zero(which.pad)?;
        let server = guest.with(|state| state.servers.remove(&which.id).ok_or(ENOENT))?;
        guest.close_xen_ports(server.ports);
        guest.close_xen_ports(server.buffered_port);
        // vCPUs that waited go on with all bits set.
        guest.with(|state| state.vcpus.iter_mut().for_each(|vcpu| vcpu.waits = None));
        Ok(())
    }
}

impl DeviceModel for Domain {
    type Resource = Resource;
    type Window = Window;

    fn dm_op(&self, guest: DomId, operation: &mut DmOp, bytes: &mut [u8]) -> Result<(), Errno> {
        self.count_hypercall(nr::DM_OP);
        if self.world.inner.fails(Fault::DeviceModel) {
            return Err(ENOMEM);
        }
        let guest = self.guest(guest)?;
        must_be_zero(operation.pad)?;
        match operation.op {
            XEN_DMOP_CREATE_IOREQ_SERVER => self.create_server(&guest, operation),
            XEN_DMOP_GET_IOREQ_SERVER_INFO => self.server_info(&guest, operation),
            XEN_DMOP_DESTROY_IOREQ_SERVER => self.destroy_server(&guest, operation),
            _ => guest.with(|state| state.operate(operation, bytes)),
        }
    }

    fn parameter(&self, guest: DomId, index: u32) -> Result<u64, Errno> {
        self.count_hypercall(nr::HVM_OP);
        let guest = self.guest(guest)?;
        Ok(guest.with(|state| state.parameters.get(&index).copied().unwrap_or(0)))
    }

    fn set_parameter(&self, guest: DomId, index: u32, value: u64) -> Result<(), Errno> {
        self.count_hypercall(nr::HVM_OP);
        let guest = self.guest(guest)?;
        if index == HVM_PARAM_ACPI_S_STATE && value != 0 && value != 3 {
            return Err(EINVAL);
        }
        guest.with(|state| state.parameters.insert(index, value));
        Ok(())
    }

    /// Nothing: a fake domain never crashes.
    fn take_along(&self, _guest: DomId) {}

    fn acquire_resource(
        &self,
        guest: DomId,
        server: u16,
        frame: u64,
    ) -> Result<Resource, MapError> {
        self.count_hypercall(nr::MEMORY_OP);
        if self.world.inner.fails(Fault::Resource) {
            return Err(ENOMEM.into());
        }
        let guest = self.guest(guest)?;
        guest.with(|state| {
            let resources = state.resources.clone();
            let server = state.server(server)?;
            let page = match frame {
                XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ if server.handles_buffered => {
                    &mut server.buffered
                }
                XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ => &mut server.ioreqs,
                _ => return Err(EINVAL.into()),
            };
            let memory = page.get_or_insert_with(|| Rc::new(Memory::new())).clone();
            resources.set(resources.get() + 1);
            Ok(Resource(Rc::new(Mapped {
                memory,
                count: resources,
            })))
        })
    }

    fn window(&self, guest: DomId) -> Result<Window, OutOfMemory> {
        if self.world.inner.fails(Fault::Window) {
            return Err(OutOfMemory);
        }
        Ok(Window {
            domain: self.clone(),
            guest,
            pages: vec![None; WINDOW_PAGES],
        })
    }
}

struct Mapped {
    memory: Rc<Memory>,
    count: Rc<Cell<usize>>,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

/// A page of an ioreq server, mapped.
#[derive(Clone)]
pub struct Resource(Rc<Mapped>);

impl SharedPage for Resource {
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.0.memory.word(offset)
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(offset + into.len() <= PAGE_SIZE, "beyond the page's end");
        self.0.memory.read(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset + from.len() <= PAGE_SIZE, "beyond the page's end");
        self.0.memory.write(offset, from);
    }

    fn zero(&self, offset: usize, length: usize) {
        assert!(offset + length <= PAGE_SIZE, "beyond the page's end");
        self.0.memory.zero(offset, length);
    }
}

/// Addresses at which pages of a guest are shown.
pub struct Window {
    domain: Domain,
    guest: DomId,
    pages: Vec<Option<Rc<Mapped>>>,
}

impl Window {
    /// Calls `what` with each page of a range, the bytes of it that are meant, and where they are in the range.
    fn each(
        &self,
        offset: usize,
        length: usize,
        mut what: impl FnMut(&Memory, usize, Range<usize>),
    ) {
        assert!(
            offset + length <= WINDOW_PAGES * PAGE_SIZE,
            "beyond the window's end"
        );
        let mut done = 0;
        while done < length {
            let at = (offset + done) % PAGE_SIZE;
            let end = length.min(done + PAGE_SIZE - at);
            let page = self.pages[(offset + done) / PAGE_SIZE].as_ref();
            what(&page.expect("a page that is shown").memory, at, done..end);
            done = end;
        }
    }
}

impl dm::Window for Window {
    fn show(&mut self, page: usize, gfns: Range<u64>) -> Result<(), Errno> {
        self.domain.count_hypercall(nr::MMU_UPDATE);
        for (page, gfn) in (page..).zip(gfns) {
            assert!(self.pages[page].is_none(), "a page that is shown already");
            if self.domain.world.inner.fails(Fault::GuestPage) {
                return Err(ENOMEM);
            }
            let guest = self.domain.guest(self.guest)?;
            let mapped = guest.with(|state| {
                let (memory, kind) = state.ram.get(&gfn).ok_or(EINVAL)?;
                if *kind == Ram::ReadOnly {
                    return Err(EPERM);
                }
                state.shown.set(state.shown.get() + 1);
                Ok(Mapped {
                    memory: memory.clone(),
                    count: state.shown.clone(),
                })
            })?;
            self.pages[page] = Some(Rc::new(mapped));
        }
        Ok(())
    }

    fn shown(&self) -> u64 {
        let bits = self.pages.iter().enumerate();
        bits.fold(0, |mask, (page, shown)| {
            mask | u64::from(shown.is_some()) << page
        })
    }

    fn clear(&mut self) {
        if self.pages.iter().any(Option::is_some) {
            self.domain.count_hypercall(nr::MMU_UPDATE);
            self.domain.count_hypercall(nr::MMUEXT_OP);
        }
        self.pages.fill(None);
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        self.each(offset, into.len(), |page, at, range| {
            page.read(at, &mut into[range]);
        });
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.each(offset, from.len(), |page, at, range| {
            page.write(at, &from[range]);
        });
    }
}

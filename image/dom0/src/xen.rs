//! What Linux offers of Xen to a process in dom0: pages that a domain granted, event channels, and hypercalls.
//!
//! No kept crate has it without Xen's C libraries. The shapes are those of Linux' `xen/gntdev.h`,
//! `xen/evtchn.h` and `xen/privcmd.h`, and of Xen's `domctl.h` and `sched.h`.
#![expect(
    unsafe_code,
    reason = "ioctls of Xen's devices, hypercalls, memory that another domain writes, a descriptor by its number"
)]

use minios_rs::abi::sched::ShutdownReason;
use minios_rs::xen::{DomId, GrantRef, PAGE_SIZE, Port, SharedPage};
use rustix::ioctl::opcode::from_components;
use rustix::ioctl::{Direction, Opcode, Setter, Updater, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// `struct ioctl_gntdev_map_grant_ref` with one reference.
#[repr(C)]
struct MapGrantRef {
    count: u32,
    pad: u32,
    /// Out: where in the device the page lies.
    index: u64,
    domid: u32,
    reference: u32,
}
const _: () = assert!(size_of::<MapGrantRef>() == 24);

/// `struct ioctl_gntdev_unmap_grant_ref`.
#[repr(C)]
struct UnmapGrantRef {
    index: u64,
    count: u32,
    pad: u32,
}
const _: () = assert!(size_of::<UnmapGrantRef>() == 16);

/// `struct ioctl_evtchn_bind_interdomain`.
#[repr(C)]
struct BindInterdomain {
    remote_domain: u32,
    remote_port: u32,
}

/// `struct ioctl_evtchn_restrict_domid`.
#[repr(C)]
struct RestrictDomid {
    domid: u16,
}

/// Xen's devices say no direction in their numbers.
const fn number<T>(group: u8, number: u8) -> Opcode {
    from_components(Direction::None, group, number, size_of::<T>())
}

const MAP_GRANT_REF: Opcode = number::<MapGrantRef>(b'G', 0);
const UNMAP_GRANT_REF: Opcode = number::<UnmapGrantRef>(b'G', 1);
const BIND_INTERDOMAIN: Opcode = number::<BindInterdomain>(b'E', 1);
/// These two take a `struct` of one port.
const UNBIND: Opcode = number::<u32>(b'E', 3);
const NOTIFY: Opcode = number::<u32>(b'E', 4);
const RESTRICT_DOMID: Opcode = number::<RestrictDomid>(b'E', 6);

fn open(path: &str, flags: i32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// `/dev/xen/gntdev`: maps pages that domains granted to dom0.
pub(crate) struct GrantDevice {
    device: Rc<File>,
}

impl GrantDevice {
    pub(crate) fn open() -> io::Result<Self> {
        let device = Rc::new(open("/dev/xen/gntdev", 0)?);
        Ok(Self { device })
    }

    /// Maps a page for reading and writing.
    pub(crate) fn map(&self, domain: DomId, reference: GrantRef) -> io::Result<Mapping> {
        let mut request = MapGrantRef {
            count: 1,
            pad: 0,
            index: 0,
            domid: domain.0.into(),
            reference: reference.0,
        };
        // SAFETY: number and shape are those of the kernel's header, asserted above.
        let update = unsafe { Updater::<MAP_GRANT_REF, _>::new(&mut request) };
        // SAFETY: the kernel writes the struct's own fields only.
        unsafe { ioctl(&*self.device, update) }?;
        let index = request.index;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let mapped = unsafe {
            mmap(
                null_mut(),
                PAGE_SIZE,
                access,
                MapFlags::SHARED,
                &*self.device,
                index,
            )
        };
        let base = match mapped {
            Ok(base) => NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?,
            Err(error) => {
                release(&self.device, index);
                return Err(error.into());
            }
        };
        let owner = Owner {
            device: Rc::clone(&self.device),
            index,
            base,
        };
        Ok(Mapping(Rc::new(owner)))
    }
}

/// Has the device forget a page. If it does not, it does so at the end of the process.
fn release(device: &File, index: u64) {
    let request = UnmapGrantRef {
        index,
        count: 1,
        pad: 0,
    };
    // SAFETY: number and shape are those of the kernel's header, asserted above.
    let set = unsafe { Setter::<UNMAP_GRANT_REF, _>::new(request) };
    // SAFETY: the kernel reads the struct only, and whoever calls has unmapped the page.
    let _ = unsafe { ioctl(device, set) };
}

/// A page of another domain's; it goes with its last handle.
#[derive(Clone)]
pub(crate) struct Mapping(Rc<Owner>);

struct Owner {
    device: Rc<File>,
    index: u64,
    base: NonNull<AtomicU32>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: mapped by `GrantDevice::map`, with this length; no reference outlives the handles.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), PAGE_SIZE) };
        release(&self.device, self.index);
    }
}

impl SharedPage for Mapping {
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(
            offset.is_multiple_of(4) && offset < PAGE_SIZE,
            "no such word"
        );
        // SAFETY: inside the page that `Owner` has mapped as long as `self` lives.
        let word = unsafe { self.0.base.add(offset / 4) };
        // SAFETY: aligned, as the page is; nothing but atomics of this type touches it in this process.
        unsafe { word.as_ref() }
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        for (at, byte) in (offset..).zip(into) {
            let word = self.word(at & !3).load(Ordering::Relaxed);
            *byte = word.to_ne_bytes()[at & 3];
        }
    }

    fn write(&self, offset: usize, from: &[u8]) {
        // The peer does not write where we do, so that a word of ours is only ours.
        for (at, byte) in (offset..).zip(from) {
            let word = self.word(at & !3);
            let mut bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            bytes[at & 3] = *byte;
            word.store(u32::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    }

    fn zero(&self, offset: usize, length: usize) {
        for at in offset..offset + length {
            self.write(at, &[0]);
        }
    }
}

/// `/dev/xen/evtchn`: event channels to one domain.
pub(crate) struct EventDevice {
    device: File,
    domain: DomId,
}

impl EventDevice {
    /// Opens the device for channels to `domain` only: the kernel binds no other from here on.
    pub(crate) fn open(domain: DomId) -> io::Result<Self> {
        let device = open(
            "/dev/xen/evtchn",
            rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
        )?;
        // SAFETY: number and shape are those of the kernel's header.
        let set = unsafe { Setter::<RESTRICT_DOMID, _>::new(RestrictDomid { domid: domain.0 }) };
        // SAFETY: the kernel reads the struct only.
        unsafe { ioctl(&device, set) }?;
        Ok(Self { device, domain })
    }

    /// Binds the domain's port to one of ours.
    pub(crate) fn bind(&self, remote: Port) -> io::Result<Port> {
        let request = BindInterdomain {
            remote_domain: self.domain.0.into(),
            remote_port: remote.0,
        };
        // SAFETY: the kernel reads a struct of this shape.
        unsafe { ioctl(&self.device, Bind(request)) }
            .map(Port)
            .map_err(Into::into)
    }

    pub(crate) fn unbind(&self, port: Port) {
        // SAFETY: number and shape are those of the kernel's header.
        let set = unsafe { Setter::<UNBIND, _>::new(port.0) };
        // SAFETY: the kernel reads the port only. That it is bound no longer is what was wanted.
        let _ = unsafe { ioctl(&self.device, set) };
    }

    pub(crate) fn notify(&self, port: Port) {
        // SAFETY: number and shape are those of the kernel's header.
        let set = unsafe { Setter::<NOTIFY, _>::new(port.0) };
        // SAFETY: the kernel reads the port only. It fails when the domain is gone, which others tell.
        let _ = unsafe { ioctl(&self.device, set) };
    }

    /// A port that rang; it rings again once it is [`EventDevice::unmask`]ed. `None`: none did.
    pub(crate) fn pending(&self) -> io::Result<Option<Port>> {
        let mut port = [0; 4];
        match (&self.device).read(&mut port) {
            Ok(4) => Ok(Some(Port(u32::from_ne_bytes(port)))),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn unmask(&self, port: Port) -> io::Result<()> {
        (&self.device).write_all(&port.0.to_ne_bytes())
    }
}

impl AsFd for EventDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// The ioctl answers with the port, which no ready-made pattern takes.
struct Bind(BindInterdomain);

// SAFETY: it points to the struct that its number stands for, which the kernel only reads, and what it
// gives is the number the kernel returned.
unsafe impl rustix::ioctl::Ioctl for Bind {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        BIND_INTERDOMAIN
    }

    fn as_ptr(&mut self) -> *mut core::ffi::c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(
        port: rustix::ioctl::IoctlOutput,
        _: *mut core::ffi::c_void,
    ) -> rustix::io::Result<u32> {
        Ok(port.cast_unsigned())
    }
}

/// `struct privcmd_hypercall`.
#[repr(C)]
struct Hypercall {
    number: u64,
    arguments: [u64; 5],
}
const _: () = assert!(size_of::<Hypercall>() == 48);

const HYPERCALL: Opcode = number::<Hypercall>(b'P', 0);

/// `__HYPERVISOR_sched_op`, and `SCHEDOP_remote_shutdown` with `sched_remote_shutdown_t`.
const SCHED_OP: u64 = 29;
const REMOTE_SHUTDOWN: u64 = 4;

#[repr(C)]
struct RemoteShutdown {
    domain: u16,
    reason: u32,
}
const _: () = assert!(size_of::<RemoteShutdown>() == 8);

/// `__HYPERVISOR_domctl`, and `XEN_DOMCTL_getdomaininfo` of it.
const DOMCTL: u64 = 36;
const GET_DOMAIN_INFO: u32 = 5;

/// `struct xen_domctl`, of which only the head differs from version to version.
#[repr(C, align(8))]
struct Domctl {
    command: u32,
    version: u32,
    domain: u16,
    pad: [u16; 3],
    /// `struct xen_domctl_getdomaininfo`: whose it is, and `XEN_DOMINF_*`.
    found: u16,
    pad1: u16,
    flags: u32,
    /// Of all that Xen writes; it has 128 bytes, and room to grow.
    rest: [u64; 31],
}
const _: () = assert!(offset_of!(Domctl, found) == 16 && size_of::<Domctl>() == 272);

/// `XEN_DOMCTL_INTERFACE_VERSION`: of Xen 4.17, and as far as it may rise.
const VERSIONS: std::ops::Range<u32> = 0x15..0x40;

/// How often a hypercall is repeated that Xen found no memory for.
const FAULTS_MAX: u32 = 16;

const DYING: u32 = 1 << 0;
const SHUT_DOWN: u32 = 1 << 2;
const PAUSED: u32 = 1 << 3;

/// What Xen says of a domain that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DomainState {
    /// None of its instructions is executed any more.
    pub(crate) is_shut_down: bool,
    /// By the toolstack.
    pub(crate) is_paused: bool,
}

/// `/dev/xen/privcmd`: two hypercalls, as dom0 may do them.
pub(crate) struct Hypervisor {
    device: File,
    /// Of its domctls.
    version: u32,
}

impl Hypervisor {
    /// # Errors
    /// There is no such device, or Xen takes none of the versions that are known here.
    pub(crate) fn open() -> io::Result<Self> {
        let mut hypervisor = Self {
            device: open("/dev/xen/privcmd", 0)?,
            version: 0,
        };
        for version in VERSIONS {
            hypervisor.version = version;
            match hypervisor.state(DomId(0)) {
                // It is another.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                outcome => return outcome.map(|_| hypervisor),
            }
        }
        let message = "Xen takes none of the domctls that are known here";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    /// How a domain is; `None` if there is none of this number.
    pub(crate) fn state(&self, domain: DomId) -> io::Result<Option<DomainState>> {
        let mut domctl = Domctl {
            command: GET_DOMAIN_INFO,
            version: self.version,
            domain: domain.0,
            pad: [0; 3],
            found: 0,
            pad1: 0,
            flags: 0,
            rest: [0; 31],
        };
        let call = Hypercall {
            number: DOMCTL,
            arguments: [(&raw mut domctl).expose_provenance() as u64, 0, 0, 0, 0],
        };
        // SAFETY: Xen reads and writes the one argument, which is longer than what it knows.
        match unsafe { self.call(call) } {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            outcome => outcome?,
        }
        // Xen answers with the next if there is none of that number.
        let is_there = domctl.found == domain.0 && domctl.flags & DYING == 0;
        Ok(is_there.then_some(DomainState {
            is_shut_down: domctl.flags & SHUT_DOWN != 0,
            is_paused: domctl.flags & PAUSED != 0,
        }))
    }

    /// Has Xen take a domain for one that has shut down, if it has not done so itself.
    pub(crate) fn shut_down(&self, domain: DomId, reason: ShutdownReason) -> io::Result<()> {
        let argument = RemoteShutdown {
            domain: domain.0,
            reason: reason as u32,
        };
        let address = (&raw const argument).expose_provenance() as u64;
        let call = Hypercall {
            number: SCHED_OP,
            arguments: [REMOTE_SHUTDOWN, address, 0, 0, 0],
        };
        // SAFETY: Xen reads the one argument, which has the shape that it knows.
        unsafe { self.call(call) }.map_err(Into::into)
    }

    /// # Safety
    /// As the hypercall: the addresses among its arguments are those of memory that it may use as it does.
    unsafe fn call(&self, mut call: Hypercall) -> rustix::io::Result<()> {
        let mut tries = 0;
        loop {
            // As one that writes: a reading one is an instruction after which the compiler takes all memory for what
            // it was.
            // SAFETY: number and shape are those of the kernel's header, asserted above.
            let update = unsafe { Updater::<HYPERCALL, _>::new(&mut call) };
            // SAFETY: the kernel reads the struct only; what the hypercall does, whoever calls has answered for.
            match unsafe { ioctl(&self.device, update) } {
                // Linux was moving the page to another place in memory; it is there again.
                Err(rustix::io::Errno::FAULT) if tries < FAULTS_MAX => tries += 1,
                outcome => return outcome,
            }
        }
    }
}

/// Another handle to what the program was started with as descriptor `number`.
///
/// # Errors
/// When none of that number is open, or it is one of the standard streams.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::other("a standard stream is no socket"));
    }
    // SAFETY: used for one call only, which fails if nothing of that number is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?)
}

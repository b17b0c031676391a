//! Other domains' pages, mapped by grant.
#![expect(unsafe_code, reason = "raw memory that another domain writes as well")]

use super::page_table;
use super::shared::Window;
use crate::abi::grant_table::{
    GNTMAP_HOST_MAP, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTTABOP_MAP_GRANT_REF,
    GNTTABOP_UNMAP_GRANT_REF, MapGrantRef, UnmapGrantRef,
};
use crate::hypercall;
use crate::xen::{DomId, GrantRef, GrantStatus, ResourceError, SharedPage};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use spin::Mutex;

/// Addresses that have page tables and show nothing now. Used again, so that attaching and detaching
/// for ever takes no more of them than there are mappings at a time.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Another domain's page, mapped to be read and written; unmapped with its last handle.
#[derive(Clone, Debug)]
pub struct Foreign {
    mapping: Arc<Mapping>,
}

#[derive(Debug)]
struct Mapping {
    address: usize,
    handle: u32,
}

impl Foreign {
    /// Maps what `owner` granted.
    ///
    /// # Errors
    /// [`ResourceError::Status`]: Xen's verdict on the grant; [`ResourceError::Memory`]: no page for a
    /// page table.
    pub fn map(owner: DomId, reference: GrantRef) -> Result<Self, ResourceError> {
        let free = FREE.lock().pop();
        let address = match free {
            Some(address) => address,
            None => page_table::reserve_foreign(1)?,
        };
        let mut argument = MapGrantRef {
            host_addr: address as u64,
            flags: GNTMAP_HOST_MAP,
            reference: reference.0,
            dom: owner.0,
            status: GNTST_GENERAL_ERROR,
            ..MapGrantRef::default()
        };
        // SAFETY: the operation's own argument type; the address shows nothing, so no Rust value lies
        // there, and it is this mapping's alone until it is free again.
        let called = unsafe { hypercall::grant_table_op(GNTTABOP_MAP_GRANT_REF, &mut argument) };
        if called.is_err() || argument.status != GNTST_OKAY {
            FREE.lock().push(address);
            return Err(GrantStatus(argument.status).into());
        }
        Ok(Self {
            mapping: Arc::new(Mapping {
                address,
                handle: argument.handle,
            }),
        })
    }

    fn window(&self) -> Window {
        // SAFETY: mapped, readable and writable, as long as `self.mapping` lives, which is as long as
        // the window: it does not leave the methods below but for a lifetime tied to `self`.
        unsafe { Window::new(self.mapping.address) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut argument = UnmapGrantRef {
            host_addr: self.address as u64,
            handle: self.handle,
            status: GNTST_GENERAL_ERROR,
            ..UnmapGrantRef::default()
        };
        // SAFETY: the operation's own argument type; this was the last handle, so nobody refers to the
        // page any more. Xen clears the entry and flushes it.
        let called = unsafe { hypercall::grant_table_op(GNTTABOP_UNMAP_GRANT_REF, &mut argument) };
        if called.is_ok() && argument.status == GNTST_OKAY {
            FREE.lock().push(self.address);
        } else {
            // The address is lost, which is safe; the page's owner will have to wait for us to end.
            log::error!("a mapping could not be ended: {}", argument.status);
        }
    }
}

impl SharedPage for Foreign {
    fn word(&self, offset: usize) -> &AtomicU32 {
        let word: *const AtomicU32 = self.window().word(offset);
        // SAFETY: the mapping lives at least as long as the borrow of `self`.
        unsafe { &*word }
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        self.window().read(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.window().write(offset, from);
    }

    fn zero(&self, offset: usize, length: usize) {
        self.window().zero(offset, length);
    }
}

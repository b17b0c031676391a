//! What a domain asks the simulated Xen for, as the real one is asked.

#![forbid(unsafe_code)]

use super::{Binding, COPIES_PER_CALL, Channel, Domain, Fault, Foreign, Grant, Page};
use crate::abi::errno::{EACCES, EINVAL, ENOMEM};
use crate::abi::grant_table::{
    GNTST_BAD_COPY_ARG, GNTST_BAD_GNTREF, GNTST_EAGAIN, GNTST_GENERAL_ERROR,
    GNTST_PERMISSION_DENIED,
};
use crate::abi::xen::nr;
use crate::grant::kept::Kept;
use crate::time::Instant;
use crate::xen::{
    Access, CopyEnd, DomId, Errno, GrantCopy, GrantError, GrantRef, GrantStatus, Hypercalls,
    OutOfMemory, PAGE_SIZE, Port, ResourceError, Xen,
};
use alloc::rc::Rc;

/// What Xen says of a grant that cannot be used.
fn status_of(error: Errno) -> GrantStatus {
    GrantStatus(if error == EACCES {
        GNTST_PERMISSION_DENIED
    } else {
        GNTST_BAD_GNTREF
    })
}

impl Domain {
    /// One entry of [`Xen::copy_grants`].
    fn copy_one(&self, copy: &GrantCopy<Page>) -> Result<(), GrantStatus> {
        let len = usize::from(copy.len);
        let (from, to) = (
            usize::from(copy.source_offset),
            usize::from(copy.destination_offset),
        );
        if from + len > PAGE_SIZE || to + len > PAGE_SIZE {
            return Err(GrantStatus(GNTST_BAD_COPY_ARG));
        }
        if self.world.inner.fails(Fault::Copy) {
            return Err(GrantStatus(GNTST_GENERAL_ERROR));
        }
        if self.world.inner.fails(Fault::CopyBusy) {
            return Err(GrantStatus(GNTST_EAGAIN));
        }
        let memory = |end: &CopyEnd<Page>, access| match end {
            CopyEnd::Page(page) => {
                assert_eq!(page.0.owner, self.id, "a domain copies its own pages");
                Ok(page.0.memory.clone())
            }
            CopyEnd::Grant { domain, reference } => {
                self.granted(*domain, *reference, access).map_err(status_of)
            }
        };
        let source = memory(&copy.source, Access::ReadOnly)?;
        let destination = memory(&copy.destination, Access::ReadWrite)?;
        let mut bytes = [0; PAGE_SIZE];
        source.read(from, &mut bytes[..len]);
        destination.write(to, &bytes[..len]);
        Ok(())
    }
}

impl Xen for Domain {
    type Page = Page;
    type Foreign = Foreign;

    fn allocate_page(&self) -> Result<Page, OutOfMemory> {
        if self.world.inner.fails(Fault::Page) {
            return Err(OutOfMemory);
        }
        Ok(self.builder_page())
    }

    fn grant(&self, to: DomId, page: &Page, access: Access) -> Result<GrantRef, GrantError> {
        if self.world.inner.fails(Fault::Grant) {
            return Err(GrantError::Full);
        }
        if let Some(kept) = self.world.inner.kept.borrow_mut().get_mut(&self.id) {
            kept.retry(|reference| self.end_access(reference));
        }
        assert_eq!(page.0.owner, self.id, "a domain grants its own pages");
        self.with(self.id, |domain| {
            if domain.grants.len() >= domain.grants_max {
                return Err(GrantError::Full);
            }
            // References are used again as late as can be, so that a stale one finds nothing.
            let reference = domain.next_grant;
            domain.next_grant += 1;
            let grant = Grant {
                to,
                memory: Rc::downgrade(&page.0.memory),
                access,
                mapped: 0,
            };
            domain.grants.insert(reference, grant);
            Ok(GrantRef(reference))
        })
    }

    fn end_access(&self, reference: GrantRef) -> Result<(), GrantError> {
        self.with(self.id, |domain| {
            let grant = domain
                .grants
                .get(&reference.0)
                .expect("a grant is ended once");
            if grant.mapped > 0 {
                return Err(GrantError::InUse);
            }
            domain.grants.remove(&reference.0);
            Ok(())
        })
    }

    fn keep(&self, reference: GrantRef, page: Page) {
        let mut kept = self.world.inner.kept.borrow_mut();
        kept.entry(self.id)
            .or_insert_with(Kept::new)
            .add(reference, page);
    }

    fn allocate_port(&self, remote: DomId) -> Result<Port, Errno> {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        if self.world.inner.fails(Fault::Port) {
            return Err(ENOMEM);
        }
        let port = self.free_port()?;
        self.with(self.id, |domain| {
            let binding = Binding::Unbound { remote };
            domain.channels.insert(
                port.0,
                Channel {
                    binding,
                    pending: false,
                    received: 0,
                },
            );
        });
        Ok(port)
    }

    fn bind_port(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno> {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        if self.world.inner.fails(Fault::Bind) {
            return Err(EINVAL);
        }
        let ours = self.free_port()?;
        self.with(remote, |domain| match domain.channels.get_mut(&remote_port.0) {
            Some(channel) if matches!(channel.binding, Binding::Unbound { remote } if remote == self.id) => {
                channel.binding = Binding::Interdomain { remote: self.id, port: ours };
                Ok(())
            }
            _ => Err(EINVAL),
        })?;
        let binding = Binding::Interdomain {
            remote,
            port: remote_port,
        };
        self.with(self.id, |domain| {
            domain.channels.insert(
                ours.0,
                Channel {
                    binding,
                    // As in Xen: what was sent before is not lost.
                    pending: true,
                    received: 0,
                },
            );
        });
        Ok(ours)
    }

    fn map_grant(&self, owner: DomId, reference: GrantRef) -> Result<Foreign, ResourceError> {
        self.count_hypercall(nr::GRANT_TABLE_OP);
        if self.world.inner.fails(Fault::Map) {
            return Err(GrantStatus(GNTST_GENERAL_ERROR).into());
        }
        let mapped = self.map(owner, reference, Access::ReadWrite);
        mapped.map_err(|error| status_of(error).into())
    }

    fn copy_grants(&self, copies: &mut [GrantCopy<Page>]) {
        for _ in copies.chunks(COPIES_PER_CALL) {
            self.count_hypercall(nr::GRANT_TABLE_OP);
        }
        for copy in copies {
            copy.status = match self.copy_one(copy) {
                Ok(()) => {
                    self.with(self.id, |domain| domain.copied_bytes += u64::from(copy.len));
                    GrantStatus::OKAY
                }
                Err(status) => status,
            };
        }
    }

    fn notify(&self, port: Port) -> Result<(), Errno> {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        if self.world.inner.fails(Fault::Notify) {
            return Err(EINVAL);
        }
        let binding = self
            .with(self.id, |domain| {
                domain.channels.get(&port.0).map(|channel| channel.binding)
            })
            .ok_or(EINVAL)?;
        if let Binding::Interdomain { remote, port } = binding {
            self.with(remote, |domain| {
                if let Some(channel) = domain.channels.get_mut(&port.0) {
                    channel.pending = true;
                    channel.received += 1;
                }
            });
        }
        // Xen drops what is sent to an unbound port without a word.
        Ok(())
    }

    fn close_port(&self, port: Port) {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        let channel = self.with(self.id, |domain| domain.channels.remove(&port.0));
        let channel = channel.expect("a port is closed once");
        if let Binding::Pirq { pirq } = channel.binding {
            self.unbind_interrupt(pirq);
        }
        if let Binding::Interdomain {
            remote,
            port: other,
        } = channel.binding
        {
            self.with(remote, |domain| {
                if let Some(channel) = domain.channels.get_mut(&other.0) {
                    channel.binding = Binding::Unbound { remote: self.id };
                }
            });
        }
    }

    fn now(&self) -> Instant {
        self.world.inner.now.get()
    }

    fn hypercalls(&self) -> Hypercalls {
        self.with(self.id, |domain| {
            Hypercalls::new(domain.hypercalls, domain.copied_bytes)
        })
    }
}

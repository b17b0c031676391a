//! xen/memory.h

/// `XENMEM_maximum_reservation`: the most pages a domain may have, from a `domid_t *`.
pub const XENMEM_MAXIMUM_RESERVATION: u64 = 4;

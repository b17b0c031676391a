//! xen/hvm/*.h: what a device model and Xen say to each other about an HVM guest.

pub mod dm_op;
pub mod hvm_op;
pub mod ioreq;
pub mod params;

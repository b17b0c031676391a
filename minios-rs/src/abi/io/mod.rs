//! xen/io/*.h

pub mod blkif;
pub mod console;
pub mod libxenvchan;
pub mod netif;
pub mod pciif;
pub mod ring;
pub mod xenbus;
pub mod xs_wire;

//! What lies between a request of Xen's and the registers of a device.

mod width;

pub use width::Width;

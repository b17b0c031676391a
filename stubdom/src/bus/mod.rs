//! What lies between a request of Xen's and the registers of a device.

mod claims;
mod lines;
mod width;

pub use claims::{Claim, Claims};
pub use lines::{Levels, Lines};
pub use width::Width;

/// Where an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A port.
    Port(u16),
    /// A physical address.
    Memory(u64),
    /// A register of a function's configuration space on bus 0: device << 3 | function, and the byte.
    Register(u8, usize),
}

/// What answers accesses. Nobody there: reads give all ones, writes go nowhere.
pub trait Bus {
    /// The guest reads.
    fn read(&mut self, place: Place, width: Width) -> u32;
    /// The guest writes.
    fn write(&mut self, place: Place, width: Width, value: u32);
}

//! The devices, one per file: registers and state, without bus, clock or I/O.
//!
//! A device is read and written; what follows from a write is state that the bus asks for afterwards:
//! the level of an interrupt line, a request, output. None of them allocates for an access, and
//! whatever a guest writes, none panics or loops longer than its registers are wide.

pub mod pci;

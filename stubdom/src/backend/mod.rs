//! What stands behind devices: carries out what they ask for.

pub mod disk;
mod vbd;

//! What the fuzz targets share. A target uses the compiler or the engine: of the other
//! nothing is linked.

pub mod compiler;
pub mod engine;
pub mod packet;

//! What the fuzz targets share. A target uses one of these: of the other nothing is linked.

pub mod compiler;
pub mod engine;

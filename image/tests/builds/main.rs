//! Builds from nothing, each with its own copy or folder of what is built: side by side, because most of
//! what they wait for is one compiler at a time.

mod reproducible;
mod toolchain;

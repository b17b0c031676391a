#![doc = include_str!("../README.md")]

pub mod bugs;
pub mod campaign;
mod choices;
pub mod class;
pub mod compare;
pub mod configuration;
pub mod describe;
pub mod engine;
pub mod figures;
pub mod generate;
pub mod linux;
pub mod namespace;
pub mod older;
pub mod packet;
pub mod protocol;
pub mod shrink;
pub mod step;
pub mod traffic;
pub mod trial;
pub mod wanted;

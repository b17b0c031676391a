#![doc = include_str!("../README.md")]

pub mod appliance;
#[cfg(feature = "program")]
pub mod bench;
pub mod build;
pub mod config;
pub mod device;
pub mod elf;
#[cfg(feature = "program")]
pub mod explain;
pub mod findings;
pub mod inspect;
pub mod loader;
pub mod netdom;
pub mod options;
pub mod output;
#[cfg(feature = "program")]
pub mod run;
pub mod site;
pub mod stubdom;
pub mod symbolize;
pub mod verify;
pub mod vif;
pub mod workspace;
mod xlcfg;

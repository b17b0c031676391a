#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cards;
pub mod config;
pub mod nic;
pub mod switch;

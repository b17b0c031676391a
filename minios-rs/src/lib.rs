//! minios-rs
#![no_std]

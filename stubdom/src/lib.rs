//! stubdom
#![no_std]

//! netdom
#![no_std]

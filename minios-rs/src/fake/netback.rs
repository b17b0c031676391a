//! A scriptable netback
#![forbid(unsafe_code)]

//! What depends on how Xen runs the domain. Only paravirtualized x86-64 today.

pub mod pv;

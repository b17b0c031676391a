//! xen/io/ring.h

//! xen/io/xs_wire.h

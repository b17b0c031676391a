//! xen/memory.h

//! xen/io/console.h

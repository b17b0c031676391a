//! xen/io/xenbus.h

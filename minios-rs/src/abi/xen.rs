//! xen/xen.h

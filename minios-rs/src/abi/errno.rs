//! xen/errno.h

//! xen/io/netif.h

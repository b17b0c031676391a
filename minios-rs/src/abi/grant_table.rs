//! xen/grant_table.h

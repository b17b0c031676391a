//! xen/elfnote.h

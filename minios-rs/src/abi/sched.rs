//! xen/sched.h

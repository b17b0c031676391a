//! xen/vcpu.h

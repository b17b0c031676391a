//! hypercall

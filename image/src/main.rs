//! xen-image
fn main() {}

//! The lab's own tests.

fn main() {}

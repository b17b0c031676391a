//! Any file as the kernel that `xen-image` is to judge: an image or an error, what comes out is
//! taken again as it is, and what is told of it is told of any file.

#![no_main]

use image::elf;
use image::loader::Machine;
use image::verify::{Strictness, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match elf::strip(data) {
        Ok(image) => {
            let again = elf::strip(&image.bytes).expect("what was let out is an image");
            assert_eq!(again, image);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let report = verify(data, &Machine::default());
    for strictness in [Strictness::Lenient, Strictness::Strict] {
        assert!(!report.text("file", strictness).is_empty());
    }
    // Whoever is strict lets nothing through that others refuse.
    assert!(report.passes(Strictness::Lenient) || !report.passes(Strictness::Strict));
    assert!(!image::inspect::inspect(data).to_string().is_empty());
});

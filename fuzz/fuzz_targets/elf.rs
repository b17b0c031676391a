//! Any file as the kernel that `xen-image` is to judge: an image or an error, and what comes out is
//! taken again as it is.

#![no_main]

use image::elf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match elf::strip(data) {
        Ok(image) => {
            let again = elf::strip(&image.bytes).expect("what was let out is an image");
            assert_eq!(again, image);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

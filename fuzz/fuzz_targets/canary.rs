//! Not a target but the proof that fuzzing works here: a crash four comparisons deep, which only
//! coverage feedback finds in any time. `.ci/fuzz` fails if this one does not crash.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut deep = 0;
    for (byte, wanted) in data.iter().zip(b"Dom0") {
        if byte != wanted {
            break;
        }
        deep += 1;
    }
    assert!(deep < 4, "the crash that must be found");
});

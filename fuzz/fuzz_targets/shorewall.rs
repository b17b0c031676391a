//! Any text as one of a site's files: a report, or a policy that the engine would load.
//!
//! The first line of the input names the file (`rules`, `shorewall.conf`, …), the rest is its text;
//! the other files are those of a small site that is right.

#![no_main]

use fuzz::compiler::{SHOREWALL_FILES, compile, with};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (name, text) = match end {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    // A name that was changed out of recognition still means some file.
    let file = SHOREWALL_FILES
        .iter()
        .find(|file| file.as_bytes() == name)
        .unwrap_or_else(|| {
            let sum: usize = name.iter().map(|byte| usize::from(*byte)).sum();
            &SHOREWALL_FILES[sum % SHOREWALL_FILES.len()]
        });
    compile(with(&format!("shorewall/{file}"), text))
});

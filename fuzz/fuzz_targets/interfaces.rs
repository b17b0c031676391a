//! Any text as interfaces(5) of a site that is right otherwise.

#![no_main]

use fuzz::compiler::{compile, with};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus { compile(with("network/interfaces", data)) });

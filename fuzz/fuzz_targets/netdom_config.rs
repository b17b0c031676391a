//! Any bytes as netdom's configuration, both as the user's file and as the blob of `ramdisk=`: a configuration or an
//! error, each with its place, and what one end writes the other reads.

#![no_main]

use image::findings::Findings;
use libfuzzer_sys::fuzz_target;
use netdom::config::{self, Config};
use shorewall::Style;

/// What is sound is so everywhere.
fn is_sound(config: &Config) {
    assert_eq!(config.check(), Ok(()));
    assert!(!image::netdom::summary(config).is_empty());
    let blob = config::encode(config).expect("it makes sense");
    assert_eq!(config::open(&blob).as_ref(), Ok(config));
}

fuzz_target!(|data: &[u8]| {
    match config::open(data) {
        Ok(config) => is_sound(&config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let body = match data.starts_with(&config::MAGIC) {
        true => data.get(config::HEADER..).unwrap_or_default(),
        false => data,
    };
    // Nobody guesses a checksum.
    if let Ok(config) = config::open(&config::seal(body)) {
        is_sound(&config);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut findings = Findings::default();
    match image::netdom::read("netdom.toml", text, &mut findings) {
        Some(config) => {
            assert_eq!(findings.errors(), 0);
            is_sound(&config);
        }
        None => assert!(findings.errors() > 0),
    }
    assert_eq!(
        findings.render(Style::Plain).is_empty(),
        findings.diagnostics().is_empty()
    );
});

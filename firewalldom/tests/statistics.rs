//! The firewall's statistics as bytes.

use firewalldom::policy::blob::{self, Identity};
use firewalldom::stat::{DecodeError, Flows, RuleHits, Statistics, VERSION};
use minios_rs::stat::{Count, Detail};
use proptest::prelude::*;

fn sample() -> Statistics {
    Statistics {
        site: "example".to_owned(),
        policy: Identity {
            version: 1,
            checksum: 0x0123_4567_89ab_cdef,
        },
        forwarded: 70_000,
        local: 12,
        drops: vec![
            Count::new("DROP", 3),
            Count::new("flow table full", u64::MAX),
        ],
        flows: Flows {
            now: 17,
            peak: 300,
            capacity: 9000,
            evicted: 1,
        },
        log_lines_suppressed: 2,
        files: vec!["shorewall/rules".to_owned()],
        rules: vec![RuleHits {
            file: 0,
            line: 19,
            hits: 200,
        }],
        rules_left_out: 0,
    }
}

/// [`sample`] as the first release wrote it. It is never regenerated: what changes it is a new
/// version.
const SAMPLE_V1: &[u8] = include_bytes!("statistics-v1.bin");

fn detail(bytes: &[u8]) -> Detail {
    Detail {
        version: VERSION,
        bytes: bytes.to_vec(),
    }
}

#[test]
fn statistics_of_version_1_are_still_read_and_written() {
    assert_eq!(Statistics::decode(&detail(SAMPLE_V1)), Ok(sample()));
    assert_eq!(sample().encode(), detail(SAMPLE_V1));
}

#[test]
fn another_version_is_named_and_damage_is_refused() {
    for len in 0..SAMPLE_V1.len() {
        let cut = detail(&SAMPLE_V1[..len]);
        assert_eq!(Statistics::decode(&cut), Err(DecodeError::Malformed));
    }
    let newer = Detail {
        version: 2,
        ..detail(SAMPLE_V1)
    };
    assert_eq!(
        Statistics::decode(&newer),
        Err(DecodeError::Version { found: 2 })
    );
}

#[test]
fn a_rule_of_a_file_that_is_not_there_has_no_name() {
    let mut statistics = sample();
    statistics.rules[0].file = 1;
    assert_eq!(statistics.file(&statistics.rules[0]), "?");
}

#[test]
fn a_policys_identity_is_what_its_header_says() {
    let mut bytes = b"XENFWPOL\x01\0\0\0\x05\0\0\0".to_vec();
    bytes.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
    assert_eq!(blob::identity(&bytes), Some(sample().policy));
    assert_eq!(blob::identity(&bytes[..23]), None);
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
        let _ = Statistics::decode(&detail(&bytes));
    }

    #[test]
    fn a_changed_byte_does_no_harm(at in 0..SAMPLE_V1.len(), value: u8) {
        let mut bytes = SAMPLE_V1.to_vec();
        bytes[at] = value;
        let _ = Statistics::decode(&detail(&bytes));
    }
}

//! Any bytes as what a domain says it counts: an error, or a report that is written as it was read.

#![no_main]

use firewalldom::stat::Statistics;
use libfuzzer_sys::fuzz_target;
use minios_rs::stat::Report;

fuzz_target!(|data: &[u8]| {
    match Report::decode(data) {
        Ok(report) => {
            let again = Report::decode(&report.encode()).expect("it reads what it wrote");
            assert_eq!(again, report);
            if let Some(detail) = &report.detail
                && let Ok(statistics) = Statistics::decode(detail)
            {
                assert_eq!(Statistics::decode(&statistics.encode()), Ok(statistics));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

//! The file of raw samples: `docs/results/SUITE.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Benchmark;
use super::conditions::Conditions;
use super::figure::{Figure, Measured};
use super::samples::Samples;

/// Everything that is known of one suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Debian's code name.
    pub suite: String,
    /// The circumstances of each benchmark's last run.
    pub conditions: BTreeMap<Benchmark, Conditions>,
    /// The xl configurations of both systems.
    pub configurations: BTreeMap<String, String>,
    /// Every sample.
    pub samples: Samples,
    /// What follows from them: never measured, always computed.
    figures: Vec<Measured>,
}

impl Record {
    /// A suite of which nothing is known.
    pub fn new(suite: &str) -> Self {
        Self {
            suite: suite.to_owned(),
            conditions: BTreeMap::new(),
            configurations: BTreeMap::new(),
            samples: Samples::default(),
            figures: Vec::new(),
        }
    }

    /// Reads a file; what it says about medians, ratios and verdicts is computed anew.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// [`Record::load`] of a text.
    ///
    /// # Errors
    /// When it is no record.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// The file's text.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn render(&self) -> Result<String> {
        let mut whole = self.clone();
        whole.figures = whole.figures();
        Ok(serde_json::to_string_pretty(&whole)? + "\n")
    }

    /// What follows from the samples.
    pub fn figures(&self) -> Vec<Measured> {
        Figure::all_measured(&self.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::samples::{Start, System};

    #[test]
    fn figures_follow_from_the_samples_whatever_the_file_says() {
        let mut record = Record::new("bookworm");
        record.samples.starts.push(Start {
            system: System::Debian,
            run: 0,
            xl_create_us: 1,
            first_packet_us: 2_500_000,
        });
        let text = record.render().unwrap();
        assert_eq!(Record::parse(&text).unwrap().render().unwrap(), text);
        let forged = text.replacen("\"median\": 2.5", "\"median\": 9.5", 1);
        assert_ne!(forged, text);
        assert_eq!(Record::parse(&forged).unwrap().render().unwrap(), text);
    }
}

//! `cargo image run house`: all domains of `examples/house` at once, and what is left in dom0.

use crate::bench::{LabTest, expect};
use anyhow::Result;
use image::build::TargetChoice;
use image::run::house;
use image::run::table::Style;
use image::workspace::Workspace;
use qemu_tests::{Lab, Tier};

pub(crate) fn tests() -> Vec<LabTest> {
    // Two boots, each with a guest that a BIOS and a boot loader start.
    match Tier::current() {
        Tier::Short => Vec::new(),
        Tier::Full => vec![LabTest::own(
            "house::stands_and_little_is_left_in_dom0",
            stands_and_little_is_left_in_dom0,
        )],
    }
}

fn stands_and_little_is_left_in_dom0(lab: &Lab) -> Result<()> {
    let tell = |what: &str| println!("{what}");
    let target = TargetChoice::Auto;
    let finished = house::perform(&Workspace::find()?, lab.suite(), target, &tell)?;
    let report = &finished.report;
    let text = report.render(Style::Plain);
    println!("{text}");
    expect(report.as_expected(), || text)?;
    finished.stop()
}

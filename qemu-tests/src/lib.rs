#![doc = include_str!("../README.md")]

mod accesses;
mod apt;
mod boot_sector;
mod channel;
mod cpio;
mod debian;
mod disk;
mod driver;
mod guest;
mod host;
mod initrd;
mod lab;
mod linux;
mod machine;
mod net;
mod progress;
mod protocol;
mod qemu;
mod recipe;
mod router;
mod runs;
mod shorewall;
mod suite;
mod terminal;
mod tier;
mod tree;

pub use accesses::{Accesses, Way, Width};
pub use boot_sector::{READY, boot_sector_disk};
pub use channel::{Command, Output, Running, Status, Stdin, Stream};
pub use debian::GuestType;
pub use driver::DebianDriver;
pub use guest::{DebianGuest, Extras, RunningGuest, Told};
pub use lab::Lab;
pub use machine::{Machine, Options, Xenstored};
pub use net::Net;
pub use progress::{Progress, to_stderr};
pub use qemu::Iommu;
pub use router::{DebianRouter, RouterFiles, RouterGuests, RouterVif};
pub use suite::{SUITE_VARIABLE, Suite, UnknownSuite};
pub use tier::{SHORT_REPETITIONS, Tier, lab_is_required};

use std::fmt;

/// Why this host cannot have a lab: not a fault of the lab or of a test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Impossible(pub String);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Impossible {}

fn impossible<T>(why: &str) -> anyhow::Result<T> {
    Err(Impossible(why.to_owned()).into())
}

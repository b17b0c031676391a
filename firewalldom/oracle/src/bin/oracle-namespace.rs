//! The process inside the namespaces: becomes a Debian gateway with Shorewall, takes frames on its
//! standard input and tells what came out. Started by the library, never by hand.

use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(packages), Some(root)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: oracle-namespace PACKAGES ROOT, in namespaces of its own");
    };
    oracle::namespace::serve(&packages, &root)
}

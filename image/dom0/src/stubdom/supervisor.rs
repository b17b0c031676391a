//! A process beside the helper, for the day on which the stub domain is there no more and its guest still is.
//!
//! A stub domain that panics ends its guest itself. One that Xen ends cannot, as after an overflow of its stack, and
//! a guest whose device model does not answer waits for ever, with nobody told: xl looks after the guest only. Xen
//! tells whether a domain runs only by a hypercall that dom0 may do and that cannot be had alone: so this is a
//! process of its own, which reads nothing that any domain wrote.

use super::privileges::{self, User};
use super::{RELEASED, number_of};
use crate::connection::Connection;
use crate::store::Store;
use crate::xen::{DomainState, Hypervisor};
use minios_rs::abi::sched::ShutdownReason;
use minios_rs::xen::DomId;
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The name under which the program is this process.
pub(crate) const PROGRAM: &str = "xen-image-stubdom-supervisor";

/// How often it looks if xenstore is silent.
const PAUSE: Duration = Duration::from_secs(3600);

/// Starts it. It is nobody's child who must be waited for: it ends after the helper, or is a zombie as long as that
/// lives.
pub(crate) fn start(stub: DomId, guest: DomId) -> io::Result<()> {
    // Not by the name in /proc, which would be what `ps` and `top` show.
    Command::new(env::current_exe()?)
        .arg0(PROGRAM)
        .args([stub, guest].map(|domain| domain.0.to_string()))
        .stdin(Stdio::null())
        .spawn()
        .map(drop)
}

/// Runs until one of the two is gone.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
    let mut domain = || {
        let word = words.next().unwrap_or_default();
        number_of(&word.to_string_lossy())
            .ok_or("two domains are to be named: the helper starts this")
    };
    let (stub, guest) = (domain()?, domain()?);
    let mut store = Connection::open()?;
    // It fires at once, too: what was before is looked at.
    store.watch(RELEASED)?;
    let xen = Hypervisor::open()?;
    privileges::give_up(User::Supervisor, stub)?;
    loop {
        store.wait(PAUSE)?;
        match next(xen.state(stub)?, xen.state(guest)?) {
            Next::Wait => {}
            Next::Leave => return Ok(()),
            Next::End => {
                let (stub, guest) = (stub.0, guest.0);
                let said = format!(
                    "domain {stub} is a device model no more: its guest, domain {guest}, has crashed"
                );
                // A log that cannot be written is no reason not to.
                let _ = writeln!(io::stdout(), "{PROGRAM}: {said}");
                break;
            }
        }
    }
    xen.shut_down(guest, ShutdownReason::Crash)?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait,
    /// There is nothing to do any more.
    Leave,
    /// The guest.
    End,
}

/// What follows from how the stub domain and the guest are.
fn next(stub: Option<DomainState>, guest: Option<DomainState>) -> Next {
    match (stub, guest) {
        (_, None) => Next::Leave,
        (Some(stub), Some(_)) if !stub.is_shut_down => Next::Wait,
        // libxl pauses a guest before it destroys it, and its stub domain with it: were it to be taken for one that
        // has crashed, xl might start it again.
        (None, Some(guest)) if guest.is_paused => Next::Leave,
        (_, Some(_)) => Next::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: Option<DomainState> = Some(DomainState {
        is_shut_down: false,
        is_paused: false,
    });
    const PAUSED: Option<DomainState> = Some(DomainState {
        is_shut_down: false,
        is_paused: true,
    });
    const SHUT_DOWN: Option<DomainState> = Some(DomainState {
        is_shut_down: true,
        is_paused: false,
    });

    #[test]
    fn a_guest_without_a_device_model_is_ended() {
        for guest in [RUNS, PAUSED, SHUT_DOWN] {
            assert_eq!(next(SHUT_DOWN, guest), Next::End);
        }
        assert_eq!(next(None, RUNS), Next::End);
    }

    #[test]
    fn a_guest_that_is_destroyed_has_not_crashed() {
        assert_eq!(next(None, PAUSED), Next::Leave);
    }

    #[test]
    fn a_device_model_that_runs_or_is_paused_is_left_alone() {
        for stub in [RUNS, PAUSED] {
            for guest in [RUNS, PAUSED, SHUT_DOWN] {
                assert_eq!(next(stub, guest), Next::Wait);
            }
        }
    }

    #[test]
    fn it_goes_with_the_guest() {
        for stub in [None, RUNS, PAUSED, SHUT_DOWN] {
            assert_eq!(next(stub, None), Next::Leave);
        }
    }
}

//! What the helper gives up once all is open.
//!
//! Rights are given up by a thread: the process has one.

use minios_rs::xen::DomId;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Gid, Resource, Rlimit, Uid, chroot, fchdir, setrlimit};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::fs;
use std::io;
use std::path::PathBuf;

/// Users from here on are nobody's: no system gives such numbers out. One for each domain and process, so that none
/// can as much as signal another.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum User {
    /// The first of the helpers.
    Helper = 0x7000_0000,
    /// The first of those that look after guests.
    Supervisor = 0x7001_0000,
}

/// Where a folder can be made for a moment.
const RUN: &str = "/run";

/// Descriptors that may be open at a time: the devices, consoles, a few connections.
const FILES_MAX: u64 = 128;

/// The process becomes a user of its own, in an empty folder that is no longer there, without groups,
/// capabilities, or a way to others. Which user.
pub(crate) fn give_up(first: User, domain: DomId) -> io::Result<u32> {
    let user = first as u32 + u32::from(domain.0);
    let empty = PathBuf::from(format!("{RUN}/xen-image-{}", std::process::id()));
    fs::create_dir(&empty)?;
    let opened = open(&empty, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    fs::remove_dir(&empty)?;
    fchdir(opened?)?;
    chroot(".")?;
    let at_most = |count| Rlimit {
        current: Some(count),
        maximum: Some(count),
    };
    setrlimit(Resource::Core, at_most(0))?;
    setrlimit(Resource::Nofile, at_most(FILES_MAX))?;
    set_thread_groups(&[])?;
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // Last: the limit would count what root has running.
    setrlimit(Resource::Nproc, at_most(0))?;
    set_no_new_privs(true)?;
    Ok(user)
}

//! Xen's paravirtual clock (xen/xen.h, `vcpu_time_info`): the TSC scaled by what Xen publishes.
#![expect(unsafe_code, reason = "rdtsc")]

use crate::abi::xen::{SharedInfo, VcpuTimeInfo};
use crate::event;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use core::time::Duration;

/// The last value given out: the clock never steps back, whatever Xen publishes.
static LAST_NS: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds since Xen booted. Monotonic.
///
/// Where the TSC is not invariant Xen traps `rdtsc`, at 2 to 4 µs a read: once a batch is right,
/// once a packet is not.
pub fn system_time_ns() -> u64 {
    let now = read(&event::shared_info().vcpu_info[0].time);
    LAST_NS.fetch_max(now, Ordering::Relaxed).max(now)
}

/// Time since 1970, as Xen has it.
pub fn wall_clock() -> Duration {
    let shared: &SharedInfo = event::shared_info();
    loop {
        let version = shared.wc_version.load(Ordering::Acquire);
        let high = u64::from(shared.wc_sec_hi.load(Ordering::Relaxed));
        let seconds = high << 32 | u64::from(shared.wc_sec.load(Ordering::Relaxed));
        let nanoseconds = shared.wc_nsec.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if version & 1 == 0 && version == shared.wc_version.load(Ordering::Relaxed) {
            let boot = Duration::new(seconds, 0)
                .saturating_add(Duration::from_nanos(u64::from(nanoseconds)));
            return boot.saturating_add(Duration::from_nanos(system_time_ns()));
        }
    }
}

fn read(time: &VcpuTimeInfo) -> u64 {
    loop {
        let version = time.version.load(Ordering::Acquire);
        let stamp = time.tsc_timestamp.load(Ordering::Relaxed);
        let system = time.system_time.load(Ordering::Relaxed);
        let multiplier = time.tsc_to_system_mul.load(Ordering::Relaxed);
        let shift = time.tsc_shift.load(Ordering::Relaxed).cast_signed();
        // SAFETY: every x86-64 processor has it, and Xen lets guests use it.
        let tsc = unsafe { core::arch::x86_64::_rdtsc() };
        fence(Ordering::Acquire);
        if version & 1 == 0 && version == time.version.load(Ordering::Relaxed) {
            return system.wrapping_add(scale(tsc.wrapping_sub(stamp), multiplier, shift));
        }
    }
}

/// Ticks to nanoseconds: shifted, then times a 0.32 fraction.
fn scale(ticks: u64, multiplier: u32, shift: i8) -> u64 {
    let shifted = if shift < 0 {
        ticks
            .checked_shr(u32::from(shift.unsigned_abs()))
            .unwrap_or(0)
    } else {
        ticks
            .checked_shl(u32::from(shift.unsigned_abs()))
            .unwrap_or(0)
    };
    ((u128::from(shifted) * u128::from(multiplier)) >> 32) as u64
}

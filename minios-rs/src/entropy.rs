//! Randomness for keys and port numbers.
#![expect(unsafe_code, reason = "processor instructions")]

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdseed64_step, _rdtsc};
use x86_64::instructions::random::RdRand;

/// Where randomness comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// RDSEED: conditioned entropy.
    RdSeed,
    /// RDRAND: a generator that the processor seeds.
    RdRand,
}

/// Attempts before an instruction that has nothing ready counts as absent; Intel recommends 10.
const ATTEMPTS: usize = 64;

/// 32 unpredictable bytes and where they came from. `None`: the processor (or what Xen shows of
/// it) has no source, and nothing that needs one may start.
///
/// The time-stamp counter is mixed in: it can add unpredictability, never take any.
pub fn seed() -> Option<([u8; 32], Source)> {
    let source = source()?;
    let mut seed = [0; 32];
    for chunk in seed.chunks_exact_mut(8) {
        let random = (0..ATTEMPTS).find_map(|_| draw(source))?;
        // SAFETY: every x86-64 processor has it.
        let jitter = unsafe { _rdtsc() };
        chunk.copy_from_slice(&(random ^ jitter.rotate_left(32)).to_le_bytes());
    }
    Some((seed, source))
}

fn source() -> Option<Source> {
    // Leaf 7, EBX bit 18.
    let has_rdseed = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & 1 << 18 != 0;
    [Source::RdSeed, Source::RdRand]
        .into_iter()
        .find(|&source| {
            let present = match source {
                Source::RdSeed => has_rdseed,
                Source::RdRand => RdRand::new().is_some(),
            };
            // Some virtual machines announce what then never answers.
            present && (0..ATTEMPTS).any(|_| draw(source).is_some())
        })
}

fn draw(source: Source) -> Option<u64> {
    match source {
        Source::RdSeed => {
            let mut value = 0;
            // SAFETY: only reached after CPUID showed RDSEED.
            let ready = unsafe { rdseed(&mut value) };
            ready.then_some(value)
        }
        Source::RdRand => RdRand::new()?.get_u64(),
    }
}

/// # Safety
/// The processor has RDSEED.
#[target_feature(enable = "rdseed")]
unsafe fn rdseed(value: &mut u64) -> bool {
    _rdseed64_step(value) == 1
}

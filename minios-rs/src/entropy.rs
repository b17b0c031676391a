//! Randomness for keys and port numbers.
#![expect(unsafe_code, reason = "processor instructions")]

use core::arch::asm;
use core::arch::x86_64::{_rdrand64_step, _rdseed64_step, _rdtsc};

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
    // Leaf 7, EBX bit 18; leaf 1, ECX bit 30.
    let has_rdseed = cpuid(0, 0).eax >= 7 && cpuid(7, 0).ebx & (1 << 18) != 0;
    let has_rdrand = cpuid(1, 0).ecx & (1 << 30) != 0;
    [(Source::RdSeed, has_rdseed), (Source::RdRand, has_rdrand)]
        .into_iter()
        // Some virtual machines announce what then never answers.
        .find(|&(source, present)| present && (0..ATTEMPTS).any(|_| draw(source).is_some()))
        .map(|(source, _)| source)
}

/// One leaf of CPUID.
struct Leaf {
    eax: u32,
    ebx: u32,
    ecx: u32,
}

/// CPUID as Xen shows it to this domain. Where the processor cannot make the plain instruction
/// fault, it would show the bare machine's, past `cpuid=` of the guest's configuration: so Xen is
/// asked with its prefix (XEN_EMULATE_PREFIX of xen/arch-x86/xen.h).
fn cpuid(leaf: u32, subleaf: u32) -> Leaf {
    let (eax, ebx, ecx): (u32, u64, u32);
    // SAFETY: Xen recognises the invalid instruction with "xen" behind it and emulates CPUID; rbx
    // is the compiler's, so it is kept elsewhere.
    unsafe {
        asm!(
            "mov {kept}, rbx",
            "ud2",
            ".byte 0x78, 0x65, 0x6e",
            "cpuid",
            "xchg {kept}, rbx",
            kept = out(reg) ebx,
            inlateout("eax") leaf => eax,
            inlateout("ecx") subleaf => ecx,
            lateout("edx") _,
            options(nomem, nostack),
        );
    }
    Leaf {
        eax,
        ebx: ebx as u32,
        ecx,
    }
}

fn draw(source: Source) -> Option<u64> {
    let mut value = 0;
    let ready = match source {
        // SAFETY: only reached after CPUID showed it.
        Source::RdSeed => unsafe { rdseed(&mut value) },
        // SAFETY: only reached after CPUID showed it.
        Source::RdRand => unsafe { rdrand(&mut value) },
    };
    ready.then_some(value)
}

/// # Safety
/// The processor has RDSEED.
#[target_feature(enable = "rdseed")]
unsafe fn rdseed(value: &mut u64) -> bool {
    _rdseed64_step(value) == 1
}

/// # Safety
/// The processor has RDRAND.
#[target_feature(enable = "rdrand")]
unsafe fn rdrand(value: &mut u64) -> bool {
    _rdrand64_step(value) == 1
}

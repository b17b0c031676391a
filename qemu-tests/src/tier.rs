//! How much a test run is to find out.

/// The tier of a test run, chosen by the environment variable `XEN_TESTS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// Every test, repetitions cut to [`SHORT_REPETITIONS`]. The default.
    Short,
    /// `XEN_TESTS=full`: every test as often as it asks for.
    Full,
}

/// The most repetitions a test gets in the short tier.
pub const SHORT_REPETITIONS: u32 = 3;

impl Tier {
    /// The tier of this process.
    #[must_use]
    pub fn current() -> Self {
        match std::env::var("XEN_TESTS").as_deref() {
            Ok("full") => Self::Full,
            _ => Self::Short,
        }
    }

    /// How often to repeat what the full tier repeats `full` times.
    #[must_use]
    pub fn repetitions(self, full: u32) -> u32 {
        match self {
            Self::Short => full.min(SHORT_REPETITIONS),
            Self::Full => full,
        }
    }
}

/// Whether a lab test that cannot run counts as failed instead of ignored: in
/// continuous integration (`CI=true`) and in the full tier.
#[must_use]
pub fn lab_is_required() -> bool {
    Tier::current() == Tier::Full || std::env::var("CI").is_ok_and(|value| value == "true")
}

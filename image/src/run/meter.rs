//! How much CPU time a domain takes while something else happens.

/// Bash functions `meter_start DOMAIN` and `meter_end`, to stand before a script in dom0.
pub const METER: &str = include_str!("meter.sh");

//! Test kernels for the lab: tiny domains that each check one thing on real Xen, chosen by the
//! word `check=NAME` on the command line, and print one line as XTF's do:
//! `Test result: SUCCESS`, `SKIP`, `ERROR` or `FAILURE`.
//!
//! A check that expects the domain to crash prints what it is about to do; the test in the lab
//! looks at the report and at how Xen says the domain ended.
#![no_std]

/// The word after `key=` on a command line.
pub fn argument<'a>(command_line: &'a str, key: &str) -> Option<&'a str> {
    command_line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::argument;

    #[test]
    fn arguments_are_whole_words() {
        assert_eq!(argument("a=1 check=null x", "check"), Some("null"));
        assert_eq!(argument("recheck=null check", "check"), None);
    }
}

#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

pub mod packet;
pub mod stream;

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

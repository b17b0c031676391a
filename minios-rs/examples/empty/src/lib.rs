#![doc = include_str!("../README.md")]
#![no_std]

/// What the domain is told by `extra=` of its guest configuration, one word each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `panic`: fail at once, to show what a failure looks like.
    Panic,
}

/// The first word of a command line that is an order.
pub fn order(command_line: &str) -> Option<Order> {
    command_line
        .split_ascii_whitespace()
        .find_map(|word| match word {
            "panic" => Some(Order::Panic),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_word_is_an_order() {
        assert_eq!(order(""), None);
        assert_eq!(order("don't-panic panicked"), None);
        assert_eq!(order("quiet panic"), Some(Order::Panic));
    }
}

//! Where an image has its policy from.

use core::fmt;

/// Where a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the module that the domain builder loads beside the image.
    Ramdisk,
    /// In the image itself, put there when it was built.
    Embedded,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ramdisk => "ramdisk= in the guest's configuration",
            Self::Embedded => "inside the image",
        })
    }
}

/// Two policies, of which nobody said which is meant. The engine then drops everything: a guess
/// would sometimes be a firewall with the wrong rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are two policies, one inside the image and one as ramdisk=: take ramdisk= out of the \
     guest's configuration, or use an image without a policy"
)]
pub struct Ambiguous;

/// The blob to decode: the one inside the image if there is one, else the module.
///
/// `module` is empty when the domain was given none.
///
/// # Errors
/// [`Ambiguous`] when there are both.
pub fn choose<'a>(
    module: &'a [u8],
    embedded: Option<&'a [u8]>,
) -> Result<(Place, &'a [u8]), Ambiguous> {
    match embedded {
        None => Ok((Place::Ramdisk, module)),
        Some(blob) if module.is_empty() => Ok((Place::Embedded, blob)),
        Some(_) => Err(Ambiguous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_in_one_place_is_taken_and_one_in_both_is_none() {
        assert_eq!(choose(b"m", None), Ok((Place::Ramdisk, &b"m"[..])));
        assert_eq!(choose(b"", None), Ok((Place::Ramdisk, &b""[..])));
        assert_eq!(choose(b"", Some(b"e")), Ok((Place::Embedded, &b"e"[..])));
        assert_eq!(choose(b"m", Some(b"e")), Err(Ambiguous));
        // Even the very same one: the next change would be to one of them.
        assert_eq!(choose(b"e", Some(b"e")), Err(Ambiguous));
    }
}

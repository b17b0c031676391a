//! What a path may look like (docs/misc/xenstore.txt in Xen's tree).

#![forbid(unsafe_code)]

use super::Error;
use crate::abi::io::xs_wire::{XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX};

/// Checks a path of ours before it goes out: `/`-separated names of letters, digits and `-_@`;
/// at most 3,072 bytes, or 2,048 if relative to the domain's home. `@releaseDomain` and its like
/// are the only ones to start with `@`.
///
/// # Errors
/// [`Error::BadPath`].
pub fn check(path: &str) -> Result<(), Error> {
    let limit = if path.starts_with('/') {
        XENSTORE_ABS_PATH_MAX
    } else {
        XENSTORE_REL_PATH_MAX
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    let root = path == "/";
    if path.is_empty()
        || path.len() > limit
        || (!root && path.ends_with('/'))
        || path.as_bytes().windows(2).any(|pair| pair == b"//")
        || !path.bytes().all(allowed)
    {
        return Err(Error::BadPath);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_xenstored_takes_them_pass() {
        for path in [
            "/",
            "/local/domain/0/backend/vif/3/0",
            "device/vif/0/state",
            "@releaseDomain",
            "data/a_b-c",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_xenstored_would_refuse_are_refused_here() {
        let long = "a".repeat(XENSTORE_REL_PATH_MAX + 1);
        for path in ["", "a/", "a//b", "a b", "a\0b", "ä", "a.b", long.as_str()] {
            assert_eq!(check(path), Err(Error::BadPath), "{path}");
        }
    }
}

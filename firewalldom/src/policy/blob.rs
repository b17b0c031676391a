//! The policy as bytes: header, checksum, postcard.

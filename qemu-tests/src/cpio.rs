//! An initrd: files in memory, written as a `newc` cpio archive.
//!
//! The format is the one Linux documents in
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use flate2::{Compression, write::GzEncoder};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What one path of the archive is.
#[derive(Clone, Debug)]
enum Node {
    Directory,
    File { permissions: u32, content: Vec<u8> },
    Symlink(String),
}

/// Paths without a leading `/`, and what is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    pub(crate) fn directory(&mut self, path: &str) {
        self.parents(path);
        self.insert(path, Node::Directory);
    }

    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: impl Into<Vec<u8>>) {
        self.parents(path);
        let content = content.into();
        self.insert(
            path,
            Node::File {
                permissions,
                content,
            },
        );
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.insert(path, Node::Symlink(target.to_owned()));
    }

    fn insert(&mut self, path: &str, node: Node) {
        self.nodes.insert(path.to_owned(), node);
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            self.nodes
                .entry(path[..end].to_owned())
                .or_insert(Node::Directory);
        }
    }

    /// What is not in `other`.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.nodes.retain(|path, _| !other.contains(path));
        self
    }

    /// The archive, gzipped quickly rather than well.
    pub(crate) fn gzip(&self) -> io::Result<Vec<u8>> {
        let mut to = GzEncoder::new(Vec::new(), Compression::fast());
        self.write(&mut to)?;
        to.finish()
    }

    /// The archive as it is: to unpack 50 MB costs an emulated processor seconds.
    pub(crate) fn plain(&self) -> io::Result<Vec<u8>> {
        let mut to = Vec::new();
        self.write(&mut to)?;
        Ok(to)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        const DIRECTORY: u32 = 0o040_755;
        const FILE: u32 = 0o100_000;
        const SYMLINK: u32 = 0o120_777;
        // BTreeMap's order puts every folder before what is in it.
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            let (mode, content) = match node {
                Node::Directory => (DIRECTORY, &[][..]),
                Node::File {
                    permissions,
                    content,
                } => (FILE | permissions, content.as_slice()),
                Node::Symlink(target) => (SYMLINK, target.as_bytes()),
            };
            entry(to, number, mode, path, content)?;
        }
        entry(to, 0, 0, "TRAILER!!!", &[])
    }
}

fn entry(
    to: &mut impl Write,
    number: u32,
    mode: u32,
    path: &str,
    content: &[u8],
) -> io::Result<()> {
    let too_large = |_| io::Error::other(format!("{path} is too large for a cpio archive"));
    let length = u32::try_from(content.len()).map_err(too_large)?;
    let name_length = u32::try_from(path.len() + 1).map_err(too_large)?;
    let links = 1;
    let fields = [
        number,
        mode,
        0,
        0,
        links,
        0,
        length,
        0,
        0,
        0,
        0,
        name_length,
        0,
    ];
    write!(to, "070701")?;
    for field in fields {
        write!(to, "{field:08X}")?;
    }
    write!(to, "{path}\0")?;
    let header = 6 + 8 * fields.len() + path.len() + 1;
    to.write_all(&[0; 3][..header.next_multiple_of(4) - header])?;
    to.write_all(content)?;
    to.write_all(&[0; 3][..content.len().next_multiple_of(4) - content.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_folders_come_first() {
        let mut archive = Archive::default();
        archive.file("usr/bin/true", 0o755, *b"#!x");
        archive.symlink("bin", "usr/bin");
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();

        let mut names = Vec::new();
        let mut at = 0;
        loop {
            let field = |index: usize| {
                let start = at + 6 + 8 * index;
                let digits = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
                usize::from_str_radix(digits, 16).unwrap()
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (length, name_length) = (field(6), field(11));
            let name = &bytes[at + 110..at + 110 + name_length - 1];
            let name = String::from_utf8(name.to_vec()).unwrap();
            let content = (at + 110 + name_length).next_multiple_of(4);
            if name == "TRAILER!!!" {
                break;
            }
            if name == "usr/bin/true" {
                assert_eq!(&bytes[content..content + length], b"#!x");
                assert_eq!(field(1), 0o100_755);
            }
            names.push(name);
            at = (content + length).next_multiple_of(4);
        }
        assert_eq!(names, ["bin", "usr", "usr/bin", "usr/bin/true"]);
    }
}

//! Cards, and what is at the other end of their cables.

use crate::bench::{PATIENCE, expect};
use crate::cards::{CARDS, mac};
use anyhow::{Context, Result};
use qemu_tests::Tier;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where QEMU's user networks have the file.
pub(super) const SERVER: &str = "10.0.2.100";

/// Who answers pings there.
pub(super) const GATEWAY: &str = "10.0.2.2";

/// A part of the file, from its beginning.
#[derive(Clone, Copy)]
pub(super) struct Part(usize);

impl Part {
    pub(super) const WHOLE: Self = Self(20 << 20);

    /// Where a whole one is fetched elsewhere: the emulated wire is slow. The full tier fetches it everywhere.
    pub(super) fn short() -> Self {
        match Tier::current() {
            Tier::Short => Self(2 << 20),
            Tier::Full => Self::WHOLE,
        }
    }

    pub(super) fn url(self) -> String {
        format!("http://{SERVER}/{}", self.0)
    }
}

/// A file that every connection to [`SERVER`] gets as much of as it asks for; at port 81 bytes are counted that
/// come.
pub(super) struct Served {
    folder: tempfile::TempDir,
}

impl Served {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // No two pages alike, and none that a compression would find.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = (0..Part::WHOLE.0 / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let data = folder.path().join("file");
        std::fs::write(&data, words.collect::<Vec<u8>>())?;
        // What it leaves unread of the question would be an error, and cost the answer's end.
        let serve = format!(
            "#!/bin/sh\nread -r get path rest\nlen=${{path#/}}\n\
             while read -r line && [ ${{#line}} -gt 1 ]; do :; done\n\
             printf 'HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' \"$len\"\n\
             exec head -c \"$len\" {}\n",
            data.display()
        );
        std::fs::write(folder.path().join("serve"), serve)?;
        let count = "#!/bin/sh\nhead -c 4194304 | wc -c\n";
        std::fs::write(folder.path().join("count"), count)?;
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn monitor(&self) -> PathBuf {
        self.path().join("monitor")
    }

    /// Pulls a card's cable, or puts it in.
    pub(super) fn set_link(&self, card: &str, state: &str) -> Result<()> {
        let mut monitor = UnixStream::connect(self.monitor())?;
        writeln!(monitor, "set_link {card} {state}")?;
        // It has read that when it asks for the next.
        let mut said = Vec::new();
        monitor.set_read_timeout(Some(PATIENCE))?;
        while String::from_utf8_lossy(&said).matches("(qemu) ").count() < 2 {
            let mut part = [0; 512];
            let read = monitor.read(&mut part)?;
            expect(read > 0, || "QEMU's monitor is closed".to_owned())?;
            said.extend(&part[..read]);
        }
        Ok(())
    }

    pub(super) fn hash(&self, part: Part) -> Result<String> {
        let line = format!("head -c {} file | sha256sum", part.0);
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(self.path())
            .output()?;
        let said = String::from_utf8(output.stdout)?;
        let hash = said.split_whitespace().next().context("no hash")?;
        Ok(hash.to_owned())
    }

    /// QEMU's arguments for a card with a network of its own, in which the file is served.
    pub(super) fn card(&self, number: usize) -> [String; 4] {
        let (device, mac, slot) = (CARDS[number].device, mac(number), 3 + number);
        let serve = self.path().join("serve");
        [
            "-netdev".to_owned(),
            format!(
                "user,id=wire{number},guestfwd=tcp:{SERVER}:80-cmd:sh {},guestfwd=tcp:{SERVER}:81-cmd:sh {}",
                serve.display(),
                self.path().join("count").display()
            ),
            "-device".to_owned(),
            format!("{device},netdev=wire{number},mac={mac},addr={slot:02x}.0"),
        ]
    }

    /// The same for the cards of [`TRUNK`], and for who pulls their cable.
    pub(super) fn trunk(&self) -> impl Iterator<Item = String> {
        let cards = TRUNK.iter().flat_map(|(id, device, bdf)| {
            let slot = &bdf[3..];
            [
                "-netdev".to_owned(),
                format!("hubport,id=cable-{id},hubid=1"),
                "-device".to_owned(),
                format!("{device},id={id},netdev=cable-{id},addr={slot}"),
            ]
        });
        let monitor = format!("unix:{},server=on,wait=off", self.monitor().display());
        cards.chain(["-monitor".to_owned(), monitor])
    }
}

/// Cards at one cable: two of a trunk's, and one at its other end.
pub(super) const TRUNK: [(&str, &str, &str); 3] = [
    ("own", "e1000e", "00:0a.0"),
    ("standby", "e1000", "00:0b.0"),
    ("peer", "e1000e", "00:0c.0"),
];

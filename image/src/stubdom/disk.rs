//! A disk of a guest's configuration, as xl-disk-configuration(5) has it.

/// What is said of one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) target: String,
    pub(super) format: String,
    pub(super) vdev: String,
    pub(super) access: String,
    pub(super) is_cdrom: bool,
    pub(super) backendtype: Option<String>,
    /// Words that stay as they are: `script=`, `discard` and the like.
    pub(super) rest: Vec<String>,
}

/// Formats that xl's kernel back end does not read.
const FORMATS: [&str; 7] = ["", "raw", "qcow", "qcow2", "vhd", "qed", "empty"];

/// Old spellings of what a target is.
const PREFIXES: [&str; 7] = [
    "tapdisk:", "tap2:", "tap:", "aio:", "ioemu:", "file:", "phy:",
];
const FORMAT_PREFIXES: [&str; 4] = ["raw:", "qcow2:", "qcow:", "vhd:"];
const SCRIPT_PREFIXES: [&str; 4] = ["iscsi:", "enbd:", "nbd:", "drbd:"];

/// Words with a value, and without.
const VALUED: [&str; 8] = [
    "backend=",
    "specification=",
    "script=",
    "colo-host=",
    "colo-port=",
    "colo-export=",
    "active-disk=",
    "hidden-disk=",
];
const FLAGS: [&str; 7] = [
    "direct-io-safe",
    "discard",
    "no-discard",
    "colo",
    "no-colo",
    "trusted",
    "untrusted",
];

impl Disk {
    /// Reads a disk, or says what makes no sense.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut disk = Self::default();
        let mut has_prefix = false;
        let mut positional = 0;
        let mut left = text;
        while !left.is_empty() {
            left = left.trim_start();
            // The rest, commas and all.
            if let Some(target) = left.strip_prefix("target=") {
                target.clone_into(&mut disk.target);
                break;
            }
            if positional == 0 && !has_prefix {
                left = disk.prefix(left, &mut has_prefix);
            }
            let (word, behind) = left.split_once(',').unwrap_or((left, ""));
            left = behind;
            if !disk.keyword(word)? {
                disk.positional(&mut positional, has_prefix, word)?;
            }
        }
        if let Some((vdev, kind)) = disk.vdev.rsplit_once(':') {
            match kind {
                "cdrom" => disk.is_cdrom = true,
                "disk" => {}
                kind => return Err(format!("`{kind}` is no kind of disk")),
            }
            disk.vdev = vdev.to_owned();
        }
        if !FORMATS.contains(&disk.format.as_str()) {
            return Err(format!("`{}` is no format that xl knows", disk.format));
        }
        if disk.vdev.is_empty() {
            return Err("it has no place: write vdev=hda, for instance".to_owned());
        }
        Ok(disk)
    }

    /// Cuts an old spelling off the front.
    fn prefix<'t>(&mut self, text: &'t str, has_prefix: &mut bool) -> &'t str {
        let of = |prefixes: &[&str]| {
            let prefix = prefixes.iter().find(|prefix| text.starts_with(**prefix))?;
            Some((
                prefix.trim_end_matches(':').to_owned(),
                &text[prefix.len()..],
            ))
        };
        let rest = if let Some((format, rest)) = of(&FORMAT_PREFIXES) {
            self.format = format;
            rest
        } else if let Some((script, rest)) = of(&SCRIPT_PREFIXES) {
            self.rest.push(format!("script=block-{script}"));
            rest
        } else if let Some((_, rest)) = of(&PREFIXES) {
            rest
        } else {
            return text;
        };
        *has_prefix = true;
        // They may stand in a row: tap:qcow2:/a/file.
        self.prefix(rest, has_prefix)
    }

    /// Takes a word that says itself what it is.
    fn keyword(&mut self, word: &str) -> Result<bool, String> {
        let known = |prefix: &&str| word.starts_with(*prefix);
        if let Some((key, value)) = word.split_once('=') {
            match key {
                "format" => value.clone_into(&mut self.format),
                "vdev" => value.clone_into(&mut self.vdev),
                "access" => value.clone_into(&mut self.access),
                "backendtype" => self.backendtype = Some(value.to_owned()),
                "devtype" => self.is_cdrom = value == "cdrom",
                _ if VALUED.iter().any(known) => self.rest.push(word.to_owned()),
                _ => return Err(format!("a disk has no setting `{key}`")),
            }
        } else if word == "cdrom" {
            self.is_cdrom = true;
        } else if FLAGS.contains(&word) {
            self.rest.push(word.to_owned());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn positional(
        &mut self,
        count: &mut usize,
        has_prefix: bool,
        word: &str,
    ) -> Result<(), String> {
        let place = match *count {
            0 => &mut self.target,
            // Where the target's spelling has said the format, it is left out.
            1 if has_prefix => {
                *count = 2;
                &mut self.vdev
            }
            1 => &mut self.format,
            2 => &mut self.vdev,
            3 => &mut self.access,
            _ => return Err(format!("`{word}` is one word too many")),
        };
        word.clone_into(place);
        *count += 1;
        Ok(())
    }

    /// Which disk it is, counted from `a`; `None`: xl counts in another way.
    pub(super) fn number(&self) -> Option<u32> {
        let letters = ["xvd", "hd", "sd"]
            .into_iter()
            .find_map(|prefix| self.vdev.strip_prefix(prefix))?;
        let mut letters = letters.bytes();
        match (letters.next()?, letters.next()) {
            (first @ b'a'..=b'z', None | Some(b'0'..=b'9')) => Some(u32::from(first - b'a')),
            _ => None,
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self.access.as_str(), "r" | "ro")
    }

    /// In the words of today.
    pub(super) fn render(&self) -> String {
        let mut words = vec![
            format!(
                "format={}",
                if self.format.is_empty() {
                    "raw"
                } else {
                    &self.format
                }
            ),
            format!("vdev={}", self.vdev),
        ];
        if !self.access.is_empty() {
            words.push(format!("access={}", self.access));
        }
        if self.is_cdrom {
            words.push("devtype=cdrom".to_owned());
        }
        let backend = self.backendtype.as_ref();
        words.extend(backend.map(|backend| format!("backendtype={backend}")));
        words.extend(self.rest.iter().cloned());
        words.push(format!("target={}", self.target));
        words.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Disk {
        Disk::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn every_spelling_that_xl_knows_is_one_disk() {
        let wanted = Disk {
            target: "/dev/vg/web".to_owned(),
            format: "raw".to_owned(),
            vdev: "hda".to_owned(),
            access: "rw".to_owned(),
            ..Disk::default()
        };
        for text in [
            "/dev/vg/web,raw,hda,rw",
            "/dev/vg/web, raw, hda, rw",
            "format=raw, vdev=hda, access=rw, target=/dev/vg/web",
            "raw:/dev/vg/web,hda,rw",
            "vdev=hda,access=rw,/dev/vg/web,raw",
            "tap:raw:/dev/vg/web,hda,rw",
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
        assert_eq!(parse(&wanted.render()), wanted);
    }

    #[test]
    fn a_cd_drive_is_known_by_each_of_its_names() {
        for text in [
            "/x.iso,raw,hdc,r,cdrom",
            "/x.iso,,hdc,devtype=cdrom",
            "file:/x.iso,hdc:cdrom,r",
            "vdev=hdc,devtype=cdrom,target=/x.iso",
        ] {
            let disk = parse(text);
            assert!(disk.is_cdrom, "{text}");
            assert_eq!(
                (disk.target.as_str(), disk.number()),
                ("/x.iso", Some(2)),
                "{text}"
            );
        }
        assert!(parse(",empty,hdc,r,cdrom").target.is_empty());
    }

    #[test]
    fn a_target_may_hold_commas_and_the_rest_is_kept() {
        let disk = parse("vdev=xvdb,discard,script=block-drbd,target=/a,b=c");
        assert_eq!(disk.target, "/a,b=c");
        assert_eq!(disk.rest, ["discard", "script=block-drbd"]);
        assert_eq!(parse("drbd:web,xvda,w").rest, ["script=block-drbd"]);
        let text = "format=raw,vdev=xvdb,discard,script=block-drbd,target=/a,b=c";
        assert_eq!(disk.render(), text);
    }

    #[test]
    fn places_are_counted_as_xl_counts_them() {
        for (vdev, number) in [
            ("hda", Some(0)),
            ("xvdc", Some(2)),
            ("sdb", Some(1)),
            ("hda1", Some(0)),
            ("xvdaa", None),
            ("d0", None),
            ("51712", None),
        ] {
            let disk = parse(&format!("vdev={vdev},target=/x"));
            assert_eq!(disk.number(), number, "{vdev}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_words() {
        for (text, part) in [
            ("/x", "no place"),
            ("/x,raw,hda,rw,more", "`more` is one word too many"),
            ("/x,vmdk,hda", "`vmdk` is no format"),
            ("/x,raw,hda:floppy", "`floppy` is no kind"),
            ("vdev=hda,colour=red,target=/x", "no setting `colour`"),
            ("", "no place"),
        ] {
            let why = Disk::parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}

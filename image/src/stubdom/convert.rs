//! A user's HVM guest, with its device model in a stub domain: its configuration, changed where it has to
//! be and nowhere else.

mod disks;
mod keys;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

use crate::findings::{Finding, Findings, SourceId};
use crate::xlcfg::{self, Setting, Text, Value, quoted};
use keys::{NO_SCREEN, NO_USB, REFUSED, WITHOUT};

/// MiB that a stub domain gets unless told otherwise, beside what its ramdisk takes.
const MEMORY_MIB: u32 = 32;

/// Letters of a vif's name, at most: Linux has 15, and xl adds `-emu` for the stub domain.
const VIFNAME_MAX: usize = 11;

/// Where dom0 has what `build stubdom` wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
    /// Bytes of `stubdom.ramdisk` there, as far as they are known: xl puts it into the stub domain's memory.
    pub ramdisk_bytes: u64,
}

impl Place {
    /// What `stubdomain_memory=` has to say.
    pub(super) fn memory_mib(&self) -> u64 {
        u64::from(MEMORY_MIB) + (self.ramdisk_bytes >> 20)
    }

    pub(super) fn file(&self, name: &str) -> String {
        quoted(&self.folder.join(name).to_string_lossy())
    }
}

/// A configuration that was converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The new file.
    pub text: String,
    /// What is other in it, in the order of the file; what was added comes last.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The line in the old file; `None`: added at the end.
    pub line: Option<usize>,
    /// What stood there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub was: String,
    /// What stands there now; empty: it is a comment now.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub now: String,
    /// Why.
    pub why: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.now.is_empty()) {
            (None, _) => write!(f, "added: {}", self.now)?,
            (Some(line), true) => write!(f, "line {line}: {}\n  is a comment now", self.was)?,
            (Some(line), false) => {
                write!(f, "line {line}: {}\n  is now: {}", self.was, self.now)?;
            }
        }
        write!(f, "\n  ({})", self.why)
    }
}

/// Converts a file's text. All that stands in the way is in `findings`, and then there is no conversion.
pub fn convert(
    name: &str,
    text: &str,
    place: &Place,
    findings: &mut Findings,
) -> Option<Conversion> {
    let source = findings.source(name, text);
    let before = findings.errors();
    let settings = xlcfg::parse(text, source, findings)?;
    let mut converter = Converter {
        text,
        source,
        settings: &settings,
        findings,
        edits: Vec::new(),
        added: Vec::new(),
    };
    converter.guest();
    converter.refuse();
    converter.device_model(place);
    converter.screen();
    converter.serial();
    converter.disks();
    converter.interfaces();
    converter.boot();
    let (edits, added) = (converter.edits, converter.added);
    (findings.errors() == before).then(|| apply(text, edits, added))
}

/// Something in the file that becomes something else.
struct Edit {
    place: Range<usize>,
    now: String,
    /// A change to tell of.
    told: Change,
}

struct Converter<'c> {
    text: &'c str,
    source: SourceId,
    settings: &'c [Setting],
    findings: &'c mut Findings,
    edits: Vec<Edit>,
    /// Lines, and why.
    added: Vec<(String, &'static str)>,
}

impl<'c> Converter<'c> {
    fn error(&mut self, message: impl Into<String>, at: &Range<usize>, label: &str, note: &str) {
        let finding = Finding::error(message)
            .at(self.source, at.clone(), label)
            .note(note);
        self.findings.push(finding);
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &'c Setting> + use<'c> {
        let settings = self.settings.iter();
        let key = key.to_owned();
        settings.filter(move |setting| setting.key == key)
    }

    /// The setting of a key that has one value.
    fn one(&mut self, key: &str) -> Option<&'c Setting> {
        let mut all = self.all(key);
        let first = all.next()?;
        if let Some(again) = all.next() {
            self.error(
                format!("`{key}` is set twice"),
                &again.key_place,
                "once more",
                "xl takes the last: leave the others out",
            );
        }
        Some(first)
    }

    /// The string or number of a key; `None`: it is not set.
    fn word(&mut self, key: &str) -> Option<&'c Text> {
        match &self.one(key)?.value {
            Value::Text(text) => Some(text),
            Value::List { place, .. } => {
                self.not_a_list(key, place);
                None
            }
        }
    }

    fn not_a_list(&mut self, key: &str, place: &Range<usize>) {
        let message = format!("`{key}` is a list");
        let note = "write it without brackets";
        self.error(message, place, "expected one value", note);
    }

    /// The strings of a key that has a list, or one string in place of a list of one.
    fn words(&mut self, key: &str) -> Vec<&'c Text> {
        let mut words = Vec::new();
        for setting in self.all(key) {
            match &setting.value {
                Value::Text(text) => words.push(text),
                Value::List { items, .. } => {
                    for item in items {
                        match item {
                            Value::Text(text) => words.push(text),
                            Value::List { place, .. } => {
                                let message = format!("`{key}` has a list in its list");
                                self.error(message, place, "expected a string", "write strings");
                            }
                        }
                    }
                }
            }
        }
        words
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at]
            .bytes()
            .filter(|byte| *byte == b'\n')
            .count()
            + 1
    }

    /// Puts something else at a place.
    fn replace(&mut self, place: &Range<usize>, now: String, why: &'static str) {
        let told = Change {
            line: Some(self.line(place.start)),
            was: self.text[place.clone()].to_owned(),
            now: now.clone(),
            why,
        };
        let place = place.clone();
        self.edits.push(Edit { place, now, told });
    }

    /// Gives a key this value, a literal.
    fn set(&mut self, key: &str, value: &str, why: &'static str) {
        let now = format!("{key} = {value}");
        match self.one(key) {
            None => self.added.push((now, why)),
            Some(setting) => {
                let place = setting.value.place();
                let Some(text) = setting.value.text() else {
                    self.not_a_list(key, place);
                    return;
                };
                if text != value && quoted(text) != value {
                    let told = Change {
                        line: Some(self.line(setting.key_place.start)),
                        was: self.text[setting.place()].to_owned(),
                        now,
                        why,
                    };
                    let (place, now) = (place.clone(), value.to_owned());
                    self.edits.push(Edit { place, now, told });
                }
            }
        }
    }

    /// Makes a setting a comment.
    fn comment_out(&mut self, setting: &Setting, why: &'static str) {
        let place = setting.place();
        let line_start = self.text[..place.start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[place.end..].find('\n');
        let line_end = line_end.map_or(self.text.len(), |at| place.end + at);
        let behind = self.text[place.end..line_end].trim_start();
        let is_alone = self.text[line_start..place.start].trim().is_empty()
            && (behind.is_empty() || behind.starts_with('#'));
        if !is_alone {
            self.error(
                format!("`{}` has to go, and shares its line", setting.key),
                &place,
                why,
                "put it on a line of its own, or leave it out",
            );
            return;
        }
        let told = Change {
            line: Some(self.line(place.start)),
            was: self.text[place.clone()].to_owned(),
            now: String::new(),
            why,
        };
        let now = format!("#{}", self.text[place.clone()].replace('\n', "\n#"));
        self.edits.push(Edit { place, now, told });
    }

    /// Only an HVM guest has a device model.
    fn guest(&mut self) {
        let kind = self.word("type").or_else(|| self.word("builder"));
        match kind {
            Some(kind) if kind.text == "hvm" => {}
            Some(kind) => {
                let message = format!("a guest of type `{}` has no device model", kind.text);
                self.error(
                    message,
                    &kind.place,
                    "not \"hvm\"",
                    "it needs no stub domain: start it as it is",
                );
            }
            None => self.findings.push(
                Finding::error("this guest has no device model: it does not say type=\"hvm\"")
                    .note("without that it is a PV guest, which needs no stub domain: start it as it is"),
            ),
        }
    }

    fn refuse(&mut self) {
        for setting in self.settings {
            let key = setting.key.as_str();
            if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
                let message = format!("a stub domain has no `{key}`");
                self.error(message, &setting.place(), "not here", instead);
            }
            if let Some((_, why)) = WITHOUT.iter().find(|(without, _)| *without == key) {
                self.comment_out(setting, why);
            }
        }
        if let Some(bios) = self.word("bios")
            && bios.text != "seabios"
        {
            self.error(
                format!("a stub domain has no BIOS `{}`", bios.text),
                &bios.place,
                "not \"seabios\"",
                "leave it out: the BIOS is SeaBIOS; a guest that needs UEFI stays with QEMU",
            );
        }
        self.usb();
    }

    fn usb(&mut self) {
        for key in ["usb", "usbdevice"] {
            let devices = self.words(key);
            let is_emulated = |text: &&Text| !text.text.starts_with("host:");
            if let Some(device) = devices.iter().copied().find(|device| !is_emulated(device)) {
                self.error(
                    "a stub domain has no USB",
                    &device.place,
                    "a device of the host's",
                    "leave it out; a disk of the host is given by disk=[…]",
                );
                continue;
            }
            for setting in self.all(key) {
                self.comment_out(setting, NO_USB);
            }
        }
    }

    fn device_model(&mut self, place: &Place) {
        self.set(
            "device_model_version",
            "\"qemu-xen\"",
            "the protocol that xl speaks with the stub domain",
        );
        self.set(
            "device_model_stubdomain_override",
            "1",
            "the device model is a domain of its own",
        );
        let kernel = place.file("stubdom.xen");
        self.set("stubdomain_kernel", &kernel, "the device model");
        let ramdisk = place.file("stubdom.ramdisk");
        self.set(
            "stubdomain_ramdisk",
            &ramdisk,
            "what it may need of dom0's files; xl insists on one",
        );
        let memory = place.memory_mib().to_string();
        self.set(
            "stubdomain_memory",
            &memory,
            "MiB, beside the guest's; the ramdisk is in it",
        );
        if self.all("stubdomain_cmdline").next().is_some() {
            self.set(
                "stubdomain_cmdline",
                "\"\"",
                "what stood there is for another stub domain",
            );
        }
        let helper = place.file(super::HELPER);
        self.set(
            "device_model_override",
            &helper,
            "xl starts it in dom0 where it would start QEMU: it serves the stub domain's consoles",
        );
    }

    fn screen(&mut self) {
        self.set("vga", "\"none\"", NO_SCREEN);
        self.set("vnc", "0", NO_SCREEN);
    }

    fn serial(&mut self) {
        if self.all("serial").next().is_none() {
            self.set(
                "serial",
                "\"pty\"",
                "the guest's console: `xl console GUEST`",
            );
        }
        for port in self.words("serial") {
            let is_served = matches!(port.text.as_str(), "pty" | "null" | "none")
                || port.text.starts_with("file:/");
            if !is_served {
                self.error(
                    format!("a serial port cannot lead to `{}`", port.text),
                    &port.place,
                    "not served",
                    "write \"pty\", and let a program of dom0's (socat, ser2net) connect the terminal that \
                     `xl console GUEST` shows; or \"file:/a/path\", or \"null\"",
                );
            }
        }
    }

    /// Emulated cards are not there: a guest has its vifs by Xen's own driver.
    fn interfaces(&mut self) {
        for text in self.words("vif") {
            let mut words: Vec<&str> = text.text.split(',').map(str::trim).collect();
            let name = words.iter().find_map(|word| word.strip_prefix("vifname="));
            if let Some(name) = name
                && name.len() > VIFNAME_MAX
            {
                self.error(
                    "the name of this interface is too long",
                    &text.place,
                    &format!("{} characters", name.len()),
                    &format!(
                        "give it {VIFNAME_MAX} at most: xl gives the stub domain the vif as well, as \"{name}-emu\", \
                         and Linux has no names of more than 15"
                    ),
                );
            }
            if words.contains(&"type=vif") {
                continue;
            }
            words.retain(|word| {
                !word.is_empty() && !word.starts_with("type=") && !word.starts_with("model=")
            });
            words.insert(0, "type=vif");
            self.replace(
                &text.place,
                quoted(&words.join(",")),
                "there is no emulated network card yet: the guest uses Xen's driver, which Linux and the BSDs bring along",
            );
        }
    }

    fn boot(&mut self) {
        let kernel = self.word("kernel");
        if let Some(kernel) = kernel
            && !kernel.text.ends_with("hvmloader")
        {
            let finding = Finding::warning("the stub domain cannot read dom0's files")
                .at(self.source, kernel.place.clone(), "a file of dom0's")
                .note(
                    "give it the same one in its ramdisk: `cargo image build stubdom --kernel FILE --initrd FILE --out OUT`; \
                     convert where that file is, or add its MiB to stubdomain_memory",
                );
            self.findings.push(finding);
        }
        if let Some(boot) = self.word("boot")
            && boot.text.contains('n')
        {
            let finding = Finding::warning("the BIOS cannot start it from the network")
                .at(self.source, boot.place.clone(), "`n` is passed over")
                .note("there is no emulated network card yet: write kernel= and ramdisk=, or boot from a disk");
            self.findings.push(finding);
        }
    }
}

/// What stands above what was added.
const HEADING: &str =
    "\n# Its device model is a domain of its own: written by `xen-image stubdom-convert`.\n";

fn apply(text: &str, mut edits: Vec<Edit>, added: Vec<(String, &'static str)>) -> Conversion {
    edits.sort_by_key(|edit| edit.place.start);
    let mut out = String::new();
    let mut changes = Vec::new();
    let mut at = 0;
    for edit in edits {
        out.push_str(&text[at..edit.place.start]);
        out.push_str(&edit.now);
        at = edit.place.end;
        changes.push(edit.told);
    }
    out.push_str(&text[at..]);
    if !added.is_empty() {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(HEADING);
    }
    for (line, why) in added {
        out.push_str(&format!("# {why}\n{line}\n"));
        changes.push(Change {
            line: None,
            was: String::new(),
            now: line,
            why,
        });
    }
    Conversion { text: out, changes }
}

#[cfg(test)]
mod tests;

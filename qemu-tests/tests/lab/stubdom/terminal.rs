//! A guest's serial line as its administrator has it: `xl console` in dom0.

use crate::bench::expect;
use anyhow::{Result, anyhow};
use qemu_tests::{Command, Machine, Running, Status};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a guest may take for what it is told: an emulated disk in an emulator is slow on a busy host.
const LIMIT: Duration = Duration::from_secs(900);

/// Letters that whoever reads them has room for.
const BURST: usize = 8;

/// How often it is looked whether they have appeared.
const LOOK: Duration = Duration::from_millis(500);

/// How long the terminal stays open.
const OPEN: Duration = Duration::from_secs(7200);

/// An open terminal; it is closed when this is dropped.
pub(crate) struct Terminal<'m> {
    machine: &'m Machine,
    screen: String,
    /// Bytes of the screen that have been looked at.
    seen: usize,
    commands: u32,
    keyboard: Running,
}

impl<'m> Terminal<'m> {
    /// Opens that of a guest that has been created.
    pub(crate) fn open(machine: &'m Machine, name: &str) -> Result<Self> {
        let screen = format!("/tmp/{name}.screen");
        machine.dom0(&format!("> {screen}"))?;
        let command = format!("exec script -qec 'xl console {name}' /dev/null > {screen}");
        let keyboard = machine.spawn(&Command::bash(command).limit(OPEN))?;
        Ok(Self {
            machine,
            screen,
            seen: 0,
            commands: 0,
            keyboard,
        })
    }

    /// Types.
    pub(crate) fn enter(&self, text: &str) -> Result<()> {
        self.keyboard.stdin().write(text.as_bytes())
    }

    /// Types as fast as what is typed appears: who looks at a serial port now and then has room for few letters.
    pub(crate) fn enter_slowly(&self, text: &str) -> Result<()> {
        let started = Instant::now();
        let mut typed = 0;
        while typed < text.len() {
            let end = text.len().min(typed + BURST);
            self.enter(&text[typed..end])?;
            typed = end;
            loop {
                let bytes = self.machine.get(&self.screen)?;
                let screen = without_escapes(&String::from_utf8_lossy(&bytes));
                if screen.trim_end().ends_with(&text[..typed]) {
                    break;
                }
                expect(started.elapsed() < LIMIT, || screen)?;
                sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Waits until a whole line that was not looked at yet holds `text`: what is on the screen since then.
    pub(crate) fn read_until(&mut self, text: &str) -> Result<String> {
        let Self { screen, seen, .. } = self;
        let awaited = Command::new([
            "dom0-agent",
            "await",
            &format!("+{seen}"),
            screen.as_str(),
            text,
        ]);
        let awaited = self.machine.run(&awaited.limit(LIMIT))?;
        let bytes = self.machine.get(screen)?;
        let fresh = String::from_utf8_lossy(&bytes[*seen..]).replace('\r', "");
        if awaited.status != Status::Code(0) {
            return Err(anyhow!("no {text:?} on the screen:\n{fresh}"));
        }
        *seen = bytes.len();
        Ok(fresh)
    }

    /// Has a shell that shows no prompt, and not what is typed, run a line that must succeed: what it said.
    pub(crate) fn run(&mut self, line: &str) -> Result<String> {
        self.commands += 1;
        let done = format!("done {} ", self.commands);
        self.enter(&format!("{{ {line}; }} 2>&1; echo \"{done}$?\"\n"))?;
        let screen = self.read_until(&done)?;
        let (said, status) = screen.split_once(&done).unwrap_or_default();
        expect(status.starts_with('0'), || format!("{line}: {screen}"))?;
        Ok(said.to_owned())
    }
}

/// A screen's text without what moves a terminal's cursor: escape, `[`, numbers, a letter.
fn without_escapes(screen: &str) -> String {
    let mut parts = screen.split("\x1b[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(
            part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
                .get(1..)
                .unwrap_or_default(),
        );
    }
    text
}

#![doc = include_str!("../README.md")]

mod arguments;
mod ask;
mod connection;
mod document;
mod domains;
mod store;
mod stubdom;
mod table;
mod xen;

use arguments::{Invocation, Stat};
use connection::Connection;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use stubdom::supervisor;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let program = Path::new(&name).file_name().unwrap_or_default();
    if program == stubdom::PROGRAM {
        return finish(stubdom::PROGRAM, stubdom::run(words));
    }
    if program == supervisor::PROGRAM {
        return finish(supervisor::PROGRAM, supervisor::run(words));
    }
    let invocation = match arguments::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            eprintln!("xen-image-dom0: {error}\ntry `xen-image-dom0 --help`");
            return ExitCode::from(2);
        }
    };
    let done = match invocation {
        Invocation::Help(text) => print(text),
        Invocation::Stat(stat) => statistics(&stat),
    };
    finish("xen-image-dom0", done)
}

fn finish(program: &str, done: Result<(), Box<dyn Error>>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `stat`: once, or again and again until somebody stops it or it fails.
fn statistics(stat: &Stat) -> Result<(), Box<dyn Error>> {
    let mut store = Connection::open()?;
    let domain = domains::find(&mut store, &stat.domain)?;
    loop {
        let report = ask::ask(&mut store, domain.id, stat.patience)?;
        if stat.json {
            let document = document::document(&domain, &report);
            let text = match stat.every {
                None => serde_json::to_string_pretty(&document)?,
                Some(_) => serde_json::to_string(&document)?,
            };
            print(&format!("{text}\n"))?;
        } else {
            print(&table::table(&domain, &report))?;
        }
        let Some(pause) = stat.every else {
            return Ok(());
        };
        std::thread::sleep(pause);
        if !stat.json {
            print("\n")?;
        }
    }
}

/// To standard output; a reader that went away is an error here, not a panic.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to standard output: {error}").into())
}

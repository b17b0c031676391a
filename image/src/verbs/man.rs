//! `man`: a manual page for the program and one for each verb.

use std::io;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man as Page;
use image::output::OutputSet;

use crate::args::{Arguments, Man, PROGRAM};
use crate::terminal::print;

pub(crate) fn perform(man: &Man) -> Result<ExitCode> {
    let mut output = OutputSet::new(&man.out)?;
    let pages = pages().context("cannot make the manual pages")?;
    for (name, page) in &pages {
        output.add(name, page.as_bytes())?;
    }
    output.publish()?;
    for (name, _) in &pages {
        print(&man.out.join(name).display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each page with its file's name.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut program = Arguments::command().bin_name(PROGRAM);
    program.build();
    let verbs: Vec<Command> = program
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
        .cloned()
        .collect();
    let others: Vec<String> = verbs
        .iter()
        .map(|verb| format!("{PROGRAM}-{}", verb.get_name()))
        .collect();
    let mut pages = vec![(format!("{PROGRAM}.1"), page(program, PROGRAM, &others)?)];
    for (verb, name) in verbs.into_iter().zip(&others) {
        let page = page(verb, name, &[PROGRAM.to_owned()])?;
        pages.push((format!("{name}.1"), page));
    }
    Ok(pages)
}

/// One page, in the order of man-pages(7).
fn page(command: Command, name: &str, others: &[String]) -> io::Result<String> {
    let rest = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let has_verbs = command.has_subcommands();
    let page = Page::new(command);
    // No date: the page says the same whenever it was made.
    let title = format!(
        ".TH {name} 1 \"\" \"{PROGRAM} {}\" \"Small domains for Xen\"\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut out = title.into_bytes();
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    if has_verbs {
        page.render_subcommands_section(&mut out)?;
    }
    let mut text = String::from_utf8_lossy(&out).into_owned();
    text.push_str(&sections(&rest));
    text.push_str(".SH \"SEE ALSO\"\n");
    let mut references: Vec<String> = others
        .iter()
        .map(|other| format!("{}(1)", escaped(other)))
        .collect();
    references.extend(["xl.cfg(5)".to_owned(), "shorewall(8)".to_owned()]);
    text.push_str(&references.join(", "));
    text.push('\n');
    Ok(text)
}

/// The help's last part: paragraphs whose first line ends with a colon become sections. Lines
/// stay as they are, for most of them are commands and tables.
fn sections(help: &str) -> String {
    let mut out = String::new();
    for paragraph in help.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let mut lines = paragraph.lines().peekable();
        match lines.next_if(|line| line.ends_with(':') && !line.starts_with(' ')) {
            Some(heading) => {
                let heading = heading.trim_end_matches(':').to_uppercase();
                out.push_str(&format!(".SH \"{}\"\n", escaped(&heading)));
            }
            None if out.is_empty() => out.push_str(".SH NOTES\n"),
            None => out.push_str(".PP\n"),
        }
        out.push_str(".nf\n");
        for line in lines {
            out.push_str(&escaped(line.strip_prefix("  ").unwrap_or(line)));
            out.push('\n');
        }
        out.push_str(".fi\n");
    }
    out
}

/// A line of text for roff.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_with_its_options_examples_and_exit_statuses() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "xen-image.1");
        for verb in ["check", "build", "run", "clean", "completions", "man"] {
            assert!(
                names.contains(&format!("xen-image-{verb}.1").as_str()),
                "{verb}"
            );
        }
        assert!(!names.contains(&"xen-image-guest.1"), "hidden");
        for (name, page) in &pages {
            for part in [
                ".TH",
                ".SH NAME",
                ".SH SYNOPSIS",
                ".SH \"EXIT STATUS\"",
                ".SH \"SEE ALSO\"",
            ] {
                assert!(page.contains(part), "{name} lacks {part}:\n{page}");
            }
        }
        let (_, build) = pages
            .iter()
            .find(|(name, _)| name == "xen-image-build.1")
            .unwrap();
        assert!(build.contains("\\-\\-vif"), "{build}");
        assert!(build.contains(".SH \"EXAMPLES\""), "{build}");
    }

    #[test]
    fn a_page_says_the_same_whenever_it_is_made() {
        assert_eq!(pages().unwrap(), pages().unwrap());
    }

    #[test]
    fn no_line_of_the_help_is_taken_for_a_request() {
        assert_eq!(escaped(".cfg and \\n"), "\\&.cfg and \\en");
        assert_eq!(
            sections("Files:\n  .a\n\nmore"),
            ".SH \"FILES\"\n.nf\n\\&.a\n.fi\n.PP\n.nf\nmore\n.fi\n"
        );
    }
}

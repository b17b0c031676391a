//! The page of results and its pictures, against the samples that they are made of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use image::bench::{load_all, pages};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_page_and_its_pictures_are_made_of_the_samples() {
    let results = load_all(&docs()).expect("results/*.json");
    for (name, text) in pages(&results) {
        let found = fs::read_to_string(docs().join(&name)).unwrap_or_default();
        assert!(
            found == text,
            "docs/{name} is not what its samples make: run `cargo image bench`, and edit nothing by hand"
        );
    }
}

#[test]
fn medians_ratios_and_verdicts_follow_from_the_samples() {
    for record in load_all(&docs()).expect("results/*.json").suites {
        let file = docs().join(format!("results/{}.json", record.suite));
        let text = fs::read_to_string(&file).expect("the file that was just read");
        assert!(
            text == record.render().expect("JSON"),
            "{} says something that its samples do not",
            file.display()
        );
    }
}

#[test]
fn no_picture_is_left_of_samples_that_are_gone() {
    let made = pages(&load_all(&docs()).expect("results/*.json"));
    let made: BTreeSet<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    let Ok(folder) = fs::read_dir(docs().join("results")) else {
        return;
    };
    for entry in folder {
        let name = entry.expect("an entry").file_name();
        let name = format!("results/{}", name.to_string_lossy());
        assert!(
            !name.ends_with(".svg") || made.contains(name.as_str()),
            "nothing makes docs/{name}"
        );
    }
}

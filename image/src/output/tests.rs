use super::*;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn published_files_replace_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "old").unwrap();
    let mut set = OutputSet::new(directory.path()).unwrap();
    set.add("a", b"new").unwrap();
    set.add("b", b"more").unwrap();
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"old");
    set.publish().unwrap();
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"new");
    assert_eq!(names(directory.path()), ["a", "b"]);
}

#[test]
fn a_program_can_be_run() {
    let directory = tempfile::tempdir().unwrap();
    let mut set = OutputSet::new(directory.path()).unwrap();
    set.add_program("tool", b"#!/bin/sh").unwrap();
    set.publish().unwrap();
    let mode = fs::metadata(directory.path().join("tool"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn a_set_given_up_leaves_the_folder_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "old").unwrap();
    let mut set = OutputSet::new(directory.path()).unwrap();
    set.add("a", b"new").unwrap();
    drop(set);
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"old");
    assert_eq!(names(directory.path()), ["a"]);
}

#[test]
fn a_name_taken_by_a_folder_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("a")).unwrap();
    let mut set = OutputSet::new(directory.path()).unwrap();
    let error = set.add("a", b"new").unwrap_err();
    assert!(format!("{error:#}").contains("/a is a folder"), "{error:#}");
    drop(set);
    assert_eq!(names(directory.path()), ["a"]);
}

#[test]
fn when_a_later_file_fails_the_earlier_ones_are_as_before() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "old").unwrap();
    let mut set = OutputSet::new(directory.path()).unwrap();
    for name in ["a", "b", "c"] {
        set.add(name, b"new").unwrap();
    }
    // Somebody makes a folder in the way of the last, after the look at it.
    fs::create_dir(directory.path().join("c")).unwrap();
    let error = set.publish().unwrap_err();
    assert!(format!("{error:#}").contains("/c in place"), "{error:#}");
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"old");
    assert_eq!(names(directory.path()), ["a", "c"]);
}

#[test]
fn the_folder_is_created_with_its_parents_and_goes_when_nothing_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let nested = directory.path().join("x/y");
    let mut set = OutputSet::new(&nested).unwrap();
    set.add("a", b"1").unwrap();
    drop(set);
    assert!(names(directory.path()).is_empty());
    let mut set = OutputSet::new(&nested).unwrap();
    set.add("a", b"1").unwrap();
    set.publish().unwrap();
    assert_eq!(names(&nested), ["a"]);
    // What was there before stays, even empty.
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    drop(OutputSet::new(&empty.join("z")).unwrap());
    assert!(empty.is_dir() && names(&empty).is_empty());
}

#[test]
fn a_rehearsal_finds_what_is_in_the_way_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let nested = directory.path().join("x/y");
    OutputSet::rehearse(&nested, &["a".to_owned()]).unwrap();
    assert!(names(directory.path()).is_empty());
    fs::create_dir(directory.path().join("a")).unwrap();
    let error = OutputSet::rehearse(directory.path(), &["a".to_owned()]).unwrap_err();
    assert!(format!("{error:#}").contains("/a is a folder"), "{error:#}");
    assert_eq!(names(directory.path()), ["a"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_before_anything_else() {
    // Not even root can create files there.
    let error = OutputSet::new(Path::new("/proc/self")).unwrap_err();
    assert!(format!("{error:#}").contains("/proc/self"), "{error:#}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = OutputSet::new(&file).unwrap_err();
    assert!(format!("{error:#}").contains("is a file"), "{error:#}");
    assert!(OutputSet::new(&file.join("below")).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn what_a_killed_process_left_is_taken_away_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let own = format!(".mine.{}.part", process::id());
    let gone = u32::MAX;
    for name in [
        own.as_str(),
        ".profile",
        ".notes.old",
        "a.12.part",
        &format!(".a.xen.{gone}.part"),
        &format!(".a.xen.{gone}.old"),
    ] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    OutputSet::new(directory.path()).unwrap().publish().unwrap();
    let mut expected = [".notes.old", ".profile", "a.12.part", own.as_str()];
    expected.sort_unstable();
    assert_eq!(names(directory.path()), expected);
}

//! What the README promises to be proven is.

use std::fs;
use std::path::Path;

#[test]
fn every_test_the_readme_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let threats = readme
        .split_once("## Threats")
        .unwrap()
        .1
        .split_once("\n## ")
        .unwrap()
        .0;
    let mut checked = 0;
    for name in threats.split('`').filter(|word| word.contains("::")) {
        let (module, function) = name.split_once("::").unwrap();
        let function = function.trim_start_matches("tests::");
        let files = [
            format!("tests/engine/{module}.rs"),
            format!("tests/relay/guests/{module}.rs"),
            format!("src/{module}.rs"),
            format!("src/{module}/tests.rs"),
        ];
        let holds = |file: &String| {
            fs::read_to_string(root.join(file))
                .is_ok_and(|text| text.contains(&format!("fn {function}(")))
        };
        assert!(files.iter().any(holds), "{name} is in neither of {files:?}");
        checked += 1;
    }
    assert!(checked >= 15, "only {checked} names found");
}

use super::*;
use proptest::prelude::*;
use shorewall::Style;

fn read(text: &str) -> (Option<Vec<Setting>>, Findings) {
    let mut findings = Findings::default();
    let source = findings.source("guest.cfg", text);
    let settings = parse(text, source, &mut findings);
    (settings, findings)
}

/// As `KEY=VALUE`, lists in brackets.
fn shown(text: &str) -> Vec<String> {
    fn value(shown: &Value) -> String {
        match shown {
            Value::Text(text) => text.text.clone(),
            Value::List { items, .. } => {
                let items: Vec<String> = items.iter().map(value).collect();
                format!("[{}]", items.join("|"))
            }
        }
    }
    let (settings, findings) = read(text);
    let settings = settings.unwrap_or_else(|| panic!("{}", findings.render(Style::Plain)));
    let line = |setting: &Setting| {
        let sign = if setting.adds { "+=" } else { "=" };
        format!("{}{sign}{}", setting.key, value(&setting.value))
    };
    settings.iter().map(line).collect()
}

#[test]
fn what_xl_reads_is_read() {
    let text = "\
# a guest
name = 'web' ; memory=512 # MiB
vif = [ 'bridge=br0', # the first
        \"mac=00:16:3e:00:00:01\"
        , ]
disk = []

disk += [ \"/a b.img,raw,xvda\" ]
cpus=\"0-3\"
extra = \"a=\\\"b\\\" \\\\ c\"
x.y_z = 0x1f";
    assert_eq!(
        shown(text),
        [
            "name=web",
            "memory=512",
            "vif=[bridge=br0|mac=00:16:3e:00:00:01]",
            "disk=[]",
            "disk+=[/a b.img,raw,xvda]",
            "cpus=0-3",
            "extra=a=\"b\" \\ c",
            "x.y_z=0x1f",
        ]
    );
    assert_eq!(shown(""), [""; 0]);
    assert_eq!(shown("\n;;\n# only\n"), [""; 0]);
}

#[test]
fn places_are_those_of_the_words() {
    let text = "name = 'web'\nvif = [ 'a',\n 'b' ]\n";
    let (settings, _) = read(text);
    let settings = settings.unwrap();
    assert_eq!(&text[settings[0].place()], "name = 'web'");
    assert_eq!(&text[settings[0].value.place().clone()], "'web'");
    assert_eq!(&text[settings[1].place()], "vif = [ 'a',\n 'b' ]");
}

#[test]
fn what_xl_does_not_read_is_an_error_with_its_place() {
    for (text, line, column, part) in [
        ("name web", 1, 6, "expected `=`, found a word"),
        ("name = web", 1, 8, "expected a string, a number or a list"),
        ("name = 'web", 1, 8, "it does not end"),
        ("name = 'web\nx=1", 1, 8, "it does not end on its line"),
        ("a=1\nhvm = True", 2, 7, "write 1 or 0"),
        ("a=1\n\nmemory = 2*512", 3, 11, "not a part"),
        ("memory = 512 + 512", 1, 14, "computes nothing"),
        ("vif = [ 'a' 'b' ]", 1, 13, "expected `,` or `]`"),
        ("vif = [ 'a',", 1, 13, "found the end of the file"),
        ("vif = [ , ]", 1, 9, "found `,`"),
        ("= 1", 1, 1, "expected a setting"),
        ("a = 1 b = 2", 1, 7, "expected the end of the line"),
        ("a = '\\q'", 1, 6, "write the character itself"),
        ("a = 1\r\n", 1, 6, "dos2unix"),
        ("a = 'é' ü", 1, 9, "not a part"),
    ] {
        let (settings, findings) = read(text);
        assert_eq!(settings, None, "{text}");
        let [found, ..] = &findings.diagnostics()[..] else {
            panic!("{text}")
        };
        let place = found.location.as_ref().unwrap();
        assert_eq!((place.line, place.column), (line, column), "{text}");
        let shown = findings.render(Style::Plain);
        assert!(shown.contains(part), "{text}: {shown}");
    }
}

#[test]
fn every_line_that_is_wrong_is_told_of() {
    let (_, findings) = read("a = b\nc = 1\nd\ne = [\nf = 'x\n");
    // The list swallows the key behind it, and with that the rest of its line.
    assert_eq!(findings.errors(), 3, "{}", findings.render(Style::Plain));
    let (_, findings) = read(&"a = b\n".repeat(1000));
    assert_eq!(findings.errors(), ERRORS_MAX);
    let (_, findings) = read(&format!("a = {}", "[".repeat(100_000)));
    assert_eq!(findings.errors(), 1);
}

#[test]
fn a_quoted_text_is_read_as_it_was() {
    for text in ["", "a b", "\"\\'", "é\n"] {
        assert_eq!(
            shown(&format!("a = {}", quoted(text))),
            [format!("a={text}")]
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_settings_or_errors(text in "[a-z0-9=+\\[\\],;'\"#\\\\ \\n\\t.é-]{0,200}") {
        let (settings, findings) = read(&text);
        prop_assert_eq!(settings.is_none(), findings.errors() > 0);
        for setting in settings.into_iter().flatten() {
            prop_assert!(text.get(setting.place()).is_some());
        }
        findings.render(Style::Plain);
    }
}

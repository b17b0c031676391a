use proptest::prelude::*;

use super::*;
use crate::elf::samples;

fn image(file: &[u8]) -> Image {
    match inspect(file) {
        Report::Image(image) => *image,
        Report::Policy(_) | Report::Netdom(_) => panic!("no image"),
    }
}

fn sound() -> Vec<u8> {
    let mut pieces = samples::sound();
    let notes = [
        samples::xen_notes(),
        samples::note(7, b"0.1.0 x86_64-unknown-none\0"),
        samples::build_id(&[0xab; 20]),
        samples::note(99, b"?"),
    ];
    pieces[2] = samples::notes_segment(notes.concat());
    samples::without_sections(&pieces)
}

#[test]
fn an_image_is_shown_as_xens_loader_sees_it() {
    let image = image(&sound());
    assert_eq!(image.hypercall_page, Some(samples::BASE + 0x1000));
    assert_eq!(image.build_id, Some("ab".repeat(20)));
    assert_eq!(image.target.as_deref(), Some("x86_64-unknown-none"));
    let text = image.to_string();
    for line in [
        "Xen's loader    loads\n",
        "entry           0x100000\n",
        "memory          0x100000 to 0x108000, 32 KiB; memory = 4 is enough to load it\n",
        "   5 XEN_VERSION          \"xen-3.0\"\n",
        "  99 unknown              3f\n",
        "  LOAD      r-x  0x0000100000",
        "policy          none inside",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    let json = serde_json::to_value(inspect(&sound())).unwrap();
    assert_eq!(json["kind"], "image");
    assert_eq!(json["load"]["needed_mib"], 4);
    assert_eq!(json["xen_notes"][0]["name"], "ENTRY");
}

#[test]
fn what_is_refused_is_shown_as_far_as_it_goes() {
    let mut pieces = samples::sound();
    pieces.truncate(2);
    let image = image(&samples::without_sections(&pieces));
    assert!(image.loader.starts_with("refused: Not a Xen-ELF image"));
    assert_eq!(image.elf.unwrap().segments.len(), 2);
    assert_eq!(image.load, None);
}

#[test]
fn what_does_not_decode_as_a_policy_says_why() {
    let Report::Policy(policy) = inspect(b"XENFWPOL\x63\0 and more bytes than a header") else {
        panic!("an image")
    };
    assert_eq!(policy.version, Some(0x63));
    assert!(policy.error.unwrap().contains("version 99"));
}

fn netdom(blob: &[u8]) -> BridgesReport {
    match inspect(blob) {
        Report::Netdom(bridges) => bridges,
        Report::Image(_) | Report::Policy(_) => panic!("not netdom's"),
    }
}

fn example() -> Vec<u8> {
    let text = "[bridge.office]\ncard = 1\nstandby = 2\nlock = \"mac\"\nrate = \"100Mb/s@20ms\"\n\
                [bridge.cameras]\ncard = \"0000:00:01.0\"\nvlan = 20\nmtu = 9000\nflood = 7\n\
                [bridge.inside]\n\
                [vif.router]\nlock = \"address\"\n[vif.backup]\nrate = \"none\"\n";
    let mut findings = crate::findings::Findings::default();
    let config = crate::netdom::read("netdom.toml", text, &mut findings).expect("it is right");
    netdom::config::encode(&config).expect("it makes sense")
}

#[test]
fn netdoms_configuration_is_shown_as_it_will_be_followed() {
    let mut blob = example();
    let bytes = blob.len();
    // Xen pads a module to whole pages.
    blob.resize(4096, 0);
    assert_eq!(
        inspect(&blob).to_string(),
        format!(
            "\
netdom          {bytes} bytes, version 2
                3 bridges, 2 with a card, 1 in a VLAN, 1 with a standby, 2 vifs of their own
bridge          office
  wire          card 1; 2 stands by
  vlan          none: what has no tag on the card
  mtu           1500
  lock          mac
  flood         50000 copies a second for each port
  rate          12500000 bytes a second: 250000 in 20 ms
bridge          cameras
  wire          card 0000:00:01.0
  vlan          20
  mtu           9000
  lock          none
  flood         7 copies a second for each port
  rate          none but the vif's own
bridge          inside
  wire          none: its guests reach each other and nobody else
  mtu           1500
  lock          none
  flood         50000 copies a second for each port
  rate          none but the vif's own
vif             router
  lock          address
  rate          its bridge's
vif             backup
  lock          its bridge's
  rate          none but the vif's own
"
        )
    );
    let json = serde_json::to_value(inspect(&blob)).unwrap();
    assert_eq!(json["kind"], "netdom");
    assert_eq!(json["bridges"][0]["card"], "1");
    assert_eq!(json["bridges"][0]["rate"]["limit"]["bytes"], 250_000);
    assert_eq!(json["bridges"][1]["vlan"], 20);
    assert_eq!(json["bridges"][1]["rate"], "none");
    assert_eq!(json["vifs"][0]["rate"], serde_json::Value::Null);
    assert_eq!(json["vifs"][1]["rate"], "none");
}

#[test]
fn what_does_not_decode_as_netdoms_says_why() {
    let mut blob = example();
    blob[8] = 99;
    let report = netdom(&blob);
    assert_eq!((report.version, report.bridges.len()), (Some(99), 0));
    assert!(report.to_string().contains("error: it has version 99"));
    assert_eq!(netdom(&netdom::config::MAGIC).version, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_shown(bytes in prop::collection::vec(any::<u8>(), 0..1024)) {
        let _ = inspect(&bytes).to_string();
        let mut policy = blob::MAGIC.to_vec();
        policy.extend_from_slice(&bytes);
        let _ = inspect(&policy).to_string();
        let mut netdom = netdom::config::MAGIC.to_vec();
        netdom.extend_from_slice(&bytes);
        let _ = inspect(&netdom).to_string();
        let _ = inspect(&netdom::config::seal(&bytes)).to_string();
    }

    #[test]
    fn any_damage_is_shown(
        changes in prop::collection::vec((0_usize..232, any::<u8>()), 1..6),
        in_notes in prop::collection::vec((0_usize..300, any::<u8>()), 0..6),
        length in 64_usize..0x2800,
    ) {
        let mut file = sound();
        let notes_end = file.len() - 500;
        for (at, value) in changes {
            file[at] = value;
        }
        for (at, value) in in_notes {
            file[notes_end - 1 - at] = value;
        }
        file.truncate(length);
        let report = inspect(&file);
        let _ = report.to_string();
        let _ = serde_json::to_string(&report).unwrap();
    }
}

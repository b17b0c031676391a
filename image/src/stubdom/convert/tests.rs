use super::*;
use proptest::prelude::*;
use shorewall::Style;

fn place() -> Place {
    Place {
        folder: PathBuf::from("/srv/stubdom"),
        ramdisk_bytes: 40,
    }
}

fn try_convert(text: &str) -> (Option<Conversion>, Findings) {
    let mut findings = Findings::default();
    let conversion = convert("guest.cfg", text, &place(), &mut findings);
    (conversion, findings)
}

fn converted(text: &str) -> Conversion {
    let (conversion, findings) = try_convert(text);
    conversion.unwrap_or_else(|| panic!("{}", findings.render(Style::Plain)))
}

/// What is wrong with a guest of which this is said.
fn refused(line: &str) -> String {
    let (conversion, findings) = try_convert(&format!("type = \"hvm\"\n{line}\n"));
    assert_eq!(conversion, None, "{line}");
    findings.render(Style::Plain)
}

const USERS: &str = "\
# The web server. Ask Ann before you touch it.
name = 'web'
builder = \"hvm\" # since Xen 3
memory = 2048; vcpus = 2

disk = [
    'phy:/dev/vg/web,hda,w',        # the system
    'file:/srv/debian-12.iso,hdc:cdrom,r',
    'format=raw,vdev=xvdb,access=rw,backendtype=qdisk,target=/srv/web-data.img',
]
vif = [ 'mac=00:16:3e:00:00:01,bridge=br0,model=e1000', 'type=vif,bridge=br1' ]
boot = \"cd\"

vnc = 1
vnclisten = '0.0.0.0'
stdvga=1
usbdevice = 'tablet'
on_crash = 'restart'";

const OURS: &str = "\
# The web server. Ask Ann before you touch it.
name = 'web'
builder = \"hvm\" # since Xen 3
memory = 2048; vcpus = 2

disk = [
    'phy:/dev/vg/web,hda,w',        # the system
    \"format=raw,vdev=xvde,access=ro,target=/srv/debian-12.iso\",
    \"format=raw,vdev=xvdb,access=rw,target=/srv/web-data.img\",
]
vif = [ \"type=vif,mac=00:16:3e:00:00:01,bridge=br0\", 'type=vif,bridge=br1' ]
boot = \"cd\"

vnc = 0
#vnclisten = '0.0.0.0'
#stdvga=1
#usbdevice = 'tablet'
on_crash = 'restart'

# Its device model is a domain of its own: written by `xen-image stubdom-convert`.
# the protocol that xl speaks with the stub domain
device_model_version = \"qemu-xen\"
# the device model is a domain of its own
device_model_stubdomain_override = 1
# the device model
stubdomain_kernel = \"/srv/stubdom/stubdom.xen\"
# what it may need of dom0's files; xl insists on one
stubdomain_ramdisk = \"/srv/stubdom/stubdom.ramdisk\"
# MiB, beside the guest's; the ramdisk is in it
stubdomain_memory = 32
# xl starts it in dom0 where it would start QEMU: it serves the stub domain's consoles
device_model_override = \"/srv/stubdom/xen-image-stubdom-helper\"
# there is no screen yet: the guest's console is its serial port, `xl console GUEST`
vga = \"none\"
# the guest's console: `xl console GUEST`
serial = \"pty\"
# which disks the guest sees as CD drives
device_model_args_hvm = [
    \"-drive\", \"if=none,id=cd0,file=/dev/xvde,media=cdrom,readonly=on\",
    \"-device\", \"ide-cd,drive=cd0,bus=ide.1,unit=0\",
]
";

#[test]
fn a_users_file_is_changed_where_it_has_to_be_and_nowhere_else() {
    let conversion = converted(USERS);
    assert_eq!(conversion.text, OURS);
    let lines: Vec<_> = conversion
        .changes
        .iter()
        .map(|change| change.line)
        .collect();
    assert_eq!(
        lines[..7],
        [8, 9, 11, 14, 15, 16, 17].map(Some),
        "{:#?}",
        conversion.changes
    );
    assert!(lines[7..].iter().all(Option::is_none));
}

#[test]
fn what_was_converted_stays_as_it_is() {
    let again = converted(OURS);
    assert_eq!(again.text, OURS);
    assert_eq!(again.changes, []);
}

#[test]
fn changes_are_told_one_by_one() {
    let text = "type = \"hvm\"\nsdl = 1\nvga = \"cirrus\"\nserial=\"pty\"\n";
    let told: Vec<String> = converted(text).changes[..3]
        .iter()
        .map(Change::to_string)
        .collect();
    assert_eq!(
        told,
        [
            format!("line 2: sdl = 1\n  is a comment now\n  ({NO_SCREEN})"),
            format!("line 3: vga = \"cirrus\"\n  is now: vga = \"none\"\n  ({NO_SCREEN})"),
            "added: device_model_version = \"qemu-xen\"\n  (the protocol that xl speaks with the stub domain)"
                .to_owned(),
        ]
    );
}

#[test]
fn cd_drives_of_a_guest_with_ahci_are_on_its_ports() {
    let text = "type='hvm'\nhdtype='ahci'\n\
                disk = [ '/a.img,raw,hda', '/b.iso,,hdb,cdrom', '/c.iso,,hdf,r,cdrom', '/d,raw,xvdg,r' ]\n";
    let conversion = converted(text);
    for part in [
        "vdev=xvdh,access=ro,target=/b.iso",
        "vdev=xvdi,access=ro,target=/c.iso",
        "\"-drive\", \"if=none,id=cd0,file=/dev/xvdh,media=cdrom,readonly=on\"",
        "\"-device\", \"ide-cd,drive=cd0,bus=ahci0.1\"",
        "\"-drive\", \"if=none,id=cd1,file=/dev/xvdi,media=cdrom,readonly=on\"",
        "\"-device\", \"ide-cd,drive=cd1,bus=ahci0.5\"",
    ] {
        assert!(
            conversion.text.contains(part),
            "{part}: {}",
            conversion.text
        );
    }
}

#[test]
fn lists_that_are_added_to_are_one_list() {
    let text = "type='hvm'\ndisk=['/a,raw,hda']\ndisk += ['/b.iso,raw,hdc,r,cdrom']\n";
    let conversion = converted(text);
    assert!(
        conversion
            .text
            .contains("disk += [\"format=raw,vdev=xvde,access=ro,target=/b.iso\"]")
    );
}

#[test]
fn another_stub_domains_settings_become_ours() {
    let text = "type='hvm'\ndevice_model_version='qemu-xen-traditional'\nstubdomain_cmdline='debug'\n\
                device_model_stubdomain_override=1\nstubdomain_memory=128\n";
    let conversion = converted(text);
    let expected = "type='hvm'\ndevice_model_version=\"qemu-xen\"\nstubdomain_cmdline=\"\"\n\
                    device_model_stubdomain_override=1\nstubdomain_memory=32\n";
    assert!(conversion.text.starts_with(expected), "{}", conversion.text);
}

#[test]
fn what_cannot_be_had_says_what_to_do_instead() {
    for (line, part) in [
        (
            "disk = [ 'format=qcow2,vdev=hda,target=/srv/web.qcow2' ]",
            "qemu-img convert -f qcow2 -O raw /srv/web.qcow2 /srv/web.raw, and write format=raw,target=/srv/web.raw",
        ),
        (
            "disk = [ 'tap:vhd:/srv/web,hda,w' ]",
            "qemu-img convert -f vpc -O raw /srv/web /srv/web.raw",
        ),
        ("disk = [ '/a.img,raw,fda,w' ]", "no floppy drive"),
        ("disk = [ '/a.img,raw,sda,w' ]", "no SCSI controller"),
        ("disk = [ ',empty,hdc,r,cdrom' ]", "xl changes no discs"),
        (
            "disk = [ '/a.iso,raw,xvde,r,cdrom' ]",
            "`xvde` is not emulated",
        ),
        ("disk = [ '/a.img,raw,hdb,r' ]", "write vdev=xvde or beyond"),
        (
            "disk = [ '/a.img,raw,hdb,backendtype=tap' ]",
            "there is no blktap",
        ),
        ("disk = [ '/a.img' ]", "it has no place"),
        ("disk = [ ['/a.img'] ]", "has a list in its list"),
        ("pci = [ '03:00.0' ]", "a driver domain"),
        (
            "usbdevice = [ 'tablet', 'host:046d:c016' ]",
            "a device of the host's",
        ),
        ("usbctrl = [ 'version=2' ]", "there is no USB"),
        (
            "serial = 'tcp::4444,server'",
            "a serial port cannot lead to `tcp::4444,server`",
        ),
        (
            "channel = [ 'connection=pty,name=x' ]",
            "a second serial port",
        ),
        ("bios = 'ovmf'", "a guest that needs UEFI stays with QEMU"),
        (
            "firmware = 'uefi'",
            "a guest that needs UEFI stays with QEMU",
        ),
        (
            "device_model_args = [ '-monitor', 'stdio' ]",
            "its words are QEMU's",
        ),
        (
            "device_model_args_hvm = [ '-usb' ]",
            "the stub domain is no QEMU",
        ),
        (
            "vif = [ 'bridge=br0,vifname=vif-of-a-desk' ]",
            "give it 11 at most",
        ),
        ("vga = 'none'\nvga = 'stdvga'", "xl takes the last"),
        ("vga = [ 'none' ]", "write it without brackets"),
        ("sdl = 1; name = 'x'", "shares its line"),
        ("name = True", "write 1 or 0"),
    ] {
        let said = refused(line);
        assert!(said.contains(part), "{line}: {said}");
        assert!(
            said.contains("guest.cfg:2:") || line.contains('\n'),
            "{line}: {said}"
        );
    }
}

#[test]
fn an_interface_keeps_a_name_that_is_short_enough() {
    let conversion = converted("type='hvm'\nvif=['bridge=br0,vifname=vif-of-desk']\n");
    let expected = "vif=[\"type=vif,bridge=br0,vifname=vif-of-desk\"]\n";
    assert!(conversion.text.contains(expected), "{}", conversion.text);
}

#[test]
fn a_guest_without_a_device_model_needs_none() {
    for (text, part) in [
        ("type='pv'\n", "a guest of type `pv` has no device model"),
        ("name='x'\n", "it does not say type=\"hvm\""),
    ] {
        let (conversion, findings) = try_convert(text);
        assert_eq!(conversion, None);
        assert!(findings.render(Style::Plain).contains(part), "{text}");
    }
}

#[test]
fn what_works_otherwise_than_before_is_a_warning() {
    for (line, part) in [
        ("kernel = '/boot/vmlinuz'", "build stubdom --kernel FILE"),
        ("boot = 'nc'", "`n` is passed over"),
    ] {
        let (conversion, findings) = try_convert(&format!("type='hvm'\n{line}\n"));
        assert!(conversion.is_some());
        assert_eq!((findings.errors(), findings.warnings()), (0, 1));
        assert!(findings.render(Style::Plain).contains(part), "{line}");
    }
    let (_, findings) = try_convert("builder='hvm'\nkernel='/usr/lib/xen/boot/hvmloader'\n");
    assert!(findings.is_empty());
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = refused("pci = [ '03:00.0' ]\nbios = 'ovmf'\ndisk = [ '/a,qcow2,hda' ]");
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
}

proptest! {
    /// Whatever the file: no panic; what comes out is read by xl, and is not changed again.
    #[test]
    fn what_comes_out_is_a_configuration_that_stays(
        settings in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "disk", "vif", "vga", "serial", "usbdevice", "sdl", "name", "hdtype", "boot",
                    "device_model_args_hvm", "stubdomain_memory", "device_model_version",
                ]),
                prop::sample::select(vec![
                    "1", "'pty'", "'none'", "'/a,raw,hda'", "['/a,raw,hda', '/b.iso,,hdc,cdrom']",
                    "[\n '/b.iso,raw,hdd:cdrom,r',\n]", "['bridge=b', 'type=vif']", "['a', ['b']]",
                    "'ahci'", "''", "[]", "'x\\\"y'",
                ]),
                prop::sample::select(vec!["\n", "; ", " # a comment\n"]),
            ),
            0..8,
        ),
    ) {
        let mut text = "type='hvm'\n".to_owned();
        for (key, value, end) in settings {
            text.push_str(&format!("{key} = {value}{end}"));
        }
        if let (Some(conversion), _) = try_convert(&text) {
            let again = converted(&conversion.text);
            prop_assert_eq!(again.text, conversion.text);
            prop_assert_eq!(again.changes, []);
        }
    }
}

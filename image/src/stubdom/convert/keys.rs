//! Keys of xl's that say nothing to a stub domain.

/// Why what is shown on a screen is left out.
pub(super) const NO_SCREEN: &str =
    "there is no screen yet: the guest's console is its serial port, `xl console GUEST`";
/// Why USB is left out.
pub(super) const NO_USB: &str = "there is no USB: keyboard and mouse are PS/2's";

/// What is made a comment, and why.
pub(super) const WITHOUT: [(&str, &str); 25] = [
    (
        "device_model_user",
        "the helper in dom0 becomes an unprivileged user by itself",
    ),
    (
        "dm_restrict",
        "it restricts a QEMU in dom0, and there is none",
    ),
    ("keymap", NO_SCREEN),
    ("opengl", NO_SCREEN),
    ("sdl", NO_SCREEN),
    ("soundhw", "there is no sound"),
    ("spice", NO_SCREEN),
    ("spiceagent_mouse", NO_SCREEN),
    ("spice_clipboard_sharing", NO_SCREEN),
    ("spicedisable_ticketing", NO_SCREEN),
    ("spicehost", NO_SCREEN),
    ("spice_image_compression", NO_SCREEN),
    ("spicepasswd", NO_SCREEN),
    ("spiceport", NO_SCREEN),
    ("spice_streaming_video", NO_SCREEN),
    ("spicetls_port", NO_SCREEN),
    ("spiceusbredirection", NO_SCREEN),
    ("spicevdagent", NO_SCREEN),
    ("stdvga", NO_SCREEN),
    ("usbversion", NO_USB),
    ("videoram", NO_SCREEN),
    ("vncdisplay", NO_SCREEN),
    ("vnclisten", NO_SCREEN),
    ("vncpasswd", NO_SCREEN),
    ("vncunused", NO_SCREEN),
];

/// What cannot be had, and what to do instead.
pub(super) const REFUSED: [(&str, &str); 15] = [
    (
        "channel",
        "leave it out: a second serial port, serial=[\"pty\", \"pty\"], is a channel to the guest as well",
    ),
    (
        "device_model_args",
        "leave it out: its words are QEMU's, and the stub domain is none",
    ),
    (
        "device_model_args_pv",
        "leave it out: its words are QEMU's, and there is none in dom0",
    ),
    (
        "firmware",
        "leave it out: the BIOS is SeaBIOS; a guest that needs UEFI stays with QEMU",
    ),
    (
        "gfx_passthru",
        "a guest with a graphics card of its own stays with QEMU in dom0",
    ),
    (
        "pci",
        "a guest with a card of its own stays with QEMU in dom0; a network card is better in a driver domain: \
         `cargo image build netdom`, and vif=[\"backend=netdom\"] here",
    ),
    (
        "rdm",
        "it is for guests with cards of their own, which stay with QEMU in dom0",
    ),
    (
        "usbctrl",
        "leave it out: there is no USB; disks of the host are given by disk=[…]",
    ),
    (
        "usbdev",
        "leave it out: there is no USB; disks of the host are given by disk=[…]",
    ),
    ("vdispl", "leave it out: there is no screen yet"),
    ("vfb", "leave it out: there is no screen yet"),
    ("vkb", "leave it out: there is no screen yet"),
    ("vsnd", "leave it out: there is no sound"),
    ("vtpm", "leave it out: there is no TPM"),
    ("tpm", "leave it out: there is no TPM"),
];

//! What libxl tells the QEMU that it starts for a PV domain, as far as it matters here.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use thiserror::Error;

/// Where libxl is to be listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A socket's path.
    Path(PathBuf),
    /// A socket that libxl listens on already.
    Inherited(RawFd),
}

/// What libxl wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The stub domain. Xen 4.20's libxl starts the program once without, only to ask which options it
    /// has.
    pub(crate) domain: Option<u16>,
    /// Where its QMP connections come in.
    pub(crate) monitors: Vec<Place>,
    /// A screen is wanted.
    pub(crate) wants_screen: bool,
}

/// Why nothing can be made of them.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum ArgumentError {
    #[error("`-xen-domid {0}`: no domain has such a number")]
    Domain(String),
    #[error("`-chardev {0}`: only sockets with a path or a descriptor are known here")]
    Chardev(String),
    #[error(
        "this is no device model for domain {0} itself: it serves the consoles of a stub domain. In the \
         guest's configuration, device_model_stubdomain_override=1 is missing"
    )]
    NoStub(u16),
    #[error("there is no -chardev: this program is started by xl, which names one")]
    NoMonitor,
}

/// Reads the arguments, without the program's name. What is not known is QEMU's, and passed over.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Arguments, ArgumentError> {
    let mut parsed = Arguments::default();
    let mut attaches = false;
    let mut arguments = arguments
        .into_iter()
        .map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-xen-domid" => {
                let text = arguments.next().unwrap_or_default();
                let domain = text.parse().ok().filter(|domain| *domain != 0);
                parsed.domain = Some(domain.ok_or(ArgumentError::Domain(text))?);
            }
            "-chardev" => {
                let text = arguments.next().unwrap_or_default();
                parsed
                    .monitors
                    .push(monitor(&text).ok_or(ArgumentError::Chardev(text))?);
            }
            "-xen-attach" => attaches = true,
            "-vnc" => parsed.wants_screen |= arguments.next().as_deref() != Some("none"),
            "-sdl" | "-spice" => parsed.wants_screen = true,
            // A value that looks like an option is still its value.
            "-mon" | "-name" | "-machine" | "-m" | "-k" => drop(arguments.next()),
            _ => {}
        }
    }
    match parsed.domain {
        Some(domain) if !attaches => Err(ArgumentError::NoStub(domain)),
        _ if parsed.monitors.is_empty() => Err(ArgumentError::NoMonitor),
        _ => Ok(parsed),
    }
}

fn monitor(text: &str) -> Option<Place> {
    let mut words = text.split(',');
    if words.next()? != "socket" {
        return None;
    }
    words.find_map(|word| match word.split_once('=')? {
        ("path", path) => Some(Place::Path(path.into())),
        ("fd", number) => number.parse().ok().map(Place::Inherited),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, ArgumentError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    /// As libxl 4.17 and 4.20 write them.
    const STUB: &str = "-xen-domid 5 -no-shutdown \
        -chardev socket,id=libxl-cmd,path=/run/xen/qmp-libxl-5,server=on,wait=off -mon chardev=libxl-cmd,mode=control \
        -chardev socket,id=libxenstat-cmd,path=/run/xen/qmp-libxenstat-5,server=on,wait=off \
        -mon chardev=libxenstat-cmd,mode=control -nodefaults -no-user-config -xen-attach -name guest-dm \
        -nographic -machine xenpv -m 33";

    #[test]
    fn a_stub_domain_and_its_sockets_are_found() {
        let wanted = Arguments {
            domain: Some(5),
            monitors: vec![
                Place::Path("/run/xen/qmp-libxl-5".into()),
                Place::Path("/run/xen/qmp-libxenstat-5".into()),
            ],
            wants_screen: false,
        };
        assert_eq!(read(STUB), Ok(wanted));
        for (more, wants_screen) in [
            ("-vnc none", false),
            ("-vnc 127.0.0.1:0", true),
            ("-sdl", true),
        ] {
            let arguments = read(&format!("{STUB} {more}")).unwrap();
            assert_eq!(arguments.wants_screen, wants_screen, "{more}");
        }
    }

    #[test]
    fn the_question_for_options_has_no_domain() {
        let line = "-S -no-user-config -nodefaults -nographic -machine none,accel=xen \
            -chardev socket,id=libxl-cmd,fd=24,server=on,wait=off -mon chardev=libxl-cmd,mode=control";
        let wanted = Arguments {
            monitors: vec![Place::Inherited(24)],
            ..Arguments::default()
        };
        assert_eq!(read(line), Ok(wanted));
    }

    #[test]
    fn a_name_that_looks_like_an_option_is_a_name() {
        let line = STUB.replace("guest-dm", "-xen-domid");
        assert_eq!(read(&line).unwrap().domain, Some(5));
    }

    #[test]
    fn what_makes_no_sense_says_so() {
        for (line, part) in [
            ("", "no -chardev"),
            ("-xen-domid", "`-xen-domid `"),
            ("-xen-domid 0 -xen-attach", "`-xen-domid 0`"),
            ("-xen-domid 65536", "`-xen-domid 65536`"),
            ("-chardev pty,id=x", "`-chardev pty,id=x`"),
            ("-chardev socket,id=x", "only sockets with"),
            ("-chardev socket,fd=x", "only sockets with"),
            (
                &STUB.replace("-xen-attach ", ""),
                "device_model_stubdomain_override=1",
            ),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}

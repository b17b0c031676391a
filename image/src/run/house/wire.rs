//! The card's cable, and who is at its other end: a network that QEMU makes of processes of this host.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::attempt::{Seen, WAIT_S};
use crate::output::OutputSet;
use crate::workspace::Workspace;

/// The provider's router. It answers pings.
pub const ROUTER: &str = "192.0.2.1";

/// A server, which has the same file at each port that is tried.
pub const SERVER: &str = "192.0.2.100";

/// Where somebody listens, also where nothing may arrive: so that it was the firewall that said no.
const PORTS: [u16; 3] = [80, 25, 8080];

/// The firewall's address, as the site has it.
pub const FIREWALL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Bytes of the file.
const FILE_LENGTH: usize = 2 << 20;

/// What answers a connection: the file, whatever was asked for. What it left unread of the question would be an error,
/// and cost the answer's end.
const SERVE: &str = "\
#!/bin/sh
while read -r line && [ ${#line} -gt 1 ]; do :; done
printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'
exec cat \"${0%/*}/file\"
";

/// The card and its cable.
pub struct Wire {
    serve: PathBuf,
    hash: String,
    /// Each port of the firewall's that somebody outside tries, and where this host's is that leads there.
    doors: Vec<(u16, u16)>,
}

impl Wire {
    /// Makes the file, and finds ports of this host's for those of the firewall's.
    ///
    /// # Errors
    /// When files cannot be written, or there are no ports.
    pub fn new(workspace: &Workspace, tried: &[u16]) -> Result<Self> {
        let folder = workspace.target().join("image/house-wire");
        // No two pages alike.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = (0..FILE_LENGTH / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let file: Vec<u8> = words.collect();
        fs::create_dir_all(&folder)?;
        let mut output = OutputSet::new(&folder)?;
        output.add("file", &file)?;
        output.add("serve", SERVE.as_bytes())?;
        output.publish()?;
        // All of them at once, so that no two are the same.
        let listeners = tried.iter().map(|_| TcpListener::bind("127.0.0.1:0"));
        let listeners: Vec<TcpListener> = listeners.collect::<Result<_, _>>()?;
        let mut doors = Vec::new();
        for (port, listener) in tried.iter().zip(&listeners) {
            doors.push((*port, listener.local_addr()?.port()));
        }
        Ok(Self {
            serve: folder.join("serve"),
            hash: sha256(&file)?,
            doors,
        })
    }

    /// The hash of the server's file.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// QEMU's arguments for the card of `netdom.cfg`.
    pub fn card(&self) -> Vec<String> {
        let served = PORTS.map(|port| {
            let serve = self.serve.display();
            format!(",guestfwd=tcp:{SERVER}:{port}-cmd:sh {serve}")
        });
        let doors = self
            .doors
            .iter()
            .map(|(port, own)| format!(",hostfwd=tcp:127.0.0.1:{own}-{FIREWALL}:{port}"));
        let network = format!(
            "user,id=wire,net=192.0.2.0/24,host={ROUTER},dns=192.0.2.3,dhcpstart=192.0.2.200{}{}",
            served.concat(),
            doors.collect::<String>()
        );
        let card = "e1000e,netdev=wire,mac=52:54:00:12:34:60,addr=03.0";
        ["-netdev", &network, "-device", card]
            .map(str::to_owned)
            .to_vec()
    }

    /// Somebody outside asks for a file at a port of the firewall's: what came of it.
    ///
    /// # Errors
    /// When this host does not do its part.
    pub fn fetch(&self, port: u16) -> Result<Seen> {
        let door = self.doors.iter().find(|(tried, _)| *tried == port);
        let (_, own) = door.context("a port that nobody was going to try")?;
        // QEMU takes the connection, whoever there may be behind it.
        let mut stream = TcpStream::connect(("127.0.0.1", *own))?;
        stream.set_read_timeout(Some(Duration::from_secs(WAIT_S)))?;
        let mut answer = Vec::new();
        let outcome = stream
            .write_all(b"GET /file HTTP/1.0\r\n\r\n")
            .and_then(|()| stream.read_to_end(&mut answer));
        let said = match outcome {
            Ok(_) if !answer.is_empty() => {
                let head = answer.windows(4).position(|part| part == b"\r\n\r\n");
                sha256(&answer[head.map_or(0, |at| at + 4)..])?
            }
            Ok(_) => "refused".to_owned(),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "timed out".to_owned(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "refused".to_owned(),
                _ => error.to_string(),
            },
        };
        Ok(Seen { said })
    }
}

/// SHA-256 in hexadecimal, by the program that guests have as well.
fn sha256(bytes: &[u8]) -> Result<String> {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("sha256sum")?;
    let mut stdin = child.stdin.take().context("it has an input")?;
    stdin.write_all(bytes)?;
    drop(stdin);
    let said = String::from_utf8(child.wait_with_output()?.stdout)?;
    let hash = said.split_whitespace().next().context("no hash")?;
    Ok(hash.to_owned())
}

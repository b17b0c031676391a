//! What only a shell can read, run by one: `params` and `?SHELL`, if the user asks for it.
//!
//! The shell starts with an empty environment in the Shorewall folder, has no input, and a bounded
//! time and output. What it does besides printing is its own affair: it is the user's program.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SHELL: &str = "/bin/sh";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A program that takes longer is ended.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// No program may print more.
const MAX_OUTPUT_BYTES: u64 = 4 << 20;
/// Variables that the shell sets by itself.
const OF_THE_SHELL: [&str; 6] = ["PATH", "PWD", "OLDPWD", "SHLVL", "_", "IFS"];

/// Reads `params` as Shorewall does: what it sets is exported.
const PARAMS: &str = "\
INCLUDE() { case $1 in /*) . \"$1\" ;; *) . \"./$1\" ;; esac; }
set -a
. ./params >&2
set +a
exec env -0
";

/// The variables that `params` sets.
///
/// # Errors
/// Why the shell could not run it to its end.
pub(crate) fn params(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let output = run(folder, PARAMS, [])?;
    Ok(output
        .split('\0')
        .filter_map(|assignment| assignment.split_once('='))
        .filter(|(name, _)| !OF_THE_SHELL.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// What a program prints.
///
/// # Errors
/// Why it did not run to its end.
pub(crate) fn run<'v>(
    folder: &Path,
    script: &str,
    variables: impl IntoIterator<Item = (&'v str, &'v str)>,
) -> Result<String, String> {
    let mut child = Command::new(SHELL)
        .args(["-c", script])
        .current_dir(folder)
        .env_clear()
        .envs(variables)
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{SHELL} cannot be started: {error}"))?;
    let output = reader(child.stdout.take());
    let errors = reader(child.stderr.take());
    let end = Instant::now() + TIME_LIMIT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                // Nothing more can be done about a program that cannot be ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("not done after {} s", TIME_LIMIT.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    };
    let text = |bytes: std::thread::JoinHandle<Vec<u8>>| {
        let bytes = bytes.join().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (output, errors) = (text(output), text(errors));
    if !status.success() {
        let first = errors.lines().next().unwrap_or("it says nothing");
        return Err(format!("{status}: {first}"));
    }
    if output.len() as u64 >= MAX_OUTPUT_BYTES {
        return Err(format!("prints more than {} MiB", MAX_OUTPUT_BYTES >> 20));
    }
    Ok(output)
}

/// Reads a pipe aside, so that the other one never fills up.
fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error counts; the exit status says the rest.
            let _ = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
        }
        bytes
    })
}

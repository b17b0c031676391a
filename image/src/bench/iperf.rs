//! TCP streams of a Debian guest's, by iperf3.

use std::time::Duration;

use anyhow::{Context, Result};
use qemu_tests::RunningGuest;

use super::metered::let_work;

/// Seconds that a stream is sent.
const SECONDS: u64 = 5;

const LIMIT: Duration = Duration::from_secs(60);

/// What came of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) bytes: u64,
    pub(super) bits_per_second: u64,
}

/// One stream over a connection that a guest opens to a server; `option` may be `--reverse`.
pub(super) fn stream(client: &RunningGuest<'_>, server: &str, option: &str) -> Result<Received> {
    // A console is slow, and the whole report ten thousand bytes.
    let line = format!(
        "iperf3 --client {server} --time {SECONDS} {option} --json | tr -d ' \\t\\n' | \
         sed -n 's/.*\"sum_received\":{{\\([^}}]*\\)}}.*/\\1/p'"
    );
    let told = client.begin(&line)?;
    let_work(SECONDS + 1);
    let (said, _) = client.finish(&told, LIMIT)?;
    parse(&said).with_context(|| format!("iperf3: {said:?}"))
}

/// The members of iperf3's `sum_received`.
fn parse(said: &str) -> Option<Received> {
    let line = said.lines().find(|line| line.contains("bits_per_second"))?;
    let members: serde_json::Value = serde_json::from_str(&format!("{{{}}}", line.trim())).ok()?;
    let bits = members["bits_per_second"].as_f64()?;
    Some(Received {
        bytes: members["bytes"].as_u64()?,
        bits_per_second: bits as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_what_was_received() {
        let said = "\"start\":0,\"end\":5.1,\"seconds\":5.1,\"bytes\":250000000,\"bits_per_second\":392156862.7,\"sender\":true\r\n";
        let received = Received {
            bytes: 250_000_000,
            bits_per_second: 392_156_862,
        };
        assert_eq!(parse(said), Some(received));
        assert_eq!(parse("sh: iperf3: not found\r\n"), None);
    }
}

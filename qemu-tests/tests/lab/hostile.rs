//! Small guests of our own behind firewalldom, or behind netdom: some send a counted stream to others, and some lie.
//!
//! What the tests of minios-rs show on a simulated Xen is shown here on the real one: whatever a frontend does, it
//! harms nobody but itself. While liars come and go, a stream between two others loses nothing; a liar that broke
//! the protocol loses its connection, with a reason where the administrator looks; and when all are gone, the
//! backend has its memory and ports back, and xenstore its nodes.

use crate::behind::{Behind, SINK, SINK_ADDRESS, mac, others, report, type_to};
use crate::bench::{FIRST, LabTest, PATIENCE, Setup, expect};
use crate::holdings::Holdings;
use crate::stat;
use anyhow::{Context, Result};
use qemu_tests::{Command, Machine, Tier};
use std::time::{Duration, SystemTime};

/// Who sends the stream that is to arrive whole.
const SOURCE: &str = "source";
const SOURCE_ADDRESS: &str = "10.0.3.2";

/// Who receives what liars send, so that the stream's loss is no question of room.
const WASTE: &str = "waste";
const WASTE_ADDRESS: &str = "10.0.4.3";

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new(
            "hostile::a_counted_stream_arrives_whole",
            a_counted_stream_arrives_whole,
        ),
        LabTest::new("hostile::liars_harm_nobody_but_themselves", |setup| {
            liars_harm_nobody_but_themselves(setup, Behind::Firewall)
        })
        .alone(),
        LabTest::new(
            "hostile::liars_behind_netdom_harm_nobody_but_themselves",
            |setup| liars_harm_nobody_but_themselves(setup, Behind::Netdom),
        )
        .alone(),
    ]
}

fn a_counted_stream_arrives_whole(setup: &Setup) -> Result<()> {
    const COUNT: u64 = 3000;
    let machine = &setup.machine;
    let behind = Behind::Firewall;
    behind.with(machine, &[SINK, "small", "large", "shut"], || {
        behind.create_sink(machine, SINK, SINK_ADDRESS)?;
        // Headers only, which the firewall copies; and payload, which Xen copies from guest to guest, or to the
        // firewall where it has to know the checksum.
        for (name, address, words) in [
            ("small", "10.0.3.2", "frame=64"),
            ("large", "10.0.3.3", "frame=64,1514,300 checksum=whole"),
        ] {
            // The ring of who receives holds 0.4 s of both: a busy host may let it run as late as that.
            let words = format!("rate=300 count={COUNT} {words}");
            behind.create_source(machine, name, (address, SINK_ADDRESS), &words)?;
        }
        for address in ["10.0.3.2", "10.0.3.3"] {
            let report = report(machine, SINK, address)?;
            expect(report.is_whole() && report.total == COUNT, || {
                format!("{address}: {report}")
            })?;
        }
        // And what no rule lets through does not arrive.
        let words = "rate=1000 count=500 port=666";
        behind.create_source(machine, "shut", ("10.0.3.4", SINK_ADDRESS), words)?;
        machine.wait_for_console("shut", "sent 500 datagrams", PATIENCE)?;
        let others = others(machine, SINK)?;
        expect(others == (0, 0), || {
            format!("other ports, closed port: {others:?}")
        })
    })
}

/// What becomes of a liar.
#[derive(Clone, Copy)]
enum End {
    /// It loses its connection, and this is where the administrator looks.
    Lost(&'static str),
    /// It may say so: it is connected, and its next ping is answered.
    Heard,
    /// It is connected, and has made itself deaf.
    Deaf,
    /// Its connection ends without anybody's complaint.
    Closed,
    /// It is waited for.
    Unconnected,
    /// One of these, as it happens.
    Any,
    /// It is destroyed in the midst of what it does.
    Destroyed,
    /// It ends itself.
    Gone,
}

const INDEX_TX: End = End::Lost("the frontend's transmit ring index is impossible");
const INDEX_RX: End = End::Lost("the frontend's receive ring index is impossible");
const CROSSES: End = End::Lost("a request crosses its page's end");
const CHAIN: End = End::Lost("a frame has too many slots");
const CUT: End = End::Lost("a frame does not end where the ring does");
const EXTRA: End = End::Lost("a frame has an impossible extra info");
const SEGMENTS: End = End::Lost("a frame has an impossible segmentation");
const GRANTS: End = End::Lost("too many grants could not be used");
const UNUSABLE: End = End::Lost("the peer's grant cannot be used");

/// Each lie, as `net-guest` calls it. The last are no liar's next to last: each takes the vif with it.
const LIES: &[(&str, End)] = &[
    ("scribble", End::Any),
    ("others-tail", GRANTS),
    ("tx-ahead", INDEX_TX),
    ("tx-back", INDEX_TX),
    ("rx-ahead", INDEX_RX),
    ("rx-back", INDEX_RX),
    ("runt", End::Heard),
    ("restless", End::Heard),
    ("sizes", End::Heard),
    ("crossing-later", CROSSES),
    ("chain-19", End::Heard),
    ("chain-22", CHAIN),
    ("two-faced", End::Heard),
    ("no-buffers", End::Deaf),
    ("chain-all", CHAIN),
    ("split-header", End::Heard),
    ("extra-twice", EXTRA),
    ("extra-unknown", EXTRA),
    ("unconsumed", End::Heard),
    ("keys-change", End::Heard),
    ("extra-missing", CUT),
    ("gso-none", SEGMENTS),
    ("gso-unknown", SEGMENTS),
    ("no-grant", GRANTS),
    ("storm", End::Heard),
    ("states-change", End::Heard),
    ("no-such-buffers", GRANTS),
    ("revoked-buffers", GRANTS),
    ("read-only-ring", UNUSABLE),
    ("no-such-ring", UNUSABLE),
    (
        "no-ring-key",
        End::Lost("the frontend's tx-ring-ref is missing or no number"),
    ),
    ("gso-lies", End::Heard),
    ("states-flood", End::Heard),
    (
        "text-key",
        End::Lost("the frontend's event-channel is missing or no number"),
    ),
    (
        "huge-key",
        End::Lost("the frontend's tx-ring-ref is missing or no number"),
    ),
    (
        "binary-key",
        End::Lost("the frontend's rx-ring-ref is missing or no number"),
    ),
    (
        "no-copy-key",
        End::Lost("the frontend does not ask for request-rx-copy"),
    ),
    (
        "queues-key",
        End::Lost("the frontend wants a number of queues that was not offered"),
    ),
    ("nonsense", End::Heard),
    ("states-nonsense", End::Heard),
    ("crossing", CROSSES),
    ("closes-first", End::Heard),
    ("silent", End::Unconnected),
    ("endless", CUT),
    ("extra-loop", EXTRA),
    ("revoked", End::Any),
    ("others-grant", GRANTS),
    ("read-only-buffers", GRANTS),
    ("others-ring", UNUSABLE),
    ("port-key", End::Lost("no event channel")),
    ("again", End::Heard),
    ("busy", End::Destroyed),
    ("leaves", End::Gone),
    ("nodes-gone", End::Closed),
];

/// The last so many are told in the short tier every day. Of the others each has its day among so many.
const DAILY: usize = 14;
const DAYS: usize = 4;

/// The same of all of them, of a backend that is only to be asked whether it is another's equal.
const DAYS_OF_ALL: usize = 14;

/// The lies that this run hears.
fn chosen(behind: Behind) -> Result<Vec<(&'static str, End)>> {
    if Tier::current() == Tier::Full {
        return Ok(LIES.to_vec());
    }
    let (days, daily) = match behind {
        Behind::Firewall => (DAYS, DAILY),
        // The code that hears them is the same.
        Behind::Netdom => (DAYS_OF_ALL, 0),
    };
    let (others, daily) = LIES.split_at(LIES.len() - daily);
    let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let first = (today.as_secs() / 86_400) as usize % days;
    let others = others.iter().skip(first).step_by(days);
    Ok(others.chain(daily).copied().collect())
}

/// Liars at a time, each of which tells its lies one after the other.
const LIARS: usize = 6;

/// How long a liar may take until it says what became of it.
const LIE_LIMIT: Duration = Duration::from_secs(300);

/// The stream's datagrams a second: far fewer than pass, for what is lost is to be the liars' doing.
const RATE: u32 = 200;

fn liars_harm_nobody_but_themselves(setup: &Setup, behind: Behind) -> Result<()> {
    let machine = &setup.machine;
    stat::install(machine)?;
    behind.with(machine, &[SINK, WASTE, SOURCE], || {
        behind.create_sink(machine, SINK, SINK_ADDRESS)?;
        behind.create_sink(machine, WASTE, WASTE_ADDRESS)?;
        let words = format!("rate={RATE} frame=64,1514,300");
        let way = (SOURCE_ADDRESS, SINK_ADDRESS);
        behind.create_source(machine, SOURCE, way, &words)?;
        machine.wait_for_console(SOURCE, "sending", PATIENCE)?;
        // Xen shares its processors out, and what it has given to liars the backend cannot give to others.
        for name in [behind.backend(), SINK, SOURCE] {
            machine.dom0(&format!("xl sched-credit2 -d {name} -w {FIRST}"))?;
        }
        // What is taken once and kept is taken.
        let mut wrong = round(machine, behind, 0, &[("tx-ahead", INDEX_TX)])?;
        let before = Holdings::of(machine, behind.backend())?;
        let lies = chosen(behind)?;
        for number in 1..=Tier::current().repetitions(9).div_ceil(3) {
            wrong += &round(machine, behind, number, &lies)?;
        }
        type_to(machine, SOURCE, 's')?;
        let report = report(machine, SINK, SOURCE_ADDRESS);
        let report = report.with_context(|| wrong.clone())?;
        if !report.is_whole() || report.total == 0 {
            wrong += &format!("of the stream beside them was {report}\n");
        }
        let (others, leaked) = others(machine, WASTE)?;
        match behind {
            // A bridge has no rules. What it lets through is what came for others of it.
            Behind::Netdom => {}
            Behind::Firewall if others >= 100 && leaked == 0 => {}
            Behind::Firewall => {
                wrong += &format!(
                    "of what liars sent {others} came, and {leaked} that no rule lets through\n"
                );
            }
        }
        let after = Holdings::of(machine, behind.backend())?;
        if !before.are_same(&after) {
            wrong += &format!("before {before:?}\nafter  {after:?}\n");
        }
        expect(wrong.is_empty(), || {
            format!("{wrong}the backend has dropped {}", after.drops)
        })
    })
}

/// A guest that tells its lies one after the other.
struct Liar {
    name: String,
    /// What xl says of it.
    id: String,
    lies: Vec<(&'static str, End)>,
}

/// Has liars come and tell these lies, looks at what becomes of each, and has them go: what was not as it should
/// be.
fn round(
    machine: &Machine,
    behind: Behind,
    round: u32,
    lies: &[(&'static str, End)],
) -> Result<String> {
    let count = LIARS.min(lies.len());
    let name = |number| format!("liar-{round}-{number}");
    let told = tell(machine, behind, lies, count, name);
    for number in 0..count {
        let destroy = format!("xl destroy {} 2>/dev/null; true", name(number));
        machine.dom0(&destroy)?;
    }
    told
}

fn tell(
    machine: &Machine,
    behind: Behind,
    lies: &[(&'static str, End)],
    count: usize,
    name: impl Fn(usize) -> String,
) -> Result<String> {
    let mut liars = Vec::new();
    for number in 0..count {
        let own = lies.iter().skip(number).step_by(count);
        let name = name(number);
        let lies: Vec<_> = own.copied().collect();
        let kinds: Vec<&str> = lies.iter().map(|(kind, _)| *kind).collect();
        let address = format!("10.0.5.{}", 10 + number);
        let vif = behind.vif("bad", &number.to_string(), &address);
        let gateway = behind.next_hop(&address, WASTE_ADDRESS);
        let station = match behind {
            Behind::Firewall => String::new(),
            Behind::Netdom => format!("station={}", mac(WASTE_ADDRESS)),
        };
        let words = format!(
            "role=hostile kind={} address={address} gateway={gateway} to={WASTE_ADDRESS} {station}",
            kinds.join(",")
        );
        behind.create(machine, &name, &[&vif], &words)?;
        let id = machine.dom0(&format!("xl domid {name}"))?.trim().to_owned();
        liars.push(Liar { name, id, lies });
    }
    let backend = machine.dom0(&format!("xl domid {}", behind.backend()))?;
    let mut wrong = String::new();
    for step in 0..lies.len().div_ceil(count) {
        wrong += &judge(machine, backend.trim(), &liars, step)?;
    }
    Ok(wrong)
}

/// Waits for what each liar says became of this lie of its, and looks whether the backend says the same: what was
/// not as it should be. Then they go on with their next.
fn judge(machine: &Machine, backend: &str, liars: &[Liar], step: usize) -> Result<String> {
    let mut script = format!(
        "left() {{ echo $((SECONDS < {limit} ? {limit} - SECONDS : 1)); }}
         # What a lie of a liar came to, and where the administrator looks.
         told() {{
             line=$(timeout $(left) dom0-agent await /var/log/xen/guest-$1.log \"^liar $3: \" 'Test result' CRASH)
             echo \"$3; $line; $(xenstore-read /local/domain/{backend}/error/backend/vif/$2/0/error 2>/dev/null)\"
             echo n > $(xenstore-read /local/domain/$2/console/tty)
         }}
         busy() {{
             timeout $(left) dom0-agent await /var/log/xen/guest-$1.log ^busy >/dev/null
             # While it is at it.
             sleep 1
             [ $SECONDS -ge {limit} ] || echo \"$3; ; \"
         }}
         # Without a monitor, a domain that has ended stays until it is destroyed.
         ended() {{
             until xl list $2 | awk 'NR == 2 {{ print $5 }}' | grep -q s || [ $SECONDS -ge {limit} ]; do sleep 0.3; done
             [ $SECONDS -ge {limit} ] || echo \"$3; ; \"
         }}\n",
        limit = LIE_LIMIT.as_secs(),
    );
    let now = liars.iter().filter_map(|liar| {
        let (kind, end) = liar.lies.get(step)?;
        Some((liar, *kind, *end))
    });
    for (Liar { name, id, .. }, kind, end) in now.clone() {
        let look = match end {
            End::Destroyed => "busy",
            End::Gone => "ended",
            _ => "told",
        };
        script += &format!("{look} {name} {id} {kind}\n");
    }
    script += "true";
    let limit = LIE_LIMIT + Duration::from_secs(60);
    let answers = machine.check(&Command::bash(script).limit(limit))?;
    eprint!("{answers}");
    let mut wrong = String::new();
    for (_, kind, end) in now {
        let start = format!("{kind};");
        let answer = answers.lines().find_map(|line| line.strip_prefix(&start));
        let answer = answer.and_then(|answer| answer.split_once(';'));
        let (told, reason) = answer.unwrap_or_default();
        if answer.is_none() || !end.fits(told, reason) {
            wrong += &format!("{kind}: it says {told:?}, the backend {reason:?}\n");
        }
    }
    Ok(wrong)
}

impl End {
    /// Whether it is what the liar says became of it, and what the backend does. What was said of an earlier
    /// connection stays until the vif is gone.
    fn fits(self, told: &str, reason: &str) -> bool {
        let is =
            |state: &str, heard: &str| told.ends_with(&format!("backend state {state}, {heard}"));
        let is_lost = is("5", "not heard") || is("6", "not heard");
        match self {
            Self::Lost(why) => is_lost && reason.contains(why),
            Self::Heard => is("4", "heard"),
            Self::Deaf => is("4", "not heard"),
            Self::Closed => is_lost,
            Self::Unconnected => is("2", "not heard"),
            Self::Any => is_lost || is("4", "heard") || is("4", "not heard"),
            Self::Destroyed | Self::Gone => true,
        }
    }
}

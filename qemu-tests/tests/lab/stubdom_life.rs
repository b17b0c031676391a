//! What becomes of an HVM guest with a stub domain in its life: saved and restored, paused, restarted, ended.

use crate::bench::{LabTest, PATIENCE, Setup};
use crate::stubdom;
use anyhow::Result;
use qemu_tests::{Command, Machine, Tier, boot_sector_disk};
use std::time::Duration;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new(
            "stubdom_life::goes_on_where_it_was_saved",
            goes_on_where_it_was_saved,
        ),
        LabTest::new(
            "stubdom_life::ends_and_stops_at_any_moment",
            ends_and_stops_at_any_moment,
        ),
        LabTest::new(
            "stubdom_life::ends_with_its_device_model",
            ends_with_its_device_model,
        )
        .long(),
        LabTest::new(
            "stubdom_life::leaves_nothing_behind_however_often_it_restarts",
            leaves_nothing_behind,
        )
        .long(),
    ]
}

/// What the BIOS reads from the disk.
const TEXT: &str = "read by the BIOS\r\n";

/// How long it takes to make a guest and its stub domain anew, at the very most.
const ROUND_LIMIT: Duration = Duration::from_secs(30);

/// Words of a script about the guest called `$name`.
const WORDS: &str = r#"
stub() { xenstore-read /local/domain/$(xl domid $name)/image/device-model-domid; }
# What the guest says on its serial port from here on.
listen() {
    exec 3<>$(xenstore-read /local/domain/$(stub)/device/console/3/tty)
    cat <&3 >/tmp/$name.serial &
    heard=$!
}
deaf() { kill $heard 2>/dev/null || true; wait $heard 2>/dev/null || true; exec 3>&-; }
says() { dom0-agent await /tmp/$name.serial "$1" >/dev/null; }
# It obeys a letter, hears one, and reads its disk.
lives() { printf %s $1 >&3; printf r >&3; says "${1}read by the BIOS"; }
# Another domain of the same name, and its stub domain.
after() {
    until now=$(xl domid $name 2>/dev/null) && test $now != $1 && xenstore-exists /local/domain/$(stub)/device/console/3/tty
    do sleep 0.2; done 2>/dev/null
}
gone() { while xl list | grep -q "^$name"; do sleep 0.3; done; }
"#;

/// A guest that has nothing but a boot sector, and its stub domain.
struct Guest<'m> {
    machine: &'m Machine,
    name: &'static str,
}

impl<'m> Guest<'m> {
    fn new(machine: &'m Machine, name: &'static str) -> Result<Self> {
        Self::with(machine, name, &stubdom::lines(machine)?)
    }

    /// The lines of its configuration about its stub domain, and what more there is to say.
    fn with(machine: &'m Machine, name: &'static str, lines: &str) -> Result<Self> {
        machine.put(&format!("/tmp/{name}.disk"), &boot_sector_disk(TEXT)?)?;
        let config = format!(
            "name = '{name}'\ntype = 'hvm'\nmemory = 64\ncpuid = 'host,xsave=0'\nvga = 'none'\nvnc = 0\n\
             disk = [ 'format=raw,vdev=hda,access=rw,target=/tmp/{name}.disk' ]\n{lines}"
        );
        machine.put(&format!("/tmp/{name}.cfg"), config.as_bytes())?;
        Ok(Self { machine, name })
    }

    /// Runs a script with [`WORDS`], and then takes the guest away: what was said.
    fn lives_through(&self, script: &str, limit: Duration) -> Result<String> {
        let Self { machine, name } = self;
        let script = format!("set -e; name={name}\n{WORDS}\n{script}");
        let tried = machine.check(&Command::bash(script).limit(limit));
        let log = machine.dom0(&format!(
            "tail -n 40 /var/log/xen/qemu-dm-{name}.log /var/log/xen/qemu-dm-{name}-dm.log /tmp/{name}.serial
             xl destroy {name} 2>/dev/null; rm -f /tmp/{name}.* /var/log/xen/qemu-dm-{name}.log"
        ))?;
        tried.map_err(|error| error.context(log))
    }
}

/// In the middle of port accesses; and again, as often as one likes.
fn goes_on_where_it_was_saved(setup: &Setup) -> Result<()> {
    let guest = Guest::new(&setup.machine, "saved")?;
    guest
        .lives_through(
            "xl create -q /tmp/$name.cfg
         listen
         says 'boot sector: ready'
         lives a
         printf l >&3
         xl save $name /tmp/$name.saved 2>/dev/null
         deaf
         test -z \"$(xl list | grep \"^$name\")\"
         xl restore /tmp/$name.saved
         listen
         printf . >&3
         says done
         lives g
         # It goes on after each of these.
         before=$(xl domid $name)
         for letter in c d; do
             xl save -c $name /tmp/$name.saved 2>/dev/null
             lives $letter
         done
         test $(xl domid $name) = $before
         # What was saved last is whole.
         xl destroy $name
         deaf
         xl restore /tmp/$name.saved
         listen
         lives e
         xl save $name /tmp/$name.saved 2>/dev/null
         deaf
         xl restore /tmp/$name.saved
         listen
         lives f
         printf o >&3
         gone",
            PATIENCE,
        )
        .map(drop)
}

/// Paused, restarted by itself, destroyed while it does something; and what becomes of it without its stub domain.
fn ends_and_stops_at_any_moment(setup: &Setup) -> Result<()> {
    let guest = Guest::new(&setup.machine, "ended")?;
    guest.lives_through(
        "xl create -q /tmp/$name.cfg
         listen
         says 'boot sector: ready'
         # Paused in the middle of port accesses.
         printf l >&3
         xl pause $name
         xl list $name | awk 'NR == 2 { exit $5 !~ /p/ }'
         xl unpause $name
         printf . >&3
         says done
         lives a
         # The stub domain lives as long as its guest, whatever it is asked for: `xl shutdown -a` asks all there are.
         xl shutdown $name-dm
         dom0-agent await /var/log/xen/qemu-dm-$name.log 'a stub domain ends with its guest' >/dev/null
         lives c
         # A triple fault restarts a computer.
         before=$(xl domid $name)
         printf t >&3
         deaf
         after $before
         listen
         says 'boot sector: ready'
         lives d
         # Without its stub domain it ends, and can be started anew.
         xl destroy $name-dm
         deaf
         gone
         xl create -q /tmp/$name.cfg
         listen
         says 'boot sector: ready'
         # In the middle of port accesses.
         printf l >&3
         xl destroy $name
         deaf
         gone",
        PATIENCE * 2,
    )
    .map(drop)
}

/// A device model that is no more takes its guest along, and xl starts both anew as it was told to.
fn ends_with_its_device_model(setup: &Setup) -> Result<()> {
    let machine = &setup.machine;
    let lines = stubdom::lines_with(machine, "guests", "failing-stub")?;
    let guest = Guest::with(machine, "orphan", &format!("{lines}on_crash = 'restart'\n"))?;
    guest
        .lives_through(
            "rm -f /var/log/xen/*$name*
             again() {
                 deaf
                 after $before
                 dom0-agent await /var/log/xen/xl-$name.log \"Domain $before has shut down, reason code 3\" >/dev/null
                 listen
                 says 'boot sector: ready'
                 lives $1
                 before=$(xl domid $name)
             }
             xl create -q /tmp/$name.cfg
             listen
             says 'boot sector: ready'
             lives a
             before=$(xl domid $name)
             # It panics; and again, in the middle of port accesses.
             xl shutdown $name-dm
             again d
             cat /var/log/xen/qemu-dm-$name.log* | grep -q 'as it was told'
             printf l >&3
             xl shutdown $name-dm
             again e
             # It overflows its stack, where nothing of its own runs any more.
             printf l >&3
             xl reboot $name-dm
             again f
             cat /var/log/xen/qemu-dm-$name-dm.log* | grep -q 'a device model no more'
             xl destroy $name-dm
             again g
             # Nothing of the kind is said of a guest that is destroyed.
             xl destroy $name
             deaf
             gone
             while pidof xl; do sleep 0.2; done
             test $(cat /var/log/xen/xl-$name.log* | grep -c 'has shut down') = 4",
            PATIENCE * 3,
        )
        .map(drop)
}

/// What dom0 gives to a guest it has back when the guest has gone.
fn leaves_nothing_behind(setup: &Setup) -> Result<()> {
    let guest = Guest::new(&setup.machine, "restarted")?;
    let rounds = Tier::current().repetitions(50);
    let limit = PATIENCE + ROUND_LIMIT * rounds;
    let script = format!(
        r#"
        holdings() {{
            xl list | awk 'NR > 1 {{ print $1 }}'
            losetup -a
            pidof xl xen-image-stubdom-helper xen-image-stubdom-supervisor vchan-socket-proxy || true
            xenstore-ls -f | grep -vE '^/(tool|local/domain/0/memory)' | cut -d = -f 1 | sort
            ls /run/xen /var/run/xen /var/lib/xen
            xl info | grep free_memory
        }}
        # What Linux could have back at any time is not counted.
        used() {{
            echo 3 >/proc/sys/vm/drop_caches
            awk '/^MemTotal|^MemAvailable/ {{ kib = $2 - kib }} END {{ print -kib }}' /proc/meminfo
        }}
        # The toolstack's own process is the last to go, and what looks after the guest sees that it went.
        ends() {{
            listen
            says 'boot sector: ready'
            printf o >&3
            deaf
            gone
            while pidof xl xen-image-stubdom-supervisor; do sleep 0.2; done
        }}
        # A dom0's first domain leaves folders in xenstore.
        xl create -q /tmp/$name.cfg
        ends
        holdings >/tmp/$name.before
        xl create -q /tmp/$name.cfg
        for round in $(seq {rounds}); do
            listen
            says 'boot sector: ready'
            lives a
            before=$(xl domid $name)
            printf b >&3
            deaf
            after $before
            test $round != 1 || early=$(used)
        done
        late=$(used)
        echo "{rounds} restarts: dom0 uses $((late - early)) KiB more than after the first"
        # So much does it write to logs; what Linux keeps for itself comes and goes by megabytes.
        test $((late - early)) -lt $((4096 + 64 * {rounds}))
        ends
        holdings >/tmp/$name.after
        diff /tmp/$name.before /tmp/$name.after"#
    );
    let said = guest.lives_through(&script, limit)?;
    eprint!("{said}");
    Ok(())
}

//! A guest that uses its devices as no driver would, while another uses its own as ever: neither its stub domain nor
//! anybody else comes to harm.
//!
//! What it does comes from seeds, which are printed: rounds of accesses to every device, of transfers whose tables
//! loop, overlap and lead outside its memory, and of packets. It writes to its second disk only.

mod controllers;
mod random;
mod script;

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::stubdom;
use anyhow::Result;
use qemu_tests::{Command, READY, Tier, boot_sector_disk};
use script::{DONE, EDGES, LAST, MEMORY_MIB, SECTORS, TEXT, script};

pub(crate) fn tests() -> Vec<LabTest> {
    let mut tests = vec![LabTest::new(
        "devices::a_guest_without_manners_harms_nobody_by_ide",
        |setup| harms_nobody(setup, Controller::Ide),
    )];
    if Tier::current() == Tier::Full {
        tests.push(LabTest::new(
            "devices::a_guest_without_manners_harms_nobody_by_ahci",
            |setup| harms_nobody(setup, Controller::Ahci),
        ));
    }
    tests
}

/// What the guest's disks hang off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Controller {
    Ide,
    Ahci,
}

fn harms_nobody(setup: &Setup, controller: Controller) -> Result<()> {
    const STEPS: usize = 60;
    let machine = &setup.machine;
    let (name, more) = match controller {
        Controller::Ide => ("rude", ""),
        Controller::Ahci => ("ruder", "hdtype = 'ahci'\n"),
    };
    let common = stubdom::lines(machine)?;
    let neighbour = format!("{name}-next");
    let config = |name: &str, memory: u32, disks: &str, more: &str| {
        format!(
            "name = '{name}'\ntype = 'hvm'\nmemory = {memory}\ncpuid = 'host,xsave=0'\nvga = 'none'\nvnc = 0\n\
             on_reboot = 'destroy'\ndisk = [ {disks} ]\n{common}{more}"
        )
    };
    let disk =
        |name: &str, place: &str| format!("'format=raw,vdev={place},access=rw,target=/tmp/{name}'");
    let next = config(
        &neighbour,
        MEMORY_MIB,
        &disk(&format!("{neighbour}.a"), "hda"),
        "",
    );
    machine.put(
        &format!("/tmp/{neighbour}.a"),
        &boot_sector_disk("untouched\r\n")?,
    )?;
    machine.put(&format!("/tmp/{neighbour}.cfg"), next.as_bytes())?;
    let cd = match controller {
        Controller::Ide => ", 'format=raw,vdev=xvde,access=ro,target=/tmp/rude.cd'".to_owned(),
        Controller::Ahci => String::new(),
    };
    let drive = match controller {
        Controller::Ide => {
            "device_model_args_hvm = [ '-drive', 'if=none,id=cd0,file=/dev/xvde,media=cdrom,readonly=on', \
             '-device', 'ide-cd,drive=cd0,bus=ide.1,unit=1' ]\n"
        }
        Controller::Ahci => "",
    };
    let disks = [
        disk(&format!("{name}.a"), "hda"),
        disk(&format!("{name}.c"), "hdc"),
    ]
    .join(", ")
        + &cd;
    let config = config(name, MEMORY_MIB, &disks, &format!("{more}{drive}"));
    machine.put(&format!("/tmp/{name}.cfg"), config.as_bytes())?;
    let (guests, each): (u64, u64) = match Tier::current() {
        Tier::Short => (1, 4),
        Tier::Full => (3, 12),
    };
    for guest in 0..guests {
        let seeds = 1 + guest * each..1 + (guest + 1) * each;
        let mut image = script(controller, seeds.clone(), STEPS).disk(SECTORS)?;
        let last = &mut image[LAST as usize * 512..];
        last.fill(0);
        last[..TEXT.len()].copy_from_slice(TEXT.as_bytes());
        machine.put(&format!("/tmp/{name}.a"), &image)?;
        let tried = machine.check(&Command::bash(run(name, &neighbour)).limit(PATIENCE * 2));
        let log = machine.dom0(&format!(
            "tr -cd '\\11\\12\\40-\\176' </tmp/{name}.serial | tail -c 1500; tail -n 30 /var/log/xen/qemu-dm-{name}.log; xl list
             xl dmesg | tail -n 15; xl destroy {name} 2>/dev/null; xl destroy {neighbour} 2>/dev/null; true"
        ))?;
        let said = tried.map_err(|error| error.context(log.clone()))?;
        println!("seeds {seeds:?}: {}", said.trim());
        expect(said.contains(TEXT.trim_end()), || log)?;
    }
    machine.dom0(&format!("rm -f /tmp/{name}.* /tmp/{neighbour}.*"))?;
    Ok(())
}

/// Starts both, has the one begin, and looks at everything that is not its own.
fn run(name: &str, neighbour: &str) -> String {
    let edges = EDGES.map(|text| format!("         grep -q -a '{text}' {name}.serial"));
    let edges = edges.join("\n");
    format!(
        "set -e
         # What a guest says on its serial port from here on, and how to answer it.
         listen() {{
             stub=$(xenstore-read /local/domain/$(xl domid $1)/image/device-model-domid)
             exec 3<>$(xenstore-read /local/domain/$stub/device/console/3/tty)
             stty raw -echo <&3
             cat <&3 >/tmp/$1.serial &
             heard=$!
             dom0-agent await /tmp/$1.serial '{READY}' >/dev/null
         }}
         cd /tmp
         rm -f /var/log/xen/qemu-dm-{name}.log
         cp {name}.a {name}.before
         cp {neighbour}.a {neighbour}.before
         truncate -s 1M {name}.c
         truncate -s 1M {name}.cd
         xl create -q {neighbour}.cfg
         # It looks for letters all the time: not at the cost of the other.
         xl sched-credit2 -d {neighbour} -c 20
         xl create -q {name}.cfg
         memory() {{ xl list {name}-dm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 3; }}
         guest=/local/domain/$(xl domid {name})
         before=$(memory)
         listen {name}
         said=$(xl dmesg | grep '^(XEN)' | tail -n 1)
         printf g >&3
         # It says that it has done all, or is gone before.
         while xenstore-exists $guest && ! grep -q -a '{DONE}' {name}.serial; do sleep 0.3; done
         # Its stub domain has not grown, and serves it until its end.
         test \"$(memory)\" = \"$before\"
         printf g >&3
         while xenstore-exists $guest; do sleep 0.3; done
         kill $heard 2>/dev/null || true
{edges}
         grep -a -o 'and the disk is read as ever' {name}.serial
         # What it had no right to write.
         cmp {name}.a {name}.before
         # Xen had nothing to say, and the stub domain nothing but what it says of any guest.
         test \"$(xl dmesg | grep '^(XEN)' | tail -n 1)\" = \"$said\"
         test -z \"$(grep -i -E 'panic|overflow' /var/log/xen/qemu-dm-{name}.log)\"
         # Who lives beside it works on.
         listen {neighbour}
         printf xr >&3
         dom0-agent await {neighbour}.serial done >/dev/null
         grep -q untouched {neighbour}.serial
         printf o >&3
         neighbour=/local/domain/$(xl domid {neighbour})
         while xenstore-exists $neighbour; do sleep 0.3; done
         kill $heard 2>/dev/null || true
         cmp {neighbour}.a {neighbour}.before"
    )
}

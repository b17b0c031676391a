//! The QEMU process: its command line, and its end with ours.

use crate::host::QEMU;
use crate::lab::Lab;
use crate::machine::Options;
use anyhow::{Context, Result, anyhow};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Xen's own options; what each is for is said in [`command`].
const XEN: &str = "console=com1 com1=115200,8n1 dom0_max_vcpus=1 loglvl=all guest_loglvl=all \
                   spec-ctrl=eager-fpu";

/// dom0's Linux ends QEMU (`-no-reboot`) instead of hanging when it panics.
const LINUX: &str = "console=hvc0 quiet panic=1";

/// Builds QEMU's command line, inside a wrapper that ends it with us.
pub(crate) fn command(lab: &Lab, options: &Options, run: &Path, socket: &Path) -> Result<Command> {
    // PR_SET_PDEATHSIG: not even a `kill -9` of the test leaves QEMU behind.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", QEMU]);
    // Xen needs no hardware help, and does not run under every KVM.
    // -smap: TCG before 9.1 faults on iret to ring 3 with SMAP on.
    // -monitor: MWAIT with ECX=1 faults in TCG. -rdtscp: its exits are
    // reported as RDTSC, which hangs HVM guests.
    qemu.args(["-machine", "q35", "-accel", "tcg,thread=multi"]);
    qemu.args(["-cpu", "EPYC,-smap,-monitor,-rdtscp", "-smp", "2"]);
    qemu.args(["-m", &options.memory_mib.to_string()]);
    qemu.args([
        "-nodefaults",
        "-no-reboot",
        "-display",
        "none",
        "-net",
        "none",
    ]);

    // eager-fpu: with lazy FPU switching TCG corrupts the SSE registers of
    // busy domains.
    let dom0 = options.dom0_memory_mib;
    let mut xen = format!("{XEN} dom0_mem={dom0}M,max:{dom0}M");
    if options.iommu == Iommu::VtD {
        qemu.args(["-device", "intel-iommu,intremap=on"]);
        xen.push_str(" iommu=force");
    }
    qemu.arg("-kernel").arg(lab.xen());
    qemu.args(["-append", &xen]);
    let modules = [comma_free(&lab.linux()?)?, comma_free(&lab.dom0_initrd())?];
    let word = options.xenstored.word();
    qemu.args([
        "-initrd",
        &format!("{} {LINUX}{word},{}", modules[0], modules[1]),
    ]);

    // Fixed places on the bus leave the low slots to devices of the tests.
    let file = |path: &Path| path.display().to_string().replace(',', ",,");
    let share = file(&run.join("share"));
    qemu.args([
        "-serial",
        &format!("file:{}", file(&run.join("console.log"))),
    ]);
    qemu.args([
        "-fsdev",
        &format!("local,id=share,path={share},security_model=none"),
    ]);
    qemu.args([
        "-device",
        "virtio-9p-pci,fsdev=share,mount_tag=share,addr=1d.0",
    ]);
    qemu.args([
        "-chardev",
        &format!("socket,id=agent,path={},server=on,wait=off", file(socket)),
    ]);
    qemu.args(["-device", "virtio-serial-pci,addr=1e.0"]);
    let port = crate::protocol::PORT;
    qemu.args([
        "-device",
        &format!("virtserialport,chardev=agent,name={port}"),
    ]);
    qemu.args(&options.qemu_arguments);

    let log = File::create(run.join("qemu.log"))?;
    qemu.stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A Ctrl-C is for us to handle, in order.
        .process_group(0);
    Ok(qemu)
}

/// The IOMMU the machine has. Without one nothing can be passed through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Iommu {
    /// None: faster.
    #[default]
    Absent,
    /// Intel's VT-d with interrupt remapping, which Xen then insists on.
    VtD,
}

/// `-initrd` separates modules with commas and spaces, and knows no escape.
fn comma_free(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    match text.contains([',', ' ']) {
        true => Err(anyhow!(
            "QEMU cannot load {text}: no commas or spaces, please"
        )),
        false => Ok(text),
    }
}

/// A child process and the thread that started it: PR_SET_PDEATHSIG fires when
/// that thread ends, so the thread stays as long as the child does.
pub(crate) struct Process {
    shared: Arc<Shared>,
    pid: u32,
}

struct Shared {
    kill: AtomicBool,
    ended: Mutex<Option<ExitStatus>>,
    end: Condvar,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let shared = Arc::new(Shared {
            kill: AtomicBool::new(false),
            ended: Mutex::new(None),
            end: Condvar::new(),
        });
        let keeper = Arc::clone(&shared);
        let (sender, started) = mpsc::channel();
        thread::spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(sender.send(Err(error))),
            };
            let _ = sender.send(Ok(child.id()));
            let status = loop {
                if keeper.kill.load(Ordering::Relaxed) {
                    let _ = child.kill();
                }
                match child.try_wait() {
                    Ok(None) => thread::sleep(Duration::from_millis(20)),
                    Ok(Some(status)) => break status,
                    Err(_) => break ExitStatus::default(),
                }
            };
            *keeper.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            keeper.end.notify_all();
        });
        let pid = started.recv()?.context("starting QEMU with setpriv")?;
        Ok(Self { shared, pid })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Its status once it has ended, waiting for that as long as `limit`.
    pub(crate) fn ended(&self, limit: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + limit;
        let mut ended = self
            .shared
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while ended.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (ended, _) = self
                .shared
                .end
                .wait_timeout(ended, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *ended
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(&self) {
        self.shared.kill.store(true, Ordering::Relaxed);
        self.ended(Duration::from_secs(10));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

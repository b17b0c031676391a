//! The lab on the host's disk: prepared once, then only looked up.

use crate::apt::Apt;
use crate::progress::Progress;
use crate::recipe::{
    self, CARD_ROMS, DEVICE_MODEL_FILES, DOM0_MODULES, DOM0_PROGRAMS, LEFT_OUT, PROGRAMS,
    XEN_PROGRAMS, content_key, packages,
};
use crate::suite::Suite;
use crate::tree::Tree;
use crate::{debian, disk, host, initrd, linux};
use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Changes when the code that builds the initrds does.
const FORMAT: &[u8] = b"8";

const AGENT: &str = include_str!("bin/dom0-agent.rs");
const PROTOCOL: &str = include_str!("protocol.rs");

const DEVICE_MODEL_ARCHIVE: &str = "device-model.cpio";

/// A prepared lab: Xen, Linux and dom0's initrd are there.
#[derive(Clone, Debug)]
pub struct Lab {
    suite: Suite,
    folder: PathBuf,
    tree: Tree,
    boot: PathBuf,
}

impl Lab {
    /// Makes sure that everything a machine needs is there.
    ///
    /// The first time this installs QEMU if it is missing (the only thing
    /// that needs root; `progress` is told the command before it runs) and
    /// downloads and unpacks about 120 MB of Debian packages (180 MB for
    /// Debian 13) below [`Lab::folder`]. Later calls take milliseconds.
    /// Nothing of Xen is ever installed on the host. Interrupted, it goes on
    /// where it was; two processes wait for each other.
    ///
    /// # Errors
    /// An [`Impossible`](crate::Impossible) (`error.is::<Impossible>()`) when
    /// this host cannot have a lab: not x86-64 Debian, no QEMU and no root, no
    /// mirror. Anything else is a fault of the lab.
    pub fn prepare(progress: &dyn Fn(Progress<'_>)) -> Result<Self> {
        Self::prepare_suite(Suite::default(), progress)
    }

    /// [`Lab::prepare`] for a Debian release of one's choice. Each has a folder
    /// of its own; nothing is downloaded for a suite before it is asked for.
    ///
    /// # Errors
    /// Those of [`Lab::prepare`].
    pub fn prepare_suite(suite: Suite, progress: &dyn Fn(Progress<'_>)) -> Result<Self> {
        host::require_tools(progress)?;
        let folder = Self::folder();
        let _lock = lock(&folder, progress)?;
        let suite_folder = folder.join(suite.code_name());
        let tree = unpacked(&suite_folder, suite, progress)?;
        let boot = bootable(&suite_folder, &tree, progress)?;
        Ok(Self {
            suite,
            folder,
            tree,
            boot,
        })
    }

    /// Makes sure that the suite's packages are unpacked, and says where: all that
    /// programs need which use them without a machine. Needs no QEMU.
    ///
    /// # Errors
    /// Those of [`Lab::prepare`], but for QEMU.
    pub fn packages(suite: Suite, progress: &dyn Fn(Progress<'_>)) -> Result<PathBuf> {
        host::require_package_tools()?;
        let folder = Self::folder();
        let _lock = lock(&folder, progress)?;
        let tree = unpacked(&folder.join(suite.code_name()), suite, progress)?;
        Ok(tree.root().to_path_buf())
    }

    /// The Debian release it is made of.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Where labs live: `$XEN_LAB_DIR`, or `lab` in cargo's target folder.
    #[must_use]
    pub fn folder() -> PathBuf {
        if let Some(folder) = std::env::var_os("XEN_LAB_DIR") {
            return PathBuf::from(folder);
        }
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = crate_folder.parent().unwrap_or(crate_folder);
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        workspace.join(target).join("lab")
    }

    /// Where the folders of single runs are, with their logs.
    pub(crate) fn runs(&self) -> PathBuf {
        self.folder.join("runs")
    }

    /// Xen, as a plain multiboot ELF file.
    pub(crate) fn xen(&self) -> PathBuf {
        self.boot.join("xen")
    }

    /// Linux, for dom0 and for Debian guests.
    ///
    /// # Errors
    /// When the unpacked packages have been tampered with.
    pub fn linux(&self) -> Result<PathBuf> {
        self.tree.kernel()
    }

    /// GRUB's rescue image, with all of its modules: of a CD, and of a disk as well.
    ///
    /// # Errors
    /// When the unpacked packages have been tampered with.
    pub fn grub_rescue(&self) -> Result<Vec<u8>> {
        let image = self
            .tree
            .find("usr/lib/grub-rescue/grub-rescue-cdrom.iso")?;
        fs::read(&image).with_context(|| image.display().to_string())
    }

    /// [`Lab::linux`], unpacked: what libxl need not unpack is there sooner.
    pub(crate) fn unpacked_linux(&self) -> PathBuf {
        self.boot.join("linux")
    }

    pub(crate) fn dom0_initrd(&self) -> PathBuf {
        self.boot.join("dom0.initrd")
    }

    /// What an HVM guest's disk begins with.
    pub(crate) fn loader(&self) -> Result<Vec<u8>> {
        let loader = self.boot.join("loader");
        fs::read(&loader).with_context(|| loader.display().to_string())
    }

    /// What dom0 unpacks before it runs an HVM guest, and no other test's dom0 has to.
    pub(crate) fn device_model(&self) -> PathBuf {
        self.boot.join(DEVICE_MODEL_ARCHIVE)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// Waits until no other process prepares the lab; none does while the file is held.
fn lock(folder: &Path, progress: &dyn Fn(Progress<'_>)) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let lock = File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        progress(Progress::Note(
            "waiting for another run that prepares the lab",
        ));
        lock.lock()?;
    }
    Ok(lock)
}

/// The packages' files, in a folder named after the list of packages.
fn unpacked(folder: &Path, suite: Suite, progress: &dyn Fn(Progress<'_>)) -> Result<Tree> {
    let parts = [packages(suite).join(" "), LEFT_OUT.join(" ")];
    let key = content_key(parts.iter().map(String::as_bytes));
    let root = folder.join(format!("packages-{key}"));
    let tree = Tree::new(root.clone());
    if root.is_dir() {
        return Ok(tree);
    }
    progress(Progress::Note(&format!(
        "asking Debian's mirror what the lab's packages in {suite} are",
    )));
    let apt = Apt::new(folder.join("apt"), suite)?;
    apt.update()?;
    let plan = apt.plan()?;
    apt.fetch(&plan, progress)?;
    let beside = folder.join("packages.partial");
    remove(&beside)?;
    apt.unpack(&plan, &beside, progress)?;
    let unpacked = Tree::new(beside.clone());
    unpacked.link_merged_folders()?;
    index_modules(&unpacked)?;
    remove_older(folder, "packages-")?;
    // A package's folders are as old as the package, and the oldest are removed.
    File::open(&beside)?.set_modified(SystemTime::now())?;
    fs::rename(&beside, &root)?;
    Ok(tree)
}

/// Runs the packages' own depmod, by their own loader.
fn index_modules(tree: &Tree) -> Result<()> {
    let output = tree
        .host_command("depmod", &tree.resolve("bin/kmod")?)?
        .arg("-b")
        .arg(tree.root())
        .arg(tree.kernel_release()?)
        .output()?;
    if !output.status.success() {
        bail!("depmod: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Xen, dom0's initrd and guests' kernel, in a folder named after all that goes into them.
fn bootable(folder: &Path, tree: &Tree, progress: &dyn Fn(Progress<'_>)) -> Result<PathBuf> {
    let lists = [
        PROGRAMS,
        DOM0_PROGRAMS,
        XEN_PROGRAMS,
        DOM0_MODULES,
        DEVICE_MODEL_FILES,
        CARD_ROMS,
    ];
    let lists = lists.map(|list| list.join(" "));
    let texts = [
        AGENT,
        PROTOCOL,
        initrd::DOM0_INIT,
        initrd::VIF_SCRIPT,
        initrd::BLOCK_SCRIPT,
        initrd::XL_CONF,
        recipe::PROTOCOLS,
        recipe::DEVICE_MODEL,
        recipe::BIOS,
        debian::CMDLINE,
    ];
    let root = tree.root().display().to_string();
    let parts = lists
        .iter()
        .map(String::as_str)
        .chain(texts)
        .chain([root.as_str()]);
    let key = content_key(parts.map(str::as_bytes).chain([FORMAT]));
    let boot = folder.join(format!("boot-{key}"));
    if boot.is_dir() {
        return Ok(boot);
    }
    progress(Progress::Note("building dom0's initrd"));
    let beside = folder.join("boot.partial");
    remove(&beside)?;
    fs::create_dir_all(&beside)?;
    let xen = tree.only("boot", |name| {
        name.starts_with("xen-") && name.ends_with(".gz")
    })?;
    let mut elf = Vec::new();
    GzDecoder::new(File::open(tree.find(&format!("boot/{xen}"))?)?).read_to_end(&mut elf)?;
    fs::write(beside.join("xen"), elf)?;
    let unpacked = linux::unpack(&fs::read(tree.kernel()?)?, &beside)?;
    fs::write(beside.join("linux"), unpacked)?;
    let loader = disk::loader(tree, debian::CMDLINE, &beside)?;
    fs::write(beside.join("loader"), loader)?;
    let agent = build_agent(&beside)?;
    let dom0 = initrd::dom0(tree, agent)?;
    fs::write(beside.join("dom0.initrd"), dom0.plain()?)?;
    let device_model = initrd::device_model(tree)?.without(&dom0);
    fs::write(beside.join(DEVICE_MODEL_ARCHIVE), device_model.plain()?)?;
    remove_older(folder, "boot-")?;
    fs::rename(&beside, &boot)?;
    Ok(boot)
}

/// Compiles the agent so that it needs nothing of dom0 but the kernel.
fn build_agent(folder: &Path) -> Result<Vec<u8>> {
    let source = folder.join("agent");
    fs::create_dir_all(source.join("bin"))?;
    fs::write(source.join("protocol.rs"), PROTOCOL)?;
    fs::write(source.join("bin/dom0-agent.rs"), AGENT)?;
    let program = source.join("dom0-agent");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args([
            "--edition",
            "2024",
            "-C",
            "opt-level=s",
            "-C",
            "strip=symbols",
        ])
        .args(["-C", "target-feature=+crt-static", "-o"])
        .arg(&program)
        .arg(source.join("bin/dom0-agent.rs"))
        .output()
        .context("rustc, which builds the lab's agent for dom0")?;
    if !output.status.success() {
        bail!(
            "building dom0's agent: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(fs::read(&program)?)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}

/// How many results of other recipes stay: programs built from another state
/// of the sources may be using them right now.
const KEPT: usize = 2;

/// Removes the oldest results of other recipes: they only take space.
fn remove_older(folder: &Path, prefix: &str) -> Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort();
    for (_, path) in &found[..found.len().saturating_sub(KEPT)] {
        remove(path)?;
    }
    Ok(())
}

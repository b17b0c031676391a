//! Frames between host and drive: the one that is read, and the three that are written.
//! (Serial ATA 3.0, 10.3.)

use crate::device::ata::Task;

/// Bytes of the frame with a command's registers.
pub(super) const COMMAND: usize = 20;

/// What a frame from the host is about.
pub(super) enum Host {
    /// A command: its registers.
    Command(Task),
    /// The device control register: whether it asks for a reset.
    Control(bool),
}

/// Reads a frame that was read from the guest. `None`: it is no such frame.
pub(super) fn parse(fis: &[u8; COMMAND]) -> Option<Host> {
    if fis[0] != 0x27 {
        return None;
    }
    if fis[1] & 1 << 7 == 0 {
        return Some(Host::Control(fis[15] & 1 << 2 != 0));
    }
    let low = [fis[4], fis[5], fis[6], fis[8], fis[9], fis[10], 0, 0];
    Some(Host::Command(Task {
        command: fis[2],
        features: u16::from_le_bytes([fis[3], fis[11]]),
        count: u16::from_le_bytes([fis[12], fis[13]]),
        lba: u64::from_le_bytes(low),
        device: fis[7],
        status: 0,
        error: 0,
    }))
}

/// What all frames with registers have in common.
fn registers(kind: u8, interrupts: bool, task: &Task) -> [u8; 20] {
    let lba = task.lba.to_le_bytes();
    let count = task.count.to_le_bytes();
    let mut fis = [0; 20];
    fis[..4].copy_from_slice(&[kind, u8::from(interrupts) << 6, task.status, task.error]);
    fis[4..7].copy_from_slice(&lba[..3]);
    fis[7] = task.device;
    fis[8..11].copy_from_slice(&lba[3..6]);
    fis[12..14].copy_from_slice(&count);
    fis
}

/// The registers as the drive has them now.
pub(super) fn device_to_host(interrupts: bool, task: &Task) -> [u8; 20] {
    registers(0x34, interrupts, task)
}

/// Data for the guest by PIO, and the status that is there behind it.
pub(super) fn pio_setup(task: &Task, bytes: u16) -> [u8; 20] {
    let mut fis = registers(0x5f, true, task);
    fis[1] |= 1 << 5;
    // Before the data there is data to come.
    fis[2] |= crate::device::ata::status::DRQ;
    fis[15] = task.status;
    fis[16..18].copy_from_slice(&bytes.to_le_bytes());
    fis
}

/// Queued commands that have ended.
pub(super) fn set_device_bits(task: &Task, ended: u32) -> [u8; 8] {
    let [a, b, c, d] = ended.to_le_bytes();
    // Of the status, without the bits that are the port's own.
    [0xa1, 1 << 6, task.status & 0x77, task.error, a, b, c, d]
}

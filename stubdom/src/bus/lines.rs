//! Interrupt lines: Xen is told what changed.

use crate::hypervisor::{Errno, Hypervisor};

/// Devices of a bus.
const DEVICES: usize = 32;
/// Interrupt pins of a device.
const PINS: u8 = 4;

/// How the devices drive their lines. Lines are shared: one that any of them drives is high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    isa: u16,
    /// A bit for each pin, of each device.
    intx: [u8; DEVICES],
}

impl Levels {
    /// A device has this level at an ISA line.
    pub fn isa(&mut self, line: u8, is_driven: bool) {
        self.isa |= u16::from(is_driven) << (line & 15);
    }

    /// A device of PCI bus 0 has this level at a pin, 0 being INTA#.
    pub fn intx(&mut self, device: u8, pin: u8, is_driven: bool) {
        self.intx[usize::from(device) % DEVICES] |= u8::from(is_driven) << (pin % PINS);
    }
}

/// What Xen was last told, so that it is told changes only.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    told: Levels,
    /// Xen may believe anything.
    is_unknown: bool,
}

impl Lines {
    /// Xen knows other levels, those of a saved guest: all are told anew.
    pub fn forget(&mut self) {
        self.is_unknown = true;
    }

    /// Tells Xen what is different now.
    ///
    /// # Errors
    /// Xen's, of the last line that it refused.
    pub fn drive(
        &mut self,
        levels: &Levels,
        hypervisor: &mut impl Hypervisor,
    ) -> Result<(), Errno> {
        if *levels == self.told && !self.is_unknown {
            return Ok(());
        }
        let all = if self.is_unknown { u16::MAX } else { 0 };
        let mut result = Ok(());
        let changed = levels.isa ^ self.told.isa | all;
        for line in (0..16).filter(|line| changed >> line & 1 != 0) {
            let is_high = levels.isa >> line & 1 != 0;
            result = hypervisor
                .set_isa_irq_level(line, is_high.into())
                .and(result);
        }
        for (device, (now, before)) in (0..).zip(levels.intx.iter().zip(&self.told.intx)) {
            let changed = now ^ before | all as u8;
            for pin in (0..PINS).filter(|pin| changed >> pin & 1 != 0) {
                let is_high = now >> pin & 1 != 0;
                result = hypervisor
                    .set_pci_intx_level(device, pin, is_high.into())
                    .and(result);
            }
        }
        self.told = *levels;
        self.is_unknown = false;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::Level::{High, Low};
    use crate::hypervisor::fake::{Call, Fake};

    #[test]
    fn xen_is_told_changes_only() {
        let mut xen = Fake::default();
        let mut lines = Lines::default();
        let mut levels = Levels::default();
        levels.isa(4, true);
        levels.isa(4, false);
        levels.isa(9, false);
        levels.intx(3, 0, true);
        lines.drive(&levels, &mut xen).unwrap();
        assert_eq!(xen.take(), [Call::Isa(4, High), Call::Intx(3, 0, High)]);
        lines.drive(&levels, &mut xen).unwrap();
        assert_eq!(xen.take(), []);
        let mut levels = Levels::default();
        levels.isa(4, true);
        levels.intx(31, 3, true);
        lines.drive(&levels, &mut xen).unwrap();
        assert_eq!(xen.take(), [Call::Intx(3, 0, Low), Call::Intx(31, 3, High)]);
    }
}

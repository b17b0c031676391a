//! What is asked of Xen about the guest.

use super::*;
use crate::abi::errno::ESRCH;
use crate::abi::hvm::params::{HVM_PARAM_ACPI_S_STATE, HVM_PARAM_CALLBACK_IRQ};
use crate::abi::sched::ShutdownReason;

#[test]
fn interrupts_reach_the_guest() {
    let Lab { hvm, guest, .. } = Lab::new(1, 0);
    guest.set_isa_irq_level(14, Level::High).unwrap();
    guest.set_pci_intx_level(31, 3, Level::High).unwrap();
    guest.set_pci_link_route(2, 11).unwrap();
    guest.inject_msi(0xfee0_1000, 0x4031).unwrap();
    assert_eq!((hvm.isa_level(14), hvm.isa_level(15)), (1, 0));
    assert_eq!((hvm.intx_level(31, 3), hvm.intx_level(31, 2)), (1, 0));
    assert_eq!(hvm.links(), [0, 0, 11, 0]);
    assert_eq!(hvm.messages(), [(0xfee0_1000, 0x4031)]);
    guest.set_isa_irq_level(14, Level::Low).unwrap();
    guest.set_pci_intx_level(31, 3, Level::Low).unwrap();
    assert_eq!((hvm.isa_level(14), hvm.intx_level(31, 3)), (0, 0));
}

#[test]
fn lines_that_there_are_not_are_xens_to_refuse() {
    let guest = Lab::new(1, 0).guest;
    let (on, bad) = (Level::High, Err(EINVAL));
    assert_eq!(guest.set_isa_irq_level(16, on), bad);
    assert_eq!(guest.set_pci_intx_level(32, 0, on), bad);
    assert_eq!(guest.set_pci_intx_level(0, 4, on), bad);
    assert_eq!(guest.set_pci_link_route(4, 5), bad);
    assert_eq!(guest.set_pci_link_route(0, 16), bad);
}

#[test]
fn a_domain_speaks_of_its_own_guest_only() {
    let lab = Lab::new(1, 0);
    let stranger = Guest::new(lab.world.domain(DomId(9)), GUEST);
    assert_eq!(stranger.vcpus(), Err(EPERM));
    assert_eq!(stranger.parameter(HVM_PARAM_CALLBACK_IRQ), Err(EPERM));
    assert_eq!(
        Guest::new(lab.stub.clone(), DomId(77)).vcpus(),
        Err(ESRCH),
        "no such domain"
    );
    assert_eq!(
        Guest::new(lab.stub, DomId(0)).vcpus(),
        Err(EINVAL),
        "no HVM guest"
    );
}

#[test]
fn the_guest_ends_for_the_first_reason_given() {
    let Lab { hvm, guest, .. } = Lab::new(1, 0);
    assert_eq!(hvm.shutdown(), None);
    guest.remote_shutdown(ShutdownReason::Crash).unwrap();
    guest.remote_shutdown(ShutdownReason::Poweroff).unwrap();
    assert_eq!(hvm.shutdown(), Some(3));
}

#[test]
fn a_guest_sleeps_and_wakes() {
    let guest = Lab::new(1, 0).guest;
    let state = || guest.parameter(HVM_PARAM_ACPI_S_STATE);
    guest.enter_s3().unwrap();
    assert_eq!(state(), Ok(3));
    guest.leave_s3().unwrap();
    assert_eq!(state(), Ok(0));
    assert_eq!(guest.set_parameter(HVM_PARAM_ACPI_S_STATE, 4), Err(EINVAL));
}

//! What a guest may say that it is.

use super::Guest;
use minios_rs::hardware::Hardware;
use minios_rs::net::Claim;

impl<X: Hardware> Guest<X> {
    fn has(&self, address: u32) -> bool {
        let addresses = &self.back.settings().addresses;
        addresses.iter().any(|own| own.to_bits() == address)
    }
}

/// Whether guest `number` may send this, to whomever. One with `ip=` has these addresses and speaks nothing but
/// IPv4 and ARP, as Xen's `vif-bridge` has it; of the others none can claim what is such a guest's. By which
/// station it goes, the bridge looks.
pub(super) fn may_send<X: Hardware>(guests: &[Guest<X>], number: usize, head: &[u8]) -> bool {
    let guest = &guests[number];
    let is_held = !guest.back.settings().addresses.is_empty();
    match Claim::of(head) {
        Some(Claim::Address(address)) if is_held => guest.has(address),
        Some(Claim::Address(address)) => {
            let mut others = guests.iter().filter(|other| other.segment == guest.segment);
            !others.any(|other| other.has(address))
        }
        Some(Claim::Nobody) => true,
        Some(Claim::Unknown) | None => !is_held,
    }
}

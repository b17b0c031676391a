//! Pages that their owner let go of while the peer still used them.

#![forbid(unsafe_code)]

use crate::xen::{GrantError, GrantRef};
use alloc::vec::Vec;

/// How many are looked at for each grant that is made: more than one, so that they become fewer.
const LOOKS: usize = 2;

/// The pages, and what they are granted by. There are as many as peers hold on to, which the grant table bounds.
pub(crate) struct Kept<P> {
    pages: Vec<(GrantRef, P)>,
    /// The one to be looked at next.
    next: usize,
}

impl<P> Kept<P> {
    pub(crate) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn add(&mut self, reference: GrantRef, page: P) {
        self.pages.push((reference, page));
    }

    /// Has `end` end the grants of some, and gives up the pages of those it could.
    pub(crate) fn retry(&mut self, mut end: impl FnMut(GrantRef) -> Result<(), GrantError>) {
        for _ in 0..LOOKS {
            let Some((reference, _)) = self.pages.get(self.next) else {
                self.next = 0;
                continue;
            };
            match end(*reference) {
                Ok(()) => drop(self.pages.swap_remove(self.next)),
                Err(_) => self.next += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::rc::Rc;

    #[test]
    fn each_is_given_up_once_its_peer_has_let_go_whatever_the_others_do() {
        let mut kept = Kept::new();
        let pages: [_; 5] = core::array::from_fn(|_| Rc::new(()));
        for (number, page) in pages.iter().enumerate() {
            kept.add(GrantRef(number as u32), page.clone());
        }
        let held = |reference: GrantRef| match reference.0 {
            1 | 3 => Err(GrantError::InUse),
            _ => Ok(()),
        };
        for _ in 0..8 {
            kept.retry(held);
        }
        assert_eq!(pages.each_ref().map(Rc::strong_count), [1, 2, 1, 2, 1]);
        kept.retry(|_| Ok(()));
        kept.retry(|_| Ok(()));
        assert_eq!(pages.each_ref().map(Rc::strong_count), [1; 5]);
    }
}

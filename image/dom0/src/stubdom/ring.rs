//! `struct xencons_interface`, from the daemon's side.

use minios_rs::abi::io::console::ConsoleInterface;
use minios_rs::xen::SharedPage;
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Bytes that the domain may have printed and we not read.
pub(crate) const OUTPUT_BYTES: usize = 2048;
/// Bytes that may be typed and not read by the domain.
pub(crate) const INPUT_BYTES: usize = 1024;

/// The domain wrote an index that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("its ring makes no sense")]
pub(crate) struct Corrupt;

/// The ring in a page of the domain's. Our own indices are kept here: what stands in the page may be
/// anybody's.
pub(crate) struct Ring<P> {
    page: P,
    in_prod: u32,
    out_cons: u32,
}

impl<P: SharedPage> Ring<P> {
    /// Goes on where a daemon before stopped.
    pub(crate) fn new(page: P) -> Self {
        let word = |offset| page.word(offset).load(Ordering::Acquire);
        Self {
            in_prod: word(offset_of!(ConsoleInterface, in_prod)),
            out_cons: word(offset_of!(ConsoleInterface, out_cons)),
            page,
        }
    }

    /// Copies what the domain printed; it stays there until [`Ring::consume`].
    pub(crate) fn output<'b>(&self, into: &'b mut [u8; OUTPUT_BYTES]) -> Result<&'b [u8], Corrupt> {
        let out_prod = offset_of!(ConsoleInterface, out_prod);
        let produced = self.page.word(out_prod).load(Ordering::Acquire);
        let waiting = produced.wrapping_sub(self.out_cons) as usize;
        let into = into.get_mut(..waiting).ok_or(Corrupt)?;
        let start = self.out_cons as usize % OUTPUT_BYTES;
        let (first, second) = into.split_at_mut(waiting.min(OUTPUT_BYTES - start));
        let output = offset_of!(ConsoleInterface, output);
        self.page.read(output + start, first);
        self.page.read(output, second);
        Ok(into)
    }

    /// Gives the room of so many bytes back.
    pub(crate) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= OUTPUT_BYTES);
        self.out_cons = self.out_cons.wrapping_add(bytes as u32);
        let out_cons = offset_of!(ConsoleInterface, out_cons);
        self.page
            .word(out_cons)
            .store(self.out_cons, Ordering::Release);
    }

    /// Bytes that can be typed.
    pub(crate) fn room(&self) -> Result<usize, Corrupt> {
        let in_cons = offset_of!(ConsoleInterface, in_cons);
        let consumed = self.page.word(in_cons).load(Ordering::Acquire);
        let unread = self.in_prod.wrapping_sub(consumed) as usize;
        INPUT_BYTES.checked_sub(unread).ok_or(Corrupt)
    }

    /// Types bytes, no more than there is [`Ring::room`] for.
    pub(crate) fn input(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= INPUT_BYTES);
        let start = self.in_prod as usize % INPUT_BYTES;
        let (first, second) = bytes.split_at(bytes.len().min(INPUT_BYTES - start));
        let input = offset_of!(ConsoleInterface, input);
        self.page.write(input + start, first);
        self.page.write(input, second);
        self.in_prod = self.in_prod.wrapping_add(bytes.len() as u32);
        let in_prod = offset_of!(ConsoleInterface, in_prod);
        self.page
            .word(in_prod)
            .store(self.in_prod, Ordering::Release);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use minios_rs::xen::PAGE_SIZE;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::atomic::AtomicU32;

    /// A page that this process has to itself.
    #[derive(Clone)]
    pub(crate) struct TestPage(Rc<Vec<AtomicU32>>);

    impl Default for TestPage {
        fn default() -> Self {
            let words = (0..PAGE_SIZE / 4).map(|_| AtomicU32::new(0));
            Self(Rc::new(words.collect()))
        }
    }

    impl SharedPage for TestPage {
        fn word(&self, offset: usize) -> &AtomicU32 {
            assert!(offset.is_multiple_of(4));
            &self.0[offset / 4]
        }

        fn read(&self, offset: usize, into: &mut [u8]) {
            for (at, byte) in (offset..).zip(into) {
                *byte = self.0[at / 4].load(Ordering::Relaxed).to_ne_bytes()[at % 4];
            }
        }

        fn write(&self, offset: usize, from: &[u8]) {
            for (at, byte) in (offset..).zip(from) {
                let mut bytes = self.0[at / 4].load(Ordering::Relaxed).to_ne_bytes();
                bytes[at % 4] = *byte;
                self.0[at / 4].store(u32::from_ne_bytes(bytes), Ordering::Relaxed);
            }
        }

        fn zero(&self, offset: usize, length: usize) {
            self.write(offset, &vec![0; length]);
        }
    }

    /// The domain's side.
    #[derive(Clone, Default)]
    pub(crate) struct Front {
        pub(crate) page: TestPage,
        typed: Rc<RefCell<Vec<u8>>>,
    }

    impl Front {
        /// Prints as much as fits; how much that was.
        pub(crate) fn print(&self, bytes: &[u8]) -> usize {
            let consumed = self.load(offset_of!(ConsoleInterface, out_cons));
            let produced = self.load(offset_of!(ConsoleInterface, out_prod));
            let room = OUTPUT_BYTES - produced.wrapping_sub(consumed) as usize;
            let bytes = &bytes[..bytes.len().min(room)];
            for (at, byte) in bytes.iter().enumerate() {
                let at = produced.wrapping_add(at as u32) as usize % OUTPUT_BYTES;
                let output = offset_of!(ConsoleInterface, output);
                self.page.write(output + at, &[*byte]);
            }
            self.store(
                offset_of!(ConsoleInterface, out_prod),
                produced.wrapping_add(bytes.len() as u32),
            );
            bytes.len()
        }

        /// Reads all that was typed.
        pub(crate) fn read(&self) -> Vec<u8> {
            let mut consumed = self.load(offset_of!(ConsoleInterface, in_cons));
            let produced = self.load(offset_of!(ConsoleInterface, in_prod));
            while consumed != produced {
                let mut byte = [0];
                self.page.read(consumed as usize % INPUT_BYTES, &mut byte);
                self.typed.borrow_mut().extend(byte);
                consumed = consumed.wrapping_add(1);
            }
            self.store(offset_of!(ConsoleInterface, in_cons), consumed);
            self.typed.take()
        }

        pub(crate) fn load(&self, offset: usize) -> u32 {
            self.page.word(offset).load(Ordering::Acquire)
        }

        pub(crate) fn store(&self, offset: usize, value: u32) {
            self.page.word(offset).store(value, Ordering::Release);
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_on_one_side_comes_out_on_the_other(
            start: u32,
            pieces in prop::collection::vec((0..3000usize, 0..1500usize), 0..20),
        ) {
            let front = Front::default();
            for index in [
                offset_of!(ConsoleInterface, in_cons),
                offset_of!(ConsoleInterface, in_prod),
                offset_of!(ConsoleInterface, out_cons),
                offset_of!(ConsoleInterface, out_prod),
            ] {
                front.store(index, start);
            }
            let mut ring = Ring::new(front.page.clone());
            let mut value = 0u8;
            let mut bytes = |count: usize| {
                (0..count).map(|_| { value = value.wrapping_add(7); value }).collect::<Vec<_>>()
            };
            for (printed, typed) in pieces {
                let text = bytes(printed);
                let count = front.print(&text);
                prop_assert_eq!(count, printed.min(OUTPUT_BYTES));
                let mut buffer = [0; OUTPUT_BYTES];
                prop_assert_eq!(ring.output(&mut buffer).unwrap(), &text[..count]);
                ring.consume(count);
                let room = ring.room().unwrap();
                prop_assert_eq!(room, INPUT_BYTES);
                let text = bytes(typed.min(room));
                ring.input(&text);
                prop_assert_eq!(front.read(), text);
            }
        }

        #[test]
        fn indices_that_cannot_be_are_an_error_and_nothing_else(
            out_prod: u32, in_cons: u32, out_cons: u32, in_prod: u32,
        ) {
            let front = Front::default();
            let ring = Ring::new(front.page.clone());
            front.store(offset_of!(ConsoleInterface, out_prod), out_prod);
            front.store(offset_of!(ConsoleInterface, in_cons), in_cons);
            // Ours, in the page: nobody asks.
            front.store(offset_of!(ConsoleInterface, out_cons), out_cons);
            front.store(offset_of!(ConsoleInterface, in_prod), in_prod);
            let mut buffer = [0; OUTPUT_BYTES];
            prop_assert_eq!(
                ring.output(&mut buffer).map(<[u8]>::len),
                if out_prod as usize <= OUTPUT_BYTES { Ok(out_prod as usize) } else { Err(Corrupt) }
            );
            let unread = in_cons.wrapping_neg() as usize;
            prop_assert_eq!(
                ring.room(),
                if unread <= INPUT_BYTES { Ok(INPUT_BYTES - unread) } else { Err(Corrupt) }
            );
        }
    }
}

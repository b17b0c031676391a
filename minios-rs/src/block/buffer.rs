//! Memory that the backend reads and writes: pages granted once, and used again.

#![forbid(unsafe_code)]

use super::{Failure, SECTOR};
use crate::xen::{Access, DomId, Granted, PAGE_SIZE, SharedPage, Xen};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

/// A page of a buffer.
enum Held<X: Xen> {
    Granted(Granted<X>),
    /// Its grant to a backend of another domain was ended, and there was none to be had for the new one.
    Loose(X::Page),
}

impl<X: Xen> Held<X> {
    fn page(&self) -> &X::Page {
        match self {
            Self::Granted(granted) => granted.page(),
            Self::Loose(page) => page,
        }
    }
}

/// Pages of one disk that no buffer has now.
pub(super) struct Pool<X: Xen> {
    xen: X,
    /// To whom they are granted.
    backend: DomId,
    /// The one used last is the next: a backend that keeps few mapped has those.
    free: Vec<Granted<X>>,
    /// All there are, those in buffers included.
    pages: usize,
    pages_max: usize,
}

impl<X: Xen> Pool<X> {
    pub(super) fn new(xen: &X, backend: DomId, pages_max: usize) -> Self {
        Self {
            xen: xen.clone(),
            backend,
            free: Vec::with_capacity(pages_max),
            pages: 0,
            pages_max,
        }
    }

    /// From now on pages are another domain's: those that were granted to the last one are given back.
    pub(super) fn serve(&mut self, backend: DomId) {
        if self.backend != backend {
            self.backend = backend;
            self.pages -= self.free.len();
            self.free.clear();
        }
    }

    fn take(&mut self) -> Option<Granted<X>> {
        if let Some(page) = self.free.pop() {
            return Some(page);
        }
        if self.pages == self.pages_max {
            return None;
        }
        let page = Granted::allocate(&self.xen, self.backend, Access::ReadWrite).ok()?;
        self.pages += 1;
        Some(page)
    }
}

/// A run of bytes that a request reads or writes: pages, one after the other. It belongs to the front that gave it;
/// dropped, its pages are that front's for another buffer.
///
/// It holds what was last in its pages, which was this disk's.
pub struct Buffer<X: Xen> {
    pages: Vec<Held<X>>,
    len: usize,
    backend: DomId,
    pool: Rc<RefCell<Pool<X>>>,
}

impl<X: Xen> Buffer<X> {
    /// `None`: not a number of sectors, or there are not so many pages now.
    pub(super) fn take(pool: &Rc<RefCell<Pool<X>>>, len: usize) -> Option<Self> {
        if len == 0 || !len.is_multiple_of(SECTOR) {
            return None;
        }
        let count = len.div_ceil(PAGE_SIZE);
        let mut inner = pool.borrow_mut();
        if count > inner.pages_max {
            return None;
        }
        let mut buffer = Self {
            pages: Vec::with_capacity(count),
            len,
            backend: inner.backend,
            pool: pool.clone(),
        };
        while buffer.pages.len() < count {
            let Some(page) = inner.take() else {
                // It takes its pool to give back what it has.
                drop(inner);
                return None;
            };
            buffer.pages.push(Held::Granted(page));
        }
        Some(buffer)
    }

    /// Bytes in it.
    #[expect(clippy::len_without_is_empty, reason = "no buffer is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    fn assert_inside(&self, offset: usize, len: usize) {
        assert!(
            offset <= self.len && len <= self.len - offset,
            "beyond the buffer's end"
        );
    }

    /// Copies `into.len()` bytes from `offset` out of it. Panics beyond its end.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        self.assert_inside(offset, into.len());
        let (mut at, mut rest) = (offset, into);
        while !rest.is_empty() {
            let count = (PAGE_SIZE - at % PAGE_SIZE).min(rest.len());
            let (part, more) = rest.split_at_mut(count);
            self.pages[at / PAGE_SIZE].page().read(at % PAGE_SIZE, part);
            (at, rest) = (at + count, more);
        }
    }

    /// Copies `from` into it at `offset`. Panics beyond its end.
    pub fn write(&self, offset: usize, from: &[u8]) {
        self.assert_inside(offset, from.len());
        let (mut at, mut rest) = (offset, from);
        while !rest.is_empty() {
            let count = (PAGE_SIZE - at % PAGE_SIZE).min(rest.len());
            let (part, more) = rest.split_at(count);
            self.pages[at / PAGE_SIZE]
                .page()
                .write(at % PAGE_SIZE, part);
            (at, rest) = (at + count, more);
        }
    }

    pub(super) fn is_of(&self, pool: &Rc<RefCell<Pool<X>>>) -> bool {
        Rc::ptr_eq(&self.pool, pool)
    }

    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The reference of a page, and its bytes that are the buffer's.
    pub(super) fn segment(&self, index: usize) -> Option<(u32, usize)> {
        let bytes = PAGE_SIZE.min(self.len - index * PAGE_SIZE);
        match &self.pages[index] {
            Held::Granted(granted) => Some((granted.reference().0, bytes)),
            Held::Loose(_) => None,
        }
    }

    /// Grants its pages to this domain, if it is another that has them: one that the last one still uses is copied, and
    /// not touched again before it does not.
    pub(super) fn serve(&mut self, xen: &X, backend: DomId) -> Result<(), Failure> {
        if self.backend == backend {
            return Ok(());
        }
        for index in 0..self.pages.len() {
            let held = self.pages.swap_remove(index);
            let (held, granted) = regrant(xen, held, backend);
            self.pages.push(held);
            let last = self.pages.len() - 1;
            self.pages.swap(index, last);
            granted?;
        }
        self.backend = backend;
        Ok(())
    }
}

/// The page, granted to this domain if that could be.
fn regrant<X: Xen>(xen: &X, held: Held<X>, to: DomId) -> (Held<X>, Result<(), Failure>) {
    let page = match held {
        Held::Loose(page) => page,
        Held::Granted(granted) => match granted.end() {
            Ok(page) => page,
            Err(granted) => {
                let Ok(page) = xen.allocate_page() else {
                    return (Held::Granted(granted), Err(Failure::NoMemory));
                };
                let mut bytes = [0; SECTOR];
                for offset in (0..PAGE_SIZE).step_by(SECTOR) {
                    granted.page().read(offset, &mut bytes);
                    page.write(offset, &bytes);
                }
                page
            }
        },
    };
    match Granted::new(xen, to, page.clone(), Access::ReadWrite) {
        Ok(granted) => (Held::Granted(granted), Ok(())),
        Err(_) => (Held::Loose(page), Err(Failure::NoMemory)),
    }
}

impl<X: Xen> Drop for Buffer<X> {
    fn drop(&mut self) {
        let mut pool = self.pool.borrow_mut();
        let is_current = self.backend == pool.backend;
        for held in self.pages.drain(..) {
            match held {
                Held::Granted(granted) if is_current => pool.free.push(granted),
                // Dropped: the grant is ended, now or once the old backend has let go.
                _ => pool.pages -= 1,
            }
        }
    }
}

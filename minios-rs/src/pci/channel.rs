//! The shared page: one operation at a time, and the backend's reports of errors.

#![forbid(unsafe_code)]

use super::Error;
use crate::abi::io::pciif::{
    AER_OP, AerOp, FLAGS, MSIX_ENTRIES, MsixEntry, OP, Op, SH_INFO_MAX_VEC, XEN_PCI_ERR_SUCCESS,
    XEN_PCI_OP_AER_DETECTED, XEN_PCIB_ACTIVE, XEN_PCIB_AERHANDLER, XEN_PCIF_ACTIVE,
};
use crate::task::Executor;
use crate::xen::{Access, BoundPort, DomId, Granted, SharedPage, Xen};
use crate::xenbus::Boxed;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::sync::atomic::{Ordering, fence};
use core::task::{Poll, Waker};
use core::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// How long the backend may take for one operation.
pub const OPERATION_TIME: Duration = Duration::from_secs(10);

/// Linux' `PCI_ERS_RESULT_NEED_RESET` and `PCI_ERS_RESULT_RECOVERED`: for anything less its backend ends
/// the domain.
const NEEDS_RESET: i32 = 3;
const RECOVERED: i32 = 5;

pub(super) struct Channel<X: Xen> {
    page: Granted<X>,
    port: BoundPort<X>,
    executor: Executor,
    /// Whether somebody's operation is under way.
    busy: Cell<bool>,
    /// Who waits, for his turn or for the backend.
    waiting: RefCell<Vec<Waker>>,
    errors: Cell<u32>,
}

/// The right to the one operation; dropped half-way, the next one waits for the backend first.
struct Turn<'a, X: Xen>(&'a Channel<X>);

impl<X: Xen> Drop for Turn<'_, X> {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.wake();
    }
}

impl<X: Xen> Channel<X> {
    pub(super) fn new(xen: &X, executor: &Executor, backend: DomId) -> Result<Self, Error> {
        let page = Granted::allocate(xen, backend, Access::ReadWrite)?;
        page.page()
            .word(FLAGS)
            .store(XEN_PCIB_AERHANDLER, Ordering::Relaxed);
        Ok(Self {
            page,
            port: BoundPort::allocate(xen, backend)?,
            executor: executor.clone(),
            busy: Cell::new(false),
            waiting: RefCell::new(Vec::new()),
            errors: Cell::new(0),
        })
    }

    pub(super) fn reference(&self) -> u32 {
        self.page.reference().0
    }

    pub(super) fn port(&self) -> u32 {
        self.port.number().0
    }

    pub(super) fn errors(&self) -> u32 {
        self.errors.get()
    }

    fn flags(&self) -> u32 {
        self.page.page().word(FLAGS).load(Ordering::Acquire)
    }

    fn wake(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Wakes who waits for what has come, and answers reports of errors.
    pub(super) fn pump(&self) {
        let flags = self.flags();
        if flags & XEN_PCIF_ACTIVE == 0 {
            self.wake();
        }
        if flags & XEN_PCIB_ACTIVE != 0 {
            self.answer_report();
        }
    }

    /// Every error ends in a reset of the card by its driver, which looks at the count.
    fn answer_report(&self) {
        let page = self.page.page();
        let mut bytes = [0; size_of::<AerOp>()];
        page.read(AER_OP, &mut bytes);
        let Ok(mut report) = AerOp::read_from_bytes(&bytes) else {
            return;
        };
        report.err = match report.cmd {
            XEN_PCI_OP_AER_DETECTED => NEEDS_RESET,
            _ => RECOVERED,
        };
        page.write(AER_OP, report.as_bytes());
        page.word(FLAGS)
            .fetch_and(!XEN_PCIB_ACTIVE, Ordering::AcqRel);
        self.errors.set(self.errors.get().saturating_add(1));
        // The backend looks again by itself when its time is up.
        let _ = self.port.notify();
    }

    /// Waits until `done`, as long as an operation may take.
    fn until(&self, done: fn(&Self) -> bool) -> Boxed<'_, Result<(), Error>> {
        let done = poll_fn(move |context| {
            if done(self) {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|other| other.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        });
        Box::pin(async { Ok(self.executor.timeout(OPERATION_TIME, done).await?) })
    }

    fn idle(&self) -> Boxed<'_, Result<(), Error>> {
        self.until(|channel| channel.flags() & XEN_PCIF_ACTIVE == 0)
    }

    /// Has the backend do something: the value it answers, and its entries, of which it is shown as
    /// many as there are.
    pub(super) async fn operate(&self, op: Op, entries: &mut [MsixEntry]) -> Result<u32, Error> {
        assert!(entries.len() <= SH_INFO_MAX_VEC, "more entries than fit");
        self.until(|channel| !channel.busy.get()).await?;
        self.busy.set(true);
        let _turn = Turn(self);
        // The last one may have given up; what the backend writes late must not be taken for an answer.
        self.idle().await?;

        let page = self.page.page();
        page.write(OP, op.as_bytes());
        page.write(MSIX_ENTRIES, entries.as_bytes());
        page.word(FLAGS).fetch_or(XEN_PCIF_ACTIVE, Ordering::AcqRel);
        self.port.notify()?;
        self.idle().await?;

        fence(Ordering::Acquire);
        let mut bytes = [0; size_of::<Op>()];
        page.read(OP, &mut bytes);
        let answer = Op::read_from_bytes(&bytes).map_err(|_| Error::Malformed("no answer"))?;
        if answer.err != XEN_PCI_ERR_SUCCESS {
            return Err(Error::Refused(answer.err));
        }
        page.read(MSIX_ENTRIES, entries.as_mut_bytes());
        Ok(answer.value)
    }
}

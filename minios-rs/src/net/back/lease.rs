//! What a connected vif and the task that looks after its xenstore nodes tell each other.

#![forbid(unsafe_code)]

use super::{Breach, Rate};
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// Wakes one task, once for however often it was raised.
#[derive(Default)]
pub(super) struct Signal {
    is_raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    pub(super) fn raise(&self) {
        self.is_raised.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until it was raised, since the last time this ended.
    pub(super) async fn wait(&self) {
        poll_fn(|context| {
            if self.is_raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The rings of one connection, held by a [`Back`](super::Back).
pub(super) struct Lease {
    is_ending: Cell<bool>,
    is_released: Cell<bool>,
    breach: Cell<Option<Breach>>,
    /// What the guest may send from now on, if that is something else.
    rate: Cell<Option<Option<Rate>>>,
    task: Rc<Signal>,
}

impl Lease {
    pub(super) fn new(task: Rc<Signal>) -> Rc<Self> {
        Rc::new(Self {
            is_ending: Cell::new(false),
            is_released: Cell::new(false),
            breach: Cell::new(None),
            rate: Cell::new(None),
            task,
        })
    }

    /// Asks for the rings back.
    pub(super) fn end(&self) {
        self.is_ending.set(true);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    pub(super) fn broken(&self, breach: Breach) {
        self.breach.set(Some(breach));
        self.is_ending.set(true);
        self.task.raise();
    }

    pub(super) fn breach(&self) -> Option<Breach> {
        self.breach.get()
    }

    pub(super) fn change_rate(&self, rate: Option<Rate>) {
        self.rate.set(Some(rate));
    }

    /// The rate, if it was changed since this was last asked.
    pub(super) fn changed_rate(&self) -> Option<Option<Rate>> {
        self.rate.take()
    }

    pub(super) fn released(&self) {
        self.is_ending.set(true);
        self.is_released.set(true);
        self.task.raise();
    }

    pub(super) fn is_released(&self) -> bool {
        self.is_released.get()
    }
}

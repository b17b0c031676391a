//! A single-CPU executor for what waits: handshakes, hotplug, timers, management. The data path is
//! no task; it is called straight from the main loop.
//!
//! No handler ever runs in the middle of other code (events are only drained from the main loop),
//! so nothing here is locked. A task is polled at most [`PASSES_MAX`] times in one
//! [`Executor::run_ready`], so that one that wakes itself for ever starves nobody.
//!
//! ```
//! use minios_rs::task::Executor;
//! use minios_rs::time::Instant;
//! use core::time::Duration;
//!
//! let executor = Executor::new(8);
//! let clock = executor.clone();
//! executor.spawn(async move { clock.sleep(Duration::from_millis(5)).await }).unwrap();
//! executor.run_ready(Instant(0));
//! assert_eq!(executor.next_deadline(), Some(Instant(5_000_000)));
//! executor.run_ready(Instant(5_000_000));
//! assert_eq!(executor.tasks(), 0);
//! ```

#![forbid(unsafe_code)]

use crate::time::Instant;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use thiserror::Error;

/// How often a task is polled in one [`Executor::run_ready`], at most.
pub const PASSES_MAX: usize = 16;

/// As many tasks as the table holds are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the task table is full")]
pub struct TooManyTasks;

/// The time was up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("timed out")]
pub struct TimedOut;

/// Set by a waker, cleared when the task is polled.
struct Ready {
    task: AtomicBool,
    /// Some task of the executor is: most of the times it is asked, none is, and nobody looks at each.
    any: Arc<AtomicBool>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.task.store(true, Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
    }
}

struct Task {
    /// Away while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    ready: Arc<Ready>,
}

/// When a timer is due, and a number that no other timer has.
type TimerKey = (Instant, u64);

struct Inner {
    now: Cell<Instant>,
    tasks: RefCell<Vec<Option<Task>>>,
    /// The next one due is the last. No task has more than a few.
    timers: RefCell<Vec<(TimerKey, Waker)>>,
    next_timer: Cell<u64>,
    /// A task was made ready since the last pass began.
    any_ready: Arc<AtomicBool>,
}

/// Tasks and timers of one vCPU. A handle: clones speak for the same executor.
#[derive(Clone)]
pub struct Executor {
    inner: Rc<Inner>,
}

impl Executor {
    /// An executor for at most `tasks_max` tasks at a time.
    pub fn new(tasks_max: usize) -> Self {
        let mut tasks = Vec::new();
        tasks.resize_with(tasks_max, || None);
        Self {
            inner: Rc::new(Inner {
                now: Cell::new(Instant::default()),
                tasks: RefCell::new(tasks),
                timers: RefCell::new(Vec::new()),
                next_timer: Cell::new(0),
                any_ready: Arc::new(AtomicBool::new(false)),
            }),
        }
    }

    /// Adds a task, to be polled by the next [`Executor::run_ready`], or by the one under way.
    ///
    /// # Errors
    /// [`TooManyTasks`]; the future is dropped.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Result<(), TooManyTasks> {
        self.spawn_boxed(Box::pin(future))
    }

    /// The same, there once for all.
    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Result<(), TooManyTasks> {
        let mut tasks = self.inner.tasks.borrow_mut();
        let slot = tasks
            .iter_mut()
            .find(|slot| slot.is_none())
            .ok_or(TooManyTasks)?;
        *slot = Some(Task {
            future: Some(future),
            ready: Arc::new(Ready {
                task: AtomicBool::new(true),
                any: self.inner.any_ready.clone(),
            }),
        });
        self.inner.any_ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.inner.tasks.borrow().iter().flatten().count()
    }

    /// The time [`Executor::run_ready`] was last given.
    pub fn now(&self) -> Instant {
        self.inner.now.get()
    }

    /// Wakes what was due at `now` and polls every task that is ready, and those they make ready
    /// in turn.
    pub fn run_ready(&self, now: Instant) {
        self.inner.now.set(now);
        self.fire_timers(now);
        for _ in 0..PASSES_MAX {
            if !self.inner.any_ready.swap(false, Ordering::Relaxed) {
                break;
            }
            self.pass();
        }
    }

    /// When to call [`Executor::run_ready`] next if nothing else happens; `None`: not at all.
    /// An instant that has passed means at once.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.inner.any_ready.load(Ordering::Relaxed) {
            return Some(self.now());
        }
        self.inner
            .timers
            .borrow()
            .last()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Waits until `deadline`.
    pub fn sleep_until(&self, deadline: Instant) -> Timer {
        let number = self.inner.next_timer.get();
        self.inner.next_timer.set(number + 1);
        Timer {
            executor: self.clone(),
            key: (deadline, number),
        }
    }

    /// Waits for `duration`, counted from [`Executor::now`].
    pub fn sleep(&self, duration: Duration) -> Timer {
        self.sleep_until(self.now().after(duration))
    }

    /// Waits for `future`, for `duration` at most; then drops it.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub async fn timeout<T>(
        &self,
        duration: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, TimedOut> {
        match race(future, self.sleep(duration)).await {
            First::Left(value) => Ok(value),
            First::Right(()) => Err(TimedOut),
        }
    }

    fn fire_timers(&self, now: Instant) {
        loop {
            // The waker runs with the table free, since it may drop what holds another timer.
            let due = {
                let mut timers = self.inner.timers.borrow_mut();
                timers.pop_if(|((deadline, _), _)| *deadline <= now)
            };
            match due {
                Some((_, waker)) => waker.wake(),
                None => return,
            }
        }
    }

    /// Polls each ready task once.
    fn pass(&self) {
        let count = self.inner.tasks.borrow().len();
        for index in 0..count {
            let taken = self.inner.tasks.borrow_mut()[index]
                .as_mut()
                .and_then(|task| {
                    let ready = task.ready.task.swap(false, Ordering::Relaxed);
                    if ready {
                        task.future
                            .take()
                            .map(|future| (future, task.ready.clone()))
                    } else {
                        None
                    }
                });
            let Some((mut future, ready)) = taken else {
                continue;
            };
            let waker = Waker::from(ready);
            let ended = future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready();
            // Dropped outside the borrow: what a future owns may spawn or end timers.
            let ended_task = {
                let mut tasks = self.inner.tasks.borrow_mut();
                match &mut tasks[index] {
                    Some(task) if !ended => {
                        task.future = Some(future);
                        None
                    }
                    slot => slot.take().map(|task| (task, future)),
                }
            };
            drop(ended_task);
        }
    }
}

/// Ends at its deadline.
#[must_use = "a timer does nothing unless awaited"]
pub struct Timer {
    executor: Executor,
    key: TimerKey,
}

impl Future for Timer {
    type Output = ();

    // Many tasks wait for one: it is there once.
    #[inline(never)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.key.0 <= self.executor.now() {
            return Poll::Ready(());
        }
        let mut timers = self.executor.inner.timers.borrow_mut();
        let at = timers.partition_point(|(key, _)| *key > self.key);
        match timers.get_mut(at) {
            Some((key, waker)) if *key == self.key => waker.clone_from(context.waker()),
            _ => timers.insert(at, (self.key, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut timers = self.executor.inner.timers.borrow_mut();
        timers.retain(|(key, _)| *key != self.key);
    }
}

/// Which of two futures ended first.
#[derive(Debug, PartialEq, Eq)]
pub enum First<A, B> {
    /// The first one, which also wins a draw.
    Left(A),
    /// The second one.
    Right(B),
}

/// Waits for the first of two futures and drops the other.
pub async fn race<A, B>(
    left: impl Future<Output = A>,
    right: impl Future<Output = B>,
) -> First<A, B> {
    let mut left = pin!(left);
    let mut right = pin!(right);
    poll_fn(|context| {
        if let Poll::Ready(value) = left.as_mut().poll(context) {
            return Poll::Ready(First::Left(value));
        }
        right.as_mut().poll(context).map(First::Right)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_task_runs_until_it_ends_and_frees_its_place() {
        let executor = Executor::new(1);
        let ran = Rc::new(Cell::new(0));
        let seen = ran.clone();
        executor
            .spawn(async move { seen.set(seen.get() + 1) })
            .unwrap();
        assert_eq!(executor.spawn(async {}), Err(TooManyTasks));
        executor.run_ready(Instant(0));
        assert_eq!((ran.get(), executor.tasks()), (1, 0));
        executor.spawn(async {}).unwrap();
    }

    #[test]
    fn timers_fire_in_order_and_not_early() {
        let executor = Executor::new(4);
        let order = Rc::new(RefCell::new(Vec::new()));
        for (name, at) in [("late", 30), ("early", 10), ("middle", 20)] {
            let (clock, order) = (executor.clone(), order.clone());
            executor
                .spawn(async move {
                    clock.sleep_until(Instant(at * MS)).await;
                    order.borrow_mut().push(name);
                })
                .unwrap();
        }
        executor.run_ready(Instant(0));
        assert_eq!(executor.next_deadline(), Some(Instant(10 * MS)));
        executor.run_ready(Instant(10 * MS - 1));
        assert!(order.borrow().is_empty());
        executor.run_ready(Instant(20 * MS));
        assert_eq!(*order.borrow(), ["early", "middle"]);
        executor.run_ready(Instant(30 * MS));
        assert_eq!(executor.next_deadline(), None);
    }

    #[test]
    fn a_timeout_drops_what_it_waited_for_and_leaves_no_timer() {
        let executor = Executor::new(1);
        let dropped = Rc::new(Cell::new(false));
        struct Tell(Rc<Cell<bool>>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let (clock, tell) = (executor.clone(), Tell(dropped.clone()));
        executor
            .spawn(async move {
                let never = async move {
                    let _tell = tell;
                    core::future::pending::<()>().await;
                };
                assert_eq!(
                    clock.timeout(Duration::from_millis(1), never).await,
                    Err(TimedOut)
                );
                let soon = clock.timeout(Duration::from_secs(1), async { 7 }).await;
                assert_eq!(soon, Ok(7));
            })
            .unwrap();
        executor.run_ready(Instant(0));
        executor.run_ready(Instant(MS));
        assert!(dropped.get());
        assert_eq!((executor.tasks(), executor.next_deadline()), (0, None));
    }

    #[test]
    fn a_task_that_wakes_itself_for_ever_does_not_hold_the_loop() {
        let executor = Executor::new(1);
        let polls = Rc::new(Cell::new(0));
        let count = polls.clone();
        executor
            .spawn(poll_fn(move |context| {
                count.set(count.get() + 1);
                context.waker().wake_by_ref();
                Poll::Pending
            }))
            .unwrap();
        executor.run_ready(Instant(5));
        assert_eq!(polls.get(), PASSES_MAX);
        assert_eq!(executor.next_deadline(), Some(Instant(5)));
    }

    #[test]
    fn a_task_may_spawn_another() {
        let executor = Executor::new(2);
        let (spawner, ran) = (executor.clone(), Rc::new(Cell::new(false)));
        let seen = ran.clone();
        executor
            .spawn(async move {
                spawner.spawn(async move { seen.set(true) }).unwrap();
            })
            .unwrap();
        executor.run_ready(Instant(0));
        assert!(ran.get());
    }
}

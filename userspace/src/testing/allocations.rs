//! A global allocator that counts, for tests and benchmarks that say how often and how much is allocated.
//!
//! A program that wants it says `#[global_allocator] static COUNTING: Counting = Counting;`. Counts are kept per thread, so
//! that tests that run at the same time do not see each other's.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting.
#[derive(Debug)]
pub struct Counting;

/// What this thread has allocated so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// Calls that gave memory: allocations, and reallocations that grew or shrank one.
    pub calls: u64,
    /// Octets asked for and not yet given back. Negative where other threads' memory was given back here.
    pub live_bytes: i64,
}

impl Allocations {
    /// The counts up to now.
    pub fn so_far() -> Self {
        COUNTS.get()
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { calls: self.calls - earlier.calls, live_bytes: self.live_bytes - earlier.live_bytes }
    }
}

thread_local! {
    // `const` and without a destructor: neither first use nor the thread's end allocates.
    static COUNTS: Cell<Allocations> = const { Cell::new(Allocations { calls: 0, live_bytes: 0 }) };
}

fn count(calls: u64, grown_by: i64) {
    // Gone only while the thread ends.
    let _ = COUNTS.try_with(|counts| {
        let Allocations { calls: before, live_bytes } = counts.get();
        counts.set(Allocations { calls: before + calls, live_bytes: live_bytes + grown_by });
    });
}

// SAFETY: every method hands its arguments to `System`, which keeps the contract of `GlobalAlloc`, and gives back what it
// got from there; counting touches neither pointer nor layout, does not allocate and does not panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same for `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: `ptr` came from `System` by one of these methods with this layout, as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(1, new_size as i64 - layout.size() as i64);
        // SAFETY: as for `dealloc`; the caller promises that `new_size` is not zero and does not overflow.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

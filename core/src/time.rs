//! The core's own time: a count of nanoseconds that the caller passes in. No clock is read here.

pub use core::time::Duration;

/// A moment on the caller's monotonic clock, in nanoseconds since a start of its own choosing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The first moment of the clock.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const FAR: Self = Self(u64::MAX);

    /// The moment `duration` later; saturates at [`Instant::FAR`].
    pub const fn after(self, duration: Duration) -> Self {
        let ns = duration.as_nanos();
        if ns >= (u64::MAX - self.0) as u128 { Self::FAR } else { Self(self.0 + ns as u64) }
    }

    /// Time passed since `earlier`; zero when `earlier` lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

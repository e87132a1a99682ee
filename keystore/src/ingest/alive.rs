//! Whether a thread still runs, for those who do not own it.

use std::sync::{Arc, Weak};

/// Tells whether a thread, or a task, has ended; by a panic too.
#[derive(Clone, Debug)]
pub struct Alive(Weak<()>);

/// What the thread holds as long as it runs.
#[derive(Debug)]
pub struct Life(#[expect(dead_code, reason = "held, not read")] Arc<()>);

impl Alive {
    /// A life, and who looks at it.
    pub fn pair() -> (Life, Self) {
        let life = Arc::new(());
        let alive = Self(Arc::downgrade(&life));
        (Life(life), alive)
    }

    /// Whether the life goes on.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_a_life() {
        let (life, alive) = Alive::pair();
        assert!(alive.is_alive());
        let ended = std::thread::spawn(move || {
            let _life = life;
            panic!("as a test");
        });
        assert!(ended.join().is_err() && !alive.is_alive());
    }
}

//! Random choices as a list of numbers, so that a generator is plain code and shrinks by itself.
//!
//! A shorter list and smaller numbers make a simpler thing: the first of several choices is the simplest,
//! and it is taken when the list is at its end.

/// A list of choices that is read once.
pub(super) struct Tape<'a> {
    rest: std::slice::Iter<'a, u16>,
}

impl<'a> Tape<'a> {
    pub(super) fn new(choices: &'a [u16]) -> Self {
        Self { rest: choices.iter() }
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.rest.next().map_or(0, |choice| usize::from(*choice) % n)
    }

    /// True once in `n` times.
    pub(super) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of some.
    pub(super) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

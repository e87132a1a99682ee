//! Counters: plain integers that one worker owns, published once a batch and summed by the reader.
//!
//! Every stage has a struct of its own, made by [`counters!`], beside its code; [`Stats`] is their sum. A frame, segment,
//! record, key or transaction ends in exactly one of its stage's outcomes, so that the sums balance.

/// Declares a struct of `u64` counters with their names and meanings:
///
/// ```
/// plaintap::counters! {
///     /// What the example counted.
///     pub struct ExampleStats {
///         /// Frames that came in.
///         frames_in,
///     }
/// }
/// let stats = ExampleStats { frames_in: 3 };
/// assert_eq!(stats.iter().collect::<Vec<_>>(), [("frames_in", 3)]);
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: u64,)* }

        impl $name {
            /// Every counter with its name, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }

            /// Adds `other`'s counts to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

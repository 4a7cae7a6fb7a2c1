//! Whether what a stream brings is still what it brought before.

pub(crate) mod adwin;

//! From Arrow columns to sparse rows: [`columns`] reads them, [`dictionary`] numbers categories,
//! [`moments`] standardises numbers.

pub(crate) mod columns;
pub(crate) mod dictionary;
pub(crate) mod moments;

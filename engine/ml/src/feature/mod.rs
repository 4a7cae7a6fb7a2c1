//! From Arrow columns to sparse rows: [`columns`] reads them, [`dictionary`] numbers categories,
//! [`moments`] standardises numbers, [`rows`] says which rows can be used; [`encoder`] does all of it for models
//! that are done learning, and [`stream`] for those that learn row by row.

pub(crate) mod columns;
pub(crate) mod dictionary;
pub(crate) mod encoder;
pub(crate) mod moments;
pub(crate) mod rows;
pub(crate) mod stream;

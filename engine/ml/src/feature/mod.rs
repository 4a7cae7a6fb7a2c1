//! From Arrow columns to sparse rows: [`columns`] reads them, [`dictionary`] numbers categories,
//! [`moments`] standardises numbers, [`rows`] says which rows can be used; [`encoder`] does all of it for models
//! that are done learning, and [`stream`] for those that learn row by row. [`context`] numbers categories in the order of
//! rows, which [`row_reader`] reads.

pub(crate) mod columns;
pub(crate) mod context;
pub(crate) mod dictionary;
pub(crate) mod encoder;
pub(crate) mod moments;
pub(crate) mod row_reader;
pub(crate) mod rows;
pub(crate) mod stream;

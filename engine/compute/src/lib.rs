//! Numeric kernels, one file each, and beside each a slow oracle that it must agree with.
//!
//! A kernel is a plain function on slices: it knows nothing of Arrow, of streams or of models. The
//! CPU kernels use only additions, multiplications, divisions and bit moves where their results
//! reach a model's weights, because those are the operations IEEE 754 rounds the same everywhere:
//! a replay on another machine must give the same bits.

#[cfg(test)]
mod conformance;
pub mod kernel;

//! Numeric kernels, one file each, and beside each a slow oracle that it must agree with.
//!
//! A kernel is a plain function on slices: it knows nothing of Arrow, of streams or of models. The
//! CPU kernels use only additions, multiplications, divisions and bit moves where their results
//! reach a model's weights, because those are the operations IEEE 754 rounds the same everywhere:
//! a replay on another machine must give the same bits.

//!
//! Some kernels have a twin on a GPU ([`device`]), in 32 bits and in WGSL. What it answers is as near to the truth as
//! 32 bits are, and not the same on every machine.

#[cfg(test)]
mod conformance;
pub mod device;
pub mod error;
#[cfg(feature = "wgpu")]
mod gpu;
pub mod kernel;
pub mod matrix;
#[cfg(test)]
mod throughput;

//! Weights of investigators per module.

//! cage
pub const ARGUMENT: &str = "--scan-in-cage";

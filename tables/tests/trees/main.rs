//! The table `files` on trees made for each case: what the manual says of files, one theme a file, asked of one worker
//! and of several.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::needless_pass_by_value, reason = "a filter is written where it is asked")]

#[path = "../common/mod.rs"]
mod common;

mod borders;
mod changing;
mod decompress;
mod follow;
mod hashes;
mod limits;
mod lines;
mod metadata;
mod names;
mod nulls;
mod packed;
mod places;
mod probes;
mod published;

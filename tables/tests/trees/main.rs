//! The table `files` on trees made for each case: what the manual says of files, one theme a file, asked of one worker
//! and of several.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "../common/mod.rs"]
mod common;

mod borders;
mod changing;
mod hashes;
mod limits;
mod lines;
mod metadata;
mod names;
mod nulls;
mod places;
mod published;

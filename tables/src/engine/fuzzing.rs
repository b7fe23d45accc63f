//! Doors for the fuzz targets in `tables/fuzz`; nothing else sees them.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use canvass_protocol::filter::Is;
use canvass_protocol::limits::Limits;
use canvass_protocol::value::Truth;

use super::reading::Reader;
use super::{ContentTests, Watch, decompress};
use crate::column::Content;
use crate::engine::Algorithm;

/// Opens what the first bytes say is compressed, within these bounds; `None` where it is not.
pub fn unpack<'a>(bytes: &'a [u8], plain_max: u64, memory_max: u64) -> Option<io::Result<Box<dyn Read + 'a>>> {
    let format = decompress::Format::of(bytes)?;
    Some(decompress::bounded(format, bytes, plain_max, memory_max))
}

/// What one read of a content told.
pub struct Told {
    pub truths: Vec<Option<Truth>>,
    pub sha256: Option<String>,
    pub trouble: Option<String>,
}

/// Answers tests of a content as a scan does whose filter is `judge`; an error where a test is refused.
pub fn read(
    tests: &[Is],
    file: File,
    size: u64,
    decompress: Option<u64>,
    judge: &mut dyn FnMut(&[Option<Truth>]) -> Option<Truth>,
) -> Result<Told, String> {
    let mut compiled = ContentTests::default();
    for is in tests {
        compiled.add(is)?;
    }
    let compiled = compiled.combined();
    let stop = AtomicBool::new(false);
    let watch = Watch::new(&Limits::default(), &stop);
    let mut reader = Reader::new(vec![Algorithm::Sha256], decompress, NonZeroUsize::MIN);
    let mut judge = |truths: &mut Vec<Option<Truth>>| judge(truths);
    let outcome = reader.read(&Content::File { file, size }, Some(&compiled), true, &watch, &mut judge);
    let sha256 = outcome.digests.into_iter().map(|(_, digest)| digest).next();
    Ok(Told { truths: outcome.truths, sha256, trouble: outcome.trouble })
}

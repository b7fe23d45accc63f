//! What the decoders answer to streams, good and bad.

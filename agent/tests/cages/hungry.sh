#!/bin/sh
# Dies as Rust's allocator does.
. "${0%/*}/say.sh"
frame 2 good
printf 'memory allocation of 123456 bytes failed' >&2
kill -ABRT $$

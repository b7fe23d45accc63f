#!/bin/sh
# Sends more troubles and longer ones than an answer may list.
. "${0%/*}/say.sh"
troubles='{"subject":"a","reason":"b"}'
for _ in 1 2 3 4 5 6 7; do troubles="$troubles,$troubles"; done
last "{\"record\":{\"asked\":false,\"rows\":7,\"examined\":9,\"bytes\":7,\"cut\":null,\"troubles\":[$troubles],\"troubles_count\":1}}"

#!/bin/sh
# Says more on standard error than anybody reads.
. "${0%/*}/say.sh"
i=0
while [ $i -lt 20000 ]; do echo 'a line of complaint about nothing at all' >&2; i=$((i + 1)); done
frame 2 good
record 2 null

#!/bin/sh
# Sends a frame, then dies of a signal.
. "${0%/*}/say.sh"
frame 2 good
kill -SEGV $$

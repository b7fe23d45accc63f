#!/bin/sh
# Sends a frame, then neither ends nor listens.
. "${0%/*}/say.sh"
frame 2 good
exec /bin/sleep 1000

#!/bin/sh
# Sends a frame, waits until it is stopped, and hands over what it found.
. "${0%/*}/say.sh"
read -r job
frame 2 good
read -r more
frame 1 more
record 3 '"stopped"'

#!/bin/sh
# Sends a frame, then what is no message.
. "${0%/*}/say.sh"
frame 2 good
printf 'this is no message'

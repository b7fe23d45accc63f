#!/bin/sh
# Sends a frame, then half of one.
. "${0%/*}/say.sh"
frame 2 good
head 1 1000
printf 'and no more'

#!/bin/sh
# Sends a frame, then one that claims four gigabytes.
. "${0%/*}/say.sh"
frame 2 good
printf '\001\377\377\377\377'

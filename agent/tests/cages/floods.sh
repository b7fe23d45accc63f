#!/bin/sh
# Sends rows without end.
. "${0%/*}/say.sh"
while frame 200 rows; do :; done

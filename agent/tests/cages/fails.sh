#!/bin/sh
# Says that it cannot run.
. "${0%/*}/say.sh"
last '{"failed":"unknown table `nothing`"}'

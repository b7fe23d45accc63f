#!/bin/sh
# Answers with the job it was told.
. "${0%/*}/say.sh"
read -r job
frame 1 "$job"
record 1 null

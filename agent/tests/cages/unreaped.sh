#!/bin/sh
# Sends a frame, then has a process trace it that never lets go: whoever kills it waits for its end in vain.
. "${0%/*}/say.sh"
frame 2 good
exec perl -e '
    my ($ptrace, $seize, $prctl, $set_ptracer) = (101, 0x4206, 157, 0x59616d61);
    syscall($prctl, $set_ptracer, -1, 0, 0, 0);
    my $traced = $$;
    if (fork() == 0) {
        open(STDIN, "<", "/dev/null"); open(STDOUT, ">", "/dev/null"); open(STDERR, ">", "/dev/null");
        syscall($ptrace, $seize, $traced, 0, 0);
        sleep 60;
        exit;
    }
    sleep 1000;
'

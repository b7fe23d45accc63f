# Writes the messages of a scan's process; sourced by the programs beside it, which stand in for one.

head() {
    printf "\\$(printf %03o "$1")\\$(printf %03o $(($2 % 256)))\\$(printf %03o $(($2 / 256 % 256)))"
    printf "\\$(printf %03o $(($2 / 65536 % 256)))\\000"
}

# frame ROWS TEXT
frame() {
    head 1 $((${#2} + 8))
    printf "\\$(printf %03o "$1")\\000\\000\\000\\000\\000\\000\\000%s" "$2"
}

last() {
    head 2 ${#1}
    printf %s "$1"
}

# record ROWS CUT
record() {
    last "{\"record\":{\"asked\":true,\"rows\":$1,\"examined\":9,\"bytes\":0,\"cut\":$2,\"troubles\":[],\"troubles_count\":0}}"
}

[ "$1" = --scan-in-cage ] || exit 64

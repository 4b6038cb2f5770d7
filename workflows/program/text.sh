# How a greeting reads.

text() {
    printf '%s, %s\n' "$1" "$2"
}

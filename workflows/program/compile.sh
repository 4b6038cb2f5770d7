# Makes an object of a source: without remarks and empty lines, and with what all objects begin with.
# usage: compile.sh SOURCE OBJECT
set -eu
{
    cat "$(dirname "$1")/common.inc"
    sed -e '/^ *#/d' -e '/^$/d' "$1"
} > "$2"

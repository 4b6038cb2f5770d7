# The program: greets everybody.

for name in $(words); do
    text "$1" "$name"
done

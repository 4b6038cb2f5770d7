"""Set the items of a `for_each`, which arrive as JSON on standard input, as a table of the named fields."""

import json
import sys

items, fields = json.load(sys.stdin), sys.argv[1:]
width = max(len(item["key"]) for item in items)

print(" " * width, *(f"{field:>8}" for field in fields))
for item in items:
    if item["state"] == "succeeded":
        print(f"{item['key']:{width}}", *(f"{item['output'][field]:8.1f}" for field in fields))
for item in items:
    if item["state"] != "succeeded":
        print(f"{item['key']:{width}} {item['state']}: {item['error']}")

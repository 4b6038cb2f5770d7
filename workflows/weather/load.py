"""Load the CSV file's years from `first` to `last` into a new SQLite database, which appears by rename."""

import csv
import os
import sqlite3
import sys

source, target, first, last = sys.argv[1:]
beside = target + ".new"
if os.path.exists(beside):
    os.remove(beside)
db = sqlite3.connect(beside)
with open(source, newline="") as file, db:
    db.execute("CREATE TABLE days (day TEXT PRIMARY KEY, rain REAL, high REAL, low REAL, wind REAL, weather TEXT)")
    rows = ([row[0].replace("/", "-"), *row[1:]] for row in csv.reader(file) if first <= row[0][:4] <= last)
    db.executemany("INSERT INTO days VALUES (?, ?, ?, ?, ?, ?)", rows)
count = db.execute("SELECT count(*) FROM days").fetchone()[0]
db.close()
if not count:
    sys.exit(f"no days from {first} to {last} in {source}")
os.replace(beside, target)
print(f"{count} days")

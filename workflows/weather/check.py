"""Check the daily weather in a CSV file and print what it holds; the faults go to stderr, one a line."""

import csv
import json
import sys
from datetime import date, timedelta

COLUMNS = ["date", "precipitation", "temp_max", "temp_min", "wind", "weather"]
KINDS = {"drizzle", "fog", "rain", "snow", "sun"}
RANGES = {"precipitation": (0, 300), "temp_max": (-40, 50), "temp_min": (-40, 50), "wind": (0, 60)}

days: list[date] = []
faults: list[str] = []
with open(sys.argv[1], newline="") as file:
    rows = csv.DictReader(file)
    if rows.fieldnames != COLUMNS:
        sys.exit(f"{sys.argv[1]}: the columns are {rows.fieldnames}, not {COLUMNS}")
    for line, row in enumerate(rows, 2):
        try:
            day = date.fromisoformat(row["date"].replace("/", "-"))
            value = {name: float(row[name]) for name in RANGES}
        except (ValueError, TypeError) as error:
            faults.append(f"line {line}: {error}")
            continue
        if days and day != days[-1] + timedelta(1):
            faults.append(f"line {line}: {day} follows {days[-1]}")
        for name, (low, high) in RANGES.items():
            if not low <= value[name] <= high:
                faults.append(f"line {line}: {name} is {value[name]}, outside {low} to {high}")
        if value["temp_min"] > value["temp_max"]:
            faults.append(f"line {line}: temp_min is above temp_max")
        if row["weather"] not in KINDS:
            faults.append(f"line {line}: unknown weather {row['weather']!r}")
        days.append(day)

if faults or not days:
    sys.exit("\n".join(faults) or f"{sys.argv[1]}: no rows")
json.dump({"days": len(days), "first": str(days[0]), "last": str(days[-1])}, sys.stdout)

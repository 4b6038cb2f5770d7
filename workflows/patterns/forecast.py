"""Tell the highest temperature of each day of the last year from the day before, and print by how much that was wrong.

Usage: forecast.py FILE MEMORY WINDOW. What is usual on a day is the mean of so many days around it in all years before;
how far today is from that lasts until tomorrow by the part MEMORY, from 0 to 1."""

import csv
import json
import sys
from datetime import date, timedelta
from statistics import fmean

file, memory, window = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
with open(file, newline="") as stream:
    high = {date.fromisoformat(row["date"].replace("/", "-")): float(row["temp_max"]) for row in csv.DictReader(stream)}

last = max(high).year
by_place = {}  # where in its year a day is, from 0 to 364
for day, value in high.items():
    if day.year < last:
        by_place.setdefault(min(day.timetuple().tm_yday, 365) - 1, []).append(value)


def usual(day: date) -> float:
    place = day.timetuple().tm_yday - 1
    return fmean(value for near in range(-window, window + 1) for value in by_place[(place + near) % 365])


def told(day: date) -> float:
    before = day - timedelta(days=1)
    return usual(day) + memory * (high[before] - usual(before))


errors = [abs(value - told(day)) for day, value in high.items() if day.year == last]
tomorrow = max(high) + timedelta(days=1)
found = {"memory": memory, "window": window, "error": round(fmean(errors), 3), "tomorrow": round(told(tomorrow), 1)}
print(json.dumps(found))

"""Set the summaries, which arrive as JSON on standard input, as one page of text."""

import json
import sys

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

check, years, months, spells, records = json.load(sys.stdin)
wettest = max(month["rain"] for month in months) or 1

print(f"Seattle, {years[0]['year']} to {years[-1]['year']}", end="    ")
print(f"({check['days']:,} days on file, {check['first']} to {check['last']})")
print()
print("  year   mean °C    high     low    rain mm   wet days   sunny days")
for y in years:
    print("  {year}   {mean:7.1f} {high:7.1f} {low:7.1f} {rain:10.0f} {wet:10} {sunny:12}".format_map(y))
print()
print("  month    low °C    high   wet days   rain mm")
for m in months:
    bar = "█" * round(24 * m["rain"] / wettest)
    print(f"  {MONTHS[m['month'] - 1]}     {m['low']:8.1f} {m['high']:7.1f} {m['wet']:10.1f} {m['rain']:9.0f}  {bar}")
print()
for r in records:
    print(f"  {r['what']:9}{r['value']:6.1f} {r['unit']:<5} {r['day']}")
for s in spells:
    rain = f", {s['rain']:.0f} mm" if s["sort"] == "wet" else ""
    print(f"  {s['sort']} spell{s['days']:4} days   {s['first']} to {s['last']}{rain}")

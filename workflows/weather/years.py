"""Each year: mean and extreme temperatures, rain, wet days, sunny days."""

import sys

from query import show

show(
    """SELECT substr(day, 1, 4) AS year, avg((high + low) / 2) AS mean, max(high) AS high, min(low) AS low,
              sum(rain) AS rain, sum(rain >= :wet) AS wet, sum(weather = 'sun') AS sunny
       FROM days GROUP BY year ORDER BY year""",
    wet=float(sys.argv[2]),
)

"""Each month of the mean year: mean low and high, rain and wet days."""

import sys

from query import show

show(
    """SELECT CAST(substr(day, 6, 2) AS INTEGER) AS month, avg(low) AS low, avg(high) AS high,
              sum(rain) / count(DISTINCT substr(day, 1, 4)) AS rain,
              1.0 * sum(rain >= :wet) / count(DISTINCT substr(day, 1, 4)) AS wet
       FROM days GROUP BY month ORDER BY month""",
    wet=float(sys.argv[2]),
)

"""The longest spells of wet and of dry days: neighbours of one sort have the same distance to their own count."""

import sys

from query import show

show(
    """WITH sorted AS (SELECT day, rain, rain >= :wet AS is_wet FROM days),
            numbered AS (SELECT *, julianday(day) - row_number() OVER (PARTITION BY is_wet ORDER BY day) AS spell
                         FROM sorted),
            spells AS (SELECT is_wet, count(*) AS days, min(day) AS first, max(day) AS last, sum(rain) AS rain
                       FROM numbered GROUP BY is_wet, spell)
       SELECT CASE is_wet WHEN 1 THEN 'wet' ELSE 'dry' END AS sort, max(days) AS days, first, last, rain
       FROM spells GROUP BY is_wet ORDER BY sort DESC""",
    wet=float(sys.argv[2]),
)

"""The one day of each record."""

from query import show

show(
    """SELECT 'hottest' AS what, max(high) AS value, '°C' AS unit, day FROM days
       UNION ALL SELECT 'coldest', min(low), '°C', day FROM days
       UNION ALL SELECT 'wettest', max(rain), 'mm', day FROM days
       UNION ALL SELECT 'windiest', max(wind), 'm/s', day FROM days"""
)

# Print the day and the time of so many seconds after the start of 1970, in the zone that TZ names.
date --date="@$1" '+%Y-%m-%d %H:%M'

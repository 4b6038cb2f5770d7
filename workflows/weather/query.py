"""Print the rows of one query over the days as JSON, one mapping a row."""

import json
import sqlite3
import sys


def show(query: str, **values: float) -> None:
    db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    json.dump([dict(row) for row in db.execute(query, values)], sys.stdout)

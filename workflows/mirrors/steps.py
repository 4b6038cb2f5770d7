"""What the workflow `mirrors` calls: how quick a mirror is, and the rows of a file of weather."""

import csv
import hashlib
import time
from statistics import median
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

TIMES = 3


def measure(url: str, sum: str) -> dict[str, object]:
    """The median of the seconds that a download takes. Raises where what comes is not what it should be."""
    near = urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
    opener = build_opener(ProxyHandler({})) if near else build_opener()
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        try:
            with opener.open(url, timeout=5) as answer:
                found = hashlib.sha256(answer.read()).hexdigest()
        except HTTPError as error:
            raise ValueError(f"it answers {error.code}") from None
        took.append(time.perf_counter() - began)
        if found != sum:
            raise ValueError("it has something else under that name")
    return {"url": url, "seconds": round(median(took), 4)}


def rows(file: str) -> list[dict[str, object]]:
    """The days of a file, with their rain and temperatures."""
    with open(file, newline="") as stream:
        return [
            {
                "day": row["date"].replace("/", "-"),
                "rain": float(row["precipitation"]),
                "high": float(row["temp_max"]),
                "low": float(row["temp_min"]),
            }
            for row in csv.DictReader(stream)
        ]

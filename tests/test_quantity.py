"""Durations, sizes and amounts, as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest

from wfctl import quantity

HUGE = pytest.param(10**5000, id="5,001 digits")
LONG = pytest.param("9" * 5000, id="text of 5,000 digits")
FAR = pytest.param("9" * 400 + "s", id="400 digits of seconds")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5), ("10s", 10), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("1m500ms", 60.5),
        ("1.5h", 5400), (90, 90), (0, 0), (0.25, 0.25), ("75", 75), ("1d2h3m4s5ms", 93784.005),
    ],
)  # fmt: skip
def test_a_duration_is_seconds(written: object, seconds: float) -> None:
    assert quantity.seconds(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0ms"), (0.2, "200ms"), (0.9999, "1s"), (1.5, "1.5s"), (10, "10s"), (10.2345, "10.2s"), (60, "1m"),
        (5400, "1h30m"), (93784, "1d2h3m4s"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_as_it_is_written(seconds: float, shown: str) -> None:
    assert quantity.shown_seconds(seconds) == shown


@pytest.mark.parametrize(
    "written",
    [
        "10 parsecs", "", "s", "30m1h", "-5s", "1e400", "1 h", -1, -0.5, math.nan, math.inf, True, None, [],
        HUGE, LONG, FAR,
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 500ms, 10s or 1h30m"):
        quantity.seconds(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512MiB", 512 * 1024**2), ("16GiB", 16 * 1024**3), ("2GB", 2_000_000_000), ("1 KiB", 1024), ("7B", 7),
        (1024, 1024), (1024.0, 1024), ("0.5KiB", 512), ("1.005GB", 1_005_000_000), ("3Gi", 3 * 1024**3), ("0", 0),
    ],
)  # fmt: skip
def test_a_size_is_bytes_exactly(written: object, size: int) -> None:
    assert quantity.size(written) == size


@pytest.mark.parametrize(
    "written",
    ["12 parsecs", "", "-1GB", "1e400", "GiB", "1 K iB", -1, 0.5, math.nan, math.inf, False, None, {}, HUGE, LONG],
)
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a size such as 512MiB or 2GB"):
        quantity.size(written)


@pytest.mark.parametrize(
    ("name", "written", "amount"),
    [
        ("cpu", 2, 2000), ("cpu", 0.5, 500), ("cpu", "1.5", 1500), ("cpu", 0.1, 100), ("cpu", 0.001, 1), ("cpu", 0, 0),
        ("gpu", 3, 3), ("gpu", 2.0, 2), ("gpu", "2", 2), ("memory", "1GiB", 1024**3), ("memory", 4096, 4096),
        ("memory", 10**15, 10**15), ("memory", "9007199254740993", 2**53 + 1), ("cpu", 0.3, 300), ("cpu", 1.1, 1100),
    ],
)  # fmt: skip
def test_an_amount_is_exact(name: str, written: object, amount: int) -> None:
    assert quantity.amount(name, written) == amount


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("cpu", 0.0005, "cpu is counted in thousandths, got 0.0005"),
        ("cpu", 1e-10, "cpu is counted in thousandths, got 1e-10"),
        ("cpu", "2GiB", 'cpu is a number such as 2 or 0.5, got "2GiB"'),
        ("gpu", 1.5, "gpu is counted in whole units, got 1.5"),
        ("gpu", -1, "expected an amount such as 2 or 512MiB, got -1"),
        ("gpu", True, "expected an amount such as 2 or 512MiB, got true"),
        ("gpu", math.nan, "expected an amount such as 2 or 512MiB, got NaN"),
        ("gpu", "a lot", 'expected an amount such as 2 or 512MiB, got "a lot"'),
    ],
)
def test_what_is_no_amount_is_refused(name: str, written: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        quantity.amount(name, written)
    assert str(caught.value) == message


READERS = [quantity.seconds, quantity.size, partial(quantity.amount, "gpu"), partial(quantity.amount, "cpu")]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("written", [HUGE, LONG, FAR, 1e308])
def test_a_number_of_any_length_is_refused_in_a_short_text(read: Callable[[object], object], written: object) -> None:
    with pytest.raises(ValueError, match=r"got .{1,70}$"):
        read(written)


@pytest.mark.parametrize(
    ("name", "amount", "shown"),
    [
        ("cpu", 1500, "1.5"),
        ("cpu", 1_234_567, "1234.567"),
        ("cpu", 8000, "8"),
        ("memory", 1024**3, "1GiB"),
        ("gpu", 3, "3"),
    ],
)
def test_an_amount_is_shown_as_people_write_it(name: str, amount: int, shown: str) -> None:
    assert quantity.shown_amount(name, amount) == shown

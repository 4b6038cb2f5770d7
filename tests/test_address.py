"""Addresses of databases: what is filled in stays data, wherever it stands."""

from __future__ import annotations

import pytest

from wfctl.address import Address
from wfctl.databases import _alchemy_url

HOSTILE = ["plain", "p@ss/w:rd?x#%41&é", "db?host=elsewhere", "'; DROP TABLE x; --", "[::1]", "a\nb", "\U000f0001"]


@pytest.mark.parametrize("value", HOSTILE)
def test_what_is_filled_in_ends_no_part_of_a_url(value: str) -> None:
    url = _alchemy_url(
        Address(["mysql://", value, ":", value, "@h", value, ":5/", value, "?a=", value, "&b=x%41", value, ""])
    )
    assert (url.username, url.password, url.host, url.port, url.database) == (value, value, f"h{value}", 5, value)
    assert url.query == {"a": value, "b": f"xA{value}"}


@pytest.mark.parametrize("value", HOSTILE)
def test_it_comes_back_from_percent_signs_as_it_was(value: str) -> None:
    from urllib.parse import unquote

    address = Address(["postgresql://u:", value, "@h/", value, ""])
    assert address.quoted.isascii()
    user, _, database = address.quoted.removeprefix("postgresql://").partition("@h/")
    assert (unquote(user), unquote(database)) == (f"u:{value}", value)


def test_a_url_that_is_filled_in_whole_is_read_as_one() -> None:
    assert Address(["", "mysql://u:p@h/", "x", "?y", ""]).text.startswith("mysql://u:p@h/x")
    assert Address("mysql://h").text == Address(["mysql://h"]).text == "mysql://h"


def test_what_can_mean_nothing_else_stands_as_it_is() -> None:
    assert Address(["db://h:", "80", "/", "d-1.x", ""]).text == "db://h:80/d-1.x"


def test_a_stand_in_that_was_written_stands_for_nothing() -> None:
    address = Address(["db://h/\U000f0001", "?", ""])
    assert address.filled(address.text) == "db://h/\ufffd?"
    assert address.filled("\U000f0009") == "\U000f0009"

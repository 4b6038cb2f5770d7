"""Statements in SQL as they are read before any database does."""

from __future__ import annotations

import pytest

from wfctl import statements


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT :a, :b_2 + :a", ["a", "b_2"]),
        ("SELECT x::int, '10:30', ':no', \":no\", `:no` FROM t -- :no\nWHERE y = :yes", ["yes"]),
        ("SELECT /* :no */ 'it''s :no', E'\\':no', 'a\\' || :yes", ["yes"]),
        ("DO $$ BEGIN x := :no; END $$", []),
        ("SELECT $a$ :no $$ :no $a$, :yes", ["yes"]),
        ("SELECT a[1:2], b[x:y], f(n := 1), t'::no'", []),
        ("SELECT 'never closed :no", []),
        ("SELECT :a /* never closed :no", ["a"]),
    ],
)
def test_parameters_stand_where_values_can(text: str, names: list[str]) -> None:
    assert statements.names(text) == names


@pytest.mark.parametrize("opening", ["'", '"', "`", "/*", "$$", "$a$", "E'\\", "--"])
def test_a_text_full_of_openings_is_read_in_linear_time(opening: str) -> None:
    """Else these take minutes."""
    assert statements.names(f"{opening} x" * 100_001) == []

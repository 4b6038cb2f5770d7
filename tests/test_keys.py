"""Keys of results: what they are made of, that they never change by themselves, and what two of them differ in."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from wfctl import expr, keys

PARTS: dict[str, Any] = {
    "kind": "run",
    "run": "cc -c ${WFCTL_VALUE_1}",
    "values": ["src/ü \udcff.c", 1, 1.5, 1e300, True, None, [{"b": 1, "a": 2}]],
    "env": {"CC": "gcc", "A": ""},
    "reads": {"src/a.c": "ab" * 32},
}


@pytest.mark.parametrize(
    ("parts", "workflow", "key"),
    [
        ({}, None, "aca66cf58f3a5bf325dcbf56c24c6a857c75d42520fef91698a6a2c66b88e77d"),
        ({"key": "orders-2026-01-31"}, "nightly", "b6039b84fb410cf4909ecbe509f8414513d8c30150a3dca35b14819442802e6d"),
        ({"key": "orders-2026-01-31"}, None, "743362d7358f3e9606ee57544ff9013ebed8361c6cc1ce06bfcc4d1d29f87e48"),
        (PARTS, "build", "f32ef5fbe8675a9d66515aeb20518adf5d78f4e8324a5036aec619636bd7cad2"),
    ],
)
def test_a_key_is_what_it_was_in_every_release(parts: dict[str, Any], workflow: str | None, key: str) -> None:
    """A change here throws away all results of all users: raise `keys.FORMAT`, and say so in the changelog."""
    assert keys.key_of(parts, workflow) == key


def test_a_key_depends_neither_on_the_order_nor_on_the_process() -> None:
    script = "import json, sys; from wfctl import keys; print(keys.key_of(json.load(sys.stdin), 'w'))"
    turned = dict(reversed(PARTS.items()))
    for seed in ("0", "1"):
        found = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(turned),
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == keys.key_of(PARTS, "w")


@pytest.mark.parametrize(
    "other",
    [
        {**PARTS, "kind": "call"},
        {**PARTS, "values": [*PARTS["values"], 1]},
        {**PARTS, "reads": {"src/a.c": "ac" * 32}},
        {**PARTS, "env": {"CC": "gcc"}},
        {**PARTS, "item": None},
    ],
)
def test_whatever_differs_makes_another_key(other: dict[str, Any]) -> None:
    assert keys.key_of(other, "w") != keys.key_of(PARTS, "w")


def test_the_workflow_is_part_of_a_key_but_of_one_that_all_share() -> None:
    assert len({keys.key_of(PARTS, workflow) for workflow in ("a", "b", None)}) == 3


# What the file says


@pytest.mark.parametrize(
    ("raw", "meaning"),
    [
        (None, None),
        (False, None),
        (True, keys.Idempotency()),
        ({}, keys.Idempotency()),
        ({"ttl": "2h"}, keys.Idempotency(ttl=7200.0)),
        ({"key": "k"}, keys.Idempotency(key="k", ttl=3600.0)),
        ({"key": 7, "ttl": 10}, keys.Idempotency(key="7", ttl=10.0)),
        ({"key": {"b": 1}}, keys.Idempotency(key='{"b": 1}', ttl=3600.0)),
        ({"keep": True, "scope": "machine"}, keys.Idempotency(keep=True, scope="machine")),
        ({"key": None, "ttl": None, "scope": None, "keep": None}, keys.Idempotency()),
    ],
)
def test_what_an_idempotency_means(raw: object, meaning: keys.Idempotency | None) -> None:
    assert keys.read_idempotency(raw) == meaning


@pytest.mark.parametrize(
    ("raw", "wrong"),
    [
        (1, "expected true, false or a mapping such as {ttl: 1h}, got 1"),
        ({"key": ""}, "the key is empty"),
        ({"scope": "world"}, 'scope is one of workflow, machine, got "world"'),
        ({"keep": "yes"}, 'keep is true or false, got "yes"'),
        ({"ttl": "10 parsecs"}, "10 parsecs"),
    ],
)
def test_what_an_idempotency_cannot_say(raw: object, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        keys.read_idempotency(raw)


@pytest.mark.parametrize(
    ("raw", "globs"),
    [(None, None), (False, None), (True, ()), ({}, ()), ({"save": ["a", "b"]}, ("a", "b")), ({"save": "a"}, ("a",))],
)
def test_what_a_checkpoint_saves(raw: object, globs: tuple[str, ...] | None) -> None:
    assert keys.read_checkpoint(raw) == globs


@pytest.mark.parametrize("raw", [1, "a", {"save": [1]}, {"save": [""]}, {"save": 3}])
def test_what_a_checkpoint_cannot_say(raw: object) -> None:
    with pytest.raises(ValueError, match=r"expected true|save is a list"):
        keys.read_checkpoint(raw)


# What differs


def test_parts_that_differ_are_told_with_what_they_were() -> None:
    before = {"run": "cc a.c", "reads": {"a.c": "0", "b.c": "1", "old.h": "2"}, "env": {"CC": "gcc"}, "stdout": "none"}
    after = {"run": "cc -g a.c", "reads": {"a.c": "9", "b.c": "1", "new.h": "3"}, "stdout": "none", "cwd": "sub"}
    assert keys.difference(before, after) == [
        ["run", "cc a.c", "cc -g a.c"],
        ["reads a.c", "0", "9"],
        ["reads new.h", None, "3"],
        ["reads old.h", "2", None],
        ["cwd", None, "sub"],
        ["env CC", "gcc", None],
    ]


def test_equal_parts_do_not_differ() -> None:
    assert keys.difference(keys.brief(PARTS), keys.brief(PARTS)) == []


def test_what_is_long_is_kept_by_its_hash_and_still_told_apart() -> None:
    one, other = keys.brief({"stdin": "x" * 100_000}), keys.brief({"stdin": "x" * 99_999 + "y"})
    assert len(json.dumps(one)) < 300
    ((name, before, after),) = keys.difference(one, other)
    assert (name, before["begins"], after["begins"]) == ("stdin", '"' + "x" * 99, '"' + "x" * 99)
    assert before["sha256"] != after["sha256"]


def test_all_files_are_kept_by_name() -> None:
    files = {f"src/{i}.c": "ab" * 32 for i in range(1000)}
    assert keys.brief({"reads": files}) == {"reads": files}


def test_of_what_only_a_run_can_tell_there_is_no_key_yet() -> None:
    for value in (expr.UNKNOWN, [1, {"x": expr.UNKNOWN}]):
        with pytest.raises(expr.Unknown):
            keys.key_of({"item": value}, "w")

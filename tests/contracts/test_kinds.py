"""Every Python kind keeps the contract. A new one adds its class here, and nothing else."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.contracts.kind import KindContract, Samples


class TestCall(KindContract):
    name = "call"

    @pytest.fixture
    def samples(self, root: Path) -> Samples:
        (root / "work.py").write_text(
            dedent("""
                import os, signal, time

                def add(a, b):
                    return {"sum": a + b, "of": (a, b)}

                def fail():
                    raise ValueError("no such order")

                def hang(deaf=False):
                    if deaf:
                        signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    open("begun", "w").close()
                    while True:
                        time.sleep(0.02)

                def flood():
                    return "x" * (17 * 1024 * 1024)

                def echo(value, kept=None, *, items=()):
                    return [value, kept, *items]

                def tell():
                    return [os.environ["T"]]

                def complain():
                    raise ValueError("wrong: " + os.environ["T"])

                def say():
                    print(os.environ["T"])
            """)
        )

        def begun() -> bool:
            return (root / "begun").exists()

        return Samples(
            succeeds=({"call": "work:add", "with": {"a": 1, "b": 2}}, {"sum": 3, "of": [1, 2]}),
            fails=({"call": "work.py:fail"}, "exception", "ValueError: no such order (work.py:8 in fail)"),
            endless=({"call": "work.py:hang"}, begun),
            stubborn=({"call": "work.py:hang", "with": {"deaf": True}}, begun),
            large={"call": "work.py:flood"},
            impossible=({"call": "work.py:ad"}, '"work.py" has no "ad"; did you mean "add"?'),
            echo=lambda text: {"call": "work:echo", "with": {"value": [text], "items": [{"a": text}]}},
            heard=lambda output: output[0][0] if output[0][0] == output[2]["a"] else output,
            tells={"call": "work.py:tell", "secrets": ["T"]},
            complains={"call": "work.py:complain", "secrets": ["T"]},
            prints={"call": "work.py:say", "secrets": ["T"]},
        )

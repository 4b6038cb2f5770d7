"""Python functions as nodes: what is called and how, what becomes of values and exceptions, and what such code may do
to the process that performs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.contracts.kind import Bench, open_bench
from wfctl import plugins
from wfctl.decide import Leavings
from wfctl.jobs import Completion, Ending
from wfctl.result import LARGEST


@dataclass
class Called:
    """What became of a call."""

    completion: Completion
    left: Leavings
    log: str

    @property
    def output(self) -> Any:
        assert (self.left.failed, self.left.failure, self.left.error) == ("", "", ""), self.log
        return self.left.output

    @property
    def refused(self) -> str:
        """Why it could not be started."""
        assert self.left.failed == "not_started"
        assert self.log == ""
        return self.left.failure

    @property
    def failed(self) -> tuple[str, str]:
        return self.left.failed, self.left.failure


Call = Callable[..., Called]


@pytest.fixture
def bench(tmp_path: Path, default_signals: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.chdir(root)
    with open_bench(root, 1000.0) as opened:
        yield opened


@pytest.fixture
def call(bench: Bench) -> Call:
    """Calls a function `f` of this source, or another target: `call("def f(x): return x", x=1)`."""

    def perform(
        source: str = "", target: str = "code.py:f", node: dict[str, Any] | None = None, **given: Any
    ) -> Called:
        (bench.root / "code.py").write_text(dedent(source))
        completion, left = bench.perform(bench.job({"call": target, "with": given, **(node or {})}))
        return Called(completion, left, bench.log())

    return perform


# -- what is called


@pytest.mark.parametrize("target", ["own.py:f", "own:f", "pack.inner:f", "pack/inner.py:f", "./pack/../own.py:f"])
def test_a_function_stands_in_a_module_or_a_file_below_the_root(bench: Bench, call: Call, target: str) -> None:
    (bench.root / "pack").mkdir()
    for name in ("own.py", "pack/inner.py"):
        (bench.root / name).write_text("import helper\ndef f(): return helper.WORD\n")
    (bench.root / "helper.py").write_text("WORD = 'from beside'\n")
    assert call(target=target).output == "from beside"


def test_what_is_called_may_be_an_attribute_of_an_attribute(call: Call) -> None:
    source = """
        class Report:
            @staticmethod
            def build(day): return f"of {day}"
    """
    assert call(source, "code.py:Report.build", day="monday").output == "of monday"


def test_a_call_stands_in_cwd_and_finds_modules_by_the_root(bench: Bench, call: Call) -> None:
    (bench.root / "sub").mkdir()
    source = "import os, sys\ndef f(): return [os.getcwd(), sys.argv]"
    assert call(source, "code.py:f", {"cwd": "sub"}).output == [str(bench.root / "sub"), ["a"]]
    assert call(source, "code:f", {"cwd": "sub"}).refused.startswith('"code" has no "f"')  # a module of Python itself


def test_an_async_function_is_awaited(call: Call) -> None:
    source = """
        import asyncio
        async def f(x):
            await asyncio.sleep(0)
            return x
    """
    assert call(source, x=[1]).output == [1]


MISSING = [
    ("cod.py:f", 'no file "cod.py" in the root folder; did you mean "code.py"?'),
    ("sub/cod.py:f", 'no file "sub/cod.py" in the root folder; correct the name'),
    ("mine.othr:f", 'no module "mine.othr" in the root folder, nor installed; did you mean "mine.other"?'),
    ("mien.other:f", 'no module "mien" in the root folder, nor installed; did you mean "mine"?'),
    ("mine.other.x:f", 'no module "mine.other.x": "mine.other" is a file and holds no modules; correct the name'),
    ("mine.other:buidl", '"mine.other" has no "buidl"; did you mean "build"?'),
    ("mine.other:x", '"mine.other" has no "x"; there are Report, build'),
    ("mine.other:build.x", '"mine.other.build" has no "x"; correct the name'),
    ("mine.other:Report.x", '"mine.other.Report" has no "x"; there are of'),
    ("mine.other:VERSION", '"mine.other:VERSION" is an int and cannot be called; name a function'),
    (
        "code:f",
        '"code" has no "f": it is a module of Python itself; for the file write "code.py:f"',
    ),
]


@pytest.mark.parametrize(("target", "says"), MISSING)
def test_what_is_not_there_is_said_with_the_nearest_name(bench: Bench, call: Call, target: str, says: str) -> None:
    (bench.root / "mine").mkdir()
    (bench.root / "mine/other.py").write_text("VERSION = 1\ndef build(): pass\nclass Report:\n    def of(self): pass\n")
    assert call("def f(): pass", target).refused == says


ARGUMENTS = [
    ("def f(day, out='x'): pass", {}, 'needs the argument "day"; give it in with: {day: …}'),
    ("def f(day, out='x'): pass", {"dya": 1}, 'has no argument "dya"; did you mean "day"?'),
    ("def f(day, out='x'): pass", {"day": 1, "zzz": 1}, 'has no argument "zzz"; it takes day, out'),
    ("def f(): pass", {"zzz": 1}, 'has no argument "zzz"; it takes none'),
    ("def f(*, day): pass", {}, 'needs the argument "day"; give it in with: {day: …}'),
    ("def f(day, /, **m): pass", {"day": 1},
     'takes "day" by its place alone, and with gives names; write a function around it'),
    ("class f:\n    def __init__(self, a): pass", {}, 'needs the argument "a"; give it in with: {a: …}'),
    ("from functools import partial\nf = partial(lambda a, b: 1, 1)", {},
     'needs the argument "b"; give it in with: {b: …}'),
]  # fmt: skip


@pytest.mark.parametrize(("source", "given", "says"), ARGUMENTS)
def test_arguments_that_do_not_fit_are_told_before_the_call(
    call: Call, source: str, given: dict[str, Any], says: str
) -> None:
    assert call(source, **given).refused == f'"code.py:f" {says}'


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("def f(a, b=2, *, c, d=4): return [a, b, c, d]", {"a": 1, "c": 3}),
        ("def f(a, **more): return [a, *more.values()]", {"a": 1, "b-c": 2, "c": 3, "d": 4}),
        ("def f(*all, **more): return list(more.values())", {"a": 1, "b": 2, "c": 3, "d": 4}),
        ("import functools\nf = functools.partial(lambda a, b, c, d: [a, b, c, d], d=4)", {"a": 1, "b": 2, "c": 3}),
        ("f = lambda a=1, b=2, c=3, d=4: [a, b, c, d]", {}),
        ("import functools\n@functools.cache\ndef f(a, b, c=3, d=4): return [a, b, c, d]", {"a": 1, "b": 2}),
    ],
)  # fmt: skip
def test_arguments_that_fit_arrive(call: Call, source: str, given: dict[str, Any]) -> None:
    assert [1, 2, 3, 4][: len(call(source, **given).output)] == call(source, **given).output


FAULTS = [
    ("a/b:f", '"a/b" is neither a module nor a file.py', 'write "a/b.py:f"'),
    ("a-b:f", '"a-b" is neither a module nor a file.py', "write module:function"),
    ("../x.py:f", '"../x.py" leads out of the root folder; set root: .. where that is meant', ""),
    (
        "${{ params.x }}:f",
        "cannot be an expression: what is called is code, and must be known before anything runs",
        "",
    ),
]


@pytest.mark.parametrize(("target", "says", "hint"), FAULTS)
def test_what_no_run_can_call_is_a_fault_of_the_file(target: str, says: str, hint: str) -> None:
    kind = plugins.kind("call")
    assert kind is not None
    [problem] = kind.parse({"call": target}, ("nodes", "a"), None)[1]
    assert (problem.where, problem.message) == (("nodes", "a", "call"), says)
    assert hint in problem.hint


# -- what it returns


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("None", None),
        ("(1, [2.5, (True,)], {'a': ('x',)})", [1, [2.5, [True]], {"a": ["x"]}]),
        ("'\\ud800\\x00é'", "\ud800\x00é"),
        ("10 ** 100", 10**100),
        ("__import__('enum').IntEnum('E', 'a b').b", 2),
        ("__import__('collections').Counter('aab')", {"a": 2, "b": 1}),
        ("__import__('collections').namedtuple('P', 'x y')(1, 2)", [1, 2]),
    ],
)
def test_a_value_becomes_plain_data(call: Call, value: str, output: object) -> None:
    assert call(f"def f(): return {value}").output == output


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("[1, {'rate': float('nan')}]", "output[1].rate is nan, which JSON has not; put None in its place"),
        ("-float('inf')", "output is -inf, which JSON has not; put None in its place"),
        ("{'at': __import__('datetime').date(2026, 1, 31)}",
         "output.at is a datetime.date, which is no JSON; make it data: x.isoformat()"),
        ("__import__('pathlib').Path('x')", "output is a pathlib.PosixPath, which is no JSON; make it data: str(x)"),
        ("{1, 2}", "output is a set, which is no JSON; make it a list: list(x)"),
        ("(i for i in ())", "output is a generator, which is no JSON; make it a list: list(x)"),
        ("b'x'",
         "output is a bytes, which is no JSON; make it data: x.decode(), or write a file and name it in writes"),
        ("object()", "output is an object, which is no JSON; make it text, numbers, lists and mappings"),
        ("{1: 2}", "output has the key 1, an int, and keys are text: str(key)"),
        ("10 ** 5000", "output is a whole number of over 4,000 digits; make it text: hex(x)"),
        ("(x := [], x.append(x))[0]",
         "output is nested over 100 deep; leave less of it, or write a file and name it in writes"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_data_fails_the_node_and_says_which_part_of_it_and_the_way_out(
    call: Call, value: str, says: str
) -> None:
    called = call(f"def f(): return {value}")
    assert (called.left.error, called.left.reason, called.completion.code) == (says, "output", 0)


def test_an_output_just_below_the_limit_is_taken(call: Call) -> None:
    called = call(f"def f(): return 'x' * {LARGEST - 2}")
    assert len(called.output) == LARGEST - 2
    assert called.left.file is not None


# -- what it raises


def test_a_traceback_is_whole_in_the_log_and_without_frames_of_ours(call: Call) -> None:
    source = """
        import json

        def f():
            return parse("!")

        def parse(text):
            return json.loads(text)
    """
    called = call(source)
    assert called.failed == (
        "exception",
        "JSONDecodeError: Expecting value: line 1 column 1 (char 0) (code.py:8 in parse)",
    )
    assert called.log.startswith('Traceback (most recent call last):\n  File "')
    assert 'code.py", line 5, in f\n    return parse("!")' in called.log
    assert "json/decoder.py" in called.log
    assert "wfctl" not in called.log.replace(os.path.join("state", "runs"), "")


def test_an_async_traceback_begins_where_the_function_does(call: Call) -> None:
    called = call("async def f():\n    raise KeyError('x')\n")
    assert called.failed == ("exception", "KeyError: 'x' (code.py:2 in f)")
    assert "asyncio" not in called.log


def test_the_first_of_a_group_of_exceptions_is_told(call: Call) -> None:
    source = """
        import asyncio
        async def bad(n): raise ValueError(n)
        async def f():
            async with asyncio.TaskGroup() as group:
                for n in (1, 2, 3): group.create_task(bad(n))
    """
    called = call(source)
    assert called.failed == ("exception", "ValueError: 1 (code.py:3 in bad) and 2 more")
    assert called.log.count("ValueError: ") == 3


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax (code.py:1)"),
        ("1 / 0\n", "ZeroDivisionError: division by zero (code.py:1)"),
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library' (code.py:1)"),
        ("def f(): raise KeyboardInterrupt", "KeyboardInterrupt (code.py:1 in f)"),
        ("async def f():\n    import asyncio\n    raise asyncio.CancelledError", "CancelledError (code.py:3 in f)"),
        ("def f(): return f()", "RecursionError: maximum recursion depth exceeded (code.py:1 in f)"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\ndef f(): raise E",
         "E: (its text cannot be made: ZeroDivisionError) (code.py:3 in f)"),
    ],
)  # fmt: skip
def test_whatever_is_raised_is_told_with_its_place(call: Call, source: str, says: str) -> None:
    called = call(source)
    assert called.failed == ("exception", says)
    assert "Traceback" in called.log or "SyntaxError" in called.log


def test_an_error_is_recorded_in_bounded_length(call: Call) -> None:
    called = call("def f(): raise ValueError('x' * 10_000_000)")
    assert called.left.failure == "ValueError: " + "x" * 1986 + " …"
    assert len(called.log) > 10_000_000


# -- how else it may end


@pytest.mark.parametrize("code", ["", "0", "None"])
def test_to_exit_with_0_is_success_without_an_output(call: Call, code: str) -> None:
    assert call(f"import sys\ndef f(): sys.exit({code})").output is None


@pytest.mark.parametrize(
    ("code", "error", "number"),
    [("3", "exit code 3", 3), ("-1", "exit code 255", 255), ("'no orders'", "no orders", 1)],
)
def test_to_exit_with_anything_else_is_a_failure(call: Call, code: str, error: str, number: int) -> None:
    called = call(f"import sys\ndef f(): sys.exit({code})")
    assert (*called.failed, called.completion.code) == ("exit_code", error, number)


def test_a_process_that_ends_before_its_work_is_done_has_no_output(call: Call) -> None:
    called = call("import os\ndef f(): print('bye', flush=True); os._exit(0)")
    assert (called.left.error, called.log) == ("exit code 0: its process ended before its work was done", "bye\n")
    assert call("import os\ndef f(): os._exit(7)").failed == (
        "exit_code", "exit code 7: its process ended before its work was done"
    )  # fmt: skip


def test_a_process_that_is_killed_is_told_so(call: Call) -> None:
    called = call("import os, signal\ndef f(): os.kill(os.getpid(), signal.SIGSEGV)")
    assert (called.completion.ending, called.completion.error) == (Ending.KILLED, "ended by SIGSEGV")
    assert called.left == Leavings()


def test_who_is_told_to_end_does_what_stands_under_finally_and_the_log_says_where_it_was(bench: Bench) -> None:
    (bench.root / "code.py").write_text(
        dedent("""
            import time
            def f():
                open("begun", "w").close()
                try:
                    while True: time.sleep(0.02)
                finally:
                    open("cleaned", "w").close()
        """)
    )
    job = bench.job({"call": "code.py:f"})
    bench.executor.submit(job)
    bench.until((bench.root / "begun").exists)
    bench.executor.cancel(job.id)
    [completion] = bench.ended()
    assert (completion.ending, completion.error) == (Ending.KILLED, "ended by SIGTERM")
    assert (bench.root / "cleaned").exists()
    assert 'code.py", line 6, in f' in bench.log()
    assert bench.log().endswith("told to end (SIGTERM) there\n")


# -- what it may do to its process


def test_what_is_printed_is_in_the_log_in_its_order_and_without_a_flush(call: Call) -> None:
    source = """
        import os, sys
        def f():
            print("one \\ud800")
            print("two", file=sys.stderr)
            print("three")
            os._exit(1)
    """
    assert call(source).log == "one \\ud800\ntwo\nthree\n"


def test_standard_input_is_empty(call: Call) -> None:
    assert call("import sys\ndef f(): return sys.stdin.read()").output == ""


@pytest.mark.parametrize("what", ["os.close(1); os.close(2)", "sys.stdout.close(); sys.stderr.close()",
                                  "sys.stdout = sys.stderr = None", "os.closerange(0, 3)"])  # fmt: skip
def test_who_closes_its_output_has_a_result_and_its_traceback_all_the_same(call: Call, what: str) -> None:
    assert call(f"import os, sys\ndef f():\n    print('x')\n    {what}\n    return 1").output == 1
    called = call(f"import os, sys\ndef f():\n    {what}\n    raise ValueError(2)")
    assert called.failed == ("exception", "ValueError: 2 (code.py:4 in f)")
    assert "ValueError: 2" in called.log


def test_a_fork_that_comes_back_leaves_no_result(call: Call) -> None:
    source = """
        import os
        def f():
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
            return "parent" if pid else "child"
    """
    assert call(source).output == "parent"


@pytest.mark.parametrize("what", ["threading.Thread", "multiprocessing.Process"])
def test_the_work_is_done_when_the_function_returns_whatever_it_left_running(call: Call, what: str) -> None:
    source = f"""
        import atexit, multiprocessing, threading, time
        atexit.register(print, "at exit")
        file = open("kept", "w")
        def f():
            {what}(target=time.sleep, args=[1000], name="sleeper").start()
            file.write("x")
            return 1
    """
    called = call(source)
    assert called.output == 1
    assert called.log == "not waited for, though still running: sleeper\nat exit\n"
    assert Path("kept").read_text() == "x"


def test_processes_of_a_pool_find_what_they_are_sent(call: Call) -> None:
    source = """
        import concurrent.futures, multiprocessing
        def double(x): return 2 * x
        def f():
            context = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                return list(pool.map(double, [1, 2]))
    """
    (Path("work.py")).write_text(dedent(source))
    assert call(target="work.py:f").output == [2, 4]


def test_the_processes_of_a_pool_end_when_they_are_told_to(call: Call) -> None:
    source = """
        import multiprocessing, time
        def f():
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=[1000])
            child.start()
            child.terminate()
            child.join()
            return child.exitcode
    """
    assert call(source).output == -15


def test_a_function_waits_for_nothing_that_it_does_not_need(call: Call) -> None:
    heavy = "asyncio dataclasses importlib.metadata inspect traceback typing wfctl.expr wfctl.jobs wfctl.errors".split()
    source = f"import sys\ndef f(): return [name for name in {heavy} if name in sys.modules]"
    assert call(source).output == []


HOSTILE = ["json", "os", "re", "signal", "traceback", "asyncio", "threading", "wfctl", "code", "typing", "inspect"]


@pytest.mark.parametrize("through", ["root", "PYTHONPATH"])
def test_no_file_of_the_user_stands_in_for_what_the_worker_needs(call: Call, through: str) -> None:
    folder = Path("." if through == "root" else "lib")
    folder.mkdir(exist_ok=True)
    for name in HOSTILE:
        (folder / f"{name}.py").write_text("raise SystemExit('this one was taken')\n")
    (folder / "mine.py").write_text("WORD = 'mine'\n")
    Path("work.py").write_text(
        "import asyncio, json, mine\nasync def f(fails=False):\n    return mine.WORD[9 if fails else 0:]\n"
    )
    node = {"env": {"PYTHONPATH": "lib"}} if through == "PYTHONPATH" else {}
    assert call(target="work.py:f", node=node).output == "mine"
    assert call(target="work.py:g", node=node).failed == ("not_started", '"work.py" has no "g"; there are f')
    Path("work.py").write_text("def f(): return 1 / 0")
    assert call(target="work.py:f", node=node).failed == (
        "exception", "ZeroDivisionError: division by zero (work.py:1 in f)"
    )  # fmt: skip


def test_a_result_that_something_else_wrote_is_told_as_damage(call: Call) -> None:
    source = """
        import atexit, json, os, sys
        def spoil():
            folder = os.path.dirname(os.environ["WFCTL_OUTPUT"])
            for name in os.listdir(folder):
                open(os.path.join(folder, name), "w").write(TEXT)
        def f():
            atexit.register(spoil)
    """
    for text in ("", "{", "[]", "{}", '{"output": 1, "reason": 2}'):
        called = call(f"TEXT = {text!r}\n{dedent(source)}")
        assert called.left.error.startswith("its result is ")
        assert called.left.output is None


def test_what_it_wrote_as_a_command_would_is_no_output(call: Call) -> None:
    source = "import os\ndef f(): open(os.environ['WFCTL_OUTPUT'], 'w').write('{\"a\": 1}')"
    assert call(source, node={"secrets": ["T"]}).output is None


def test_half_a_result_of_who_was_killed_does_not_stay(bench: Bench, call: Call) -> None:
    source = """
        import os, signal
        def f():
            result = os.environ["WFCTL_OUTPUT"] + ".result"
            for name in (result, result + ".draft"):
                open(name, "w").write(os.environ["T"])
            os.kill(os.getpid(), signal.SIGKILL)
    """
    called = call(source, node={"secrets": ["T"]})
    assert called.completion.ending is Ending.KILLED
    assert list(bench.run_folder.outputs.iterdir()) == []

"""State on disks that are full, read-only, another's or damaged: refused in words or read, never wrong.

Knows of the state folder only its journal and its pinned definition. Small file systems are real where we may mount."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import CHILD, ROOT, Command, Ended
from tests.e2e.conftest import Flow, Start, Status, Until
from tests.helpers.processes import of_folder
from wfctl import app, history
from wfctl.errors import StateError
from wfctl.store import Store

NOBODY = 65534

Fill = Callable[[int], None]


@pytest.fixture
def fill(tmp_path: Path) -> Iterator[Fill]:
    """Makes the state folder a disk of its own of 4 MiB: `fill(n)` leaves n bytes free, `fill(-1)` empties it."""
    state = tmp_path / ".wfctl"
    state.mkdir(0o700)
    _mount("-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(state))
    filler = state / "filler"

    def change(left: int) -> None:
        filler.unlink(missing_ok=True)
        if left >= 0:
            with open(filler, "wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
                file.truncate(max(0, file.tell() - left))

    yield change
    subprocess.run(["umount", "--lazy", str(state)], check=True)


def _mount(*words: str) -> None:
    try:
        subprocess.run(["mount", *words], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here: it needs root")


# So that the state is looked at before its disk is gone.
on_small_disk = pytest.mark.usefixtures("fill", "unharmed")
unharmed = pytest.mark.usefixtures("unharmed")


# -- full


@on_small_disk
def test_when_little_is_left_nothing_new_starts_what_runs_ends_and_resume_goes_on(
    fill: Fill, flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    name = flow(f"""
        concurrency: 1
        nodes:
          a: {{run: {CHILD} ready=ready wait=go}}
          b: {{run: echo b >> ledger, needs: [a]}}
          c: {{run: echo c >> ledger}}
        finally:
          note: {{run: echo note >> ledger}}
    """)
    run = start("run", name)
    until((tmp_path / "ready").exists, "the node runs")
    (journal,) = (tmp_path / ".wfctl/runs").glob("*/journal.jsonl")
    before = journal.stat().st_size
    fill(100_000)
    until(lambda: journal.stat().st_size > before, "it was noticed")
    (tmp_path / "go").touch()
    said = run.communicate(timeout=30)[1]
    assert run.returncode == 6, said
    assert "wfctl resume" in said
    assert not (tmp_path / "ledger").exists()
    shown = status()
    assert shown["state"] == "interrupted"
    assert [node["state"] for node in shown["nodes"].values()][:3] == ["succeeded", "ready", "ready"]
    fill(-1)
    assert wfctl("resume", "last").returncode == 0
    assert sorted((tmp_path / "ledger").read_text().split()) == ["b", "c", "note"]
    assert status()["nodes"]["a"]["attempts"] == 1


@on_small_disk
@pytest.mark.parametrize("left", [0, 100_000])
def test_on_a_full_disk_nothing_begins(left: int, fill: Fill, flow: Flow, wfctl: Command, tmp_path: Path) -> None:
    fill(left)
    ended = wfctl("run", flow("nodes: {a: {run: echo a >> ledger}}"))
    assert ended.returncode == 6
    assert "Traceback" not in ended.stderr
    assert re.search("free some space|make room", ended.stderr)
    assert not (tmp_path / "ledger").exists()
    fill(-1)
    assert wfctl("run", "flow.yaml").returncode == 0


@on_small_disk
@pytest.mark.parametrize("what", ["log", "stdout: text", "TMPDIR"])
def test_a_node_that_fills_the_disk_costs_no_more_than_itself(
    what: str, fill: Fill, flow: Flow, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    more = ", stdout: text" if what == "stdout: text" else ""
    where = "> $TMPDIR/x" if what == "TMPDIR" else ""
    name = flow(f"""
        nodes:
          a: {{run: echo a >> ledger}}
          b: {{run: 'if [ -e small ]; then echo b; else head -c 10000000 /dev/zero {where}; fi'{more}, needs: [a]}}
          c: {{run: echo c >> ledger, needs: [b]}}
    """)
    ended = wfctl("run", name)
    assert ended.returncode in (1, 6), ended.stderr  # whether its failure could still be recorded is chance
    assert "Traceback" not in ended.stderr
    assert status()["nodes"]["a"]["state"] == "succeeded"
    (tmp_path / "small").touch()
    for path in (tmp_path / ".wfctl/runs").glob("*/logs/*"):
        path.write_bytes(b"")
    shutil.rmtree(next((tmp_path / ".wfctl/runs").iterdir()) / "tmp", ignore_errors=True)
    resumed = wfctl("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "ledger").read_text().split() == ["a", "c"]


@unharmed
def test_when_the_journal_cannot_be_written_what_runs_is_told_to_end(
    flow: Flow, start: Start, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    many = "".join(f"\n          n{i}: {{run: 'echo n{i} >> ledger', needs: [n{i - 1}]}}" for i in range(1, 60))
    name = flow(f"""
        concurrency: 2
        grace: 5s
        nodes:
          a: {{run: {CHILD} save=saved ready=ready wait=go}}
          n0: {{run: 'until [ -e ready ]; do sleep 0.01; done'}}{many}
    """)
    run = start("run", name, through=["bash", "-c", 'ulimit -f 8; exec "$@"', "-"])
    said = run.communicate(timeout=30)[1]
    assert run.returncode == 6, said
    assert not of_folder(tmp_path)
    assert "Traceback" not in said
    assert "raise the limit on file sizes" in said
    assert (tmp_path / "saved").exists(), "it had its grace"
    (tmp_path / "go").touch()
    recorded = [name for name, node in status()["nodes"].items() if node["state"] == "succeeded"]
    ran = (tmp_path / "ledger").read_text().split()
    assert wfctl("resume", "last").returncode == 0
    again = (tmp_path / "ledger").read_text().split()[len(ran) :]
    assert 0 < len(recorded) < 60
    assert not set(again) & set(recorded)


# -- looking


@pytest.fixture
def some_run(wfctl: Command, flow: Flow, tmp_path: Path) -> Path:
    """A state folder with a run that has failed."""
    name = flow("nodes: {a: {run: echo hello, stdout: text}, b: {run: echo no; exit 3, needs: [a]}}")
    assert wfctl("run", name).returncode == 1
    return tmp_path / ".wfctl"


LOOKS = [["status", "last", "--json"], ["status"], ["runs", "--json"], ["logs", "last"], ["output", "last", "a"]]


def _looks(wfctl: Command, folder: Path) -> list[Ended]:
    """All verbs that only look; what they see is there, and nothing is written."""
    before = _tree(folder)
    ended = [wfctl(*words, env={"WFCTL_STATE_DIR": str(folder)}) for words in LOOKS]
    for each in ended:
        assert (each.returncode, each.stderr) == (0, ""), each
    assert _tree(folder) == before
    assert ended[-1].stdout == "hello\n"
    return ended


def _tree(folder: Path) -> dict[str, object]:
    # A run that goes on writes its own list of processes: after a second, that it has a cgroup.
    found = {path: path.lstat() for path in [folder, *folder.rglob("*")] if path.parent.name != "live"}
    return {str(path): (s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in found.items()}


def test_status_answers_on_a_read_only_disk_also_while_the_run_goes_on_elsewhere(
    flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path
) -> None:
    name = flow(f"nodes: {{a: {{run: echo hello, stdout: text}}, b: {{run: {CHILD} ready=ready wait=go, needs: [a]}}}}")
    run = start("run", name)
    until((tmp_path / "ready").exists, "the node runs")
    view = tmp_path / "view"
    view.mkdir()
    _mount("--bind", str(tmp_path / ".wfctl"), str(view))
    try:
        _mount("-o", "remount,bind,ro", str(view))
        with pytest.raises(OSError, match="Read-only"):
            (view / "x").touch()
        assert json.loads(_looks(wfctl, view)[0].stdout)["state"] == "running"
        (tmp_path / "go").touch()
        assert run.wait(30) == 0
        assert json.loads(_looks(wfctl, view)[0].stdout)["state"] == "succeeded"
        refused = wfctl("resume", "last", env={"WFCTL_STATE_DIR": str(view)})
        assert refused.returncode == 6
        assert "read-only file system; make the disk writable" in refused.stderr
    finally:
        subprocess.run(["umount", "--lazy", str(view)], check=True)


def test_status_answers_on_a_full_disk(fill: Fill, some_run_on_it: Path, wfctl: Command) -> None:
    fill(0)
    assert json.loads(_looks(wfctl, some_run_on_it)[0].stdout)["state"] == "failed"


@pytest.fixture
def some_run_on_it(fill: Fill, some_run: Path) -> Path:
    return some_run


# -- not ours


def _link(state: Path) -> None:
    state.rename(state.with_name("elsewhere"))
    state.symlink_to("elsewhere")


def _give_away(state: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    os.chown(state, NOBODY, NOBODY)


FOREIGN: dict[str, tuple[Callable[[Path], None], str]] = {
    "a symlink": (_link, "is a symlink; name the folder it leads to with --state-dir"),
    "of another owner": (_give_away, "belongs to another user (uid 65534); choose another with --state-dir"),
    "writable by its group": (lambda state: state.chmod(0o770), "can be written by others (mode 0770); take that away"),
    "writable by all": (lambda state: state.chmod(0o707), "can be written by others (mode 0707); take that away"),
}


@pytest.mark.parametrize(("change", "words"), FOREIGN.values(), ids=FOREIGN)
def test_a_state_folder_that_is_not_ours_alone_is_refused_and_can_be_looked_at(
    change: Callable[[Path], None], words: str, some_run: Path, wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    change(some_run)
    flow("nodes: {a: {run: touch ran}}")
    for verb in (["run", "flow.yaml"], ["resume", "last"]):
        refused = wfctl(*verb)
        assert refused.returncode == 6, refused.stderr
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()
    _looks(wfctl, some_run)


@pytest.fixture
def powerless() -> list[str]:
    """The words that start a program to which modes apply: root passes every mode."""
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else ["env"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root cannot lay down its rights here: there is no setpriv")
    return words


def test_a_state_folder_that_cannot_be_written_is_refused_and_can_be_looked_at(
    powerless: list[str], some_run: Path, start: Start, flow: Flow, tmp_path: Path
) -> None:
    flow("nodes: {a: {run: touch ran}}")
    modes = {path: path.stat().st_mode for path in [some_run, *some_run.rglob("*")]}
    for path in modes:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        for verb in (["run", "flow.yaml"], ["resume", "last"]):
            refused = start(*verb, through=powerless)
            said = refused.communicate(timeout=30)[1]
            assert refused.returncode == 6, (verb, said)
            assert (said.count("\n"), "cannot be written" in said) == (1, True), said
        assert not (tmp_path / "ran").exists()
        looking = start("status", "last", "--json", through=powerless)
        assert json.loads(looking.communicate(timeout=30)[0])["state"] == "failed"
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


# -- damage


@pytest.fixture
def cut_off(wfctl: Command, flow: Flow, tmp_path: Path, until: Until, status: Status) -> Path:
    """The journal of a run whose engine was killed before its end."""
    name = flow("""
        nodes:
          a: {run: echo a >> ledger; echo 1, stdout: json}
          b: {run: "echo b >> ledger; test ${{ nodes.a.output }} = 1", needs: [a]}
          c: {run: echo c >> ledger, needs: [b]}
    """)
    assert wfctl("run", name, env={"WFCTL_TEST_CRASH": "completed:3"}).returncode == -signal.SIGKILL
    (journal,) = (tmp_path / ".wfctl/runs").glob("*/journal.jsonl")
    until(lambda: status()["state"] == "interrupted", "the guard has let go")
    return journal


def _document(state: Path) -> object:
    """What `status --json` says of the only run; None where it is refused in words, or no run has begun."""
    store = Store(state)
    for run in store.run_ids():
        try:
            return json.loads(json.dumps(history.document(app.open_record(run, store))))
        except StateError:
            return None
    return None


def test_a_journal_that_is_cut_anywhere_tells_what_its_whole_lines_tell(cut_off: Path, tmp_path: Path) -> None:
    whole = cut_off.read_bytes()
    told: object = None
    for size in range(len(whole) + 1):
        cut_off.write_bytes(whole[:size])
        shown = _document(tmp_path / ".wfctl")
        if size and whole[size - 1 : size] == b"\n":
            told = shown
        assert shown == told, f"cut at byte {size}"
    assert told is not None


def test_a_journal_with_a_flipped_bit_is_refused_or_is_a_torn_end(cut_off: Path, tmp_path: Path) -> None:
    whole = cut_off.read_bytes()
    cut_off.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    without_its_end = _document(tmp_path / ".wfctl")
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        cut_off.write_bytes(damaged)
        shown = _document(tmp_path / ".wfctl")
        assert shown is None or (shown == without_its_end and place == len(whole) - 1), f"byte {place}"
    cut_off.write_bytes(whole)


def test_a_cut_journal_goes_on_and_repeats_nothing_that_it_records(
    cut_off: Path, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    whole = cut_off.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in [ends[1], ends[len(ends) // 2] + 5, ends[-2] + 1, len(whole) - 1]:
        cut_off.write_bytes(whole[:size])
        recorded = {n for n, node in status()["nodes"].items() if node["state"] == "succeeded"}
        (tmp_path / "ledger").unlink(missing_ok=True)
        resumed = wfctl("resume", "last")
        assert resumed.returncode == 0, resumed.stderr
        assert set((tmp_path / "ledger").read_text().split()) == {"a", "b", "c"} - recorded
        assert status()["state"] == "succeeded"


def test_a_damaged_journal_is_refused_in_words(cut_off: Path, wfctl: Command, tmp_path: Path) -> None:
    whole = cut_off.read_bytes()
    (tmp_path / "ledger").unlink()
    for place in (5, len(whole) // 2, len(whole) - 20):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        cut_off.write_bytes(damaged)
        for verb in ("resume", "status"):
            ended = wfctl(verb, "last")
            assert (ended.returncode, ended.stderr.count("\n")) == (6, 1), ended.stderr
            assert "journal.jsonl" in ended.stderr
        assert cut_off.read_bytes() == damaged
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"not json", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_definition_is_refused_in_words(content: bytes, cut_off: Path, wfctl: Command) -> None:
    cut_off.with_name("workflow.json").write_bytes(content)
    for verb in ("resume", "status"):
        ended = wfctl(verb, "last")
        assert (ended.returncode, ended.stderr.count("\n")) == (6, 1), ended.stderr
        assert "workflow.json" in ended.stderr


@pytest.mark.parametrize("name", ["format", "lock", "journal.jsonl", "workflow.json", "a.1.log", "a.1.json", "tmp"])
def test_a_pipe_where_a_file_of_the_state_was_holds_nobody(
    name: str, flow: Flow, wfctl: Command, tmp_path: Path
) -> None:
    file = flow("nodes: {a: {run: \"echo hi; seq -s, 9 20000 | sed 's/.*/[&]/' > $WFCTL_OUTPUT\"}}")
    assert wfctl("run", file).returncode == 0
    (state,) = (tmp_path / ".wfctl").glob("runs/*/journal.jsonl")
    place = next((tmp_path / ".wfctl").rglob(name), state.with_name(name))
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    verbs = ["status", "runs", "logs last", "logs last a -f", "output last a", "graph last", "cancel last",
             "clean --older-than 1d", "resume last --from a", "run flow.yaml"]  # fmt: skip
    for verb in verbs:
        ended = wfctl(*verb.split())
        assert ended.returncode in (0, 2, 6), (verb, ended.stderr)
        assert "Traceback" not in ended.stderr
        assert "Errno" not in ended.stderr


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[" * 200_000, b'"' + b"x" * 40_000_000], ids=["empty", "bytes", "deep", "large"]
)
def test_a_damaged_output_is_refused_in_words(content: bytes, flow: Flow, wfctl: Command, tmp_path: Path) -> None:
    wfctl("run", flow("nodes: {a: {run: \"seq -s, 9 20000 | sed 's/.*/[&]/' > $WFCTL_OUTPUT\"}}"))
    (kept,) = (tmp_path / ".wfctl").glob("runs/*/outputs/a.1.json")
    kept.write_bytes(content)
    ended = wfctl("output", "last", "a")
    assert (ended.returncode, ended.stderr.count("\n"), ended.stdout) == (6, 1, "")
    assert "a.1.json" in ended.stderr
    kept.unlink()
    assert "no such file or directory; " in wfctl("output", "last", "a").stderr


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("live", "cancel last", 6),
        ("live", "clean --older-than 0s", 0),
        ("cache", "clean --older-than 0s", 0),
        ("runs/last/logs", "logs last", 6),
        ("runs/last/logs", "logs last a -f", 6),
    ],
)
def test_what_may_not_be_looked_into_is_told_in_words(
    name: str, words: str, code: int, powerless: list[str], flow: Flow, start: Start, wfctl: Command, tmp_path: Path
) -> None:
    assert wfctl("run", flow("nodes: {a: {run: 'true'}}")).returncode == 0
    (run,) = (tmp_path / ".wfctl/runs").iterdir()
    folder = tmp_path / ".wfctl" / name.replace("last", run.name)
    folder.chmod(0)
    try:
        ended = start(*words.split(), through=powerless)
        said = ended.communicate(timeout=30)[1]
        assert (ended.returncode, "Traceback" in said) == (code, False), said
        assert name == "cache" or "check its owner and mode" in said
    finally:
        folder.chmod(0o700)


def test_a_run_that_cannot_be_looked_at_keeps_no_other_from_being_cleaned_away(
    flow: Flow, wfctl: Command, tmp_path: Path
) -> None:
    name = flow("nodes: {a: {run: 'true'}}")
    for _ in range(2):
        assert wfctl("run", name).returncode == 0
    broken, sound = sorted((tmp_path / ".wfctl/runs").iterdir())
    (broken / "lock").unlink()
    (broken / "lock").mkdir()
    ended = wfctl("clean", "--older-than", "0s")
    assert (ended.returncode, ended.stdout) == (0, f"{sound.name}\n")
    assert f'cannot read "{broken}/lock": is no file; ' in ended.stderr


# -- what older versions left

RELEASED = sorted((ROOT / "tests/cases/states").glob("format-*"))


@pytest.mark.parametrize("kept", RELEASED, ids=lambda path: path.name)
def test_a_run_of_each_released_format_is_read_and_resumed(
    kept: Path, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    state = tmp_path / ".wfctl"
    shutil.copytree(kept, state)
    state.chmod(0o700)
    shown = status()
    assert (shown["state"], shown["nodes"]["a"]["output"]) == ("interrupted", {"kept": [1, 2]})
    assert [node["state"] for node in shown["nodes"].values()] == ["succeeded", "interrupted", "waiting"]
    resumed = wfctl("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert [node["attempts"] for node in status()["nodes"].values()] == [1, 2, 1]


def test_there_is_a_run_of_the_format_that_is_written_now() -> None:
    from wfctl.journal import FORMAT

    assert f"format-{FORMAT}" in [path.name for path in RELEASED]

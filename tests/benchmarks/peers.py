"""The programs that are measured side by side: how each writes down a shape, and the commands that run it.

Knows nothing of time. A new one is a function that writes its files, and an entry in the table."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.flows import Shape, workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program that runs a shape with four jobs, in the way its manual shows and without its chatter.

    `files` gives the content of its files by name; their nodes do the command that it is handed, in which `{name}`
    stands for the node. `cold` runs all of it once the globs in `fresh`, its memory of the last run, are removed.
    `again` finds nothing to do: after `cold`, or after itself where nodes must leave a file for that. `version` prints
    it. A `slow` one takes part in one round; and each only in shapes of at most so many nodes as `most` says.
    """

    files: Callable[[Shape, str], Mapping[str, str]]
    cold: Sequence[str]
    again: Sequence[str]
    fresh: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    version: Sequence[str]
    slow: bool = False
    most: int = 10_000


def find(program: str, beside: str = sys.executable) -> str | None:
    """Where a program is: in the folder of `beside`, where pip puts it, or on the path."""
    return shutil.which(program, path=f"{Path(beside).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def _wfctl(shape: Shape, command: str) -> Mapping[str, str]:
    return {"flow.yaml": workflow(shape, command)}


def _ninja(shape: Shape, command: str) -> Mapping[str, str]:
    do = command.format(name="$out")
    nodes = [f"build {node}: node {' '.join(needs)}".rstrip() for node, needs in shape]
    return {
        "build.ninja": "\n".join(["rule node", f"  command = {do}", *nodes, ""]),
        "again.ninja": "\n".join(["rule node", f"  command = {do} && : > $out", *nodes, ""]),
    }


def _make(shape: Shape, command: str) -> Mapping[str, str]:
    do = command.format(name="$@")
    every = f"all: {' '.join(node for node, _ in shape)}\n"
    needs = [f"{node}: {' '.join(needs)}".rstrip() for node, needs in shape]
    return {
        "Makefile": every + "".join(f"{line}\n\t@{do}\n" for line in needs),
        "again.mk": every + "".join(f"{line}\n\t@{do} && : > $@\n" for line in needs),
    }


def _doit(shape: Shape, command: str) -> Mapping[str, str]:
    text = f"""
from doit.tools import run_once
NEEDS = {_needs(shape)}
def task_node():
    for name, needs in NEEDS.items():
        yield {{
            "name": name,
            "actions": ["{command}".format(name=name)],
            "task_dep": ["node:" + other for other in needs],
            "uptodate": [run_once],
        }}
"""
    return {"dodo.py": text}


def _task(shape: Shape, command: str) -> Mapping[str, str]:
    # Its own shell does `true` without a process, which the others do not: hence the `sh -c`.
    head = f"version: '3'\nrun: once\ntasks:\n  default: {{deps: [{', '.join(node for node, _ in shape)}]}}\n"
    nodes = [
        (node, f"  {node}: {{deps: [{', '.join(needs)}], cmds: [\"sh -c '{command.format(name=node)}'\"")
        for node, needs in shape
    ]
    return {
        "Taskfile.yml": head + "".join(f"{text}]}}\n" for _, text in nodes),
        "again.yml": head + "".join(f'{text}, ": > {node}"], status: [test -f {node}]}}\n' for node, text in nodes),
    }


def _luigi(shape: Shape, command: str) -> Mapping[str, str]:
    text = f"""
import subprocess
import luigi
NEEDS = {_needs(shape)}
class Node(luigi.Task):
    name = luigi.Parameter()
    def requires(self):
        return [Node(name) for name in NEEDS[self.name]]
    def output(self):
        return luigi.LocalTarget("done/" + self.name)
    def run(self):
        subprocess.run(["sh", "-c", "{command}".format(name=self.name)], check=True)
        self.output().open("w").close()
class All(luigi.WrapperTask):
    def requires(self):
        return [Node(name) for name in NEEDS]
"""
    return {"nodes.py": text}


def _snakemake(shape: Shape, command: str) -> Mapping[str, str]:
    text = f"""
NEEDS = {_needs(shape)}
rule all:
    input: ["done/" + name for name in NEEDS]
rule node:
    input: lambda wildcards: ["done/" + name for name in NEEDS[wildcards.name]]
    output: touch("done/{{name}}")
    shell: "{command.format(name="{wildcards.name}")}"
"""
    return {"Snakefile": text}


def _redun(shape: Shape, command: str) -> Mapping[str, str]:
    # It pickles what needs what as one nested expression: a long chain is too deep for Python's own limit.
    text = f"""
import sys
from redun import task
sys.setrecursionlimit(100_000)
redun_namespace = "benchmark"
NEEDS = {_needs(shape)}
@task(script=True)
def node(name, needs):
    return "{command}".format(name=name)
@task()
def main():
    nodes = {{}}
    for name, needs in NEEDS.items():
        nodes[name] = node(name, [nodes[other] for other in needs])
    return list(nodes.values())
"""
    configuration = "[backend]\ndb_uri = sqlite:///redun.db\n[executors.default]\ntype = local\nmax_workers = 4\n"
    return {"nodes.py": text, ".redun/redun.ini": configuration}


def _needs(shape: Shape) -> str:
    """What is both JSON and Python."""
    return json.dumps({node: list(needs) for node, needs in shape})


TASK = ("task", "--concurrency", "4", "--silent")
DOIT = ("doit", "-n", "4", "--reporter", "zero")
LUIGI = ("luigi", "--module", "nodes", "All", "--local-scheduler", "--workers", "4", "--log-level", "WARNING")
SNAKEMAKE = ("snakemake", "--cores", "4", "--quiet", "all")
REDUN = ("redun", "--log-level", "ERROR", "run", "nodes.py", "main")

PEERS = {
    "wfctl": Peer(
        files=_wfctl,
        cold=("wfctl", "run", "flow.yaml", "-j", "4"),
        again=("wfctl", "resume", "last"),
        fresh=(".wfctl",),
        version=("wfctl", "--version"),
        most=100_000,
    ),
    "ninja": Peer(
        files=_ninja,
        cold=("ninja", "-j", "4", "--quiet"),
        again=("ninja", "-j", "4", "--quiet", "-f", "again.ninja"),
        fresh=(".ninja_*",),
        version=("ninja", "--version"),
    ),
    "make": Peer(
        files=_make,
        cold=("make", "-rR", "-j", "4"),
        again=("make", "-rR", "-j", "4", "-f", "again.mk"),
        version=("make", "--version"),
    ),
    "go-task": Peer(
        files=_task,
        cold=TASK,
        again=(*TASK, "-t", "again.yml"),
        fresh=(".task",),
        version=("task", "--version"),
        most=1_000,
    ),
    "doit": Peer(
        files=_doit,
        cold=DOIT,
        again=DOIT,
        fresh=(".doit.db*",),
        version=("doit", "--version"),
    ),
    "luigi": Peer(
        files=_luigi,
        cold=LUIGI,
        again=LUIGI,
        fresh=("done",),
        environ={"PYTHONPATH": "."},
        version=("python", "-c", "import luigi; print(luigi.__version__)"),
        slow=True,
        most=1_000,
    ),
    "snakemake": Peer(
        files=_snakemake,
        cold=SNAKEMAKE,
        again=SNAKEMAKE,
        fresh=("done", ".snakemake"),
        version=("snakemake", "--version"),
        slow=True,
        most=1_000,
    ),
    "redun": Peer(
        files=_redun,
        cold=REDUN,
        again=REDUN,
        fresh=(".redun/redun.db*",),
        version=("redun", "--version"),
        slow=True,
        most=200,
    ),
}

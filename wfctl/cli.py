"""The command line: options to a verb of `app`, its result to a view and an exit code.

Knows nothing of how a verb does its work. Imports only typer before it knows which verb is meant."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

cli = typer.Typer(
    name="wfctl",
    help="Run a DAG described in one YAML file, on this machine.",
    no_args_is_help=True,
    add_completion=False,  # the verb `completion` does it, faster, and evaluates nothing
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_said: dict[str, str | None] = {"state_dir": None, "ci": None}
"""What is still to be known where the command has ended by an error."""

Flow = Annotated[str, typer.Argument(metavar="FLOW", help="A workflow file.", show_default=False)]
Id = Annotated[
    str, typer.Argument(metavar="ID", help="A run: its id, the beginning of it, or `last`.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Params = Annotated[
    list[str] | None, typer.Option("-p", "--param", metavar="NAME=VALUE", help="A param of the workflow.")
]
ParamsFile = Annotated[
    str | None, typer.Option("--params-file", metavar="FILE", help="Params from a YAML or JSON file.")
]
EnvFile = Annotated[
    str | None, typer.Option("--env-file", metavar="FILE", help="Variables and secrets from NAME=value lines.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over a key of the file.")
]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", metavar="N", min=1, help="Most nodes at once.")]
Policy = Annotated[str | None, typer.Option("--policy", metavar="NAME", help="Order of ready nodes.")]
Optimize = Annotated[
    float | None,
    typer.Option("--optimize", metavar="SECONDS", min=0, help="Search so long for a better order of the nodes."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the random numbers of that search.")]
By = Annotated[str, typer.Option("--by", metavar="WHAT", help="Bars by node, or lanes by resource.")]
Explain = Annotated[
    str | None, typer.Option("--explain", metavar="NODE", help="Why this node ranks where it does, and what holds it.")
]
From = Annotated[list[str] | None, typer.Option("--from", metavar="NODE", help="Only this node and all that needs it.")]
Until = Annotated[list[str] | None, typer.Option("--until", metavar="NODE", help="Only this node and all it needs.")]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="NODE", help="Only this node.")]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Where only a person could go on, end with exit code 7 (resume goes on).")
]
Force = Annotated[
    list[str] | None, typer.Option("--force", metavar="NODE", help="Run this node although a result of it is kept.")
]
ForceAll = Annotated[bool, typer.Option("--force-all", help="Run all nodes, whatever is kept.")]
Junit = Annotated[
    str | None, typer.Option("--junit", metavar="FILE", help="Write what became of each node as JUnit XML.")
]
Ci = Annotated[
    str | None,
    typer.Option(
        "--ci", metavar="NAME", help="Speak to a CI service: github, gitlab or off (as the environment says)."
    ),
]
Of = Annotated[str | None, typer.Option("--of", metavar="ID", help="The run that has the output of what is left out.")]


@cli.callback(invoke_without_command=True)
def top(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    state_dir: Annotated[
        str | None,
        typer.Option("--state-dir", metavar="DIR", help="Where runs are kept (.wfctl here or above)."),
    ] = None,
) -> None:
    """Run a DAG described in one YAML file, on this machine."""
    ctx.obj = _said["state_dir"] = state_dir
    if version:
        from wfctl import __version__

        typer.echo(f"wfctl {__version__}")


# -- the main job


@cli.command()
def run(
    ctx: typer.Context,
    flow: Flow,
    param: Params = None,
    params_file: ParamsFile = None,
    env_file: EnvFile = None,
    jobs: Jobs = None,
    policy: Policy = None,
    settings: Settings = None,
    start_from: From = None,
    until: Until = None,
    only: Only = None,
    of: Of = None,
    optimize: Optimize = None,
    seed: Seed = 1,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="After a failure run all that does not need it.")
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="At a failure stop what runs.")] = False,
    force: Force = None,
    force_all: ForceAll = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and run nothing.")] = False,
    no_wait: NoWait = False,
    junit: Junit = None,
    ci: Ci = None,
    json: Json = False,
) -> None:
    """Run a workflow to its end."""
    from wfctl import app

    if keep_going and fail_fast:
        _fail("--keep-going and --fail-fast: choose one")
    failure = ["on_failure=continue"] if keep_going else ["on_failure=cancel"] if fail_fast else []
    asked = app.Asked(
        file=flow,
        params=param or (),
        params_file=params_file,
        settings=[*_settings(settings, jobs, policy), *failure],
        start_from=start_from or (),
        until=until or (),
        only=only or (),
        of=of,
        env_file=env_file,
        optimize=_search(optimize, seed),
        no_wait=no_wait,
        force=["*"] if force_all else force or (),
    )
    if dry_run:
        _show_plan(app.plan(asked, _store(ctx)), json)
        return
    advice = _advice(env_file)
    with _reports(junit, ci, advice) as reports:
        _finish(app.run(asked, _store(ctx), _watching(json, advice, reports)), json, advice, reports)


@cli.command()
def resume(
    ctx: typer.Context,
    id: Id,
    update: Annotated[
        bool, typer.Option("--update", help="Take the file as it is now for what has not succeeded.")
    ] = False,
    start_from: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="NODE", help="Run this node, and all that needs it, once more."),
    ] = None,
    from_checkpoint: Annotated[
        str | None,
        typer.Option("--from-checkpoint", metavar="NAME", help="Go back to this checkpoint, and on from there."),
    ] = None,
    env_file: EnvFile = None,
    no_wait: NoWait = False,
    junit: Junit = None,
    ci: Ci = None,
    json: Json = False,
) -> None:
    """Go on with a run that failed or stopped."""
    from wfctl import app

    advice = _advice(env_file)
    with _reports(junit, ci, advice) as reports:
        outcome = app.resume(
            id,
            _store(ctx),
            _watching(json, advice, reports),
            update=update,
            start_from=start_from or (),
            checkpoint=from_checkpoint,
            env_file=env_file,
            no_wait=no_wait,
        )
        _finish(outcome, json, advice, reports)


@cli.command()
def rollback(
    ctx: typer.Context,
    id: Id,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", metavar="NAME", help="compensate, full, partial, checkpoint or auto."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be undone, and how.")] = False,
    retry: Annotated[
        list[str] | None, typer.Option("--retry", metavar="NODE", help="Try an undo that was given up again.")
    ] = None,
    done: Annotated[
        list[str] | None, typer.Option("--done", metavar="NODE", help="It is undone: somebody has done it by hand.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="NODE", help="Go on without undoing it.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")] = "",
    env_file: EnvFile = None,
    junit: Junit = None,
    ci: Ci = None,
    json: Json = False,
) -> None:
    """Undo a run, or go on with undoing it."""
    from wfctl import app
    from wfctl import rollback as rollback_
    from wfctl.errors import nearest

    if strategy is not None and strategy not in rollback_.STRATEGIES:
        hint = nearest(strategy, rollback_.STRATEGIES) or f"there are {', '.join(rollback_.STRATEGIES)}"
        _fail(f'--strategy: no strategy named "{strategy}"; {hint}')
    if dry_run:
        _show_undo(app.rollback_preview(id, _store(ctx), strategy), json)
        return
    words = app.UndoWords(strategy=strategy, retry=retry or (), done=done or (), skip=skip or (), reason=reason)
    advice = _advice(env_file)
    with _reports(junit, ci, advice) as reports:
        outcome = app.rollback(id, _store(ctx), _watching(json, advice, reports), words, env_file)
        _finish(outcome, json, advice, reports)


@cli.command()
def answer(
    ctx: typer.Context,
    id: Id,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node that asks.", show_default=False)],
    choice: Annotated[str, typer.Argument(metavar="CHOICE", help="What to answer.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")] = "",
) -> None:
    """Answer the question of a node."""
    from wfctl import app

    answered = app.answer(id, node, choice, reason, _store(ctx))
    if answered.driven:
        _tell("answered; the run goes on")
    else:
        _tell(f"answered; go on with: {_advice().resume(answered.run)}")


@cli.command()
def cancel(ctx: typer.Context, id: Id) -> None:
    """Stop a run, and wait until it has stopped."""
    from wfctl import app

    cancelled = app.cancel(id, _store(ctx), _warn)
    if cancelled.ended:
        from wfctl.custody import ended_text

        _warn(ended_text(cancelled.run, cancelled.ended))
    _tell(f"stopped; go on with: {_advice().resume(cancelled.run)}")


# -- before a run


@cli.command()
def validate(
    flows: Annotated[list[str], typer.Argument(metavar="FLOW...", help="Workflow files.", show_default=False)],
    env_file: EnvFile = None,
    json: Json = False,
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="github", help="Print faults as annotations."),
    ] = None,
) -> None:
    """Say every fault of every file; run nothing."""
    from wfctl import app
    from wfctl.errors import ExitCode

    if format not in (None, "github"):
        _fail(f'--format: no format named "{format}"; there is github')
    faults = app.validate(flows, env_file)
    if json:
        keys = ("file", "line", "column", "path", "message", "hint")
        _print_json([{key: getattr(fault, key) for key in keys} for fault in faults])
    elif format == "github":
        from wfctl.renderers.annotations import fault

        _print("".join(map(fault, faults)))
    elif faults:
        _print_faults(faults)
    else:
        files = ", ".join(flows) if len(flows) <= 5 else f"{len(flows)} files"
        _tell(f"no faults: {files}")
    raise typer.Exit(ExitCode.USAGE if faults else ExitCode.OK)


@cli.command()
def plan(
    ctx: typer.Context,
    flow: Flow,
    param: Params = None,
    params_file: ParamsFile = None,
    env_file: EnvFile = None,
    jobs: Jobs = None,
    policy: Policy = None,
    settings: Settings = None,
    start_from: From = None,
    until: Until = None,
    only: Only = None,
    force: Force = None,
    force_all: ForceAll = False,
    optimize: Optimize = None,
    seed: Seed = 1,
    by: By = "node",
    explain: Explain = None,
    if_fails: Annotated[
        str | None, typer.Option("--if-fails", metavar="NODE", help="What would be undone if this node failed.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what a run would do, and when."""
    from wfctl import app

    if by not in ("node", "resource"):
        _fail(f'--by: "{by}" is neither node nor resource')
    asked = app.Asked(
        file=flow,
        params=param or (),
        params_file=params_file,
        settings=_settings(settings, jobs, policy),
        start_from=start_from or (),
        until=until or (),
        only=only or (),
        env_file=env_file,
        optimize=_search(optimize, seed),
        force=["*"] if force_all else force or (),
    )
    if if_fails is not None:
        _show_undo(app.if_fails(asked, _store(ctx), if_fails), json)
        return
    forecast = app.plan(asked, _store(ctx), explain)
    if explain is None:
        _show_plan(forecast, json, by)
    else:
        _show_explanation(forecast.explanation(), json)


@cli.command()
def graph(
    ctx: typer.Context,
    flow: Annotated[str, typer.Argument(metavar="FLOW|ID", help="A workflow file, or a run.", show_default=False)],
    format: Annotated[
        str | None,
        typer.Option(
            "-f", "--format", metavar="FORMAT", help="terminal, mermaid, dot, json, svg or html (as FILE ends)."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file; - for stdout.")
    ] = None,
    expand: Annotated[bool, typer.Option("--expand", help="Draw what is in groups, and each item.")] = False,
    focus: Annotated[str | None, typer.Option("--focus", metavar="NODE", help="Draw only what is around it.")] = None,
    depth: Annotated[
        int | None, typer.Option("--depth", metavar="N", min=0, help="With --focus: so many arrows away (1).")
    ] = None,
    compensation: Annotated[bool, typer.Option("--compensation", help="Draw how it is undone.")] = False,
    json: Json = False,
) -> None:
    """Draw a workflow, or a run with its states."""
    from wfctl import app
    from wfctl.renderers import graph_format, load_graph
    from wfctl.screen import Screen

    draw = load_graph("json" if json else format or graph_format(output or ""))
    output = None if output == "-" else output
    screen = Screen.of(sys.stdout) if output is None else Screen(width=120, color=False, unicode=True)
    if depth is not None and focus is None:
        _fail("--depth says how far from --focus NODE; name that node")
    picture = app.picture(
        flow, _store(ctx), expand=expand, compensation=compensation, focus=focus, depth=1 if depth is None else depth
    )
    text = draw(picture, width=screen.width, color=screen.color, unicode=screen.unicode)
    if output is None:
        _print(text)
    else:
        app.write_file(output, text)


@cli.command()
def show(
    ctx: typer.Context,
    flow: Flow,
    node: Annotated[str | None, typer.Argument(metavar="NODE", show_default=False)] = None,
    param: Params = None,
    params_file: ParamsFile = None,
    env_file: EnvFile = None,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Show a workflow or a node, filled in."""
    from wfctl import app

    asked = app.Asked(
        file=flow, params=param or (), params_file=params_file, settings=settings or (), env_file=env_file
    )
    data = app.show(asked, _store(ctx), node)
    if json:
        _print_json(data)
    else:
        from wfctl.renderers.listing import mapping

        _print(mapping(data))


# -- after a run


@cli.command()
def status(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID")] = "last",
    explain: Explain = None,
    json: Json = False,
) -> None:
    """Show what became of a run."""
    from wfctl import app, history

    if explain is not None:
        _show_explanation(app.explain(id, explain, _store(ctx)), json)
        return
    record = app.open_record(id, _store(ctx))
    document = history.document(record)
    if json:
        _print_json(document)
    else:
        from wfctl.renderers.listing import run_status
        from wfctl.screen import Screen

        screen = Screen.of(sys.stdout)
        advice = _advice()
        _print(run_status(document, width=screen.width, color=screen.color, unicode=screen.unicode, advice=advice))


@cli.command()
def runs(
    ctx: typer.Context,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that did not succeed.")] = False,
    workflow: Annotated[str | None, typer.Option("--workflow", metavar="NAME", help="Only those of this one.")] = None,
    json: Json = False,
) -> None:
    """List the runs, newest first."""
    from wfctl import app

    found = app.runs(_store(ctx), failed=failed, workflow=workflow)
    if json:
        _print_json(found)
    else:
        from wfctl.renderers.listing import run_list
        from wfctl.screen import Screen

        screen = Screen.of(sys.stdout)
        _print(run_list(found, width=screen.width, color=screen.color, unicode=screen.unicode))


@cli.command()
def why(
    ctx: typer.Context,
    id: Id,
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node of it.", show_default=False)],
    json: Json = False,
) -> None:
    """Say why a node ran, or was served from a kept result."""
    from wfctl import app

    document = app.why(id, node, _store(ctx))
    if json:
        _print_json(document)
        return
    from wfctl.renderers.reason import render
    from wfctl.screen import Screen

    screen = Screen.of(sys.stdout)
    _print(render(document, width=screen.width, color=screen.color, unicode=screen.unicode))


@cli.command()
def logs(
    ctx: typer.Context,
    id: Id,
    node: Annotated[str | None, typer.Argument(metavar="NODE", show_default=False)] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on while the run does.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Byte for byte, control characters too.")] = False,
) -> None:
    """Print what nodes wrote."""
    from wfctl import logs as logs_
    from wfctl.screen import pour

    store = _store(ctx)
    empty = True
    held: list[str] = []

    def note(text: str) -> None:
        held.append(text)
        _tell(text)

    for chunk in logs_.read(store.find_run(id), node, follow=follow, raw=raw, note=note) if sys.stdout else ():
        empty = False
        pour(chunk)
    if empty and node is not None and not held:
        _tell(f'"{node}" wrote nothing')


@cli.command()
def report(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID")] = "last",
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to write it (report-ID.html); - for stdout.",
            show_default=False,
        ),
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option("--lines", metavar="N", min=0, help="Last lines of each log (40).", show_default=False),
    ] = None,
) -> None:
    """Write a run as one HTML page."""
    from wfctl import app

    run_id, page = app.report(id, _store(ctx), lines)
    if output == "-":
        _print(page)
        return
    path = output or f"report-{run_id}.html"
    app.write_file(path, page)
    _tell(f"wrote {path}; open it in a browser")


@cli.command()
def output(
    ctx: typer.Context,
    id: Id,
    node: Annotated[str | None, typer.Argument(metavar="NODE", show_default=False)] = None,
) -> None:
    """Print the outputs of a run, or of a node."""
    from wfctl import app

    value = app.output(id, node, _store(ctx))
    if isinstance(value, str):
        from wfctl.renderers.text import safe

        # A pipe gets the value itself; whoever reads it knows what it is for.
        _print((safe(value, lines=True) if sys.stdout and sys.stdout.isatty() else value) + "\n")
    else:
        _print_json(value)


# -- around it


@cli.command()
def init(
    template: Annotated[
        str, typer.Argument(metavar="[TEMPLATE]", help="hello, ci or data.", show_default=False)
    ] = "hello",
    file: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")] = "flow.yaml",
) -> None:
    """Write a first workflow file."""
    from wfctl import templates

    templates.write(template, file)
    _tell(f"wrote {file}; try: {_advice().command('run', file)}")


@cli.command()
def schema() -> None:
    """Print the JSON Schema of workflow files."""
    from wfctl import load

    _print(load.schema_text())


@cli.command()
def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print the script by which a shell completes what is typed.

    \b
    bash:  echo 'eval "$(wfctl completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(wfctl completion zsh)"' >> ~/.zshrc     (below compinit)
    fish:  wfctl completion fish > ~/.config/fish/completions/wfctl.fish
    """
    from wfctl.completers import SHELLS
    from wfctl.errors import nearest

    if shell not in SHELLS:
        _fail(f'no completion for "{shell}"; {nearest(shell, SHELLS) or "there are " + ", ".join(SHELLS)}')
    typer.echo(SHELLS[shell], nl=False)


@cli.command()
def clean(
    ctx: typer.Context,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Only runs that ended so long ago.")
    ] = "30d",
    keep_last: Annotated[
        int, typer.Option("--keep-last", metavar="N", min=0, help="Keep the N newest, however old.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and keep it.")] = False,
    json: Json = False,
) -> None:
    """Remove old runs."""
    from wfctl import quantity, upkeep

    seconds = _amount("--older-than", quantity.seconds, older_than)
    gone = upkeep.clean(_store(ctx), older_than=seconds, keep_last=keep_last, dry_run=dry_run, warn=_warn)
    if json:
        _print_json(gone)
        return
    from wfctl.renderers.text import safe

    _print("".join(f"{safe(name)}\n" for name in gone))
    what = "would go" if dry_run else "removed"
    _tell(f"{len(gone)} {'run' if len(gone) == 1 else 'runs'} {what}")


# -- what is kept


cache = typer.Typer(
    name="cache",
    help="What is kept of nodes with idempotency: ls, show, prune, clear.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
cli.add_typer(cache)


@cache.command("ls")
def cache_ls(ctx: typer.Context, json: Json = False) -> None:
    """List what is kept, what was used last first."""
    from wfctl import upkeep

    found = [upkeep.document(scope, one) for scope, one in upkeep.listing(_store(ctx), os.environ)]
    if json:
        _print_json(found)
        return
    from wfctl.renderers.shelf import listing
    from wfctl.screen import Screen

    screen = Screen.of(sys.stdout)
    _print(listing(found, width=screen.width, color=screen.color, unicode=screen.unicode))


@cache.command("show")
def cache_show(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key, or the beginning of it.", show_default=False)],
    json: Json = False,
) -> None:
    """Show one result: what its key is made of, and what it left."""
    from wfctl import upkeep

    document = upkeep.one(key, _store(ctx), os.environ)
    if json:
        _print_json(document)
        return
    from wfctl.renderers.listing import mapping

    _print(mapping(document))


@cache.command("prune")
def cache_prune(
    ctx: typer.Context,
    max_size: Annotated[
        str | None, typer.Option("--max-size", metavar="SIZE", help="Bytes that all may have (2GiB).")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Only what was not used so long (30d).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and keep it.")] = False,
    json: Json = False,
) -> None:
    """Drop what was not used for long, and what is too much."""
    from wfctl import quantity, upkeep

    size, age = upkeep.limits(os.environ)
    if max_size is not None:
        size = _amount("--max-size", quantity.size, max_size)
    if older_than is not None:
        age = _amount("--older-than", quantity.seconds, older_than)
    _drop(ctx, size, age, dry_run, json)


@cache.command("clear")
def cache_clear(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and keep it.")] = False,
    json: Json = False,
) -> None:
    """Drop all that is kept."""
    _drop(ctx, 0, 0.0, dry_run, json)


def _drop(ctx: typer.Context, size: int, age: float, dry_run: bool, json: bool) -> None:
    import time

    from wfctl import upkeep
    from wfctl.renderers.text import plural
    from wfctl.renderers.text import size as shown

    gone = upkeep.prune(_store(ctx), os.environ, time.time(), size=size, age=age, dry_run=dry_run)
    if json:
        keys = [upkeep.document(scope, one) for scope, one in gone.results]
        _print_json({"results": keys, "bytes": gone.bytes, "live": gone.live})
        return
    what = "would go" if dry_run else "removed"
    _tell(f"{plural(len(gone.results), 'result')} {what}, {shown(gone.bytes)}")
    if gone.live:
        stays, them = ("stays", "it") if gone.live == 1 else ("stay", "them")
        _tell(f"{plural(gone.live, 'result')} {stays}: runs that go on have made or used {them}, or may have")


# -- tools


def _amount(option: str, read: Any, text: str) -> Any:
    """The value of an option. Raises UsageError."""
    try:
        return read(text)
    except ValueError as error:
        _fail(f"{option}: {error}")


def _settings(settings: list[str] | None, jobs: int | None, policy: str | None) -> list[str]:
    """The short options as the settings that they stand for."""
    short = [f"concurrency={jobs}"] if jobs else []
    return [*(settings or ()), *short, *([f"scheduling.policy={policy}"] if policy else [])]


def _search(seconds: float | None, seed: int) -> Any:
    if seconds is None:
        return None
    if seconds != seconds:
        _fail("--optimize: nan is no number of seconds")
    from wfctl.screen import searching
    from wfctl.search import Search

    return Search(seconds, seed, searching(sys.stderr, seconds))


def _store(ctx: typer.Context) -> Any:
    from pathlib import Path

    from wfctl.store import Store

    try:
        return Store.find(ctx.obj, Path.cwd(), os.environ)
    except FileNotFoundError:
        _fail("the current folder is gone; go to one that is there")


@contextmanager
def _reports(junit: str | None, ci: str | None, advice: Any) -> Iterator[Any]:
    """What a run leaves for others than who sits here; None where nobody asks, and then nothing is loaded for it."""
    _said["ci"] = ci
    if junit is None and ci is None and not os.environ.keys() & {"GITHUB_ACTIONS", "GITLAB_CI"}:
        yield None
        return
    from wfctl.errors import Invalid
    from wfctl.reports import Reports

    reports = Reports.wanted(junit, ci, os.environ, advice)
    try:
        yield reports
    except Invalid as error:
        if reports is not None:
            reports.faults(error.faults, lambda text: typer.echo(text, err=True, nl=False))
        raise


def _advice(env_file: str | None = None) -> Any:
    """What to type next, by who has typed this."""
    from wfctl.renderers.advice import Advice

    program = sys.argv[0]
    paths = (os.path.join(folder, "wfctl") for folder in os.environ.get("PATH", "").split(os.pathsep))
    found = next((path for path in paths if os.access(path, os.X_OK)), "")
    # One from the PATH has its whole path here. One with another was typed so.
    on_path = found and (os.path.isabs(program) or os.path.realpath(program) == os.path.realpath(found))
    if on_path or os.path.basename(program) != "wfctl":
        program = "wfctl"
    return Advice(program=program, state_dir=_said["state_dir"] or "", env_file=env_file or "")


def _watching(json: bool, advice: Any, reports: Any) -> Any:
    from wfctl.screen import watching

    return watching(json, advice, reports)


def _finish(outcome: Any, json: bool, advice: Any, reports: Any) -> NoReturn:
    from wfctl.screen import finish

    finish(outcome, json, advice, reports)
    raise typer.Exit(int(outcome.exit_code))


def _show_plan(forecast: Any, json: bool, by: Any = "node") -> None:
    if json:
        _print_json(forecast.document())
        return
    from wfctl.drawing import timeline
    from wfctl.renderers.timeline import render
    from wfctl.screen import Screen

    screen = Screen.of(sys.stdout)
    _print(render(timeline(forecast), by=by, width=screen.width, color=screen.color, unicode=screen.unicode))


def _show_undo(document: Any, json: bool) -> None:
    if json:
        _print_json(document)
        return
    from wfctl.renderers.undo import preview
    from wfctl.screen import Screen

    screen = Screen.of(sys.stdout)
    # Who reads it in a file or through a pipe wants to see all that would be done.
    whole = not (sys.stdout and sys.stdout.isatty()) and not os.environ.get("COLUMNS")
    _print(preview(document, width=screen.width, color=screen.color, unicode=screen.unicode, whole=whole))


def _show_explanation(document: Any, json: bool) -> None:
    if json:
        _print_json(document)
        return
    from wfctl.renderers.explanation import render
    from wfctl.screen import Screen

    screen = Screen.of(sys.stdout)
    _print(render(document, width=screen.width, color=screen.color, unicode=screen.unicode))


def _print(text: str) -> None:
    from wfctl.screen import say

    say(text)


def _print_json(data: object) -> None:
    from wfctl.renderers.text import json_text

    _print(json_text(data, indent=2) + "\n")


def _tell(text: str, *, lines: bool = False) -> None:
    """Say something for eyes. It may hold names that are foreign."""
    from wfctl.renderers.text import safe

    text = safe(text, lines=lines)
    if "GITHUB_ACTIONS" in os.environ or _said["ci"] == "github":
        from wfctl.renderers.commands import inert

        text = inert(text)
    typer.echo(text, err=True)


def _print_faults(faults: Any) -> None:
    for fault in faults:
        _tell(str(fault))


def _warn(text: str) -> None:
    _tell(f"wfctl: {text}")


def _fail(text: str) -> NoReturn:
    from wfctl.errors import UsageError

    raise UsageError(text)


def main() -> int:
    """The exit code of the command; errors of the user as one clear text, errors of ours with what mends them."""
    verbs = {verb.callback.__name__: verb for verb in cli.registered_commands if verb.callback}
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        if word in verbs:
            # Typer reads the options of every verb before it looks which one is meant: 8 ms for fourteen.
            cli.registered_commands, cli.registered_groups = [verbs[word]], []
        elif word == cache.info.name:
            cli.registered_commands = []
        elif word and not word.startswith("-"):
            _no_verb(word, [*verbs, "cache"])
        code = cli(prog_name="wfctl", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except SystemExit:  # typer's answer to a closed pipe; but who reads and has seen enough is no failure
        code = 0
    except Exception as error:
        code = _explain(error)
    return int(code or 0)


def grammar(words: Iterable[str]) -> Any:
    """The command, for completion: with that verb alone that is among the words, where one is."""
    from typer.main import get_command

    said = set(words)
    verbs = [verb for verb in cli.registered_commands if verb.callback and verb.callback.__name__ in said]
    if verbs and cache.info.name not in said:
        cli.registered_commands, cli.registered_groups = verbs, []
    return get_command(cli)


def _no_verb(word: str, verbs: Iterable[str]) -> NoReturn:
    """Typer's answer would be that there is none, and no way out."""
    from wfctl.errors import nearest
    from wfctl.quantity import shown

    if word.endswith((".yaml", ".yml")):
        hint = f"did you mean `wfctl run {word}`?"
    else:
        hint = nearest(word, verbs) or "`wfctl --help` lists them"
    _fail(f"no command named {shown(word)}; {hint}")


def _explain(error: Exception) -> int:
    """Say what went wrong; the exit code for it."""
    from wfctl.errors import ExitCode, Invalid, WfctlError

    if isinstance(error, Invalid):
        _print_faults(error.faults)
        return error.code
    if isinstance(error, WfctlError):
        # Commands in errors are written where nobody knows how this one was called.
        text = str(error).replace("`wfctl ", f"`{_advice().called} ")
        _tell(f"wfctl: {text}", lines=True)
        return error.code
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # typer's own, whose base it does not export
        import io

        said = io.StringIO()
        error.show(said)
        _tell(said.getvalue().rstrip(), lines=True)
        return int(error.exit_code)
    import platform
    import traceback

    from wfctl import __version__

    _tell("".join(traceback.format_exception(error)).rstrip(), lines=True)
    _tell(
        f"wfctl: this is a bug of wfctl (version {__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}); please report it with the text above"
    )
    return ExitCode.BUG

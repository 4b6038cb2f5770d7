"""First workflow files for `init`: small, whole, and each runs as it is.

Knows nothing of how they run."""

from __future__ import annotations

from wfctl.errors import UsageError, nearest

_HEAD = """\
# Run it:      wfctl run {file}
# Look at it:  wfctl graph {file}      wfctl plan {file}
version: 1
"""

TEMPLATES = {
    "hello": """\
name: hello
description: Two greetings at once, and a third that needs both.

params:
  who: {type: string, default: world}

nodes:
  english:
    run: echo Hello, ${{ params.who }}!
    stdout: text
  french:
    run: echo Bonjour, ${{ params.who }} !
    stdout: text
  both:
    run: printf '%s\\n' ${{ nodes.english.output }} ${{ nodes.french.output }}
    stdout: text

outputs:
  greeting: ${{ nodes.both.output }}
""",
    "ci": """\
name: checks
description: Checks side by side; the package is built when all are fine.
on_failure: continue

defaults: {timeout: 15m}

nodes:
  lint: {run: echo "put your linter here"}
  types: {run: echo "put your type checker here"}
  tests:
    run: echo "put your tests here"
    retry: {attempts: 2}
    estimate: 1m
  build:
    needs: [lint, types, tests]
    run: mkdir -p build && date > ${{ writes.package }}
    writes: {package: build/package.txt}

finally:
  report:
    run: echo "checks ${{ run.state }}"
""",
    "data": """\
name: numbers
description: Make a table, look at it from two sides at once, write a page.

params:
  rows: {type: integer, minimum: 1, default: 100}

nodes:
  make:
    run: seq 1 ${{ params.rows }} > ${{ writes.table }}
    writes: {table: build/numbers.txt}
  count:
    run: wc -l < ${{ nodes.make.writes.table }}
    stdout: json
  sum:
    run: awk '{s += $1} END {print s}' ${{ nodes.make.writes.table }}
    stdout: json
  page:
    run: printf '%s rows, sum %s\\n' ${{ nodes.count.output }} ${{ nodes.sum.output }} | tee ${{ writes.page }}
    stdout: text
    writes: {page: build/page.txt}

outputs:
  page: ${{ nodes.page.output }}
  mean: ${{ nodes.sum.output / nodes.count.output }}
""",
}


def write(template: str, file: str) -> None:
    """Write the template to a file that is not there yet. Raises UsageError."""
    if template not in TEMPLATES:
        hint = nearest(template, TEMPLATES) or f"there are {', '.join(TEMPLATES)}"
        raise UsageError(f'no template named "{template}"; {hint}')
    try:
        with open(file, "x", encoding="utf-8") as out:
            out.write(_HEAD.format(file=file) + TEMPLATES[template])
    except FileExistsError:
        raise UsageError(f'"{file}" is there already; name another with -o') from None
    except OSError as error:
        raise UsageError(f'"{file}" cannot be written: {(error.strerror or "").lower()}') from None

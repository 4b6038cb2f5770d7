"""A value in a script is one argument whatever it holds, or the script is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wfctl.expr import ExpressionError, FileValue
from wfctl.script import VARIABLE_PREFIX, Script, ScriptFaults, parse_script, value_text

SHELLS = [shell for shell in (["bash", "-eo", "pipefail", "-c"], ["sh", "-e", "-c"]) if shutil.which(shell[0])]

HOSTILE = [
    '"; touch pwned; #',
    "$(touch pwned)",
    "`touch pwned`",
    "a[$(touch pwned)]",
    "line one\nline two",
    "*",
    "~",
    "-rf",
    "'",
    '"',
    "\\",
    "\\n",
    "trailing newline\n\n",
    "",
    " a  b\tc ",
    "${HOME}",
    "{a,b}",
    "EOF",
    "é \x1b[31m",
    "!!",
]

# Each script hands the value of `x`, with < and > around it, to the program ./show by some way.
ALLOWED = {
    "plain word": "./show '<'${{ x }}'>'",
    "whole word": "./show '<' ${{ x }} '>'",
    "double quotes": './show "<${{ x }}>"',
    "glued to quotes": './show "<"${{ x }}">"',
    "glued to text": "./show a=${{ x }}=b",
    "after a variable": 'A=1; ./show "$A/"${{ x }}"$A"',
    "assignment": 'X=${{ x }}; ./show "$X"',
    "assignment for a command": "X=${{ x }} sh -c './show \"$X\"'",
    "export": 'export X=${{ x }}; ./show "$X"',
    "argument of sh -c": "sh -c './show \"$1\"' - ${{ x }}",
    "for": 'for i in a ${{ x }}; do ./show "$i"; done',
    "function": "f() { ./show ${{ x }}; }; f",
    "case": "case ${{ x }} in nothing) ./show no ;; *) ./show ${{ x }} ;; esac",
    "case in a substitution": '"$(case a in a) echo ./show;; esac)" ${{ x }}',
    "condition": "if [ ${{ x }} = nothing ]; then false; else ./show ${{ x }}; fi",
    "after a comment": "# it's a comment\n./show ${{ x }} # \"",
    "group": "{ ./show ${{ x }}; }",
    "subshell": "(./show ${{ x }})",
    "and, or": "true && ./show ${{ x }} || false",
    "after arithmetic": "./show $((1 + (2))) ${{ x }}",
    "after a parameter": "./show ${HOME:-'}'} \"${HOME:-a}\" ${{ x }}",
    "twice": './show ${{ x }} "${{ x }}"',
    "continued line": "./show a \\\n  ${{ x }}",
    "after set": 'set -- ${{ x }}\n./show "$@"',
}
# Ways in which the shell itself takes trailing newlines off, or adds one.
TEXTS = {
    "here-document": "cat <<EOF > got\n${{ x }}|\nEOF\n",
    "here-document with tabs": "cat <<-EOF > got\n\t${{ x }}|\n\tEOF\n",
    "two here-documents": "cat <<A - <<B > got\nno\nA\n${{ x }}|\nB\n",
    "substitution": "printf '%s\\n' \"$(printf '%s|' ${{ x }})\" > got",
    "substitution in quotes in quotes": "printf '%s\\n' \"$(printf '%s|' \"${{ x }}\")\" > got",
    "substitution in a here-document": "cat <<EOF > got\n$(printf '%s|' ${{ x }})\nEOF\n",
    "pipe": "printf '%s|\\n' ${{ x }} | cat > got",
}
SHOW = '#!/bin/sh\nfor a in "$@"; do printf \'%s\\0\' "$a"; done > got\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    show = tmp_path / "show"
    show.write_text(SHOW)
    show.chmod(0o755)
    return tmp_path


def perform(script: str, value: str, shell: list[str], place: Path) -> bytes:
    ready = parse_script(script)
    env = {f"{VARIABLE_PREFIX}{i + 1}": value_text(e.evaluate({"x": value})) for i, e in enumerate(ready.values)}
    subprocess.run([*shell, ready.text], cwd=place, env=os.environ | env, check=True, stdin=subprocess.DEVNULL)
    assert sorted(p.name for p in place.iterdir()) == ["got", "show"]
    return (place / "got").read_bytes()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("script", ALLOWED.values(), ids=ALLOWED)
def test_a_value_reaches_the_program_byte_for_byte(script: str, shell: list[str], place: Path) -> None:
    plain = perform(script, "PLAIN", shell, place).split(b"\0")
    for value in HOSTILE:
        got = perform(script, value, shell, place).split(b"\0")
        assert got == [argument.replace(b"PLAIN", value.encode()) for argument in plain]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("script", TEXTS.values(), ids=TEXTS)
def test_a_value_in_text_is_text(script: str, shell: list[str], place: Path) -> None:
    for value in HOSTILE:
        assert perform(script, value, shell, place) == f"{value}|\n".encode()


@pytest.mark.parametrize("script", [*ALLOWED.values(), *TEXTS.values()], ids=[*ALLOWED, *TEXTS])
@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_values_reach_the_program(script: str, value: str, place: Path) -> None:
    plain = perform(script, "PLAIN", SHELLS[0], place)
    assert perform(script, value, SHELLS[0], place) == plain.replace(b"PLAIN", value.encode())


BASH_ONLY = {
    "array": 'a=(${{ x }} b); ./show "${a[@]}"',
    "here-string": "cat <<< ${{ x }}'|' > got",
    "process substitution": "cat <(printf '%s|\\n' ${{ x }}) > got",
}


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize("script", BASH_ONLY.values(), ids=BASH_ONLY)
def test_the_same_in_the_words_that_only_bash_knows(script: str, place: Path) -> None:
    plain = perform(script, "PLAIN", SHELLS[0], place)
    for value in HOSTILE:
        assert perform(script, value, SHELLS[0], place) == plain.replace(b"PLAIN", value.encode())


REFUSED = [
    ("echo '${{ x }}'", "in single quotes"),
    ("echo $'${{ x }}'", "in $'…'"),
    ('echo $"${{ x }}"', 'in $"…"'),
    ("echo $((${{ x }} + 1))", "in $((…))"),
    ("echo $(( $(echo ${{ x }}) ))", "in $((…))"),
    ("echo $[${{ x }}]", "in $[…]"),
    ("((i = ${{ x }}))", "in ((…))"),
    ("for ((i=0; i<${{ x }}; i++)); do :; done", "in ((…))"),
    ("let i=${{ x }}", "in an argument of let"),
    ("[[ ${{ x }} == a ]]", "in [[ ]]"),
    ("if [[ -f a || ${{ x }} -eq 1 ]]; then :; fi", "in [[ ]]"),
    ("echo ${A:-${{ x }}}", "in ${…}"),
    ('echo "${A:-${{ x }}}"', "in ${…}"),
    ("echo `echo ${{ x }}`", "in backticks"),
    ('echo "`echo ${{ x }}`"', "in backticks"),
    ("eval ${{ x }}", "in an argument of eval"),
    ('eval "$(echo ${{ x }})"', "in an argument of eval"),
    ("time -p eval ${{ x }}", "in an argument of eval"),
    ("command eval ${{ x }}", "in an argument of eval"),
    ("$SUDO eval ${{ x }}", "in an argument of eval"),
    ("$(true)eval ${{ x }}", "in an argument of eval"),
    ("<()eval ${{ x }}", "where a process substitution names the command"),
    ("$(true) let ${{ x }}", "in an argument of let"),
    ("bash $OPTIONS -c ${{ x }}", "in a program for bash"),
    ("if true; then \\\n eval ${{ x }}; fi", "in an argument of eval"),
    ("true && e'va'l ${{ x }}", "in an argument of eval"),
    ("A=1 eval ${{ x }}", "in an argument of eval"),
    ("true # ${{ x }}", "in a comment"),
    ("cat <<'EOF'\n${{ x }}\nEOF", "in a here-document with a quoted delimiter"),
    ("cat <<\\EOF\n${{ x }}\nEOF", "in a here-document with a quoted delimiter"),
    ("cat <<EOF\n${A:-${{ x }}}\nEOF", "in ${…}"),
    ("cat <<EOF\n\\${{ x }}\nEOF", "after a backslash"),
    ("cat <<${{ x }}\na\n", "in the delimiter of a here-document"),
    ('echo "\\${{ x }}"', "after a backslash"),
    ("echo \\${{ x }}", "after a backslash"),
    ('sh -c "echo ${{ x }}"', "in a program for sh"),
    ("bash -eo pipefail -c ${{ x }}", "in a program for bash"),
    ("sudo /bin/bash -xec -- ${{ x }}", "in a program for bash"),
    ('$SHELL -c "${{ x }}"', "in a program for shell"),
    ('find . -exec sh -c "echo ${{ x }}" \\;', "in a program for sh"),
    ("xargs -n1 sh -c ${{ x }}", "in a program for sh"),
    ('python3.11 -u -c "print(${{ x }})"', "in a program for python"),
    ("perl -ne ${{ x }}", "in a program for perl"),
    ("perl -e${{ x }}", "in a program for perl"),
    ("node --eval=${{ x }}", "in a program for node"),
    ('awk -F , "/${{ x }}/" file', "in a program for awk"),
    ('awk "$1" ${{ x }}', "in a program for awk"),
    ('sed -n -e "${{ x }}p" file', "in a program for sed"),
    ('sed -i "s/a/${{ x }}/" file', "in a program for sed"),
    ('jq --arg a b ".${{ x }}"', "in a program for jq"),
    ('ssh -p 22 host "ls ${{ x }}"', "in a program for ssh"),
    ('sqlite3 my.db "SELECT ${{ x }}"', "in a program for sqlite"),
    ('psql -Xc "SELECT ${{ x }}" db', "in a program for psql"),
    ("bash <<EOF\n${{ x }}\nEOF", "in a program for another interpreter"),
    ("python - <<EOF\n${{ x }}\nEOF", "in a program for another interpreter"),
    ("cat <<EOF | bash\n${{ x }}\nEOF", "in a program for another interpreter"),
    ("cat <<EOF |\n${{ x }}\nEOF\nbash", "in a program for bash"),
    ("bash 2>/dev/null <<EOF\n${{ x }}\nEOF", "in a program for another interpreter"),
    ("ssh host bash -s <<EOF\n${{ x }}\nEOF", "in a program for another interpreter"),
    ("bash <<< ${{ x }}", "in a program for bash"),
    ("bash <(echo ${{ x }})", "in a program for bash"),
    ("echo ${{ x }} | bash", "in a program for bash"),
    ("{ echo a; echo ${{ x }}; } | sh -s", "in a program for sh"),
    ("echo ${{ x }} |\n sh", "in a program for sh"),
    ("{ bash; } <<EOF\n${{ x }}\nEOF", "where an interpreter may read it as a program"),
    ("echo ${{ x }} | xargs -I{} sh -c 'echo {}'", "in a program for xargs"),
    ("source ${{ x }}", "in an argument of source"),
    (". ${{ x }}", "in an argument of ."),
    ("trap ${{ x }} EXIT", "in an argument of trap"),
    ("alias a=${{ x }}", "in an argument of alias"),
    ("unset ${{ x }}", "in an argument of unset"),
    ("read ${{ x }}", "in an argument of read"),
    ("printf -v ${{ x }} a", "in an argument of printf -v"),
    ("printf ${{ x }}", "in the format of printf"),
    ("test -v ${{ x }}", "there in test"),
    ("[ ${{ x }} ${{ x }} ]", "there in ["),
    ("set ${{ x }}", 'in an argument of set before "--"'),
    ("export ${{ x }}", "in an argument of export that is not NAME=value"),
    ("declare -i n=${{ x }}", "in an assignment where the script declares variables as numbers"),
    ("declare -i n\nn=${{ x }}", "in an assignment where the script declares variables as numbers"),
    ("declare -a a=(${{ x }})", "in an argument of declare that is not NAME=value"),
    ("a[${{ x }}]=1", "in the subscript of an array"),
    ("a=([${{ x }}]=1)", "in the subscript of an array"),
    ("RANDOM=${{ x }}", "in RANDOM, which the shell computes or runs"),
    ("PS4=${{ x }}; set -x; true", "in PS4, which the shell computes or runs"),
    ("case a in ${{ x }}) ;; esac", "in a pattern of case"),
    ("for ${{ x }} in a; do :; done", "as the variable of for"),
    ("function ${{ x }} { :; }", "as the name of a function"),
    ("echo a >&${{ x }}", "after >&"),
    ('echo "${{ x }}', "where a double quote is not closed"),
    ("echo 'a ${{ x }}", "in single quotes"),
    ("cat <<EOF\n${{ x }}", 'where the here-document "EOF" is not closed'),
    ("echo @(${{ x }}|b)", 'where "(" stands in a command'),
    ("(echo ${{ x }}", 'where ")" is missing'),
    ("echo ${{ x }})", 'where ")" closes nothing'),
]


@pytest.mark.parametrize(("script", "place"), REFUSED, ids=[script for script, _ in REFUSED])
def test_a_value_is_refused_where_it_would_be_read_as_code(script: str, place: str) -> None:
    with pytest.raises(ScriptFaults) as caught:
        parse_script(script)
    slip = caught.value.slips[0]
    assert slip.message == f"${{{{ x }}}} cannot stand {place}"
    assert '"args", "env" or "stdin"' in slip.hint
    assert script[slip.offset] == "x"


@pytest.mark.parametrize(
    "script",
    [
        "curl ${{ x }} | bash",
        "python train.py -c ${{ x }}",
        "python -m pytest -c ${{ x }}",
        "cc -c ${{ x }}",
        "cp ${{ x }} .",
        "sed -n 5p ${{ x }}",
        "awk '{print $1}' ${{ x }}",
        "awk '$1 > 3' ${{ x }}",
        'awk "\\$1 > 3" ${{ x }}',
        "awk \\$1 ${{ x }}",
        "jq --arg a ${{ x }} '.[$a]' file",
        "ssh ${{ x }} uptime",
        "echo ${{ x }} | grep python",
        "git commit -m ${{ x }}",
        "while read -r l; do echo ${{ x }}; done < ${{ x }}",
        "samtools view ${{ x }} 2>&1 | sort > ${{ x }}",
        "diff <(sort ${{ x }}) <(sort b)",
        "export A=1 B=${{ x }}",
        "if ! grep -q ${{ x }} f; then echo no; elif true; then :; fi",
    ],
)
def test_a_value_is_welcome_as_any_other_argument(script: str) -> None:
    assert parse_script(script).values


def test_every_misplaced_value_is_named() -> None:
    with pytest.raises(ScriptFaults) as caught:
        parse_script("echo '${{ a }}' ${{ b }} $((${{ c }}))")
    assert [slip.message for slip in caught.value.slips] == [
        "${{ a }} cannot stand in single quotes",
        "${{ c }} cannot stand in $((…))",
    ]


@pytest.mark.parametrize("shell", ["python3", "/usr/bin/perl", "node -", "fish"])
def test_no_value_may_stand_in_a_script_for_another_interpreter(shell: str) -> None:
    with pytest.raises(ScriptFaults, match="cannot stand in a script for"):
        parse_script("print(${{ x }})", shell)
    assert parse_script("print(1)", shell) == Script("print(1)")


@pytest.mark.parametrize("shell", ["sh", "/bin/bash -x", "dash", "zsh", "ksh"])
def test_a_shell_of_ones_own_is_always_used(shell: str) -> None:
    assert parse_script("echo ${{ x }}", shell).argv is None
    assert parse_script("make all", shell).argv is None


def argv(script: str) -> list[str] | None:
    words = parse_script(script).argv
    return None if words is None else ["".join(map(str, word)) for word in words]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("true", ["true"]),
        ("cc -c a.c -o a.o\n", ["cc", "-c", "a.c", "-o", "a.o"]),
        ("make  -j4   A=b", ["make", "-j4", "A=b"]),
        ("grep -v '^#' \"a b\"c", ["grep", "-v", "^#", "a bc"]),
        ("./x.sh --day ${{ d }} --out=${{ o }}", ["./x.sh", "--day", "${{ d }}", "--out=${{ o }}"]),
        ('./x.sh "a ${{ d }} b"', ["./x.sh", "a ${{ d }} b"]),
        ("${{ tool }} x", ["${{ tool }}", "x"]),
    ],
)
def test_a_plain_command_needs_no_shell(script: str, words: list[str]) -> None:
    assert argv(script) == words


@pytest.mark.parametrize(
    "script",
    [
        *(
            "",
            "cd x",
            "echo a",
            "A=1 make",
            "exit 1",
            ": x",
            "ls *.c",
            "ls a?",
            "ls ~",
            "echo $A",
            "a; b",
            "a | b",
            "a\nb",
        ),
        *("a &", "a > b", "a #b", 'a "$B"', 'a "\\n"', "a ''", "a {b,c}", "! a", "a\tb", "if a", "[ a ]", "[[ a ]]"),
        *("a 'b", "time a", "exec a", "source a", ". a", "%1", "set -x", "test -f a", "wait", "é"),
    ],
)
def test_whatever_means_something_to_the_shell_goes_to_the_shell(script: str) -> None:
    assert parse_script(script) == Script(script)


def test_the_shell_sees_variables_in_the_place_of_values() -> None:
    script = parse_script('a ${{ x }} b${{ y }} "${{ z }}"; cat <<EOF\n${{ t }}\nEOF\n')
    assert script.text == (
        'a "${WFCTL_VALUE_1}" b"${WFCTL_VALUE_2}" "${WFCTL_VALUE_3}"; cat <<EOF\n${WFCTL_VALUE_4}\nEOF\n'
    )
    assert [value.source for value in script.values] == ["x", "y", "z", "t"]


@pytest.mark.parametrize(
    ("value", "text"), [("a\n", "a\n"), (1, "1"), (0.5, "0.5"), (True, "true"), (None, "null"), ("é\udc80", "é\udc80")]
)
def test_a_value_in_a_script_reads_as_in_text(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize("value", [[1], {"a": 1}, "a\0b", "\ud800", FileValue(1)])
def test_what_no_argument_can_hold_is_an_error(value: object) -> None:
    with pytest.raises(ExpressionError):
        value_text(value)


SHELL_TEXT = st.lists(
    st.sampled_from(
        [
            *"'\"`};|&\\a #={\té\n",
            *("${{ x }}", "$(", ")", "${", "<<E\n", "E\n", "((", "))", "[[", "]]", "case ", " in ", "esac", ";;"),
            *("eval ", "sh", "-c", "<(", ">", "2>", "f()"),
        ]
    )
).map("".join)


@given(SHELL_TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_script_or_a_fault(text: str) -> None:
    with suppress(ScriptFaults):
        parse_script(text)

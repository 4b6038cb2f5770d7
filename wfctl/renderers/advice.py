"""What to type next: commands of wfctl as a shell takes them.

Knows how the command that runs now was called, as far as the next must be called so too; nothing of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wfctl.record import dataclass


def shell_word(text: str) -> str:
    """A word as a shell takes it."""
    plain = text.translate(_HARMLESS).isalnum() and text.isascii()
    return text if plain and not text.startswith("~") else "'" + text.replace("'", "'\\''") + "'"


_HARMLESS = dict.fromkeys(map(ord, "-_./~"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The commands, foreign words in them quoted. They are to be made safe where they are shown."""

    program: str = "wfctl"
    state_dir: str = ""
    env_file: str = ""

    @property
    def called(self) -> str:
        """What each command begins with, so that it finds the runs that this one has found."""
        state = ("--state-dir", self.state_dir) if self.state_dir else ()
        return " ".join(map(shell_word, (self.program, *state)))

    def command(self, verb: str, *words: str) -> str:
        """A command of that verb."""
        return " ".join([self.called, *map(shell_word, (verb, *words))])

    def resume(self, run: str, wants_update: bool = False) -> str:
        """What goes on with a run."""
        return self.command("resume", run, *(("--update",) if wants_update else ()), *self._secrets())

    def retry_undo(self, run: str, node: str) -> str:
        """What tries an undo again that was given up."""
        return self.command("rollback", run, "--retry", node, *self._secrets())

    def undone_by_hand(self, run: str, node: str) -> str:
        """What says that somebody has undone a node; the reason is to be filled in."""
        return self.command("rollback", run, "--done", node, "--reason", "TEXT", *self._secrets())

    def answers(self, run: str, asked: Mapping[str, Sequence[str]]) -> list[str]:
        """What answers each question of a run; `asked` has what can be answered, by node."""
        return [
            f"{self.command('answer', run, node)} {'|'.join(map(shell_word, choices))}"
            for node, choices in asked.items()
        ]

    def _secrets(self) -> tuple[str, ...]:
        return ("--env-file", self.env_file) if self.env_file else ()

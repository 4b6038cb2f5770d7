"""Which file system a folder lies on, by what the kernel lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfctl import app, mounts
from wfctl.driver import Watching
from wfctl.mounts import network
from wfctl.store import Store

MOUNTS = r"""
21 1 254:1 / / rw,relatime - ext4 /dev/vda rw
22 21 0:21 / /srv/data rw,relatime shared:1 - nfs4 server:/data rw,vers=4.2
23 22 0:22 / /srv/data/local rw - xfs /dev/vdb rw
24 21 0:23 / /mnt/my\040share rw - cifs //server/share rw
25 21 0:24 / /over rw - nfs server:/x rw
26 21 0:25 / /over rw - tmpfs tmpfs rw
27 21 0:26 / /net/a rw - fuse.sshfs a@b: rw
a line of another kernel
"""


@pytest.mark.parametrize(
    ("folder", "sort"),
    [
        ("/", ""),
        ("/srv/data", "nfs4"),
        ("/srv/data/project/.wfctl", "nfs4"),
        ("/srv/database", ""),
        ("/srv/data/local/x", ""),
        ("/mnt/my share/x", "cifs"),
        ("/over/x", ""),
        ("/net/a/x", "fuse.sshfs"),
    ],
)
def test_the_innermost_mount_says_what_it_is(folder: str, sort: str) -> None:
    assert network(folder, MOUNTS) == sort


def test_a_symlink_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/data")
    assert network(str(tmp_path / "link/x"), MOUNTS) == "nfs4"


def test_the_real_list_can_be_read(tmp_path: Path) -> None:
    assert network(str(tmp_path)) == ""


def test_a_run_warns_of_a_state_folder_that_other_machines_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mounts, "network", lambda folder: "nfs4")
    (tmp_path / "flow.yaml").write_text("version: 1\nnodes: {a: {run: 'true'}}\n")
    told: list[str] = []
    outcome = app.run(app.Asked(file="flow.yaml"), Store(tmp_path / ".wfctl"), Watching(warn=told.append))
    assert outcome.exit_code == 0
    assert told[0].endswith(
        "is on a network file system (nfs4): let no other machine use it, or choose a local one with --state-dir"
    )

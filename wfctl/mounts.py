"""On which file system a folder lies, as the kernel tells it.

Knows nothing of what is done there."""

from __future__ import annotations

import os
import re

NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs afs ceph coda lustre gpfs beegfs glusterfs orangefs"
    " fuse.sshfs fuse.glusterfs fuse.ceph fuse.cephfs fuse.s3fs fuse.rclone fuse.gcsfuse fuse.davfs2".split()
)
"""File systems whose files other machines have too. Locks and what one sees of the other's writes are weaker there."""


def network(folder: str, mounts: str | None = None) -> str:
    """The sort of the network file system that a folder lies on; empty where it lies on none, or nobody can tell.

    `mounts` is the text of the kernel's list (`proc_pid_mountinfo(5)`)."""
    if mounts is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mounts = file.read()
        except OSError:
            return ""
    path = os.path.realpath(folder)
    best, sort = "", ""
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        if len(fields) < 5 or not tail:
            continue
        point = _plain(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # the last one of the same place lies on top
            best, sort = point, tail.split(" ", 1)[0]
    return sort if sort in NETWORK else ""


def _plain(point: str) -> str:
    """A mount point without the kernel's escapes: blanks are octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)

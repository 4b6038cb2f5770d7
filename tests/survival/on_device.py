"""One node that is given devices: holds a lock by the name of each, and notes when another one has it.

Knows nothing of wfctl but the variables it is given. Started as `python -I -S on_device.py FOLDER SECONDS`. Each locks
what it was given for as long as it or a child of it lives."""

import fcntl
import os
import sys
import time

folder, seconds = sys.argv[1], float(sys.argv[2])
devices = os.environ["WFCTL_GPU"].split(",")


def note(word: str) -> None:
    attempt = f"{os.getcwd().rpartition('/')[2]}/{os.environ['WFCTL_NODE']}/{os.environ['WFCTL_ATTEMPT']}"
    fd = os.open(f"{folder}/ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, "".join(f"{word} {attempt} {device}\n" for device in devices).encode())
    os.close(fd)


for device in devices:
    fd = os.open(f"{folder}/device-{device}", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(fd, True)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("met")
note("start")
if not os.fork():  # left behind: it must be gone, too, before the device is given to another
    time.sleep(60)
    os._exit(0)
time.sleep(seconds)
note("end")

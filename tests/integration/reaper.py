"""reaper.py COMMAND...: runs it, and buries all that it leaves behind, until none is left.

Patroni takes a PostgreSQL that ended for one that runs as long as nobody has asked for its exit status, which is the first process's duty. That of a
container may not know it.
"""
import contextlib
import ctypes
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36

if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
    sys.exit(f"reaper.py: {os.strerror(ctypes.get_errno())}")
subprocess.Popen(sys.argv[1:])  # pylint: disable=consider-using-with
with contextlib.suppress(ChildProcessError):
    while True:
        os.wait()

"""narrow.py: a PostgreSQL that is the narrow place, as on a site where edges and coordinators have machines of their own and it has one disk and one machine.

On the bench's few cores the generator, the edge and the coordinator take most of what there is, so what the database could do is never seen. A control group gives it
a small share of one core, and the rest has plenty.
"""
import contextlib
import os
import pathlib
import time

from measure import weir

ROOT = pathlib.Path("/sys/fs/cgroup")
QUOTA_US = 1000  # the least that Linux takes; so the pauses are as short as they can be
SHARES = (10, 20, 30)


class Narrow:
    """Some processes and all that they start, in a control group of their own: `with narrow.held(20):` is a fifth of one core for all of them together."""

    def __init__(self, pid):
        old = ROOT / "cpu"
        self.old = (old / "cgroup.procs").exists()
        self.home = old if self.old else ROOT
        self.group = self.home / f"weir-bench-{os.getpid()}"
        self.group.mkdir()
        try:
            self.pause = self.group / ("cpu.cfs_quota_us" if self.old else "cpu.max")
            if not self.pause.exists():
                (self.home / "cgroup.subtree_control").write_text("+cpu")
            self.free()
            while True:  # one that was started meanwhile is in the list of the next look
                here = set((self.group / "cgroup.procs").read_text().split())
                left = [member for member in weir.family(pid) if str(member) not in here]
                if not left:
                    break
                for member in left:
                    with contextlib.suppress(ProcessLookupError):
                        (self.group / "cgroup.procs").write_text(str(member))
        except OSError:
            self.end()
            raise

    @classmethod
    def of(cls, pid):
        """None, and a word about it, where there are no control groups that we may make."""
        try:
            return cls(pid)
        except OSError as error:
            print(f"  with the database as the narrow place: not measured, no control group for it ({error})")
            return None

    def free(self):
        self.pause.write_text("-1" if self.old else "max")

    @contextlib.contextmanager
    def held(self, percent):
        period = QUOTA_US * 100 // percent
        if self.old:
            (self.group / "cpu.cfs_period_us").write_text(str(period))
        self.pause.write_text(str(QUOTA_US) if self.old else f"{QUOTA_US} {period}")
        try:
            yield
        finally:
            self.free()

    def end(self):
        """Its processes go back to where they came from."""
        with contextlib.suppress(OSError):
            for member in (self.group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (self.home / "cgroup.procs").write_text(member)
            time.sleep(0.1)
            self.group.rmdir()

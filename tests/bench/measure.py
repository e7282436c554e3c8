"""What the parts of the benchmark measure with: CPU time of process trees, a sink of our own, runs of weir-load, medians."""
import contextlib
import os
import pathlib
import random
import resource
import socket
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
import weir  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process, its living descendants and the children it has waited for."""
    total = 0
    for member in weir.family(pid):
        try:
            fields = pathlib.Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICK
    return total


def cpu_by_role(cluster):
    found = {}
    for path in (cluster.dir / "run").glob("*.pid"):
        role = path.stem.rsplit("-", 1)[0]
        found[role] = found.get(role, 0) + cpu_seconds(int(path.read_text()))
    return found


def load_cpu():
    """Of the children that we have waited for, which is weir-load."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start_sink(*words):
    """A sink of our own, and where it listens. Its port may turn out to be taken, by a connection of others as well."""
    while True:
        hop = f"127.0.0.1:{random.randrange(12000, 20000)}"
        sink = subprocess.Popen([weir.BIN / "weir-sink", "--listen", hop, *words], stderr=subprocess.DEVNULL)

        def answers():
            with contextlib.suppress(OSError):
                with socket.create_connection(hop.split(":"), 5) as client:
                    return client.recv(3) == b"220"
        weir.wait_until(lambda: sink.poll() is not None or answers(), what="the sink")
        if sink.poll() is None:
            return sink, hop


def spread(values, unit="", digits=1):
    """median (min .. max)"""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f}){unit}"


def load(cluster, *words, to=None):
    """One weir-load run: its report plus the CPU each role used meanwhile, in seconds."""
    before, mine = cpu_by_role(cluster), load_cpu()
    report, answers = cluster.load("--unique", *words, to=to).result(600)
    after = cpu_by_role(cluster)
    report["cpu"] = {role: after[role] - before.get(role, 0) for role in after}
    report["cpu"]["load"] = load_cpu() - mine
    bad = [answer for answer in answers.values() if answer[0] != 250]
    report["refused"] = len(bad)
    return report

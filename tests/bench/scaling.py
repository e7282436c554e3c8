"""scaling.py: what grows with the number of edges, and with the size of a set of signatures."""
import json
import os
import pathlib
import shutil
import tempfile
import time

from measure import cpu_by_role, spread, weir

EICAR_LINE = f"Eicar-Test-Signature:0:*:{weir.EICAR.hex()}\n"


def hashes(path, size):
    """A file of signatures of files that do not exist, about as large; most of ClamAV's own are such."""
    with open(path, "w", encoding="ascii") as file:
        number = 0
        while file.tell() < size:
            dice = os.urandom(16 * 10000).hex()
            file.writelines(f"{dice[32 * i:32 * i + 32]}:{1000 + i}:Bench.Hash-{number + i}\n" for i in range(10000))
            number += 10000


def peak_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Scaling:
    def edges(self):
        """The same load through one edge and through three: on few cores the rate cannot grow, so what counts is the CPU of a message and who does the work."""
        found = {1: [], 3: []}
        rates, shares = {1: [], 3: []}, []
        clusters = {count: self.cluster(edges=count, scanners=1, scan="off", sets=["edge.workers=1"]) for count in found}
        for _ in range(self.rounds):
            for count, cluster in clusters.items():
                before = cpu_by_role(cluster)
                runs = [cluster.load("--unique", "--sessions", 30 // count, "--seconds", self.seconds, "--size", 4096, to=cluster.relay(edge + 1)) for edge in range(count)]
                reports = [run.result(600)[0] for run in runs]
                messages = sum(report["messages"] for report in reports)
                found[count].append(1000 * (cpu_by_role(cluster)["edge"] - before["edge"]) / messages)
                rates[count].append(sum(report["rate"] for report in reports))
                if count == 3:
                    shares += [100 * report["messages"] / messages for report in reports]
        print(f"30 sessions, 4 KiB, scanning off: one edge {spread(rates[1], ' msg/s', 0)}, three {spread(rates[3], ' msg/s', 0)} on {os.cpu_count()} cores that all share")
        print(f"  CPU of all edge processes per 1,000 messages: one edge {spread(found[1], ' s', 3)}, three {spread(found[3], ' s', 3)}   goal: the same")
        print(f"  share of the messages that each of three took: {spread(shares, ' %')}   goal: a third")

    def sets(self):
        """A set as large as the real one from a folder to all scanners: time, the coordinators' memory, the database, the wire."""
        own = pathlib.Path(tempfile.mkdtemp(prefix="weir-own."))
        size = (20 if self.rounds < 5 else 200) << 20
        try:
            (own / "eicar.ndb").write_text(EICAR_LINE)
            cluster = self.cluster(edges=1, scanners=2, coordinators=2, sets=[
                "edge.workers=1", "scanner.workers=1", "signature_source=cluster", f"signature_folder={own}", "signature_interval=1s", "signature_canary_time=0"])

            def status():
                return json.loads(cluster.weirctl("--json", "signatures", "status").stdout)

            def is_everywhere(count):
                told = status()
                return len(told["sets"]) >= count and told["sets"][0]["state"] == "current" and all(one["loaded"] == told["sets"][0]["id"] for one in told["scanners"])

            weir.wait_until(lambda: is_everywhere(1), 120, "the first set")
            pids = {n: int((cluster.dir / f"run/coordinator-{n}.pid").read_text()) for n in (1, 2)}
            memory, stored = {n: peak_mib(pid) for n, pid in pids.items()}, int(cluster.query("SELECT pg_database_size(current_database())")[0][0])
            whole = tempfile.mkdtemp(prefix="weir-made.", dir=own.parent)
            for part, name in ((0.5, "main.hdb"), (0.3, "daily.hdb"), (0.2, "other.hdb")):
                hashes(pathlib.Path(whole) / name, size * part)
            for path in pathlib.Path(whole).iterdir():
                path.rename(own / path.name)
            began = time.monotonic()
            weir.wait_until(lambda: len(status()["sets"]) == 2, 300, "the set is stored")
            in_database = time.monotonic() - began
            weir.wait_until(lambda: any(one["loaded"] == status()["sets"][0]["id"] for one in status()["scanners"]), 600, "the canary")
            at_canary = time.monotonic() - began
            weir.wait_until(lambda: is_everywhere(2), 600, "all scanners")
            everywhere = time.monotonic() - began
            grown = int(cluster.query("SELECT pg_database_size(current_database())")[0][0]) - stored
            fetched = sum(cluster.metric("weir_signature_fetched_bytes_total", node=f"scanner-{n}") for n in (1, 2))
            print(f"a set of {size >> 20} MiB in three files, two scanners: stored after {in_database:.1f} s, used by the first scanner after {at_canary:.1f} s, by both after {everywhere:.1f} s")
            print("  peak memory of the coordinators: " + ", ".join(f"{peak_mib(pids[n]):.0f} MiB ({memory[n]:.0f} before)" for n in (1, 2)) + "   goal: no part of the set's size")
            print(f"  the database grew by {grown / (1 << 20):.0f} MiB; scanners fetched {fetched / (1 << 20):.0f} MiB   goal: the set's size, and twice that")
            shutil.rmtree(whole)
        finally:
            shutil.rmtree(own)

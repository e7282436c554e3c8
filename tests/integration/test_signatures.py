"""Signatures that the cluster fetches itself: a real freshclam, a mirror on loopback, two scanners, and leaders and scanners that die in the middle."""
import base64
import functools
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest

import weir
from weir import EICAR, Smtp, message, wait_until

pytestmark = pytest.mark.skipif(shutil.which("freshclam") is None, reason="no freshclam")
BROKEN = "this is no signature\n"
KEY = "customer-7f3a91"
EICAR_LINE = f"Eicar-Test-Signature:0:*:{EICAR.hex()}\n"


def line(name):
    """A signature of its own, and the text in which it is found."""
    text = f"virus-of-our-own-{name}-{os.urandom(6).hex()}"
    return f"Own.{name}:0:*:{text.encode().hex()}\n", text


class Mirror:
    """A web server with files of signatures. answers: a status for all who ask for a file of this name; asked: (name, status) of whatever was."""

    def __init__(self):
        self.answers, self.asked = {}, []
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="weir-mirror."))
        self.dir = self.top / KEY
        self.dir.mkdir()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(self.top)))
        self.server.mirror = self
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.time = int(time.time()) + 10

    def url(self, name):
        return f"http://127.0.0.1:{self.server.server_port}/{KEY}/{name}"

    def put(self, name, text):
        """Whole, or not at all. Newer than whatever was fetched before: If-Modified-Since goes by seconds."""
        self.time = max(self.time, int(time.time())) + 10  # than the fetch, too, however long that took
        fresh = self.dir / f"{name}.new"
        fresh.write_text(text) if isinstance(text, str) else fresh.write_bytes(text)
        os.utime(fresh, (self.time, self.time))
        fresh.rename(self.dir / name)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        shutil.rmtree(self.top)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        status = self.server.mirror.answers.get(self.path.rsplit("/", 1)[1])
        if status is None:
            super().do_GET()
        else:
            self.send_error(status)

    def log_request(self, code="-", size="-"):
        self.server.mirror.asked.append((self.path.rsplit("/", 1)[1], int(code)))

    def log_message(self, *_):
        pass


class Farm:
    """A cluster whose scanners follow its mirror."""

    def __init__(self, *sets, **options):
        self.mirror = Mirror()
        self.own = self.mirror.top.with_name(self.mirror.top.name + ".own")
        self.clean = self.mirror.top.with_name(self.mirror.top.name + ".clean")
        self.own.mkdir()
        self.clean.mkdir()
        self.mirror.put("own.ndb", EICAR_LINE)
        self.mirror.put("other.ndb", line("Other")[0])
        self.cluster = weir.Cluster(edges=1, scanners=2, coordinators=2, sets=[
            "edge.workers=1", "scanner.workers=1", "node_timeout=15s", "signature_source=cluster", f"signature_urls={self.mirror.url('other.ndb')}, {self.mirror.url('own.ndb')}",
            f"signature_folder={self.own}", f"signature_clean={self.clean}", "signature_interval=1s", "signature_canary_time=0", *sets], **options)

    def up(self):
        self.cluster.up()
        wait_until(lambda: self.all_use(self.current()), 30, "the first set")
        return self

    def close(self):
        self.cluster.down()
        self.mirror.close()
        shutil.rmtree(self.own)
        shutil.rmtree(self.clean)

    def status(self):
        return json.loads(self.cluster.weirctl("--json", "signatures", "status").stdout)

    def states(self):
        """Newest first."""
        return [one["state"] for one in self.status()["sets"]]

    def current(self):
        return next((one["id"] for one in self.status()["sets"] if one["state"] == "current"), None)

    def scanners(self):
        return {one["node"]: one for one in self.status()["scanners"]}

    def all_use(self, wanted):
        return wanted and all(one["loaded"] == wanted for one in self.scanners().values())

    def changes(self, before):
        """Waits until there is another current set, which all scanners use."""
        def done():
            now = self.current()
            return now != before and self.all_use(now) and now
        return wait_until(done, 60, f"another set than {before} everywhere")

    def leader(self):
        return wait_until(lambda: next((n for n in (1, 2) if self.cluster.metric("weir_leader", n, node=f"coordinator-{n}") == 1), None), 30, "a leader")

    def generations(self):
        return {name: node["generation"] for name, node in self.cluster.nodes().items() if node["role"] == "scanner"}

    def answer(self, text):
        with Smtp(self.cluster.relay()) as client:
            client.envelope()
            return client.data(message(body=text + "\r\n"))

    def attached(self, content):
        part = base64.encodebytes(content).replace(b"\n", b"\r\n").decode()
        with Smtp(self.cluster.relay()) as client:
            client.envelope()
            return client.data(b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n" + message(body=part))

    def catches(self, text, count=6):
        """By both scanners, as far as one sees: they are chosen by chance and load."""
        answers = [self.answer(text) for _ in range(count)]
        assert all(answer.code == 550 for answer in answers), answers

    def gauge(self, name, **labels):
        return self.cluster.metric(name, **labels)


@pytest.fixture(scope="module")
def farm():
    made = Farm()
    try:
        yield made.up()
    finally:
        made.close()


class Load:
    """Mail all the time; whatever is not accepted is remembered."""

    def __init__(self, farm):
        self.farm, self.sent, self.refused, self.ends = farm, 0, [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ends.is_set():
            answer = self.farm.answer("nothing bad")
            self.sent += 1
            if answer.code != 250:
                self.refused.append(answer)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()


def test_S22_a_new_signature_reaches_every_scanner(farm):
    before, generations = farm.current(), farm.generations()
    signature, text = line("New")
    assert farm.answer(text).code == 250
    with Load(farm) as load:
        farm.mirror.put("own.ndb", EICAR_LINE + signature)
        now = farm.changes(before)
        wait_until(lambda: load.sent > 20, what="mail meanwhile")
    assert load.refused == [], "no job is dropped"
    farm.catches(text)
    assert farm.generations() == {name: number + 1 for name, number in generations.items()}, "one generation each"
    status = farm.cluster.weirctl("signatures", "status").stdout
    assert now[:12] in status and "looked at" in status and "as it is to be" in status, status
    assert len({one["version"] for one in farm.scanners().values()}) == 1 and len({one["loaded"] for one in farm.scanners().values()}) == 1
    wait_until(lambda: farm.gauge("weir_signature_sets", state="current") == 1 and farm.gauge("weir_signature_refused") == 0, what="the metrics")


def test_S28_files_of_the_site_reach_every_scanner(farm):
    before = farm.current()
    signature, text = line("Site")
    virus = f"this file is of the site's own kind {os.urandom(8).hex()}\r\n".encode()
    with Load(farm) as load:
        (farm.own / "site.ndb").write_text(signature)
        (farm.own / "site.hdb").write_text(f"{hashlib.md5(virus).hexdigest()}:{len(virus)}:Own.Hash\n")
        (farm.own / "rules.yar").write_text('rule own_rule { strings: $a = "yara-finds-this-one-here" condition: $a }\n')
        (farm.own / "README").write_text("is no signature\n")
        began = time.monotonic()
        farm.changes(before)
        print(f"all scanners use it after {time.monotonic() - began:.1f} s")
        farm.catches(text, 2)
        assert "own_rule" in farm.answer("yara-finds-this-one-here").text and "Own.Hash" in farm.attached(virus).text
    assert load.refused == [], "no job is dropped"


def test_S22_a_broken_database_is_refused_and_the_old_one_stays(farm):
    before, generations = farm.current(), farm.generations()
    signature, text = line("Behind")
    farm.mirror.put("own.ndb", EICAR_LINE + BROKEN + signature)
    broken = wait_until(lambda: farm.status()["sets"][0]["state"] == "failed" and farm.status()["sets"][0], 60, "the broken set is refused")
    assert broken["why"].startswith("scanner-1: "), broken
    assert farm.current() == before and farm.generations() == generations, "nobody changed"
    assert farm.answer(text).code == 250
    wait_until(lambda: farm.gauge("weir_signature_refused") == 1, what="the alarm")
    assert farm.gauge("weir_signature_failures_total", node="scanner-2", what="load") == 0, "the others never heard of it"
    look = farm.status()["look"]["done_at"]
    wait_until(lambda: farm.status()["look"]["done_at"] > look, what="another look")
    assert farm.states().count("failed") == 1, "it is not tried again"
    failures = farm.gauge("weir_signature_failures_total", node="scanner-1", what="load")
    farm.cluster.weirctl("signatures", "update", "--retry")
    wait_until(lambda: farm.gauge("weir_signature_failures_total", node="scanner-1", what="load") > failures and farm.states()[0] == "failed", 60, "another try")
    farm.mirror.put("own.ndb", EICAR_LINE + signature)
    farm.changes(before)
    farm.catches(text, 2)
    wait_until(lambda: farm.gauge("weir_signature_refused") == 0, what="the end of the alarm")


def test_a_set_that_finds_clean_mail_bad_is_refused(farm):
    before = farm.current()
    signature, text = line("FalseAlarm")
    (farm.clean / "kept.eml").write_bytes(message(body=f"we always write {text}\r\n"))
    farm.mirror.put("own.ndb", EICAR_LINE + signature)
    refused = wait_until(lambda: farm.status()["sets"][0]["state"] == "failed" and farm.status()["sets"][0], 60, "the set is refused")
    assert "kept.eml" in refused["why"] and "Own.FalseAlarm" in refused["why"] and farm.current() == before
    (farm.clean / "kept.eml").unlink()


def test_a_mirror_that_fails_stops_nothing(farm):
    before = farm.current()
    kept = (farm.mirror.dir / "own.ndb").rename(farm.mirror.dir / "away")
    wait_until(lambda: farm.status()["look"]["result"] == "failed" and "own.ndb" in farm.status()["look"]["words"], what="a look that fails")
    assert farm.current() == before
    wait_until(lambda: farm.gauge("weir_signature_look_failed") == 1, what="the alarm")
    signature, text = line("Meanwhile")
    (farm.own / "meanwhile.ndb").write_text(signature)
    now = farm.changes(before)
    farm.catches(text, 2)
    assert now != before
    leader = farm.leader()
    other = f"coordinator-{3 - leader}"
    shutil.rmtree(farm.cluster.dir / other / "signatures", ignore_errors=True)
    farm.cluster.stop(f"coordinator-{leader}")
    wait_until(lambda: farm.status()["look"]["started_by"] == other and farm.status()["look"]["result"] == "failed", 60, "a look of the other")
    more, words = line("NewLeader")
    (farm.own / "more.ndb").write_text(more)
    farm.changes(now)
    farm.catches(words, 2)
    farm.catches(EICAR.decode(), 2)
    farm.cluster.start(f"coordinator-{leader}")
    said = [farm.cluster.log("coordinator-1"), farm.cluster.log("coordinator-2"), farm.cluster.weirctl("signatures", "status").stdout,
            farm.cluster.weirctl("--json", "signatures", "status").stdout]
    assert not any(KEY in one for one in said), "what the URL was fetched with is nobody's to read"
    assert all("own.ndb" in one for one in said), [one[-500:] for one in said if "own.ndb" not in one]
    assert KEY not in farm.cluster.weirctl("history").stdout
    os.utime(kept, (1, 1))  # it is not newer than what was fetched of it before
    farm.mirror.asked.clear()
    kept.rename(farm.mirror.dir / "own.ndb")
    wait_until(lambda: farm.status()["look"]["result"] == "ok", what="a look that succeeds")
    assert {status for name, status in farm.mirror.asked if name == "own.ndb"} <= {304, 404}, f"who comes to lead begins with what is stored: {farm.mirror.asked}"
    assert sum(farm.cluster.metric("weir_signature_files_restored_total", number, node=f"coordinator-{number}") or 0 for number in (1, 2)) > 0


def test_a_mirror_that_is_overloaded_keeps_us_from_no_other(farm):
    before = farm.current()
    farm.mirror.answers["other.ndb"] = 429
    wait_until(lambda: farm.status()["look"]["result"] == "failed" and "other.ndb" in farm.status()["look"]["words"], what="a look that fails")
    signature, text = line("OfAnother")
    farm.mirror.put("own.ndb", EICAR_LINE + signature)
    farm.changes(before)
    farm.catches(text, 2)
    assert "own.ndb" not in farm.status()["look"]["words"]
    farm.mirror.answers.clear()
    for memory in farm.cluster.dir.glob("coordinator-*/signatures/run/*.dat"):
        memory.unlink()  # for hours it would not be asked again
    wait_until(lambda: farm.status()["look"]["result"] == "ok", 60, "a look that succeeds")


FRESHCLAM = """#!/bin/sh
config=${1#--config-file=}
mirror=$(sed -n 's/^DatabaseMirror //p' $config)
url=$(sed -n 's/^DatabaseCustomURL //p' $config)
db=$(sed -n 's/^DatabaseDirectory //p' $config)
cat $db/freshclam.dat 2>/dev/null
echo "memory of $mirror $url" >$db/freshclam.dat
echo "Trying $mirror/main.cvd, that is /${mirror#http://*/}, $url"
case $mirror in *dead*) echo "ERROR: Can't download $mirror/main.cvd as ${mirror#http://}"; exit 1;; esac
[ -n "$url" ] || touch $db/main.cvd $db/daily.cvd
"""


def look(work, *lines):
    """What the process that looks says."""
    done = subprocess.run([weir.BIN / "weir-coordinator", "serve", "signatures"], input="".join(f"{one}\n" for one in lines), capture_output=True, text=True, check=True,
                          timeout=60, cwd=work)
    return done.stdout.splitlines()


def test_each_source_is_by_itself_and_its_keys_are_nobodys_to_read(tmp_path):
    program = tmp_path / "freshclam"
    program.write_text(FRESHCLAM)
    program.chmod(0o755)
    common = (f"work {tmp_path}/work", "folder ", f"freshclam {program}", "size 1000000")
    dead, live = "http://us:word1@dead.example/word2?word3", "http://us:word4@live.example/word5/"
    urls = ("url http://live.example/word6/a.ndb", "url http://us:word7@live.example/get?word8/b.ndb")
    first = look(tmp_path, *common, f"mirror {dead}", f"mirror {live}", "mirror http://unused.example", *urls)
    assert not any(one.startswith(("trouble ", "doubt ")) for one in first) and first[-1] == "end", first
    again = look(tmp_path, *common, f"mirror {dead}", f"mirror {live}", *urls)
    remembered = [one for one in again if "memory of" in one]
    assert len(remembered) == 4 and len({hash_file.read_text() for hash_file in (tmp_path / "work/run").glob("*.dat")}) == 4, "each source has a memory of its own"
    alone = look(tmp_path, *common, f"mirror {dead}")
    assert [one for one in alone if one.startswith("doubt ")] == ["doubt main.cvd", "doubt daily.cvd", "doubt bytecode.cvd"]
    assert any(one.startswith("trouble http://dead.example/...: Can't download") for one in alone), alone
    assert not any("word" in one for one in first + again + alone), [one for one in first + again + alone if "word" in one]
    (tmp_path / "weir.conf").write_text(f"[coordinator \"one\"]\nsignature_mirrors = {dead}, {live}\nsignature_urls = {', '.join(url[4:] for url in urls)}\n")
    for words in ([], ["--json"]):
        shown = subprocess.run([weir.BIN / "weirctl", "-c", tmp_path / "weir.conf", *words, "config", "show"], capture_output=True, text=True, check=True).stdout
        assert "http://dead.example/..., http://live.example/..." in shown and "http://live.example/.../a.ndb, http://live.example/.../b.ndb" in shown
        assert not any(f"word{number}" in shown for number in range(1, 9))


def test_S28_rollback_and_pin(farm):
    first = farm.current()
    text = f"a rule that finds too much {os.urandom(6).hex()}"
    with Load(farm) as load:
        (farm.own / "second.yar").write_text(f'rule second {{ strings: $a = "{text}" condition: $a }}\n')
        second = farm.changes(first)
        farm.catches(text, 2)
        farm.cluster.weirctl("signatures", "rollback")
        assert farm.changes(second) == first and farm.answer(text).code == 250
    assert load.refused == [], "no job is dropped"
    done = farm.cluster.weirctl("signatures", "rollback", "nothex", check=False)
    assert done.returncode == 65 and "begins with" in done.stderr
    look = farm.status()["look"]["done_at"]
    wait_until(lambda: farm.status()["look"]["done_at"] > look, what="another look")
    assert farm.current() == first, "what was left is not taken again, though its file is still there"
    farm.cluster.weirctl("signatures", "pin", first[:12])
    other, words = line("Third")
    farm.mirror.put("own.ndb", EICAR_LINE + other)
    wait_until(lambda: farm.states()[0] == "new", what="a newer set, which waits")
    assert farm.current() == first and "pinned" in farm.cluster.weirctl("signatures", "status").stdout
    assert farm.cluster.weirctl("signatures", "rollback", check=False).returncode == 65
    wait_until(lambda: farm.gauge("weir_signature_pinned") == 1, what="the metric")
    farm.cluster.weirctl("signatures", "unpin")
    farm.changes(first)
    farm.catches(words, 2)
    history = farm.cluster.weirctl("history").stdout
    assert all(f"signatures {act}" in history for act in ("rollback", "pin", "unpin", "update")), history


def stored_size(farm, name):
    """Bytes that a scanner has of files under way."""
    return sum(path.stat().st_size for path in (farm.cluster.dir / name / "signatures/files").glob("*.part"))


def test_kills_in_the_middle(farm):
    """A scanner dies while it fetches a large file, and its leader with it; both go on."""
    before = farm.current()
    signature, text = line("Large")
    filler = "".join(f"Filler.{number}:0:*:{os.urandom(20).hex()}\n" for number in range(400000))
    assert len(filler) > 16 << 20
    farm.mirror.put("own.ndb", EICAR_LINE + signature + filler)
    wait_until(lambda: stored_size(farm, "scanner-1") > 0 or stored_size(farm, "scanner-2") > 0 or farm.states()[0] in ("canary", "rolling"), 60, "a scanner that fetches")
    victim = farm.status()["sets"][0]["canary"] or "scanner-1"
    farm.cluster.kill(victim)
    leader = next((n for n in (1, 2) if farm.cluster.metric("weir_leader", n, node=f"coordinator-{n}") == 1), 1)
    farm.cluster.kill(f"coordinator-{leader}")
    farm.cluster.start(victim)
    farm.cluster.start(f"coordinator-{leader}")
    farm.changes(before)
    farm.catches(text, 2)
    sets = lambda: list((farm.cluster.dir / victim / "signatures/sets").iterdir())
    wait_until(lambda: len(sets()) == 1 and stored_size(farm, victim) == 0, 30, "nothing is left over")


def test_a_scanner_knows_its_set_without_any_coordinator(farm):
    now = farm.current()
    for number in (1, 2):
        farm.cluster.stop(f"coordinator-{number}")
    farm.cluster.kill("scanner-1")
    farm.cluster.start("scanner-1", wait=False)
    wait_until(lambda: now[:64] in farm.cluster.log("scanner-1").rsplit("loads ", 1)[-1] and "serves" in farm.cluster.log("scanner-1").rsplit("loads ", 1)[-1], 30,
               "it loads what it had")
    for number in (1, 2):
        farm.cluster.start(f"coordinator-{number}")
    wait_until(lambda: farm.all_use(now), 30, "all as before")


def test_damaged_files_are_fetched_again(farm):
    now = farm.current()
    folder = farm.cluster.dir / "scanner-2/signatures"
    farm.cluster.kill("scanner-2")
    (folder / "sets" / now / "own.ndb").write_text(EICAR_LINE)  # the same file as that of files/, by a hard link
    farm.cluster.start("scanner-2", wait=False)
    wait_until(lambda: "in signature_store are damaged" in farm.cluster.log("scanner-2"), 60, "it sees that they are damaged")
    own = folder / "sets" / now / "own.ndb"
    wait_until(lambda: own.exists() and own.stat().st_size > len(EICAR_LINE), 60, "it has the file again")
    wait_until(lambda: farm.all_use(now), 60, "it has the set again")


def test_one_leader_that_hangs_is_followed_by_another(farm):
    before = farm.current()
    leader = farm.leader()
    signature, text = line("Other")
    farm.cluster.kill(f"coordinator-{leader}", signal.SIGSTOP)
    try:
        farm.mirror.put("own.ndb", EICAR_LINE + signature)
        farm.cluster.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'weir coordinator-{leader}%'")
        wait_until(lambda: farm.cluster.query("SELECT count(*) FROM signature_set WHERE made_by = "
                                              f"'coordinator-{3 - leader}' AND state = 'current'") == [["1"]], 60, "the other's set")
    finally:
        farm.cluster.kill(f"coordinator-{leader}", signal.SIGCONT)
    farm.changes(before)
    farm.catches(text, 2)

"""deploy/cluster as a newcomer meets it: odd folders, ports in use, wrong words, everything killed; and the demo from end to end."""
import concurrent.futures
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

import weir

SCRIPT = weir.ROOT / "deploy/cluster"


@pytest.fixture
def folder():
    """A place for clusters; what runs in its folders is ended and removed afterwards."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="weir-test."))
    place.chmod(0o755)
    yield place
    for made in place.iterdir():
        cluster(made, "down")
        for name in ("postgres.path", "weirctl.path"):
            if (made / name).exists():
                outside = pathlib.Path((made / name).read_text().strip())
                shutil.rmtree(outside if name == "postgres.path" else outside.parent, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)


def cluster(where, *words, script=SCRIPT, user=()):
    """user: the words before a command that make it that of somebody else."""
    env = dict(os.environ, WEIR_NO_BUILD="1", WEIR_CLUSTER=str(where))
    return subprocess.run([*user, script, *map(str, words)], env=env, capture_output=True, text=True, timeout=300)


def processes(where):
    """Everything with the folder in its command line."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(where).encode() in line:
            found.append(line.replace(b"\0", b" ").decode())
    return found


@pytest.mark.parametrize("words, said", [
    (["up", "--spam", "some"], "must be rspamd, native, both or none"),
    (["up", "--scan", "maybe"], "must be on or off"),
    (["up", "--edges", "0"], "from 1 to 19"),
    (["up", "--edges"], "needs a value"),
    (["up", "--next-hop", "nowhere"], "must be HOST:PORT"),
    (["up", "--signatures", "/nowhere"], "no such folder"),
    (["up", "--set", "max_hops"], "must be key=value"),
    (["down"], "there is no cluster in"),
    (["status"], "there is no cluster in"),
    (["begin"], "deploy/cluster up"),
])
def test_wrong_words_are_refused(folder, words, said):
    done = cluster(folder / "c", *words)
    assert done.returncode != 0 and said in done.stderr, done
    assert not (folder / "c").exists()


def test_unknown_key_is_told_and_nothing_runs(folder):
    base = weir.free_base_port()
    done = cluster(folder / "c", "up", "--base-port", base, "--set", "max_hop=3")
    assert done.returncode != 0 and "unknown key 'max_hop'; did you mean 'max_hops'?" in done.stderr, done
    assert not processes(folder)
    # And the next attempt is not made with the wrong key.
    done = cluster(folder / "c", "up", "--base-port", base, "--edges", 1, "--scanners", 1)
    assert done.returncode == 0, done


def test_port_in_use_is_named(folder):
    base = weir.free_base_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 201))
        taken.listen()
        done = cluster(folder / "c", "up", "--base-port", base)
    assert done.returncode != 0 and f"port {base + 201}, wanted for scanner-1, is in use" in done.stderr, done
    assert not processes(folder)
    with socket.socket() as taken:  # where nobody listens that is not seen before all else has been started
        taken.bind(("127.0.0.1", base + 395))
        done = cluster(folder / "c", "up", "--base-port", base, "--edges", 1, "--scanners", 1)
    assert done.returncode != 0 and "web-1 does not serve" in done.stderr and "in use" in done.stderr, done
    weir.wait_until(lambda: not processes(folder), 30, "the end of all that had been started")


def test_two_that_want_the_same_ports_at_once(folder):
    """Both find them free. The slower one must not take the other's coordinator for its own and say that a key is wrong."""
    base = weir.free_base_port()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: cluster(folder / name, "up", "--base-port", base, "--edges", 1, "--scanners", 1), ["a", "b"]))
    served, failed = sorted(done, key=lambda one: one.returncode)
    assert served.returncode == 0 and failed.returncode != 0, done
    assert "in use" in failed.stderr and "refused our key" not in failed.stderr, failed


def test_folder_with_blanks_and_everything_killed(folder):
    """cluster.env is for shells: what it says must survive blanks. And `up` brings back what kill -9 took."""
    place = folder / "a folder with blanks"
    assert cluster(place, "up", "--base-port", weir.free_base_port(), "--edges", 1, "--scanners", 1).returncode == 0
    names = [line.split("=")[0] for line in (place / "cluster.env").read_text().splitlines()]
    assert names == ["EDGE_1_RELAY", "EDGE_1_SUBMISSION", "EDGE_1_SUBMISSIONS", "EDGE_1_HANDOFF", "EDGE_1_PID", "SCANNER_1_PID",
                     "COORDINATOR_1_PID", "COORDINATOR_1_HTTP", "DATABASE_URL", "WEIRCTL", "CA_FILE", "LOG_DIR", "WEB_1_HTTP", "WEB_1_METRICS",
                     "SINK_DIR"]
    look = """. "$0/cluster.env" && $WEIRCTL node list && test -s "$CA_FILE" && test -d "$LOG_DIR" && test -d "$SINK_DIR" &&
              kill -0 $EDGE_1_PID $SCANNER_1_PID $COORDINATOR_1_PID && curl -fsS --noproxy '*' "$COORDINATOR_1_HTTP/readyz" &&
              curl -fsS --noproxy '*' "$WEB_1_HTTP/style.css" && curl -fsS --noproxy '*' "$WEB_1_METRICS" | grep 'weir_db_up{node="web-1"} 1' """
    done = subprocess.run(["bash", "-c", look, place], capture_output=True, text=True)
    assert done.returncode == 0 and re.search(r"^edge-1 .* active ", done.stdout, re.M), done

    postmaster = pathlib.Path((place / "postgres.path").read_text().strip(), "data/postmaster.pid").read_text().splitlines()[0]
    for pid in [path.read_text() for path in (place / "run").glob("*.pid")] + [postmaster]:
        os.kill(int(pid), signal.SIGKILL)
    assert cluster(place, "up").returncode == 0
    done = subprocess.run(["bash", "-c", look, place], capture_output=True, text=True)
    assert done.returncode == 0, done
    done = cluster(place, "up")
    assert done.returncode == 0 and "as it is" not in done.stderr, "twice is fine"
    done = cluster(place, "up", "--edges", 3)
    assert done.returncode == 0 and f"the cluster in {place} exists; it is used as it is" in done.stderr, done
    assert "EDGE_2_RELAY" not in (place / "cluster.env").read_text()
    done = cluster(place, "down")
    assert done.returncode == 0, done
    weir.wait_until(lambda: not processes(place), 30, "the end of all")  # PostgreSQL counts as stopped when its pid file is gone


@pytest.fixture
def ordinary():
    """(a folder of an ordinary user's with a copy of what runs a cluster, the words that make a command theirs). Who is no root is that already."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="weir-test."))
    shutil.copytree(weir.ROOT / "deploy", home / "weir/deploy")
    shutil.copytree(weir.BIN, home / "weir" / weir.BIN.relative_to(weir.ROOT))
    user = []
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")  # PostgreSQL asks the system for the name of who runs it, so it cannot be just any number
        subprocess.run(["chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", home], check=True)
        user = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
                "env", f"HOME={home}", f"TMPDIR={home}", f"--chdir={home}"]
    yield home, user
    cluster(home / "c", "down", script=home / "weir/deploy/cluster", user=user)
    shutil.rmtree(home, ignore_errors=True)


def test_an_ordinary_user_runs_a_cluster(ordinary):
    home, user = ordinary
    place, script = home / "c", home / "weir/deploy/cluster"
    done = cluster(place, "up", "--base-port", weir.free_base_port(), script=script, user=user)
    assert done.returncode == 0, done
    done = cluster(place, "status", script=script, user=user)
    assert done.returncode == 0, done
    running = dict(re.findall(r"^(\S+) +runs, pid (\d+)$", done.stdout, re.M))
    assert set(running) == {"postgres", "sink", "coordinator-1", "scanner-1", "scanner-2", "edge-1", "edge-2", "web-1"}, done
    assert "conservation" in done.stdout, "weirctl's status follows"
    owner = place.stat().st_uid
    assert owner != 0 and {pathlib.Path(f"/proc/{pid}").stat().st_uid for pid in running.values()} == {owner}, "nothing runs as somebody else"
    relay = re.search(r"^EDGE_2_RELAY=(\S+)$", (place / "cluster.env").read_text(), re.M).group(1)
    for body, code in (("Hello.\r\n", 250), (weir.EICAR.decode() + "\r\n", 550)):
        with weir.Smtp(relay) as client:
            client.envelope(recipients=["unknown-alice@example.edu"])  # of everybody at example.edu the sink takes mail
            assert client.data(weir.message(body)).code == code
    done = cluster(place, "stop", "scanner-1", script=script, user=user)
    assert done.returncode == 0 and weir.process_state(int(running["scanner-1"])) in ("", "Z"), done
    done = cluster(place, "down", script=script, user=user)
    assert done.returncode == 0, done
    weir.wait_until(lambda: not processes(place), 30, "the end of all")  # PostgreSQL counts as stopped when its pid file is gone


@pytest.mark.parametrize("harm, said", [
    (None, None),
    ("lost", r"one.eml: accepted as \w{20}, and not at the sink"),
    ("twice", r"one.eml: accepted as \w{20}, and at the sink 2 times"),
    ("changed", r"one.eml: accepted as \w{20}, and arrived with other bytes"),
    ("unanswered", "one.eml: no answer"),
    ("unsent", "one.eml: not sent"),
    ("passed", r"virus.eml: refused with 550, and at the sink as \w{20}"),
])
def test_what_became_of_each_message(tmp_path, harm, said):
    mail, sink, ids = tmp_path / "mail", tmp_path / "sink", tmp_path / "ids"
    mail.mkdir()
    sink.mkdir()
    lines = []
    for number, (name, raw, code) in enumerate([("one.eml", b" \tfolded\nSubject: 1\n\none", 250), ("two.eml", b"Subject: 2\r\n\r\n\ttwo\r\n", 250),
                                                ("virus.eml", b"Subject: 3\n\nbad\n", 550)]):
        (mail / name).write_bytes(raw)
        wire = re.sub(rb"\r\n|\r|\n", b"\r\n", raw) + (b"" if raw.endswith(b"\n") else b"\r\n")
        id = f"06GZZKKERVG5QKZAZA8{number}"
        stored = (f"X-Virus-Scanned: ClamAV\r\nReceived: from a (b [127.0.0.1])\r\n\tby edge-1 with ESMTP id {id}\r\n"
                  "\tfor <alice@example.edu>;\r\n\tSun, 22 Nov 2026 05:00:00 +0000\r\n").encode() + wire
        hit = name == ("virus.eml" if harm == "passed" else "one.eml")
        if (code == 250 and not (hit and harm == "lost")) or (hit and harm == "passed"):
            (sink / f"{number}.eml").write_bytes(stored.replace(b"one", b"0ne") if hit and harm == "changed" else stored)
        if hit and harm == "twice":
            (sink / "9.eml").write_bytes(stored)
        if not (hit and harm == "unsent"):
            lines.append(f"token{number} {0 if hit and harm == 'unanswered' else code} 1 99 {id} {weir.digest(wire)} alice@example.edu\n")
    ids.write_text("".join(lines))
    done = subprocess.run([weir.ROOT / "deploy/compare-mail", mail, ids, sink], capture_output=True, text=True)
    if harm is None:
        assert done.returncode == 0 and done.stderr == "", done
        assert "3 messages: 2 arrived, each once and byte for byte; 1 refused with a reply; 0 unaccounted for\n550: 1 (virus.eml)\n" == done.stdout
    else:
        assert done.returncode == 1 and re.fullmatch(said + "\n", done.stderr) and "; 1 unaccounted for" in done.stdout, done


def test_demo_sees_what_it_says(folder):
    mail = folder / "mail"
    shutil.copytree(weir.ROOT / "deploy/mail", mail)
    (mail / "virus.eml").write_bytes(weir.message(weir.EICAR.decode() + "\r\n"))
    (mail / "part.eml").write_bytes(b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: message/partial; id=\"a@b\"; number=1; total=2\r\n\r\nSubject: y\r\n\r\none\r\n")
    done = cluster(folder / "c", "demo", "--base-port", weir.free_base_port(), "--mail", mail)
    shutil.rmtree(mail)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("5 accepted, 5 at the next hop", "5 of 7 messages accepted",
                 "7 messages: 5 arrived, each once and byte for byte; 2 refused with a reply; 0 unaccounted for", "550: 2 (", "550 5.7.1 Message refused: virus", "each once; nobody saw an error",
                 "scanner-1 is active again", "accepted - delivered - discarded = 0", "stops everything"):
        assert line in done.stdout, (line, done.stdout)


def test_start_returns_when_the_node_serves(make_cluster):
    """No waiting and no second tries here: that is what is tested."""
    one = make_cluster(edges=1, scanners=1, sets=["drain_mode=close"])
    doors = [one.env[f"EDGE_1_{name}"] for name in ("RELAY", "SUBMISSION", "SUBMISSIONS", "HANDOFF")]

    def knock():
        for door in doors:
            host, port = door.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=30).close()

    for _ in range(3):
        for end in (one.kill, one.stop):
            end("edge-1")
            one.start("edge-1")
            knock()
    for end in (one.kill, one.stop):
        end("scanner-1")
        one.start("scanner-1")
        shown = json.loads(one.weirctl("--json", "node", "show", "scanner-1").stdout)
        assert shown["state"] == "active" and shown["generation"] >= 1 and shown["signatures"], shown
    for end in (one.kill, one.stop):
        end("coordinator-1")
        one.start("coordinator-1")
        assert one.http("/readyz")[0] == 200

    one.weirctl("drain", "--wait", "--force", "edge-1")
    one.stop("edge-1")
    one.start("edge-1")  # and it does not wait for doors that stay closed
    assert one.nodes()["edge-1"]["state"] == "drained"
    with pytest.raises(ConnectionRefusedError):
        knock()
    one.weirctl("undrain", "--wait", "edge-1")

    one.stop("coordinator-1")
    for node in ("edge-1", "scanner-1"):  # what they were told before is enough for them
        one.stop(node)
        one.start(node)
    knock()
    one.start("coordinator-1", wait=False)


def test_start_tells_why_a_node_does_not_serve(make_cluster):
    one = make_cluster(edges=1, scanners=1)
    for node, key in (("edge-1", "max_sesions"), ("scanner-1", "slotz"), ("coordinator-1", "audit_dayz")):
        path = one.dir / node / "weir.conf"
        good = path.read_text()
        one.stop(node)
        path.write_text(f"{key} = 7\n{good}")
        done = one.run("start", node, check=False)
        assert done.returncode == 1, done
        assert f"{path}:1: error: unknown key '{key}'" in done.stderr and f"cluster: {node} does not serve" in done.stderr, done.stderr
        path.write_text(good)
        one.start(node)

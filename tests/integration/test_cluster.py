"""deploy/cluster as a newcomer meets it: odd folders, ports in use, wrong words, everything killed; and the demo from end to end."""
import concurrent.futures
import os
import pathlib
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


def cluster(where, *words):
    env = dict(os.environ, WEIR_NO_BUILD="1", WEIR_CLUSTER=str(where))
    return subprocess.run([SCRIPT, *map(str, words)], env=env, capture_output=True, text=True, timeout=300)


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
    (["up", "--spam", "rspamd"], "no spam scoring"),
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
                     "COORDINATOR_1_PID", "COORDINATOR_1_HTTP", "DATABASE_URL", "WEIRCTL", "CA_FILE", "LOG_DIR", "SINK_DIR"]
    look = """. "$0/cluster.env" && $WEIRCTL node list && test -s "$CA_FILE" && test -d "$LOG_DIR" && test -d "$SINK_DIR" &&
              kill -0 $EDGE_1_PID $SCANNER_1_PID $COORDINATOR_1_PID && curl -fsS --noproxy '*' "$COORDINATOR_1_HTTP/readyz" """
    done = subprocess.run(["bash", "-c", look, place], capture_output=True, text=True)
    assert done.returncode == 0 and re.search(r"^edge-1 .* active ", done.stdout, re.M), done

    postmaster = pathlib.Path((place / "postgres.path").read_text().strip(), "data/postmaster.pid").read_text().splitlines()[0]
    for pid in [path.read_text() for path in (place / "run").glob("*.pid")] + [postmaster]:
        os.kill(int(pid), signal.SIGKILL)
    assert cluster(place, "up").returncode == 0
    done = subprocess.run(["bash", "-c", look, place], capture_output=True, text=True)
    assert done.returncode == 0, done
    assert cluster(place, "up").returncode == 0, "twice is fine"
    done = cluster(place, "down")
    assert done.returncode == 0 and not processes(place), done


def test_demo_sees_what_it_says(folder):
    done = cluster(folder / "c", "demo", "--base-port", weir.free_base_port(), "--mail", weir.ROOT / "deploy/mail")
    assert done.returncode == 0, done
    for line in ("5 accepted, 5 at the next hop", "5 of 5 messages accepted", "550 5.7.1 Message refused: virus", "each once; nobody saw an error",
                 "scanner-1 is active again", "accepted - delivered - discarded = 0", "stops everything"):
        assert line in done.stdout, (line, done.stdout)

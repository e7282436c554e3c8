"""What can only be seen at port 25, all of it in one file, as one test at a time has that port: mail to hosts that no line names a port of (S47, S50), and
edges whose files name none (S53, S54, S75)."""
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess

import pytest

import test_mx
import weir
from coordinators import BIN, Coordinators
from test_directions import SENDERS
from test_relay import FOREIGN, OWN
from weir import Smtp, message, smtputf8, wait_until

TABLE = """students.stir.ac.uk smtp:[glass.stir.ac.uk]
.sub.stir.ac.uk smtp:glass.stir.ac.uk
deep.sub.stir.ac.uk smtp:[glass.stir.ac.uk]
old.stir.ac.uk error:5.1.6:551 moved to glass
hole.stir.ac.uk discard:
"""


@pytest.fixture(scope="module")
def port_25():
    """The port of mail. Another run of this file in the same network waits for it."""
    with socket.socket(socket.AF_UNIX) as claim:
        def claimed():
            with contextlib.suppress(OSError):
                claim.bind("\0weir-test-port-25")
                return True
            return False

        wait_until(claimed, 80, "the end of another test at port 25")
        if test_mx.free_port([25]) is None:
            pytest.skip("port 25 cannot be had here")
        yield 25


def listening(pid):
    """Addresses that a process and its descendants listen on, as the kernel has them: hex."""
    inodes = set()
    for member in weir.family(pid):
        for path in pathlib.Path(f"/proc/{member}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(path)))
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                found.add(words[1].split(":")[0])
    return found


def test_S54_a_fresh_install_serves_nobody_else(port_25):
    """Nothing set but where the coordinator is: loopback only, and no mail is taken before a policy is applied."""
    with Coordinators(1) as one:
        one.start()
        one.add_key("edge-1", "edge")
        folder = one.dir / "edge"
        folder.mkdir()
        config = one.config("edge-1")
        config.write_text(f'key_file = {one.dir}/edge-1.key\nstate_dir = {folder}\ntmp_dir = {folder}\nhostname = edge-1.example.edu\n'
                          'include common.conf\n[listener "relay"]\n')
        shown = json.loads(subprocess.run([BIN / "weirctl", "-c", config, "--json", "config", "show", "--defaults"], capture_output=True, text=True, check=True).stdout)
        defaults = {f"{key['section']}.{key['key']}": key["value"] for key in shown if key["key"] in ("listen", "publish", "http") and key["value"]}
        assert defaults["listener.listen"] == "127.0.0.1:25, [::1]:25"
        assert all(re.fullmatch(r"(tcp://)?(127\.0\.0\.1|\[::1\]):\d+", address) for value in defaults.values() for address in value.split(", ")), defaults
        with open(one.dir / "edge.log", "wb") as log:
            edge = subprocess.Popen([BIN / "weir-edge", "-c", config, "--name", "edge-1"], stderr=log)
        try:
            def greeting():
                with contextlib.suppress(OSError, AssertionError):
                    with Smtp(f"127.0.0.1:{port_25}") as client:
                        return client.greeting
            answer = wait_until(greeting, 20, "the edge answers")
            assert answer.code == 421, answer
            loopback = {"0100007F", "00000000000000000000000001000000"}
            assert listening(edge.pid) and listening(edge.pid) <= loopback, listening(edge.pid)
        finally:
            edge.terminate()
            edge.wait(20)


@pytest.fixture(scope="class")
def campus(port_25):
    """No default route: everything but the own domain and what the table names goes to its MX, at port 25. glass.stir.ac.uk is host a; its MX is host b."""
    def table(before, _made, _hosts):
        sink = next(line.split()[1] for line in before.splitlines() if line.startswith("example.edu"))
        return before.replace("\n.\t", "\n#.\t") + TABLE + f"port.stir.ac.uk {sink}\n"

    with test_mx.running(port_25, table, dns_timeout="15s") as made:
        yield made


class TestMailServers:
    def test_S50_without_a_route(self, campus):
        assert test_mx.deliver(campus, "order.example") == "a"
        assert test_mx.deliver(campus, "[127.0.0.3]") == "b"
        assert test_mx.deliver(campus, "dane.example") == "tls"
        assert test_mx.deliver(campus, "null.example").startswith("556 5.1.10")
        assert test_mx.deliver(campus, "loop.example").startswith("554 5.4.6")
        with Smtp(campus.relay(), source="127.0.0.2") as stranger:
            answer, = stranger.envelope(recipients=["x@order.example"])
            assert answer.code == 550 and "Relay access denied" in answer.text
        with Smtp(campus.relay()) as client:
            token = f"{weir.random.getrandbits(64):016x}"
            assert client.command("MAIL FROM:<sender@example.org> SMTPUTF8").code == 250
            assert client.command("RCPT TO:<x@b\u00fccher.example>").code == 250
            assert client.data(message(token=token)).code == 250
        assert campus.hosts.where(token) == ["b"]

    def test_S50_several_domains_in_one_transaction(self, campus):
        token = f"{weir.random.getrandbits(64):016x}"
        with Smtp(campus.relay()) as client:
            answers = client.envelope(recipients=["x@order.example", "y@next.example", "z@dane.example"])
            assert [answer.code for answer in answers] == [250, 250, 250]
            assert client.data(message(token=token)).code == 250
        wait_until(lambda: sorted(campus.hosts.where(token)) == ["a", "b", "tls"], 30, "a copy at each domain")
        for name, recipient in (("a", "x@order.example"), ("b", "y@next.example"), ("tls", "z@dane.example")):
            (_, envelope), = campus.hosts.sinks[name].with_token(token)
            assert envelope["recipients"] == [recipient]

    @pytest.mark.parametrize("domain, where", [
        ("students.stir.ac.uk", "a"),    # brackets: the host itself, not its MX
        ("x.sub.stir.ac.uk", "b"),       # .sub, and without brackets the MX
        ("deep.sub.stir.ac.uk", "a"),    # the longest match
        ("port.stir.ac.uk", ""),         # at the cluster's own sink
        ("old.stir.ac.uk", "551 5.1.6 <x@old.stir.ac.uk>: moved to glass"),
        ("hole.stir.ac.uk", ""),
    ])
    def test_S47_mailertable(self, campus, domain, where):
        before = campus.sink.count()
        assert test_mx.deliver(campus, domain) == where
        assert campus.sink.count() == before + (domain == "port.stir.ac.uk")


@pytest.fixture(scope="class")
def fresh(port_25):
    """An edge whose file says who it is, which services it has, and nothing else; a policy of one domain of its own and where its mail goes."""
    made = weir.Cluster(edges=2, scanners=1)
    try:
        made.up()
        made.stop("edge-2")
        config = made.dir / "edge-2" / "weir.conf"
        config.write_text(f"key_file = {made.dir}/keys/edge-2.key\n\ninclude ../common.conf\n\n[edge]\nhostname = edge-2.example.edu\ntmp_dir = {made.dir}/tmp\n"
                          '\n[listener "mx"]\n'
                          '\n[listener "submission"]\nprofile = submission\nlisten = 127.0.0.1:587\n'
                          '\n[listener "handoff"]\nprofile = handoff\nlisten = 127.0.0.3:25\n')
        folder = made.dir / "policy"
        (folder / "networks").unlink()
        table = folder / "mailertable"
        table.write_text(next(line for line in table.read_text().splitlines() if line.startswith("example.edu")) + "\n")
        made.weirctl("policy", "apply", str(folder))
        made.start("edge-2", wait=False)
        wait_until(lambda: made.nodes()["edge-2"]["state"] == "active" and made.nodes()["edge-2"]["policy_epoch"] == 2, 60, "the edge with the policy")
        made.doors = {"mx": f"127.0.0.1:{port_25}", "mx-6": f"[::1]:{port_25}", "submission": "127.0.0.1:587", "handoff": f"127.0.0.3:{port_25}"}

        def greets():
            with Smtp(made.doors["mx"], ehlo=None) as client:
                return client.greeting.code == 220
        wait_until(lambda: all(greets() for _ in range(20)), 30, "every worker of the edge serves")
        yield made
    finally:
        made.down()


class TestDefaults:
    @pytest.mark.parametrize("door", ["mx", "mx-6", "submission", "handoff"])
    def test_S53_S75_the_defaults_relay_for_nobody(self, fresh, door):
        """No client is inside, be it on the same machine, where no line of a file says so."""
        for recipient in FOREIGN:
            for sender in SENDERS:
                with Smtp(fresh.doors[door]) as client:
                    answer = client.command(f"MAIL FROM:<{sender}>{smtputf8(recipient)}")
                    assert answer.code == (530 if door == "submission" else 250), answer
                    answer = client.command(f"RCPT TO:<{recipient}>")
                    assert 500 <= answer.code <= 599, (door, sender, recipient, answer)
                    assert client.command("DATA").code in (503, 554)

    def test_S75_what_the_defaults_are_for(self, fresh):
        for recipient in [*OWN, "abuse@example.edu"]:
            with Smtp(fresh.doors["mx"]) as client:
                assert [answer.code for answer in client.envelope(recipients=[recipient])] == [250], recipient
                assert client.data(message()).code == 250
        for door in ("submission", "handoff"):
            with Smtp(fresh.doors[door]) as client:
                assert "AUTH" not in client.ehlo.text, "not in clear"
                client.command("MAIL FROM:<alice@example.edu>")
                assert client.command("RCPT TO:<alice@example.edu>").code in (503, 550)
        assert json.loads(fresh.weirctl("--json", "relay", "explain", "127.0.0.1", "victim@example.com").stdout)["result"] == "refuse"
        assert listening(fresh.pid("edge-2")) <= {"0100007F", "0300007F", "00000000000000000000000001000000"}

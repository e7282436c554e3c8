"""A private cluster, a raw SMTP client and the sink's folder, for integration and fault tests.

Nothing here sleeps to "let things settle": wait_until() asks for a condition with a deadline and fails with what it saw last.
"""
import collections
import contextlib
import datetime
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("WEIR_BUILD", "build")
BIN = BUILD / "bin"
SANITIZED = "address" in BUILD.name
# Deadlines are about "never", not about speed: what is due in a second may take three beside other tests on two cores, and more in a sanitizer build.
PATIENCE = 8 if SANITIZED else 3


# What a condition may say instead of being false: nobody answers, not that answer, no such row yet, no such series yet.
NOT_YET = OSError, AssertionError, ValueError, LookupError, TypeError, AttributeError, subprocess.SubprocessError


def wait_until(condition, seconds=15, what="the condition"):
    """Returns condition()'s first true value; fails when there is none in time."""
    began = time.monotonic()
    until = began + seconds * PATIENCE
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except NOT_YET as error:
            last = error
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not come true in {seconds * PATIENCE} s; last seen: {last!r}")
        time.sleep(pause(began))


def pause(began):
    """Before another look: a twentieth of what was waited, as each look is work that what is waited for cannot do meanwhile."""
    return min(0.1, 0.02 + (time.monotonic() - began) / 20)


def check_for_reports(logs):
    """Of sanitizers and assertions, in {name: text}; a daemon that was restarted after one may look as if nothing had been."""
    for name, text in logs.items():
        for sign in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "assertion failed"):
            assert sign not in text, f"{name}: {text[max(0, text.index(sign) - 200):text.index(sign) + 3000]}"


class BasePort(int):
    """A number that claims its block of ports among all tests of this network namespace for as long as somebody holds it."""

    def __new__(cls, value):
        self = super().__new__(cls, value)
        self.claim = socket.socket(socket.AF_UNIX)
        self.claim.bind(f"\0weir-test-ports-{value}")  # OSError: another test has it
        return self


def free_base_port():
    """A base port whose whole block (P+10 .. P+400) is free now, and claimed: two clusters that start at the same time would both find it free.
    Below the range that the system takes the ports of outgoing connections from: there, any client of any test could take one between our
    look and a node's bind, or its restart."""
    first_ephemeral = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    seedless = random.SystemRandom()  # two runs with the same seed may be under way
    until = time.monotonic() + 20 * PATIENCE
    while time.monotonic() < until:
        try:
            base = BasePort(seedless.randrange(10000, max(first_ephemeral, 12000) - 500, 500))
            with contextlib.ExitStack() as held:
                for offset in (10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33, 201, 202, 203, 204, 310, 311, 312, 320, 321, 322, 394, 395, 396, 400):
                    sock = held.enter_context(socket.socket())
                    # As who listens there does: connections of a cluster of before that have ended keep a port from others for a minute, and the
                    # quicker the machine, the more of the few blocks would be kept so.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind(("127.0.0.1", base + offset))
            return base
        except OSError:
            time.sleep(0.02)
    raise AssertionError("no free ports")


class Reply:
    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[-1][:3])
        self.text = "\n".join(line[4:] for line in lines)

    def __repr__(self):
        return f"<{self.code} {self.text}>"

    @property
    def queue_id(self):
        match = re.search(r"\b([0-9A-HJKMNP-TV-Z]{20})\b", self.text)
        return match and match.group(1)


def smtputf8(*addresses):
    """The parameter of MAIL without which these can't be named (RFC 6531)."""
    return "" if all(address.isascii() for address in addresses if isinstance(address, str)) else " SMTPUTF8"


class Smtp:
    """A client that sends exactly the bytes it is given."""

    def __init__(self, address, source=None, ehlo="client.example.org", timeout=60, greet=True):
        host, port = address.rsplit(":", 1)
        self.sock = socket.create_connection((host.strip("[]"), int(port)), timeout * PATIENCE,
                                             source_address=(source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if greet:
            self.greeting = self.reply()
            if ehlo and self.greeting.code == 220:
                self.ehlo = self.command(f"EHLO {ehlo}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        while b"\r\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError(f"closed; unread: {self.buffer!r}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("utf-8", "replace")

    def reply(self):
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return Reply(lines)

    def command(self, text):
        self.send(text.encode() + b"\r\n" if isinstance(text, str) else text + b"\r\n")
        return self.reply()

    def closed(self):
        """Whether the server closed the connection (after anything still unread)."""
        try:
            while True:
                data = self.sock.recv(65536)
                if not data:
                    return True
                self.buffer += data
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    def starttls(self, ca_file):
        answer = self.command("STARTTLS")
        assert answer.code == 220, answer
        context = ssl.create_default_context(cafile=ca_file)
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.ehlo = self.command("EHLO client.example.org")

    def envelope(self, sender="sender@example.org", recipients=("alice@example.edu",), parameters=""):
        answer = self.command(f"MAIL FROM:<{sender}>{parameters}{smtputf8(sender, *recipients)}")
        assert answer.code == 250, answer
        answers = [self.command(f"RCPT TO:<{recipient}>") for recipient in recipients]
        return answers

    def data(self, message, segments=None):
        """DATA with dot-stuffing; segments: sizes of the pieces to send, used round robin. The final reply."""
        answer = self.command("DATA")
        if answer.code != 354:
            return answer
        wire = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
        if not wire.endswith(b"\r\n"):
            wire += b"\r\n"
        self.pieces(wire + b".\r\n", segments)
        return self.reply()

    def bdat(self, message, chunks=None):
        """BDAT in chunks of the given sizes (round robin), all pipelined; the last reply, or the first that refused."""
        sizes = chunks or [len(message) or 1]
        at = count = 0
        while True:
            size = sizes[count % len(sizes)]
            last = at + size >= len(message)
            piece = message[at:at + size]
            self.send(f"BDAT {len(piece)}{' LAST' if last else ''}\r\n".encode() + piece)
            at += size
            count += 1
            if last:
                break
        answers = [self.reply() for _ in range(count)]
        return next((answer for answer in answers if answer.code >= 400), answers[-1])

    def pieces(self, data, segments):
        if not segments:
            self.send(data)
            return
        at = count = 0
        while at < len(data):
            size = segments[count % len(segments)]
            self.send(data[at:at + size])
            at += size
            count += 1


def message(body="Hello.\r\n", subject="test", token=None, size=None):
    """A small correct message; token goes into header and body; size pads it to about that many bytes."""
    token = token or f"{random.getrandbits(64):016x}"
    text = (f"From: Sender <sender@example.org>\r\nTo: alice@example.edu\r\nSubject: {subject}\r\n"
            f"Date: Mon, 5 Oct 2026 10:00:00 +0200\r\nMessage-ID: <{token}@example.org>\r\nX-Token: {token}\r\n\r\n{body}").encode()
    if size and size > len(text):
        line = (token * 5)[:74].encode() + b"\r\n"
        text += line * ((size - len(text)) // len(line))
        text += b"x" * (size - len(text) - 2) + b"\r\n" if size - len(text) >= 2 else b""
    return text


EICAR = ("X5O!P%@AP[4" + "\\PZX54(P^)7CC)7}" + "$EICAR-STANDARD-" + "ANTIVIRUS-TEST-FILE!" + "$H+H*").encode()


class Sink:
    """The folder of weir-sink: one .eml and one .json for each message."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def files(self):
        return sorted(self.folder.glob("*.eml"))

    def count(self):
        return sum(1 for entry in os.scandir(self.folder) if entry.name.endswith(".eml"))

    def messages(self):
        for path in self.files():
            yield path.read_bytes(), json.loads(path.with_suffix(".json").read_text())

    def with_token(self, token):
        needle = token.encode()
        return [(raw, envelope) for raw, envelope in self.messages() if needle in raw]

    def clear(self):
        for path in self.folder.iterdir():
            if path.suffix != ".tmp":  # of a message that is on its way
                path.unlink(missing_ok=True)


def strip_added(raw):
    """The message without what Weir put on top (documented: an X-Virus-Scanned header of one line and a Received header of some, up to the
    one with the date: a message may begin with white space itself)."""
    added = re.match(rb"X-Virus-Scanned: [^\r\n]*\r\nReceived: [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*?\t\w{3}, \d+ \w{3} \d{4} [\d:]{8} [+-]\d{4}\r\n", raw)
    assert added, raw[:300]
    return raw[added.end():]


class Cluster:
    """One deploy/cluster. Options: edges, scanners, coordinators, next_hop, signatures, scan, spam, sets=["key=value"]; files={path in its folder: text}, there before
    anything starts."""

    def __init__(self, **options):
        self.options = options
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-test."))
        self.dir.chmod(0o755)
        self.env = {}

    def up(self):
        words = []
        for name in ("edges", "scanners", "coordinators", "next_hop", "signatures", "scan", "spam"):
            if self.options.get(name) is not None:
                words += [f"--{name.replace('_', '-')}", str(self.options[name])]
        for setting in [*self.options.get("sets", []), *self.times()]:
            words += ["--set", setting]
        for attempt in range(3):  # another program may take a port between our look and the bind
            self.base_port = free_base_port()
            for name, text in self.options.get("files", {}).items():
                (self.dir / name).parent.mkdir(exist_ok=True)
                (self.dir / name).write_text(text)
            done = self.run("up", "--base-port", str(self.base_port), *words, check=False)
            if done.returncode == 0:
                break
            self.run("down", check=False)
            if "in use" not in done.stderr + done.stdout or attempt == 2:
                raise AssertionError(f"cluster up failed:\n{done.stdout}{done.stderr}")
            self.remove()
            self.dir.mkdir(mode=0o755)
        self.read_env()
        return self

    @staticmethod
    def times():
        """Whoever has mail in the quarantine is told so at some times of the day, by mail that tests do not expect: none of them is near."""
        return [f"digest_times={datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=12):%H:%M}"]

    def run(self, *words, check=True):
        env = dict(os.environ, WEIR_NO_BUILD="1", WEIR_SINK_MOODS="1", WEIR_CLUSTER=str(self.dir))
        command = [ROOT / "deploy/cluster", words[0], *words[1:]]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def read_env(self):
        self.env = {}
        for line in (self.dir / "cluster.env").read_text().splitlines():
            name, _, value = line.partition("=")
            self.env[name] = shlex.split(value)[0] if value else ""
        self.sink = Sink(self.dir / "sink")

    def relay(self, number=1):
        return self.env[f"EDGE_{number}_RELAY"]

    def relays(self):
        return ",".join(value for name, value in sorted(self.env.items()) if re.fullmatch(r"EDGE_\d+_RELAY", name))

    def pid(self, node):
        return int((self.dir / "run" / f"{node}.pid").read_text())

    def kill(self, node, how=signal.SIGKILL):
        """A node's first process, as it would die; for "postgres" all its processes, as a machine would take them."""
        pid = self.postgres_pid() if node == "postgres" else self.pid(node)
        if node == "postgres" and how == signal.SIGKILL:  # that one forks no other while we look who there is
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                wait_until(lambda: process_state(pid) in ("T", "", "Z"), what="its rest")
        for member in family(pid) if node == "postgres" else [pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, how)
        if how == signal.SIGKILL:
            wait_until(lambda: process_state(pid) in ("", "Z"), what=f"the end of {node}")

    def heal(self):
        """Whatever was stopped goes on, whatever was killed is started; returns when the cluster serves."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.run("up")
        self.read_env()
        wait_until(lambda: all(node["state"] == "active" for node in self.nodes().values()), 30, "all nodes active")

    def start(self, node, wait=True):
        """wait=False: it may come when it likes, or die again, as in tests that measure its coming or take nodes away at random."""
        self.run("start", node, *([] if wait else ["--no-wait"]))
        self.read_env()

    def stop(self, node):
        self.run("stop", node)

    def log(self, node):
        return (self.dir / "log" / f"{node}.log").read_text(errors="replace")

    def weirctl(self, *words, check=True):
        done = once_connected(lambda: subprocess.run(shlex.split(self.env["WEIRCTL"]) + list(words), capture_output=True, text=True, timeout=120), check)
        assert not check or done.returncode == 0, f"weirctl {words}: {done.stdout}{done.stderr}"
        return done

    def query(self, sql):
        """Rows as lists of strings."""
        done = subprocess.run(["psql", self.env["DATABASE_URL"], "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql], capture_output=True,
                              text=True, timeout=60)
        if done.returncode != 0:
            raise OSError(done.stderr)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def nodes_here(self):
        """Names of the nodes that were started, whatever they do now."""
        return [path.stem for path in (self.dir / "run").glob("*.pid") if path.stem != "sink"]

    def nodes(self):
        """{"scanner-1": {...}} from weirctl node list."""
        return {node["name"]: node for node in json.loads(self.weirctl("--json", "node", "list").stdout)}

    def apply_policy(self):
        """Of the cluster's folder; returns when every worker of every edge has it. That one session was answered by it says nothing of the worker
        that has the next one."""
        epoch = int(re.search(r"policy (\d+)", self.weirctl("policy", "apply", str(self.dir / "policy")).stdout).group(1))
        self.wait_policy(epoch)

    def wait_policy(self, epoch):
        wait_until(lambda: all(node["policy_epoch"] == epoch for node in self.nodes().values() if node["role"] == "edge"), 30, f"policy {epoch} on all edges")

    def reload(self, node):
        """HUP; returns when every worker of the edge has followed."""
        before, workers = self.log(node).count("reloaded: new sessions"), len(workers_of(self, node))
        self.kill(node, signal.SIGHUP)
        wait_until(lambda: self.log(node).count("reloaded: new sessions") >= before + workers, 30, f"the new configuration of {node}")

    def wait_state(self, node, *states, seconds=15):
        wait_until(lambda: self.nodes()[node]["state"] in states, seconds, f"{node} in state {'|'.join(states)}")

    def http(self, path, number=1):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.env[f"COORDINATOR_{number}_HTTP"] + path, timeout=10 * PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except http.client.HTTPException as error:  # it ended in the middle of its answer
            raise ConnectionError(str(error)) from error

    def metric(self, name, number=1, **labels):
        """The sum over all series that carry the labels; None when there is none."""
        total = None
        for line in self.http("/metrics", number)[1].splitlines():
            match = line.startswith(name) and re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line)
            if match and match.group(1) == name and all(f'{key}="{value}"' in (match.group(2) or "") for key, value in labels.items()):
                total = (total or 0) + float(match.group(3))
        return total

    def greets(self, code, edge=1):
        """Whether every worker of the edge does: each sees the farm for itself, and the kernel chooses the worker."""
        def one():
            with Smtp(self.relay(edge), ehlo=None) as client:
                return client.greeting.code
        return all(one() == code for _ in range(20))

    def send(self, raw, edge=1, source=None, sender="sender@example.org", recipients=("alice@example.edu",), door="RELAY"):
        with Smtp(self.env[f"EDGE_{edge}_{door}"], source) as client:
            if client.greeting.code != 220:
                return client.greeting
            for answer in client.envelope(sender, recipients):
                if answer.code >= 400:
                    return answer
            return client.data(raw)

    def load(self, *words, to=None):
        """weir-load in the background; .result() waits and gives (report, {token: Answer})."""
        return Load(self, to or self.relays(), words)

    def down(self):
        # Anything stopped with SIGSTOP could not end by itself.
        for path in (self.dir / "run").glob("*.pid") if (self.dir / "run").exists() else []:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGCONT)
        done = self.run("down", check=False)
        logs = {path.name: path.read_text(errors="replace") for path in (self.dir / "log").glob("*.log")} if (self.dir / "log").exists() else {}
        left = self.processes()
        until = time.monotonic() + 30
        while left and all(what.startswith("postgres:") for what in left.values()) and time.monotonic() < until:
            time.sleep(0.02)  # pg_ctl waits for the end of its lock file, and after that the process ends
            left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if os.environ.get("WEIR_KEEP"):
            print(f"kept: {self.dir}")
            return
        self.remove()
        check_for_reports(logs)
        assert "did not end by itself" not in done.stderr, done.stderr
        assert not left, f"left behind after down: {list(left.values())}"

    def remove(self):
        place = self.dir / "postgres.path"
        if place.exists():
            shutil.rmtree(place.read_text().strip(), ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def processes(self):
        """{pid: command line} of everything that runs for this cluster: a parameter names its folder, or its parent's does."""
        found = {}
        place = self.dir / "postgres.path"
        folders = [str(self.dir)] + ([place.read_text().strip()] if place.exists() else [])
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().decode(errors="replace").split("\0")
                if any(word.startswith(folder + "/") for word in words for folder in folders):
                    for pid in family(int(path.parent.name)):
                        if process_name(pid) and process_state(pid) != "Z":
                            found[pid] = f"{process_name(pid)}: {' '.join(words)}"
        return found

    def postgres_pid(self):
        return int((pathlib.Path((self.dir / "postgres.path").read_text().strip()) / "data/postmaster.pid").read_text().split()[0])


Answer = collections.namedtuple("Answer", "code attempts us queue_id digest recipients")


def once_connected(weirctl, check=True):
    """What it says. Where it should succeed: again when it reached no coordinator within its 2 s, on a busy machine; it has asked nothing then."""
    until = time.monotonic() + 10 * PATIENCE
    while True:
        done = weirctl()
        if not check or "cannot connect" not in done.stderr or "no answer" in done.stderr or time.monotonic() > until:
            return done


class Load:
    def __init__(self, cluster, to, words):
        self.cluster = cluster
        self.ids = tempfile.NamedTemporaryFile(prefix="weir-ids.")
        self.process = subprocess.Popen(
            [BIN / "weir-load", "--to", to, "--ids", self.ids.name, "--digests", "--json", "--from", "load@example.org", "--rcpt", "alice@example.edu",
             *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def running(self):
        return self.process.poll() is None

    def result(self, seconds=180):
        out, err = self.process.communicate(timeout=seconds * PATIENCE)
        assert self.process.returncode == 0, out + err
        answers = {}
        for line in pathlib.Path(self.ids.name).read_text().splitlines():
            token, code, attempts, us, queue_id, sent, recipients = line.split()
            answers[token] = Answer(int(code), int(attempts), int(us), queue_id, sent, recipients.split(",") if recipients != "-" else [])
        return json.loads(out), answers


def tokens_at(sink):
    """{token: how often} for what weir-load sent (X-Weir-Load: token)."""
    found = {}
    for path in sink.files():
        match = re.search(rb"^X-Weir-Load: (\S+)", path.read_bytes(), re.M)
        if match:
            token = match.group(1).decode()
            found[token] = found.get(token, 0) + 1
    return found


Copy = collections.namedtuple("Copy", "edge queue_id arrived digest recipients")
Death = collections.namedtuple("Death", "edge at")


def copies_at(sink):
    """{token: [Copy]} for what weir-load sent (X-Weir-Load: token)."""
    found = {}
    for raw, envelope in sink.messages():
        header = raw[:raw.index(b"\r\n\r\n")]
        token = re.search(rb"^X-Weir-Load: (\S+)", header, re.M)
        if token:
            by = re.search(rb"\bby (\S+?)\.weir\.test\b.*?\bid ([0-9A-Z]{20})", header, re.S)
            arrived = datetime.datetime.fromisoformat(envelope["time"].replace("Z", "+00:00")).timestamp()
            found.setdefault(token.group(1).decode(), []).append(
                Copy(by.group(1).decode(), by.group(2).decode(), arrived, digest(strip_added(raw)), envelope["recipients"]))
    return found


def check_nothing_lost(cluster, answers, deaths=()):
    """Everything answered 250 is at the sink, unchanged, once for each recipient that was accepted and for nobody else, in the copy that the 250 names.

    Another copy may be there only where an edge died (deaths) between the next hop's 250 and its own: such a copy was made by that edge, has an
    id that was never answered, and arrived around the death; and each try of the client can have made one copy. Returns how many there are."""
    around = 80 if SANITIZED else 20  # seconds: the sink may read its socket a while after the edge's end, and a loaded edge may answer late
    found = copies_at(cluster.sink)
    accepted = {token: answer for token, answer in answers.items() if answer.code == 250}
    assert accepted, "no message was accepted at all"
    lost = [token for token in accepted if token not in found]
    assert not lost, f"{len(lost)} of {len(accepted)} acknowledged messages are lost, e.g. {lost[:3]}"
    unknown = [token for token in found if token not in answers]
    assert not unknown, f"{len(unknown)} messages at the sink were never sent, e.g. {unknown[:3]}"
    extra = 0
    for token, copies in found.items():
        answer = answers[token]
        assert all(copy.digest == answer.digest for copy in copies), f"{token} was changed on its way"
        assert len(copies) <= answer.attempts, f"{token}: more copies than the client made tries: {answer}, {copies}"
        named = [copy for copy in copies if copy.queue_id == answer.queue_id and answer.code == 250]
        reached = [recipient for copy in named for recipient in copy.recipients]
        assert sorted(reached) == (sorted(answer.recipients) if answer.code == 250 else []), f"{token} was answered {answer}, and the sink has {copies}"
        for copy in copies:
            if copy in named:
                continue
            extra += 1
            assert answer.code != 250 or sorted(copy.recipients) == sorted(answer.recipients), f"{token} went to others, too: {copy}, answered {answer}"
            assert any(death.edge == copy.edge and abs(death.at - copy.arrived) < around for death in deaths), \
                f"{token} is at the sink without an answer, and its edge did not die: {copy}, answered {answer}"
    print(f"{len(accepted)} acknowledged for {sum(len(answer.recipients) for answer in accepted.values())} recipients, all there and unchanged; "
          f"{extra} more copies from {len(deaths)} deaths of edges")
    return extra


def check_no_client_noticed(answers):
    bad = {token: answer for token, answer in answers.items() if answer.code != 250 or answer.attempts != 1}
    assert not bad, f"{len(bad)} of {len(answers)} saw something else than one 250, e.g. {list(bad.items())[:3]}"


def workers_of(cluster, node):
    return [pid for pid in family(cluster.pid(node)) if pid != cluster.pid(node)]


def process_state(pid):
    """R, S, D, T, Z; empty when there is none."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def process_name(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def memory_kib(pid, field="Pss"):
    """Of a process and all its descendants, from smaps_rollup: shared pages are counted once."""
    return sum(memory_kib_of(member, field) for member in family(pid))


def memory_kib_of(pid, field="Pss"):
    """Of this process alone; 0 when it is gone."""
    with contextlib.suppress(OSError, AttributeError):
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M).group(1))
    return 0


def family(pid):
    members = [pid]
    for member in members:
        with contextlib.suppress(OSError):
            for task in pathlib.Path(f"/proc/{member}/task").iterdir():
                members += map(int, (task / "children").read_text().split())
    return members


def comm(pid):
    """The name a process gave itself; empty once it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def digest(data):
    return hashlib.sha256(data).hexdigest()

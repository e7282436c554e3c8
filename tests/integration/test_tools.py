"""weir-sink and weir-load against each other: what every other test relies on."""
import json
import re
import signal
import socket
import subprocess
import time

import pytest

from hops import Hop
from weir import BIN, PATIENCE, Sink, Smtp, digest, free_base_port, message, tokens_at, wait_until


class RunningSink:
    """On a port that is nobody's while the sink is away: above, a client that looks for it could get it as its own, and talk to itself."""

    def __init__(self, folder, *words, block=None):
        self.block = block or free_base_port()
        self.address = f"127.0.0.1:{self.block + 5}"
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.sink = Sink(folder)
        self.process = subprocess.Popen([BIN / "weir-sink", "--listen", self.address, "--dir", folder, *map(str, words)],
                                        stderr=subprocess.PIPE, text=True)
        host, port = self.address.split(":")
        wait_until(lambda: socket.create_connection((host, int(port)), 1).close() or True, what="the sink's port")

    def end(self):
        self.process.terminate()
        err = self.process.communicate(timeout=20 * PATIENCE)[1]
        assert self.process.returncode == 0, err
        return err


@pytest.fixture
def make_sink(tmp_path):
    made = []

    def make(*words, **options):
        made.append(RunningSink(tmp_path / "mail", *words, **options))
        return made[-1]
    yield make
    for sink in made:
        if sink.process.poll() is None:
            sink.end()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key", "-out", folder / "cert", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return folder / "cert", folder / "key"


def load(tmp_path, to, *words):
    """(report, {token: [code, tries, us, queue id, and with --digests: digest, recipients]})"""
    ids = tmp_path / "ids"
    done = subprocess.run([BIN / "weir-load", "--to", to, "--ids", ids, "--json", *map(str, words)], capture_output=True, text=True, timeout=60 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), {line.split()[0]: line.split()[1:] for line in ids.read_text().splitlines()}


# ---- weir-sink ----

@pytest.mark.parametrize("how", ["data", "bytewise", "bdat", "chunks", "tls"])
def test_the_sink_keeps_the_bytes_and_the_envelope(make_sink, certificate, how):
    sink = make_sink("--tls", *certificate)
    raw = message(body=".\r\n..\r\n.a\r\n\r\nJ\u00f6rg \xff\r\n")
    with Smtp(sink.address) as client:
        if how == "tls":
            client.starttls(certificate[0])
        answers = client.envelope("a@b.org", ["x@example.edu", "y@example.edu"], " SIZE=1000 BODY=8BITMIME")
        assert [answer.code for answer in answers] == [250, 250]
        answer = {"bdat": lambda: client.bdat(raw), "chunks": lambda: client.bdat(raw, [1, 7, 100]), "bytewise": lambda: client.data(raw, [1])}.get(
            how, lambda: client.data(raw))()
    assert answer.code == 250
    (stored, envelope), = sink.sink.messages()
    assert stored == raw
    assert answer.text.endswith(sink.sink.files()[0].stem)
    assert envelope["sender"] == "a@b.org" and envelope["recipients"] == ["x@example.edu", "y@example.edu"]
    assert envelope["params"] == "SIZE=1000 BODY=8BITMIME" and envelope["recipient_params"] == ["", ""]
    assert envelope["client"] == "127.0.0.1" and envelope["helo"] == "client.example.org"
    assert envelope["protocol"] == ("ESMTPS" if how == "tls" else "ESMTP") and bool(envelope["tls"]) == (how == "tls")
    assert envelope["bdat"] == (how in ("bdat", "chunks")) and envelope["violations"] == [] and envelope["size"] == len(raw)


def test_the_sink_notes_violations(make_sink):
    sink = make_sink()
    with Smtp(sink.address) as client:
        client.envelope()
        assert client.bdat(b"a\nb\r\rc\0\r\n").code == 250
    assert list(sink.sink.messages())[0][1]["violations"] == ["bare_lf", "bare_cr", "nul"]


@pytest.mark.parametrize("local, at_rcpt, at_end, kept", [
    ("unknown-x", 550, None, 0), ("full-x", 452, None, 0), ("late-x", 250, 550, 0), ("latedefer-x", 250, 451, 0), ("slow-x", 250, 250, 1),
    ("LATE-x", 250, 550, 0), ("later", 250, 250, 1)])
def test_the_sink_misbehaves_as_asked(make_sink, local, at_rcpt, at_end, kept):
    sink = make_sink("--moods")
    with Smtp(sink.address) as client:
        assert client.envelope(recipients=[f"{local}@example.edu"])[0].code == at_rcpt
        if at_end:
            started = time.monotonic()
            assert client.data(message()).code == at_end
            assert local != "slow-x" or time.monotonic() - started >= 1.9
        assert client.command("RSET").code == 250
    assert sink.sink.count() == kept
    assert not [path for path in sink.folder.iterdir() if path.suffix == ".tmp"]


def test_the_sink_hangs_up_as_asked(make_sink):
    sink = make_sink("--moods")
    with Smtp(sink.address) as client:
        assert client.envelope(recipients=["four21-x@example.edu"])[0].code == 421
        assert client.closed()
    with Smtp(sink.address) as client:
        client.envelope(recipients=["drop-x@example.edu"])
        with pytest.raises(ConnectionError):
            client.data(message())
        assert client.buffer == b""
    assert list(sink.folder.iterdir()) == []


def test_the_sink_takes_every_name(make_sink):
    sink = make_sink()
    names = [f"{mood}-x@example.edu" for mood in ("unknown", "full", "four21", "late", "latedefer", "drop", "slow")]
    with Smtp(sink.address) as client:
        assert [answer.code for answer in client.envelope(recipients=names)] == [250] * len(names)
        assert client.data(message()).code == 250
    assert list(sink.sink.messages())[0][1]["recipients"] == names


def test_half_a_message_leaves_no_file(make_sink):
    sink = make_sink()
    with Smtp(sink.address) as client:
        client.envelope()
        assert client.command("DATA").code == 354
        client.send(b"Subject: half\r\n")
        wait_until(lambda: list(sink.folder.iterdir()), what="the temporary file")
    wait_until(lambda: not list(sink.folder.iterdir()), what="its end")
    with Smtp(sink.address) as client:
        client.envelope()
        client.command("DATA")
        client.send(b"Subject: half\r\n")
        wait_until(lambda: list(sink.folder.iterdir()))
        sink.end()
    assert list(sink.folder.iterdir()) == []


def test_the_sink_without_extensions(make_sink):
    sink = make_sink("--no-pipelining", "--no-8bitmime", "--no-smtputf8", "--no-chunking")
    with Smtp(sink.address) as client:
        assert client.ehlo.text.splitlines()[1:] == ["ENHANCEDSTATUSCODES", "SIZE 0"]
        assert client.command("MAIL FROM:<a@b> BODY=8BITMIME").code == 555
        client.send(b"NOOP\r\nNOOP\r\n")
        assert client.reply().code == 503 and client.closed()


def test_the_sink_slow_and_old(make_sink):
    sink = make_sink("--helo-only", "--greeting-delay", 300, "--delay", 300, "--close-idle", 6000)
    started = time.monotonic()
    with Smtp(sink.address) as client:
        assert time.monotonic() - started >= 0.29
        assert client.ehlo.code == 502
        assert client.command("HELO client").code == 250
        client.envelope()
        started = time.monotonic()
        assert client.data(message()).code == 250
        assert time.monotonic() - started >= 0.29
        assert client.closed() and time.monotonic() - started >= 6.2
    assert list(sink.sink.messages())[0][1]["protocol"] == "SMTP"


def test_two_sinks_do_not_share_a_port(make_sink):
    sink = make_sink()
    done = subprocess.run([BIN / "weir-sink", "--listen", sink.address], capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == 1 and "in use" in done.stderr


def test_the_sink_counts(make_sink):
    sink = make_sink("--moods")
    with Smtp(sink.address) as client:
        client.envelope(recipients=["a@example.edu", "unknown-a@example.edu"])
        client.data(message())
    sink.process.send_signal(signal.SIGUSR1)
    line = sink.process.stderr.readline()
    assert "messages=1 recipients=1" in line and "refused_recipients=1" in line
    sink.end()


# ---- weir-load ----

@pytest.mark.parametrize("words", ["", "--bdat", "--pipeline off", "--bdat --pipeline off", "--tls", "--recipients 3 --per-session 1", "--rate 200",
                                   "--bdat --tls --size 300001", "--bind-source 127.0.0.2-127.0.0.4"])
def test_each_message_is_at_the_sink_once(make_sink, certificate, tmp_path, words):
    sink = make_sink("--tls", *certificate)
    report, answers = load(tmp_path, sink.address, "--sessions", 5, "--messages", 40, "--digests", *words.split())
    assert report["messages"] == 40 and report["replies"] == {"250": 40} and len(answers) == 40
    assert tokens_at(sink.sink) == {token: 1 for token in answers}
    names = {path.stem for path in sink.sink.files()}
    assert all(answer[0] == "250" and answer[3] in names for answer in answers.values())
    assert {answer[4] for answer in answers.values()} == {digest(raw) for raw, _ in sink.sink.messages()}
    assert 0 < report["latency_p50_ms"] <= report["latency_p99_ms"] <= report["latency_max_ms"]
    for raw, envelope in sink.sink.messages():
        assert len(raw) == (300001 if "300001" in words else 4096) and raw.endswith(b"\r\n") and not envelope["violations"]
        assert not re.search(rb"[^\r]\n|\r[^\n]", raw)
        assert len(envelope["recipients"]) == (3 if "recipients" in words else 1)
        assert bool(envelope["tls"]) == ("--tls" in words) and envelope["bdat"] == ("--bdat" in words)
        assert envelope["client"] in (("127.0.0.2", "127.0.0.3", "127.0.0.4") if "bind" in words else ("127.0.0.1",))


def test_each_recipient_is_told(make_sink, tmp_path):
    sink = make_sink()
    _, answers = load(tmp_path, sink.address, "--sessions", 5, "--messages", 60, "--recipients", "2-5", "--own-recipients", "--digests")
    told = [answer[5].split(",") for answer in answers.values()]
    assert sorted(told) == sorted(envelope["recipients"] for _, envelope in sink.sink.messages())
    assert {len(each) for each in told} == {2, 3, 4, 5}
    everybody = sum(told, [])
    assert len(set(everybody)) == len(everybody), "no two messages have a recipient in common"
    assert all(f"alice+{token}.0@example.edu" in answer[5] for token, answer in answers.items())


@pytest.mark.parametrize("pipeline", ["on", "off"])
def test_only_accepted_recipients_are_told(tmp_path, pipeline):
    with Hop() as hop:
        hop.refuse = {"alice+1@example.edu": "550 5.1.1 who?"}
        report, answers = load(tmp_path, hop.endpoint, "--messages", 3, "--recipients", 3, "--digests", "--pipeline", pipeline)
        hop.shutdown()
    assert report["replies"] == {"250": 3} and report["recipients_refused"] == 3
    assert [answer[5] for answer in answers.values()] == ["alice@example.edu,alice+2@example.edu"] * 3


def test_transactions_at_once_are_told(make_sink, tmp_path):
    sink = make_sink("--delay", 200)
    report, _ = load(tmp_path, sink.address, "--sessions", 10, "--messages", 150)
    assert report["transactions_peak"] == 10 and 5 <= report["transactions_median"] <= 10
    report, _ = load(tmp_path, sink.address, "--sessions", 1, "--messages", 3)
    assert report["transactions_peak"] == report["transactions_median"] == 1


@pytest.mark.parametrize("size", list(range(500, 660, 7)) + [451, 452, 453, 2000000])
def test_sizes_are_exact(make_sink, tmp_path, size):
    sink = make_sink()
    load(tmp_path, sink.address, "--messages", 1, "--size", size)
    (raw, envelope), = sink.sink.messages()
    assert len(raw) == envelope["size"] == size


@pytest.mark.parametrize("words", ["", "--bdat", "--unique"])
def test_mail_from_a_folder(make_sink, tmp_path, words):
    sink = make_sink()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.eml").write_bytes(b"Subject: a\n\n.\n..x\nlast")
    (folder / "b.eml").write_bytes(b"Subject: b\r\n\r\nJ\xc3\xb6rg\r\n")
    report, answers = load(tmp_path, sink.address, "--mail", folder, *words.split())
    assert report["messages"] == 2
    expected = [b"Subject: a\r\n\r\n.\r\n..x\r\nlast\r\n", b"Subject: b\r\n\r\nJ\xc3\xb6rg\r\n"]
    if words == "--unique":
        expected = [b"X-Weir-Load: " + token.encode() + b"\r\n" + raw for token, raw in zip(sorted(answers), expected)]
    assert [raw for raw, _ in sink.sink.messages()] == expected


@pytest.mark.parametrize("local, code", [("unknown-x", "550"), ("full-x", "452"), ("four21-x", "421"), ("late-x", "550"), ("latedefer-x", "451"), ("drop-x", "0")])
@pytest.mark.parametrize("pipeline", ["on", "off"])
def test_refusals_are_told(make_sink, tmp_path, local, code, pipeline):
    sink = make_sink("--moods")
    report, answers = load(tmp_path, sink.address, "--messages", 5, "--sessions", 2, "--rcpt", f"{local}@example.edu", "--pipeline", pipeline)
    assert report["messages"] == 0 and report["replies"] == {code: 5} and report["lost"] == (5 if code == "0" else 0)
    assert [answer[:2] for answer in answers.values()] == [[code, "1"]] * 5


def test_retry_goes_to_the_next_target(make_sink, tmp_path):
    sink = make_sink()
    dead = f"127.0.0.1:{sink.block + 6}"
    report, answers = load(tmp_path, f"{dead},{sink.address}", "--messages", 20, "--sessions", 4, "--retry", "--per-session", 2)
    assert report["messages"] == 20 and report["retries"] == report["connect_errors"] > 0
    assert {answer[1] for answer in answers.values()} == {"1", "2"}
    report, answers = load(tmp_path, dead, "--messages", 2, "--retry", "--retry-for", 4)
    assert report["replies"] == {"0": 2} and all(int(answer[1]) > 2 for answer in answers.values())


def test_a_host_that_dies_under_load(make_sink, tmp_path):
    sink = make_sink()
    run = subprocess.Popen([BIN / "weir-load", "--to", sink.address, "--sessions", "20", "--messages", "800", "--rate", "200", "--retry", "--json",
                            "--ids", tmp_path / "ids"], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: sink.sink.count() > 20)
    sink.process.kill()
    sink.process.wait()
    again = make_sink(block=sink.block)
    report = json.loads(run.communicate(timeout=60 * PATIENCE)[0])
    answers = [line.split() for line in (tmp_path / "ids").read_text().splitlines()]
    assert report["messages"] == report["finished"] == len(answers) == 800
    found = tokens_at(again.sink)
    assert all(found[answer[0]] >= 1 for answer in answers if answer[1] == "250")


def test_the_open_loop_reports_who_waited(make_sink, tmp_path):
    sink = make_sink("--delay", 100)
    report, _ = load(tmp_path, sink.address, "--sessions", 1, "--seconds", 2, "--rate", 50)
    assert 1 <= report["messages"] <= 21 and report["messages"] + report["unsent"] == 100 and report["wait_p99_ms"] > 500


def test_sigterm_ends_a_run_in_order(make_sink, tmp_path):
    sink = make_sink("--delay", 200)
    run = subprocess.Popen([BIN / "weir-load", "--to", sink.address, "--sessions", "10", "--seconds", "600", "--json"], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: sink.sink.count() >= 10)
    run.send_signal(signal.SIGTERM)
    report = json.loads(run.communicate(timeout=20 * PATIENCE)[0])
    assert run.returncode == 0 and report["replies"] == {"250": sink.sink.count()}


def test_greet_only(make_sink, tmp_path):
    sink = make_sink()
    report, _ = load(tmp_path, sink.address, "--greet-only", "--messages", 50, "--sessions", 5)
    assert report["messages"] == 50 and sink.sink.count() == 0


@pytest.mark.parametrize("words", ["", "--to 127.0.0.1:1", "--to x --messages 1", "--to 127.0.0.1:1 --messages 0", "--to 127.0.0.1:1 --messages 1 --size x",
                                   "--to 127.0.0.1:1 --messages 1 --bind-source 127.0.0.9-127.0.0.2", "--to 127.0.0.1:1 --messages 1 more",
                                   "--to 127.0.0.1:1 --messages 1 --recipients 3-2"])
def test_a_wrong_command_line(words):
    done = subprocess.run([BIN / "weir-load", *words.split()], capture_output=True, text=True, timeout=20)
    assert done.returncode == 64 and done.stderr

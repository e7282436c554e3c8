"""Load balancers in front of an edge: the real HAProxy, in both versions of its protocol, and balancers that do it wrong."""
import contextlib
import json
import re
import socket
import ssl
import struct
import subprocess
import tempfile

import pytest

import weir
from weir import Smtp, message, wait_until

BALANCER = "127.0.0.8"
OUTSIDE = "127.0.0.2"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"


@pytest.fixture(scope="module")
def cluster():
    made = weir.Cluster(edges=1, scanners=1, sets=[f"proxy_from={BALANCER}", "proxy_timeout=6s"])
    try:
        yield made.up()
    finally:
        made.down()


@contextlib.contextmanager
def haproxy(cluster, listener, option, check=""):
    """HAProxy on a port of its own, before one listener; its address for IPv4 and for IPv6."""
    block = weir.free_base_port()  # nobody else's as long as it is held; above, an outgoing connection could have taken the port meanwhile
    port = block + 5
    with tempfile.TemporaryDirectory(prefix="weir-haproxy.") as folder, open(f"{folder}/log", "w+") as log:
        with open(f"{folder}/haproxy.cfg", "w") as config:
            config.write("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout check 5s\n"
                         f"frontend in\n  bind 127.0.0.1:{port}\n  bind [::1]:{port}\n  default_backend edge\n"
                         f"backend edge\n  {'option smtpchk EHLO balancer.test' if check else ''}\n"
                         f"  server edge {cluster.env[f'EDGE_1_{listener}']} source {BALANCER} {option} {check}\n")
        process = subprocess.Popen(["haproxy", "-f", f"{folder}/haproxy.cfg", "-db"], stdout=log, stderr=log)
        try:
            wait_until(lambda: socket.create_connection(("127.0.0.1", port), 5).close() is None, what="HAProxy")
            yield {"IPv4": f"127.0.0.1:{port}", "IPv6": f"[::1]:{port}"}
        finally:
            process.terminate()
            process.wait(20)


def v1(client):
    family = "TCP6" if ":" in client else "TCP4"
    return f"PROXY {family} {client} {'::1' if family == 'TCP6' else '127.0.0.1'} 40000 25\r\n".encode()


def v2(client, rest=b""):
    return SIGNATURE + b"\x21\x11" + struct.pack("!H", 12 + len(rest)) + socket.inet_aton(client) + b"\x7f\0\0\x01" + struct.pack("!HH", 40000, 25) + rest


def behind(cluster, header, listener="RELAY", **options):
    """A connection of a balancer that says this."""
    client = Smtp(cluster.env[f"EDGE_1_{listener}"], source=BALANCER, greet=False, **options)
    client.send(header)
    return client


def headers(cluster, result, listener="relay"):
    return cluster.metric("weir_proxy_headers_total", listener=listener, result=result) or 0


@pytest.mark.sanitized
@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("family, source", [("IPv4", "127.0.0.3"), ("IPv6", None)])
def test_the_client_is_known_behind_haproxy(cluster, option, family, source):
    client, token = source or "::1", f"balanced-{option}-{family}"
    with haproxy(cluster, "RELAY", option) as address, Smtp(address[family], source=source) as smtp:
        assert smtp.ehlo.code == 250
        assert smtp.envelope()[0].code == 250
        answer = smtp.data(message(token=token))
        assert answer.code == 250, answer
    (raw, _), = cluster.sink.with_token(token)
    assert f"(unknown [{'IPv6:' if ':' in client else ''}{client}])".encode() in raw, raw[:400]
    assert f"{answer.queue_id}: client=unknown[{client}]" in cluster.log("edge-1")
    assert re.search(rf"connect from unknown\[{re.escape(client)}\] proxy=127\.0\.0\.8:\d+", cluster.log("edge-1"))
    rows = wait_until(lambda: json.loads(cluster.weirctl("--json", "trace", answer.queue_id, check=False).stdout or "null"), what="the audit row")
    assert f'"{client}"' in json.dumps(rows)


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
def test_the_policy_is_about_the_client(cluster, option):
    """The balancer itself is outside of all networks; a client inside may relay, one outside may not."""
    with haproxy(cluster, "RELAY", option) as address:
        for source, code in (("127.0.0.1", 250), (OUTSIDE, 550)):
            with Smtp(address["IPv4"], source=source) as smtp:
                assert smtp.envelope(recipients=["alice@example.edu", "someone@far.test"])[1].code == code


@pytest.mark.sanitized
@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
@pytest.mark.parametrize("family, source", [("IPv4", OUTSIDE), ("IPv6", None)])
def test_the_header_comes_before_tls(cluster, option, family, source):
    context = ssl.create_default_context(cafile=cluster.env["CA_FILE"])
    with haproxy(cluster, "SUBMISSIONS", option) as address, Smtp(address[family], source=source, greet=False) as smtp:
        smtp.sock = context.wrap_socket(smtp.sock, server_hostname="localhost")
        assert smtp.reply().code == 220
        assert smtp.command("EHLO client.example.org").code == 250
        assert smtp.command("MAIL FROM:<alice@example.edu>").code == 530
        assert smtp.command("QUIT").code == 221
    assert f"MAIL from unknown[{source or '::1'}]: 530" in cluster.log("edge-1")


@pytest.mark.sanitized
def test_header_and_handshake_in_one_segment(cluster):
    context = ssl.create_default_context(cafile=cluster.env["CA_FILE"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    for header in (v1(OUTSIDE), v2(OUTSIDE, b"\x04\0\x05hello")):
        with behind(cluster, header + outgoing.read(), "SUBMISSIONS") as client:
            assert client.sock.recv(5)[:1] == b"\x16", "no ServerHello"
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()


@pytest.mark.parametrize("option, check", [("send-proxy", "check inter 50ms"), ("send-proxy-v2", "check inter 50ms")])
def test_health_checks_make_no_noise(cluster, option, check):
    checks, wrong, before = headers(cluster, "local"), headers(cluster, "bad") + headers(cluster, "late"), cluster.log("edge-1")
    with haproxy(cluster, "RELAY", option, check):
        wait_until(lambda: headers(cluster, "local") >= checks + 5, what="five health checks")
    for _ in range(5):  # another kind of check only connects
        with socket.create_connection(("127.0.0.1", int(cluster.relay().rsplit(":", 1)[1])), source_address=(BALANCER, 0)):
            pass
    with behind(cluster, LOCAL) as client:
        assert client.reply().code == 220 and client.command("QUIT").code == 221
    assert headers(cluster, "bad") + headers(cluster, "late") == wrong
    new = [line for line in cluster.log("edge-1")[len(before):].splitlines() if "connect from unknown[127.0.0.1]" not in line]
    assert not [line for line in new if f"[{BALANCER}]" in line or "PROXY" in line], new  # HAProxy was asked once, by us, whether it is there


@pytest.mark.sanitized
def test_a_client_that_is_not_named_sends_nothing(cluster):
    for header in (LOCAL, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\0\0\0"):
        with behind(cluster, header) as client:
            assert client.reply().code == 220
            assert client.command("EHLO client.example.org").code == 250
            answer = client.command("MAIL FROM:<a@example.org>")
            assert (answer.code, answer.text[:5]) == (450, "4.7.1"), answer


@pytest.mark.sanitized
def test_nobody_else_is_believed(cluster):
    with Smtp(cluster.relay(), source=OUTSIDE, ehlo=None) as client:
        client.send(v1("127.0.0.1"))
        assert client.reply().code == 500
        assert client.command("EHLO client.example.org").code == 250
        assert client.envelope(recipients=["someone@far.test"])[0].code == 550
    with Smtp(cluster.relay(), source=OUTSIDE, ehlo=None) as client:
        client.send(v2("127.0.0.1"))
        assert client.reply().code >= 500
    assert "connect from unknown[127.0.0.1] proxy=127.0.0.2" not in cluster.log("edge-1")


@pytest.mark.sanitized
@pytest.mark.parametrize("sent", [b"EHLO client.example.org\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n",
                                  SIGNATURE + b"\x21\x11\0\x04aaaa", SIGNATURE + b"\x21\x11\xff\xff"])
def test_a_balancer_that_says_something_else(cluster, sent):
    bad = headers(cluster, "bad")
    with behind(cluster, sent) as client:
        answer = client.reply()
        assert (answer.code, answer.text[:5]) == (421, "4.3.5") and client.closed()
    wait_until(lambda: headers(cluster, "bad") == bad + 1, what="the metric")
    assert f"no PROXY header from load balancer {BALANCER} at listener" in cluster.log("edge-1")


def test_a_balancer_that_says_nothing(cluster):
    with behind(cluster, b"PROX", "SUBMISSION") as client:
        answer = client.reply()
        assert (answer.code, answer.text[:5]) == (421, "4.4.2") and client.closed()
    wait_until(lambda: headers(cluster, "late", "submission") >= 1, what="the metric")


def test_limits_are_the_clients(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=[f"proxy_from={BALANCER}", "sessions_per_client=1"])
    with behind(cluster, v1("127.0.0.77")) as first, behind(cluster, v2("127.0.0.78")) as other:
        assert first.reply().code == 220 and other.reply().code == 220
        with behind(cluster, v2("127.0.0.77")) as second:
            answer = second.reply()
            assert (answer.code, answer.text[:5]) == (421, "4.7.0") and second.closed()
    assert "reject: CONNECT from unknown[127.0.0.77]: 421 4.7.0" in cluster.log("edge-1")


def test_a_header_that_comes_byte_by_byte(cluster):
    for header in (v1("127.0.0.3"), v2("127.0.0.3", b"\x20\0\x02xy")):
        with behind(cluster, b"") as client:
            client.pieces(header, [1])
            assert client.reply().code == 220

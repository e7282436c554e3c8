"""S50: mail to any domain by its DNS, against a real name server with signed zones; DANE."""
import contextlib
import email
import email.policy
import hashlib
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

import pytest

import weir
from nameserver import Nameserver
from test_loops import Forwarder
from test_next_hop import NextHop
from weir import Sink, Smtp, message, wait_until, workers_of

ADDRESSES = {"a": "127.0.0.2", "b": "127.0.0.3", "rude": "127.0.0.4", "tls": "127.0.0.5", "home": "127.0.0.6", "busy": "127.0.0.7",
             "dead": "127.0.0.9"}


def free_port(ports=range(8000, 9900)):
    """One that is free at all the hosts' addresses: MX records have no ports, so all hosts of a domain have the same. None: there is none, or none
    that we may have."""
    for port in ports:
        try:
            for address in [*ADDRESSES.values(), "127.0.0.1"]:
                with socket.socket() as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((address, port))
            return port
        except OSError:
            continue
    return None


class Hosts:
    """Mail servers behind the names: sinks a, b and tls (the only one with STARTTLS); rude, whose greeting is 554, and busy, whose
    greeting is 421; nobody at dead. What leads to the edge itself, at home, is begun when the edge is there."""

    def __init__(self, port):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-hosts."))
        self.port = port
        self.make_certificates()
        self.sinks, self.processes, self.home = {}, [], None
        for name in ("a", "b", "tls"):
            folder = self.dir / name
            folder.mkdir()
            self.sinks[name] = Sink(folder)
            words = ["--tls", self.dir / "server.pem", self.dir / "server.key"] if name == "tls" else []
            listen = ["--listen", f"{ADDRESSES[name]}:{self.port}"] + (["--listen", f"[::1]:{self.port}"] if name == "b" else [])
            self.processes.append(subprocess.Popen([weir.BIN / "weir-sink", *listen, "--dir", folder, *words],
                                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        self.unwilling = []
        for name, greeting in (("rude", "554 5.7.1 not you"), ("busy", "421 4.3.2 come back later")):
            self.unwilling.append(NextHop((ADDRESSES[name], self.port)))
            self.unwilling[-1].answers["GREETING"] = greeting
        for name in ("a", "b", "tls"):
            wait_until(lambda: socket.create_connection((ADDRESSES[name], self.port), 1).close() is None, what=name)

    def make_certificates(self):
        def openssl(*words):
            return subprocess.run(["openssl", *words], cwd=self.dir, check=True, capture_output=True).stdout
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=CA",
                "-keyout", "ca.key", "-out", "ca.pem")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout", "server.key", "-out", "server.csr")
        (self.dir / "names").write_text("subjectAltName = " + ", ".join(f"DNS:{name}" for name in (
            "ta.hosts.example", "ta-domain.example", "ta-out.hosts.example", "ta.plain", "expanded.example")))
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                "-out", "server.crt", "-extfile", "names")
        (self.dir / "server.pem").write_bytes((self.dir / "server.crt").read_bytes() + (self.dir / "ca.pem").read_bytes())
        key = openssl("pkey", "-in", "server.key", "-pubout", "-outform", "DER")
        self.key_hash = hashlib.sha256(key).hexdigest()
        self.ca_hash = hashlib.sha256(openssl("x509", "-in", "ca.pem", "-outform", "DER")).hexdigest()

    def where(self, token):
        return [name for name, sink in self.sinks.items() if sink.with_token(token)]

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait()
        if self.home is not None:
            self.home.stop()
        for hop in self.unwilling:
            hop.shutdown()
            hop.server_close()
        shutil.rmtree(self.dir, ignore_errors=True)


def zone(hosts):
    good, bad, ca = hosts.key_hash, "00" * 32, hosts.ca_hash
    address = "".join(f"{name}.hosts.example. A {ip}\n" for name, ip in ADDRESSES.items())
    tlsa = "".join(f"{name}.hosts.example. A {ADDRESSES[where]}\n_{hosts.port}._tcp.{name}.hosts.example. TLSA {data}\n" for name, where, data in [
        ("good", "tls", f"3 1 1 {good}"), ("good2", "tls", f"3 1 1 {good}"), ("bad", "tls", f"3 1 1 {bad}"), ("clear", "a", f"3 1 1 {good}"),
        ("pkix", "tls", f"1 1 1 {bad}"), ("pkixclear", "a", f"1 1 1 {good}"), ("ta", "tls", f"2 0 1 {ca}"), ("othername", "tls", f"2 0 1 {ca}"),
        ("many", "tls", f"3 1 1 {bad}\n_{hosts.port}._tcp.many.hosts.example. TLSA 3 1 1 {good}"),
        ("junk", "tls", "3 0 0 0badcafe"), ("junkclear", "a", "2 0 0 0badcafe"),
        ("junkbad", "tls", f"3 1 0 0badcafe\n_{hosts.port}._tcp.junkbad.hosts.example. TLSA 3 1 1 {bad}")])
    # Aliases, some of a host of which DNSSEC says nothing: alias, where it leads, TLSA at the alias
    aliases = "".join(f"{name}.hosts.example. CNAME {target}.\n" + (f"_{hosts.port}._tcp.{name}.hosts.example. {data}\n" if data else "") for name, target, data in [
        ("in", "good.hosts.example", f"TLSA 3 1 1 {bad}"), ("in-own", "tls.hosts.example", f"TLSA 3 1 1 {bad}"),
        ("out", "host.plain", f"TLSA 3 1 1 {good}"), ("out-bad", "host.plain", f"TLSA 3 1 1 {bad}"), ("out-none", "clear.plain", None),
        ("out-odd", "odd.plain", f"TLSA 3 1 1 {bad}"),
        ("out-twice", "out-bad.hosts.example", f"TLSA 3 1 1 {good}"), ("out-first", "out-bad.hosts.example", None),
        ("out-broken", "host.plain", "CNAME x.broken."), ("out-bogus", "host.plain", "CNAME host.bogus."),
        ("ta-out", "host.plain", f"TLSA 2 0 1 {ca}"), ("ta-other", "ta.plain", f"TLSA 2 0 1 {ca}"), ("back", "alias.plain", None)])
    return f"""{address}{tlsa}{aliases}
{"".join(f"dane-{name}.example. MX 10 {name}.hosts.example.{chr(10)}" for name in re.findall(r"(?m)^([^_.]+).hosts.example. CNAME", aliases))}
dane-alone.example. CNAME host.plain.
_{hosts.port}._tcp.dane-alone.example. TLSA 3 1 1 {bad}
dane-plain.example. MX 10 alias.plain.
dane-expanded.example. CNAME expanded.example.
expanded.example. MX 10 othername.hosts.example.
order.example. MX 20 b.hosts.example.
order.example. MX 10 a.hosts.example.
equal.example. MX 10 a.hosts.example.
equal.example. MX 10 b.hosts.example.
next.example. MX 10 dead.hosts.example.
next.example. MX 20 b.hosts.example.
rude.example. MX 10 rude.hosts.example.
rude.example. MX 20 b.hosts.example.
onlyrude.example. MX 10 rude.hosts.example.
onlybusy.example. MX 10 busy.hosts.example.
implicit.example. A {ADDRESSES["a"]}
alias.example. CNAME order.example.
implicitalias.example. CNAME a.hosts.example.
cname.hosts.example. CNAME a.hosts.example.
targetalias.example. MX 10 cname.hosts.example.
null.example. MX 0 .
both.hosts.example. A {ADDRESSES["a"]}
both.hosts.example. AAAA 2001:db8::1
both.example. MX 10 both.hosts.example.
six.hosts.example. AAAA ::1
six.example. MX 10 six.hosts.example.
nodata.example. TXT nothing
hostless.example. MX 10 nobody.hosts.example.
partly.example. MX 10 nobody.hosts.example.
partly.example. MX 20 host.silent.
partly.example. MX 30 a.hosts.example.
deadhost.example. MX 10 host.silent.
loop.example. MX 10 Edge-1.weir.test.
loop.example. MX 20 a.hosts.example.
alias-loop.example. MX 10 mx.campus.example.
backup.example. MX 10 dead.hosts.example.
backup.example. MX 20 edge-1.weir.test.
backup.example. MX 30 a.hosts.example.
self.example. A 127.0.0.1
home.example. MX 10 home.hosts.example.
home.example. MX 20 a.hosts.example.
homehidden.example. MX 10 host.broken.
homehidden.example. MX 20 home.hosts.example.
homedead.example. MX 10 dead.hosts.example.
homedead.example. MX 20 home.hosts.example.
homebefore.example. MX 10 home.hosts.example.
homebefore.example. MX 20 host.broken.
homeequal.example. MX 10 home.hosts.example.
homeequal.example. MX 10 a.hosts.example.
homerude.example. MX 10 home.hosts.example.
homerude.example. MX 10 rude.hosts.example.
dane.example. MX 10 good.hosts.example.
mismatch.example. MX 10 bad.hosts.example.
danetwo.example. MX 10 bad.hosts.example.
danetwo.example. MX 20 good2.hosts.example.
cleardane.example. MX 10 clear.hosts.example.
pkix.example. MX 10 pkix.hosts.example.
pkixclear.example. MX 10 pkixclear.hosts.example.
ta.example. MX 10 ta.hosts.example.
ta-domain.example. MX 10 othername.hosts.example.
othername.example. MX 10 othername.hosts.example.
many.example. MX 10 many.hosts.example.
bogushost.example. MX 10 host.bogus.
junk.example. MX 10 junk.hosts.example.
junkclear.example. MX 10 junkclear.hosts.example.
junkbad.example. MX 10 junkbad.hosts.example.
wide.example. MX 10 wide.hosts.example.
wide.example. MX 20 a.hosts.example.
{"".join(f"wide.hosts.example. A 127.0.0.{100 + i}{chr(10)}" for i in range(6))}
crowd.example. MX 99 a.hosts.example.
{"".join(f"crowd.example. MX {10 + i} dead.hosts.example.{chr(10)}" for i in range(20))}
xn--bcher-kva.example. MX 10 b.hosts.example.
glass.stir.ac.uk. A {ADDRESSES["a"]}
glass.stir.ac.uk. MX 10 b.hosts.example.
2.0.0.127.in-addr.arpa. PTR client.campus.example.
client.campus.example. A 127.0.0.2
3.0.0.127.in-addr.arpa. PTR liar.campus.example.
liar.campus.example. A 127.0.0.2
4.0.0.127.in-addr.arpa. PTR nobody.campus.example.
5.0.0.127.in-addr.arpa. PTR host.silent.
"""


def plain(hosts):
    return f"""insecure MX 10 host
host A {ADDRESSES["tls"]}
_{hosts.port}._tcp.host TLSA 3 1 1 {"00" * 32}
ta A {ADDRESSES["tls"]}
clear A {ADDRESSES["a"]}
odd CNAME o[d
o[d A {ADDRESSES["tls"]}
alias CNAME bad.hosts.example.
_{hosts.port}._tcp.alias TLSA 3 1 1 {"00" * 32}
"""


def routes_with_port(made, hosts):
    """To each domain's MX hosts, at the port they have here. Also one at the edge's own port."""
    domains = set(re.findall(r"(?m)^(\S+)\.example\. (?:MX|A|CNAME|TXT)", zone(hosts)))
    port = made.relay().rsplit(":", 1)[1]
    names = [*(f"{name}.example" for name in sorted(domains) if name != "self"), "nowhere.example", "insecure.plain", "bogus", "x.broken", "x.silent",
             "x.lame"]
    return f"self.example smtp:self.example:{port}\n" + "".join(f"{name} smtp:{name}:{hosts.port}\n" for name in names)


@contextlib.contextmanager
def running(port, table, dns_timeout="4s"):
    hosts = Hosts(port)
    names = Nameserver(zone(hosts), plain(hosts), f"@ MX 10 a.hosts.example.\nhost A {ADDRESSES['a']}\n")
    made = weir.Cluster(edges=1, scanners=1, sets=[*names.settings(), "edge.workers=1", f"dns_timeout={dns_timeout}", "connect_timeout=4s",
                                                   "own_names=mx.campus.example", "ptr_wait=4s", "spool_delay_warning=1s"])
    try:
        made.up()
        address, edge_port = made.relay().rsplit(":", 1)
        hosts.home = Forwarder((address, int(edge_port)), (ADDRESSES["home"], port))
        workers = workers_of(made, "edge-1")
        mailertable = made.dir / "policy" / "mailertable"
        mailertable.write_text(table(mailertable.read_text(), made, hosts))
        made.weirctl("policy", "apply", str(made.dir / "policy"))
        made.hosts, made.names = hosts, names
        wait_until(lambda: rcpt(made, "nowhere.example").code == 550, 30, "the new routes")
        assert workers_of(made, "edge-1") == workers, "no restart"
        yield made
    finally:
        made.down()
        names.stop()
        hosts.stop()


@pytest.fixture(scope="module")
def site():
    with running(free_port(), lambda table, made, hosts: table + routes_with_port(made, hosts)) as made:
        yield made


def rcpt(site, domain):
    with Smtp(site.relay()) as client:
        answer, = client.envelope(recipients=[f"x@{domain}"])
        return answer


def deliver(site, domain):
    """Where it arrived, or the answer to RCPT."""
    token = weir.random.getrandbits(64).to_bytes(8, "big").hex()
    with Smtp(site.relay()) as client:
        answer, = client.envelope(recipients=[f"x@{domain}"])
        if answer.code != 250:
            return f"{answer.code} {answer.text}"
        answer = client.data(message(token=token))
        assert answer.code == 250, answer
    return " ".join(site.hosts.where(token))


@pytest.mark.parametrize("domain, where", [
    ("order.example", "a"),
    ("next.example", "b"),          # nobody at the first
    ("rude.example", "b"),          # the first does not want us
    ("implicit.example", "a"),      # no MX: its own address
    ("alias.example", "a"),
    ("implicitalias.example", "a"),
    ("targetalias.example", "a"),   # RFC 5321 5.1 forbids it, and it is common
    ("both.example", "a"),          # no way to its IPv6 address
    ("six.example", "b"),
    ("partly.example", "a"),        # the better hosts have no address, or their name server is silent
])
def test_S50_goes_to(site, domain, where):
    assert deliver(site, domain) == where


@pytest.mark.parametrize("domain, answer", [
    ("null.example", "556 5.1.10"),
    ("nowhere.example", "550 5.1.2"),
    ("nodata.example", "550 5.4.4"),
    ("hostless.example", "550 5.4.4"),
    ("deadhost.example", "451 4.4.3"),
    ("x.broken", "451 4.4.3"),
    ("x.silent", "451 4.4.3"),
    ("x.lame", "451 4.4.3"),
    ("bogus", "451 4.4.3"),
    ("bogushost.example", "451 4.4.3"),
    ("onlyrude.example", "451 4.4.1"),
    ("onlybusy.example", "450 4.3.2"),
    ("loop.example", "554 5.4.6"),
    ("alias-loop.example", "554 5.4.6"),  # own_names
    ("self.example", "554 5.4.6"),        # our own address
    ("home.example", "554 5.4.6"),        # an edge of this cluster by its EHLO reply
    ("homehidden.example", "451 4.4.3"),  # a better host may be there
    ("homebefore.example", "554 5.4.6"),  # a worse one is of no use
    ("homedead.example", "451 4.4.1"),
    ("homerude.example", "451 4.4.1"),    # one as good does not want us, which is about us
    ("backup.example", "451 4.4.1"),      # never to one that is worse than ourselves
    ("wide.example", "451 4.4.1"),        # beyond mx_address_limit
    ("crowd.example", "451 4.4.1"),       # beyond mx_host_limit
])
def test_S50_is_refused(site, domain, answer):
    assert deliver(site, domain).startswith(answer)


def spooled(site, domain):
    """Mail for it by way of the spool, which has nobody to tell at once; its queue id."""
    with Smtp(site.env["EDGE_1_HANDOFF"]) as device:
        assert device.envelope(f"{domain}@sender.test", [f"x@{domain}"])[0].code == 250
        return device.data(message()).queue_id


def report_about(site, domain):
    """What its sender was told: the words, and the fields of the recipient."""
    raw, = [raw for raw, envelope in site.sink.messages() if envelope["recipients"] == [f"{domain}@sender.test"]]
    words, status, _ = email.message_from_bytes(raw, policy=email.policy.SMTP).iter_parts()
    return words.get_content(), status.get_payload()[1]


WHY = [  # what the report says: action and status; and the reason, everywhere
    ("null.example", "failed", "5.1.10", "556 5.1.10 null.example: Domain does not accept mail (null MX)"),
    ("nowhere.example", "failed", "5.1.2", "550 5.1.2 nowhere.example: Domain not found"),
    ("x.broken", "delayed", "4.4.3", "451 4.4.3 x.broken: name resolution failed, try again later"),
    ("onlyrude.example", "delayed", "4.4.1", f"rude.hosts.example[{ADDRESSES['rude']}]:{{port}} says: 554 5.7.1 not you"),
    ("onlybusy.example", "delayed", "4.3.2", f"busy.hosts.example[{ADDRESSES['busy']}]:{{port}} says: 421 4.3.2 come back later"),
]


def test_S50_S64_the_reason_is_in_the_report_the_queue_and_the_trace(site):
    ids = {domain: spooled(site, domain) for domain, _, _, _ in WHY}
    for domain, action, status, reason in WHY:
        reason = reason.format(port=site.hosts.port)
        words, fields = wait_until(lambda domain=domain: report_about(site, domain), 60, f"a report about {domain}")
        assert (fields["Action"], fields["Status"]) == (action, status), domain
        assert reason in " ".join(words.split()), (domain, words)
        if action == "failed":
            wait_until(lambda domain=domain: f"{ids[domain]}: removed" in site.log("edge-1"), 30, "its end")
        else:
            assert reason in site.weirctl("queue", "show", ids[domain]).stdout
        wait_until(lambda domain=domain, reason=reason: reason in site.weirctl("trace", ids[domain]).stdout, 30, "the reason in the trace")
    site.weirctl("queue", "delete", *(ids[domain] for domain, action, _, _ in WHY if action == "delayed"), check=False)


def test_S50_one_as_good_as_the_edge_itself_is_tried(site):
    with contextlib.ExitStack() as stack:  # all at once: each has a connection of its own, and draws which host comes first
        clients = [stack.enter_context(Smtp(site.relay())) for _ in range(12)]
        assert [client.envelope(recipients=["x@homeequal.example"])[0].code for client in clients] == [250] * len(clients)


def test_S50_equal_hosts_take_turns(site):
    seen, tokens = set(), []
    with contextlib.ExitStack() as stack:  # all at once: each has a connection of its own, and draws for it
        for _ in range(40):  # the chance that one of two never comes is 1 in 2^39
            client = stack.enter_context(Smtp(site.relay()))
            assert client.envelope(recipients=["x@equal.example"])[0].code == 250
            token = f"{weir.random.getrandbits(64):016x}"
            assert client.command("DATA").code == 354
            tokens.append((client, token))
        for client, token in tokens:
            client.send(message(token=token) + b".\r\n")
            assert client.reply().code == 250
    for _, token in tokens:
        seen.update(site.hosts.where(token))
    assert seen == {"a", "b"}


VERIFIED = {"dane.example": "good", "dane-in.example": "in", "dane-out.example": "out", "dane-out-twice.example": "out-twice",
            "dane-ta-out.example": "ta-out"}


@pytest.mark.parametrize("domain, result", [
    ("dane.example", "tls"),
    ("many.example", "tls"),              # one record of several is enough
    ("ta.example", "tls"),                # a CA's certificate, and the host's name
    ("ta-domain.example", "tls"),         # and the domain's
    ("danetwo.example", "tls"),           # the first host's certificate is another
    ("pkix.example", "tls"),              # records we cannot use: TLS, to whomever
    ("insecure.plain", "tls"),            # not signed: not obeyed
    ("mismatch.example", "451 4.7.5"),
    ("othername.example", "451 4.7.5"),   # the CA is right, the name is not
    ("cleardane.example", "451 4.7.5"),   # no STARTTLS
    ("pkixclear.example", "451 4.7.5"),
    ("junk.example", "tls"),              # "certificates" that are none: as records we cannot use
    ("junkclear.example", "451 4.7.5"),
    ("junkbad.example", "451 4.7.5"),     # beside one that can be used, and says no
    ("dane-in.example", "tls"),           # an alias, all signed: what the host itself has counts
    ("dane-in-own.example", "451 4.7.5"), # which has none, so the alias's own
    ("dane-out.example", "tls"),          # an alias of a host of which DNSSEC says nothing: its own, and never the host's
    ("dane-out-bad.example", "451 4.7.5"),
    ("dane-out-odd.example", "451 4.7.5"), # also when that leads on to what is no host's name
    ("dane-out-twice.example", "tls"),
    ("dane-out-first.example", "tls"),    # only the first name's count
    ("dane-out-none.example", "a"),       # there are none, in clear
    ("dane-out-broken.example", "451 4.4.3"),
    ("dane-out-bogus.example", "451 4.4.3"),
    ("dane-ta-out.example", "tls"),       # the name the records are at
    ("dane-ta-other.example", "451 4.7.5"),  # not what an unsigned CNAME says
    ("dane-back.example", "tls"),         # by a CNAME that is not signed to a signed host: nobody vouches for the way
    ("dane-plain.example", "tls"),        # an alias that is not signed
    ("dane-alone.example", "451 4.7.5"),  # no MX: the domain itself is the alias
    ("dane-expanded.example", "tls"),     # a CA's certificate, and the name the domain is an alias of
])
def test_S50_dane(site, domain, result):
    assert deliver(site, domain).startswith(result)
    if domain in VERIFIED:
        verified = f"Verified TLS (DANE) connection established to {VERIFIED[domain]}.hosts.example[{ADDRESSES['tls']}]:{site.hosts.port}: TLSv1.3"
        assert verified in site.log("edge-1")


def test_S50_is_counted(site):
    for domain in ("wide.example", "crowd.example", "nowhere.example", "bogus", "dane.example", "mismatch.example", "pkix.example", "x.broken", "x.silent"):
        rcpt(site, domain)
    for kind, result in (("mx", "ok"), ("mx", "nxdomain"), ("mx", "bogus"), ("a", "ok"), ("aaaa", "nodata"), ("tlsa", "ok"), ("mx", "failed"), ("mx", "timeout")):
        wait_until(lambda: site.metric("weir_dns_lookups_total", type=kind, result=result), what=f"{kind} {result} in the metrics")
    for limit in ("hosts", "addresses"):
        wait_until(lambda: site.metric("weir_dns_mx_limited_total", limit=limit), what=f"{limit} in the metrics")
    for result in ("verified", "failed", "encrypted"):
        wait_until(lambda: site.metric("weir_next_hop_dane_total", result=result), what=f"{result} in the metrics")


@pytest.mark.parametrize("client, name", [
    ("127.0.0.2", "client.campus.example"),
    ("127.0.0.3", "unknown"),  # its name is another's
    ("127.0.0.4", "unknown"),  # its name has no address
    ("127.0.0.6", "unknown"),  # it has no name
    ("127.0.0.5", "unknown"),  # the name's server is silent: the banner waits no longer than ptr_wait
])
def test_S55_client_name(site, client, name):
    token = f"{weir.random.getrandbits(64):016x}"
    assert site.send(message(token=token), source=client).code == 250
    (raw, _), = site.sink.with_token(token)
    assert f"({name} [{client}])".encode() in raw
    assert f": connect from {name}[{client}]" in site.log("edge-1")

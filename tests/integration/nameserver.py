"""Name servers of a test's own: nsd with a signed root zone, and some that are of no use.

The tests' names live in the root zone; other zones are there for what a zone does as a whole: not signed, signed wrongly, not served. The edge is
told of all by dns_stub, so nothing needs port 53.
"""
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

from weir import free_base_port, wait_until

HEADER = "@ 60 SOA ns.example. hostmaster.example. 1 3600 600 86400 5\n@ 60 NS ns.example.\n"


class Nameserver:
    """`zone`: records of the root zone. `plain`: of the zone plain., delegated without DS. `bogus`: of bogus., signed by another key
    than its DS says. The zone broken. is served by nobody (SERVFAIL), silent. does not answer, lame. refuses."""

    def __init__(self, zone, plain="", bogus=""):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-dns."))
        self.anchor = self.dir / "anchor"
        key, other, third = (self.key(name) for name in (".", "bogus.", "bogus."))
        self.anchor.write_text((self.dir / f"{key}.key").read_text())
        ds = (self.dir / f"{other}.ds").read_text()
        self.write("root", ".", f"ns.example. 60 A 127.0.0.1\n{zone}\n" + "".join(
            f"{name}. 60 NS ns.example.\n" for name in ("plain", "bogus", "broken", "silent", "lame")) + ds, key)
        self.write("plain", "plain.", plain)
        self.write("bogus", "bogus.", bogus, third)
        self.silent, self.lame = self.socket(), self.socket()
        self.block = free_base_port()  # nobody else's as long as it is held
        self.port = self.block + 470  # nsd wants it for TCP, too: not one that an outgoing connection may have
        threading.Thread(target=self.refuse, daemon=True).start()
        self.start()

    @staticmethod
    def socket():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        return sock

    def key(self, zone):
        return subprocess.run(["ldns-keygen", "-a", "ECDSAP256SHA256", "-k", zone], cwd=self.dir, capture_output=True, text=True,
                              check=True).stdout.strip()

    def write(self, name, origin, records, key=None):
        path = self.dir / f"{name}.zone"
        path.write_text(f"$ORIGIN {origin}\n$TTL 60\n{HEADER}{records}\n")
        if key:
            subprocess.run(["ldns-signzone", "-f", f"{name}.signed", path.name, key], cwd=self.dir, check=True, capture_output=True)
            path = self.dir / f"{name}.signed"
        shutil.copy(path, self.dir / f"{name}.served")

    def start(self):
        conf = self.dir / "nsd.conf"
        zones = {".": "root", "plain.": "plain", "bogus.": "bogus", "broken.": "missing"}
        conf.write_text(f"""server:
    ip-address: 127.0.0.1@{self.port}
    zonesdir: "{self.dir}"
    database: ""
    pidfile: "{self.dir}/nsd.pid"
    xfrdfile: "{self.dir}/xfrd.state"
    zonelistfile: "{self.dir}/zone.list"
    username: ""
    chroot: ""
    server-count: 1
    xfrdir: "{self.dir}"
remote-control:
    control-enable: no
""" + "".join(f'zone:\n    name: "{name}"\n    zonefile: "{file}.served"\n' for name, file in zones.items()))
        self.process = subprocess.Popen(["/usr/sbin/nsd", "-d", "-c", conf], stderr=open(self.dir / "nsd.log", "w"))
        wait_until(lambda: self.ask(b"\x02ns\x07example\x00", 1)[:2] == b"\x12\x34", what="nsd")

    def ask(self, name, kind):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            sock.sendto(b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0" + name + bytes([0, kind, 0, 1]), ("127.0.0.1", self.port))
            return sock.recv(4096)

    def refuse(self):
        while True:
            try:
                question, client = self.lame.recvfrom(4096)
                self.lame.sendto(question[:2] + b"\x81\x05" + question[4:6] + b"\0\0\0\0\0\0" + question[12:question.index(b"\0", 12) + 5], client)
            except OSError:
                return

    def settings(self):
        """For the edge."""
        stubs = {".": self.port, "plain": self.port, "bogus": self.port, "broken": self.port, "127.in-addr.arpa": self.port,
                 "silent": self.silent.getsockname()[1], "lame": self.lame.getsockname()[1]}
        return ["dns_forward=root", f"dns_trust_anchor={self.anchor}", "dns_stub=" + ", ".join(f"{zone}=127.0.0.1:{port}" for zone, port in stubs.items())]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.silent.close()
        self.lame.close()
        shutil.rmtree(self.dir, ignore_errors=True)

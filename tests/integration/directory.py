"""A slapd of its own with one person, carol, and an account that may look for her."""
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from coordinators import hold_port

SLAPD = "/usr/sbin/slapd"

LDIF = """dn: dc=example,dc=edu
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=edu
objectClass: organizationalUnit
ou: people

dn: cn=weir,dc=example,dc=edu
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: weir
userPassword: searcher

dn: uid=carol,ou=people,dc=example,dc=edu
objectClass: inetOrgPerson
uid: carol
cn: Carol
sn: C
mail: carol@example.edu
mail: c.c@example.edu
description: d.d@example.edu
userPassword: looking-glass
"""


class Directory:
    """port: a free one by default. tls: a folder with server.pem and server.key."""

    def __init__(self, port=None, tls=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-slapd-"))
        self.held = None if port else hold_port()  # else an outgoing connection may have it when slapd wants it, our own question whether it listens, too
        self.port = port or self.held.getsockname()[1]
        (self.folder / "db").mkdir()
        (self.folder / "slapd.conf").write_text(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n"
            f"pidfile {self.folder}/pid\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
            + (f"TLSCertificateFile {tls}/server.pem\nTLSCertificateKeyFile {tls}/server.key\n" if tls else "") +
            "database mdb\nsuffix dc=example,dc=edu\nrootdn cn=admin,dc=example,dc=edu\n"
            f"directory {self.folder}/db\nmaxsize 1048576\n"
            "access to attrs=userPassword by anonymous auth by * none\naccess to * by dn.exact=cn=weir,dc=example,dc=edu read by self read by * none\n")
        (self.folder / "data.ldif").write_text(LDIF)
        subprocess.run(["/usr/sbin/slapadd", "-f", self.folder / "slapd.conf", "-l", self.folder / "data.ldif"], check=True, capture_output=True)
        self.process = subprocess.Popen([SLAPD, "-d", "0", "-f", self.folder / "slapd.conf", "-h", f"ldap://127.0.0.1:{self.port}"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not self.listens():
            assert self.process.poll() is None and time.monotonic() < until, "slapd does not listen"
            time.sleep(0.05)

    def listens(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def remove(self):
        self.process.kill()
        self.process.wait()
        if self.held is not None:
            self.held.close()
        shutil.rmtree(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

"""Other mail servers whose Debian packages conflict with Postfix: unpacked by deploy/packages, and run where only they see their files in place.

Each runs in mount and process namespaces of its own, in which the package's /usr lies over the system's, /etc and /var/lib can be written to without
being changed, and /var/spool and /run are empty; it ends with all its children when its first process is killed. Needs root."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from weir import PATIENCE, family, free_base_port, wait_until

UNPACKED = pathlib.Path(os.environ.get("WEIR_UNPACKED", "/var/cache/weir-tests"))

ENTER = r"""set -e
mount -t tmpfs -o mode=755 tmpfs "$OVER"
mkdir "$OVER/etc" "$OVER/etc-work" "$OVER/lib" "$OVER/lib-work"
mount -t overlay overlay -o "lowerdir=$LAYERS/usr" /usr
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$OVER/etc,workdir=$OVER/etc-work" /etc
mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$OVER/lib,workdir=$OVER/lib-work" /var/lib
mount -t tmpfs -o mode=755 tmpfs /var/spool
mount -t tmpfs -o mode=755 tmpfs /run
"""


def propagation():
    """What unshare is to do with the mounts it takes over. In a chroot that is no mount of its own it cannot make them private, as it does else;
    who made the chroot will have."""
    mounts = [line.split() for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    return "private" if any(fields[4] == "/" for fields in mounts) else "unchanged"


class Borrowed:
    """packages: unpacked, the first one on top. setup: shell lines before the server; command: what becomes the server."""

    def __init__(self, *packages, setup, command):
        if os.geteuid() != 0:
            pytest.skip("not root: the files of another server are put in place by mounting")
        for package in packages:
            if not (UNPACKED / package).is_dir():
                pytest.skip(f"{package} is not unpacked in {UNPACKED} (deploy/packages test)")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-test-borrowed."))
        self.dir.chmod(0o755)
        for name in ("over", "mail"):
            (self.dir / name).mkdir()
        (self.dir / "mail").chmod(0o777)
        self.block = free_base_port()  # nobody else's as long as it is held
        self.port = self.block + 7
        self.packages, self.setup, self.line = packages, setup, command

    def __enter__(self):
        layers = ":".join(f"{UNPACKED / package}/usr" for package in self.packages)
        script = ENTER.replace("$LAYERS/usr", layers + ":/usr") + self.setup + "\nexec " + self.line
        with open(self.dir / "log", "wb") as log:
            self.process = subprocess.Popen(["unshare", "-m", "--propagation", propagation(), "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", script],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, OVER=str(self.dir / "over"), LC_ALL="C"))
        try:
            wait_until(self.answers, 60, "the server")
        except (AssertionError, RuntimeError) as error:
            self.__exit__()
            raise AssertionError(self.kept) from error
        return self

    def __exit__(self, *_):
        # The first process of the name space, and with it all in it: --kill-child is forgotten where a server changes its user, as Exim does, and
        # one that is left answers at the port of a later test.
        for pid in family(self.process.pid)[1:2]:
            os.kill(pid, signal.SIGKILL)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.kept = self.log()
        shutil.rmtree(self.dir, ignore_errors=True)

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(self.log())
        with socket.create_connection(("127.0.0.1", self.port), 10 * PATIENCE) as sock:
            return sock.recv(3) == b"220"

    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    def hurry(self):
        """What waits is tried now, where the configuration does not see to it."""

    def inside(self, *command, text=None):
        server = family(self.process.pid)[1]
        subprocess.run(["nsenter", "-t", str(server), "-m", "-p", "-r", *command], input=text, check=True, capture_output=True, timeout=60 * PATIENCE)

    def mail(self, name):
        return [path.read_bytes() for path in (self.dir / "mail" / name / "new").glob("*")]


def host_port(endpoint):
    return endpoint.rsplit(":", 1)


class Exim(Borrowed):
    """Keeps mail for example.edu (alice, bob) in mail/NAME/, and sends everything else to relay."""

    def __init__(self, relay="127.0.0.1:9"):
        super().__init__("exim4-daemon-light", "exim4-base", command="", setup="useradd -r -d /nonexistent Debian-exim\n"
                         "mkdir -p /etc/exim4 /var/spool/exim && chown Debian-exim /var/spool/exim")
        self.setup += f"\ncp {self.dir}/exim.conf /etc/exim4/exim4.conf && chmod 644 /etc/exim4/exim4.conf"
        host, port = host_port(relay)
        (self.dir / "exim.conf").write_text(f"""
primary_hostname = exim.example.edu
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
spool_directory = /var/spool/exim
log_file_path = /var/spool/exim/%slog
keep_environment =
log_selector = +all
exim_user = Debian-exim
domainlist local_domains = example.edu
acl_smtp_rcpt = check
queue_run_max = 2
tls_advertise_hosts =
begin acl
check:
  accept domains = +local_domains
         local_parts = alice : bob
  deny   domains = +local_domains
         message = Unknown user
  accept
begin routers
kept:
  driver = accept
  domains = +local_domains
  local_parts = alice : bob
  transport = kept
relayed:
  driver = manualroute
  transport = relayed
  route_list = * {host}
  self = send
begin transports
kept:
  driver = appendfile
  maildir_format
  directory = {self.dir}/mail/$local_part_data
  create_directory
  user = nobody
  group = nogroup
relayed:
  driver = smtp
  port = {port}
  allow_localhost
  hosts_require_tls = *
begin retry
* * F,1h,1s
""")
        self.line = f"/usr/sbin/exim4 -bdf -q1s -oX {self.port}"


class OpenSmtpd(Borrowed):
    """The same."""

    def __init__(self, relay="127.0.0.1:9"):
        super().__init__("opensmtpd", command="", setup="for user in opensmtpd opensmtpq; do useradd -r -d /nonexistent $user; done\n"
                                                        "mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd && chmod 711 /var/spool/smtpd")
        (self.dir / "smtpd.conf").write_text(f"""
table boxes {{ "alice@example.edu" = "nobody", "bob@example.edu" = "nobody" }}
listen on 127.0.0.1 port {self.port} hostname opensmtpd.example.edu
action "keep" maildir "{self.dir}/mail/%{{rcpt.user}}" virtual <boxes>
action "relay" relay host "smtp+tls://{relay}" tls no-verify
match from any for domain "example.edu" action "keep"
match from any for any action "relay"
""")
        self.line = f"/usr/sbin/smtpd -dv -f {self.dir}/smtpd.conf"

    def hurry(self):
        self.inside("setpriv", "--regid=opensmtpq", "--clear-groups", "smtpctl", "schedule", "all")  # not setgid as unpacked


class Sendmail(Borrowed):
    """A null client with Debian's own macros: everything goes to relay, which is its smart host. TLS as it is shipped: where it is offered. The load of
    the machine is no reason to refuse connections, as it is from 12 for each processor on; other tests make that."""

    def __init__(self, relay="127.0.0.1:9"):
        super().__init__("sendmail-bin", "sendmail-base", "sendmail-cf", command="", setup="")
        host, port = host_port(relay)
        (self.dir / "sendmail.mc").write_text(f"""
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`debian')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`accept_unresolvable_domains')dnl
define(`ALIAS_FILE', `')dnl
undefine(`confHOST_STATUS_DIRECTORY')dnl
define(`confDOMAIN_NAME', `sendmail.example.edu')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')dnl
define(`confDOUBLE_BOUNCE_ADDRESS', `')dnl
define(`confMIN_QUEUE_AGE', `0')dnl
define(`confTO_IDENT', `0')dnl
define(`confQUEUE_LA', `10000')dnl
define(`confREFUSE_LA', `10000')dnl
define(`SMART_HOST', `relay:[{host}]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {port}')dnl
DAEMON_OPTIONS(`Addr=127.0.0.1, Port={self.port}, Name=MTA')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
""")
        self.setup = f"""mkdir -p /etc/mail /var/lib/sendmail /var/spool/mqueue && chmod 755 /etc/mail && chmod 700 /var/spool/mqueue
printf 'hosts files\\naliases files\\n' >/etc/mail/service.switch
printf '127.0.0.1 localhost\\n127.0.0.1 %s.example.edu\\n' "$(hostname -s)" >/etc/hosts  # else it waits a minute for a full name
touch /etc/mail/local-host-names /etc/mail/trusted-users /etc/mail/relay-domains
m4 {self.dir}/sendmail.mc >/etc/mail/sendmail.cf
chmod 644 /etc/mail/* /etc/hosts"""
        self.line = "/usr/libexec/sendmail/sendmail -bD -q1s"

    def sendmail(self, *words, text):
        self.inside("/usr/libexec/sendmail/sendmail", "-Am", *words, text=text)

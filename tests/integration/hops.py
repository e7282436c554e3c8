"""A next hop made in Python, which waits where a test wants it to."""
import contextlib
import email
import email.policy
import re
import socketserver
import threading
import time


class Hop(socketserver.ThreadingTCPServer):
    """A next hop that keeps whole transactions. refuse: {recipient: reply}; hold: verbs that wait until they are let go; gates: the same for one
    recipient, {"RCPT bob@example.edu": Event}. most: recipients it takes at once. DOT is when it has the message and has not said so; pause: for how many seconds it never does."""
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128  # of the usual 5 the kernel drops what comes more at once, and its clients wait for a greeting

    def __init__(self, port=0, extensions=("PIPELINING", "8BITMIME")):
        self.refuse, self.taken, self.asked, self.extensions = {}, [], [], extensions
        self.hold, self.gate, self.waiting = set(), threading.Event(), 0
        self.gates, self.reached, self.pause, self.most = {}, [], 0, 1000
        super().__init__(("127.0.0.1", port), Visit)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def to(self, recipient):
        """Bodies that were taken for it."""
        return [body for _, recipients, body in list(self.taken) if any(f"<{recipient}>" in line for line in recipients)]

    def pin(self, *names):
        self.gates, self.reached = {name: threading.Event() for name in names}, []

    def let_go(self, *names):
        for name in names or list(self.gates):
            self.gates[name].set()

    def reports(self, recipient):
        return [email.message_from_bytes(body, policy=email.policy.SMTP) for body in self.to(recipient)]


class Visit(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def wait(self, verb, lines=()):
        if verb in self.server.hold:
            self.server.waiting += 1
            self.server.gate.wait(120)
        for address in re.findall("<(.*?)>", " ".join(lines)):
            if gate := self.server.gates.get(f"{verb} {address}"):
                self.server.reached.append(f"{verb} {address}")
                gate.wait(120)

    def body(self):
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line.endswith(b"\n"):
                return None
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def handle(self):
        with contextlib.suppress(OSError):
            self.talk()

    def talk(self):
        self.say("220 hop.test")
        sender, recipients = "", []
        while line := self.rfile.readline().decode(errors="replace").strip():
            verb = line[:4].upper()
            self.wait(verb, [line] if verb == "RCPT" else recipients)
            if verb == "EHLO":
                self.say("\r\n".join(["250-hop.test", *(f"250-{name}" for name in self.server.extensions[:-1]), f"250 {self.server.extensions[-1]}"]))
            elif verb == "MAIL":
                sender, recipients = line, []
                self.say("250 2.1.0 ok")
            elif verb == "RCPT":
                address = re.search("<(.*?)>", line).group(1)
                self.server.asked.append(line)
                full = len(recipients) >= self.server.most
                answer = "452 4.5.3 too many recipients" if full else self.server.refuse.get(address, "250 2.1.5 ok")
                if answer.startswith("2"):
                    recipients.append(line)
                self.say(answer)
            elif verb == "DATA":
                self.say("354 go")
                body = self.body()
                if body is None:
                    return
                self.server.taken.append((sender, recipients, body))
                self.wait("DOT", recipients)
                time.sleep(self.server.pause)
                self.say("250 2.0.0 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

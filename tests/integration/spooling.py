"""An edge's side of the spool: asks a coordinator, waits for the answer, knows the forms of the payloads."""
import os
import time

from coordinators import PATIENCE, pb

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BODY = b"From: a@example.org\r\nSubject: spool\r\n\r\nhello\r\n"


def new_id():
    bits = int(time.time() * 1000) << 52 | int.from_bytes(os.urandom(8), "big") >> 12
    return "".join(ALPHABET[bits >> shift & 31] for shift in range(95, -1, -5))


def envelope(ident, **facts):
    given = {"sender": b"alice@example.edu", "listener": b"submission", "client": b"192.0.2.7", "helo": b"pc.example.edu", "node": b"edge-1",
             "message_id": b"<m@example.edu>", "scanned": True, "verdict": b"clean", "scanner": b"scanner-1", "engine": b"ClamAV 1.4.6",
             "signatures": b"27000", "time_ms": int(time.time() * 1000), "hello": b"ESMTPSA"}
    given.update(facts)
    return pb.SpoolEnvelope(id=ident.encode(), **given)


def recipients(*pairs):
    """Pairs of (address, destination), numbered from 0; with a third word for the quarantine, for that reason."""
    return pb.SpoolRecipients(recipients=[
        pb.SpoolRecipient(index=number, address=address if isinstance(address, bytes) else address.encode(), destination=destination.encode(),
                          quarantine="QUARANTINE_" + "".join(reason or ("not",)).upper())
        for number, (address, destination, *reason) in enumerate(pairs)]).SerializeToString()


def outcomes(*triples):
    """Triples of (index, disposition, text); of REROUTED the text is the destination, of QUARANTINED the reason."""
    return pb.SpoolOutcomes(outcomes=[
        pb.SpoolOutcome(index=index, disposition=pb.SpoolDisposition.Value("SPOOL_" + name), code={"DELIVERED": 250, "FAILED": 550, "REROUTED": 0}.get(name, 450),
                        enhanced=b"2.0.0", text=text.encode(), reason=text.encode() if name == "QUARANTINED" else b"")
        for index, name, text in triples]).SerializeToString()


class Edge:
    """A node with questions and answers. Answers that are not waited for are kept."""

    def __init__(self, node):
        self.node, self.kept = node, {}

    def ask(self, payloads=(), **body):
        request = int.from_bytes(os.urandom(8), "big") | 1
        self.node.send(payloads, question=pb.Question(request=request, **body))
        return request

    def answer(self, request, seconds=10):
        deadline = time.monotonic() + seconds * PATIENCE
        while request not in self.kept and time.monotonic() < deadline:
            body, payloads = self.node.receive("answer", min(1, max(0.01, deadline - time.monotonic())))
            if body is not None:
                self.kept[body.request] = (body, payloads)
        return self.kept.pop(request, (None, []))

    def asked(self, payloads=(), seconds=10, **body):
        return self.answer(self.ask(payloads, **body), seconds)

    def store(self, ident, pairs=(("bob@example.org", "[192.0.2.1]:25"),), body=BODY, last=True, **facts):
        return self.asked((recipients(*pairs), body), spool_store=pb.SpoolStore(envelope=envelope(ident, **facts), last=last))[0]

    def stored(self, *words, **facts):
        answer = self.store(*words, **facts)
        assert answer is not None and answer.status == pb.ANSWER_OK and answer.spool_stored.complete, answer
        return answer

    def chunk(self, ident, offset, data, last=False, **facts):
        return self.asked((data,), spool_chunk=pb.SpoolChunk(id=ident.encode(), offset=offset, last=last, **facts))[0]

    def claim(self, room=10, wait=0, scanners=True, seconds=10, others=False, senders=True):
        return self.leases(self.ask_claim(room, wait, scanners, others, senders), seconds)

    def ask_claim(self, room=10, wait=0, scanners=True, others=False, senders=True):
        return self.ask(spool_claim=pb.SpoolClaim(node=self.node.name.encode(), worker=self.node.worker, boot=self.node.boot, room=room,
                                                  scanners=scanners, wait_ms=wait, others=others, senders=senders))

    def leases(self, request, seconds=10):
        """Leases with their recipients as .who; None without an answer, or with one that is not OK."""
        answer, payloads = self.answer(request, seconds)
        if answer is None or answer.status != pb.ANSWER_OK:
            return None
        assert len(payloads) == len(answer.spool_leases.leases)
        return [Lease(lease, pb.SpoolRecipients.FromString(packed).recipients) for lease, packed in zip(answer.spool_leases.leases, payloads)]

    def result(self, lease, *triples, dsn=None, text=b"", to=(), **facts):
        facts.setdefault("reached", not facts.get("destination_down") and any(name in ("DELIVERED", "FAILED") for _, name, _ in triples))
        payloads = [outcomes(*triples)] + ([recipients(*to), text] if dsn is not None else [])
        return self.asked(payloads, spool_result=pb.SpoolResult(id=lease.envelope.id, destination=lease.destination, token=lease.token, dsn=dsn,
                                                                **facts))[0].status

    def deliver(self, lease):
        return self.result(lease, *[(one.index, "DELIVERED", "Ok") for one in lease.who])

    def deliver_all(self, leases):
        """All at once, as an edge does: however slow the machine, none waits for the others' answers while its lease runs out."""
        asked = [self.ask((outcomes(*[(one.index, "DELIVERED", "Ok") for one in lease.who]),), spool_result=pb.SpoolResult(
            id=lease.envelope.id, destination=lease.destination, token=lease.token, reached=True)) for lease in leases]
        return {self.answer(request)[0].status for request in asked}

    def renew(self, *leases):
        answer = self.asked(spool_renew=pb.SpoolRenew(held=[pb.SpoolHeld(id=one.envelope.id, destination=one.destination, token=one.token)
                                                            for one in leases]))[0]
        assert answer.status == pb.ANSWER_OK
        return [one.id.decode() for one in answer.spool_renewed.held]

    def fetch(self, ident):
        body = b""
        while True:
            answer, payloads = self.asked(spool_fetch=pb.SpoolFetch(id=ident.encode(), offset=len(body)))
            if answer is None or answer.status != pb.ANSWER_OK:
                return None
            body += payloads[0]
            if len(body) >= answer.spool_data.size:
                return body


class Lease:
    def __init__(self, lease, who):
        self.who = who
        self.id = lease.envelope.id.decode()
        self._lease = lease

    def __getattr__(self, name):
        return getattr(self._lease, name)

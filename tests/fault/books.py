"""The books after mail went through a cluster in trouble: what was answered, what arrived, what is left."""
import collections
import re

import weir
from weir import wait_until


def logs_of(farm):
    return "".join(farm.log(node) for node in farm.nodes_here() if node.startswith("edge"))


def check_all_arrived(farm, answers):
    """Each acknowledged message is at the sink, unchanged, for each of its recipients; a second time only where an edge wrote that it may be so."""
    copies = weir.copies_at(farm.sink)
    refused = {token: answer for token, answer in answers.items() if answer.code != 250}
    assert not refused, f"with retries everything gets through: {list(refused.items())[:3]}"
    times = collections.Counter((copy.queue_id, recipient) for each in copies.values() for copy in each for recipient in copy.recipients)
    lost = [(token, recipient) for token, answer in answers.items() for recipient in answer.recipients if not times[answer.queue_id, recipient]]
    assert not lost, f"answered 250 and never there: {len(lost)} of {len(answers)} messages' recipients, e.g. {lost[:3]}"
    log = logs_of(farm)
    foretold = collections.Counter(re.findall(r"([0-9A-Z]{20}): [^\n]*second copy", log))
    untold = {which: count for which, count in times.items() if count > 1 + foretold[which[0]]}
    assert not untold, f"came more often than anybody said: {untold}"
    for token, each in copies.items():
        if token in answers:  # a load that is ended knows nothing of what it had begun
            assert {recipient for copy in each for recipient in copy.recipients} == set(answers[token].recipients), f"{token} went to others, too"
            assert {copy.digest for copy in each} == {answers[token].digest}, f"{token} was changed"
            assert len({copy.queue_id for copy in each}) <= answers[token].attempts, f"{token}: more ids than the client made tries: {each}"
    print(f"{len(answers)} acknowledged for {sum(len(answer.recipients) for answer in answers.values())} recipients, all there and unchanged; "
          f"{sum(times.values()) - len(times)} recipients got a second copy, each foretold")


def wait_empty_spool(farm):
    def left():
        return {table: int(farm.query(f"SELECT count(*) FROM {table}")[0][0]) for table in ("spool_message", "spool_recipient", "spool_queue", "spool_body")}
    wait_until(lambda: not any(left().values()), 60, f"an empty spool, instead of {left()}")


def check_nothing_left(farm):
    wait_empty_spool(farm)
    for name in ("weir_conservation_difference", "weir_message_bytes", "weir_smtp_sessions", "weir_edge_spool_jobs"):
        wait_until(lambda name=name: farm.metric(name) == 0, 20, f"{name} back at 0")
    wait_until(lambda: not [path for path in (farm.dir / "tmp").rglob("*") if path.is_file()], 20, "the end of all temporary files")

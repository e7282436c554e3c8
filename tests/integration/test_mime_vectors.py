"""scanner/mime beside another parser: what mail-parser (Stalwart) makes of its own test messages (WEIR_CORPUS)."""
import json
import os
import pathlib
import re
import subprocess

import pytest
from weir import BIN

pytestmark = pytest.mark.skipif("WEIR_CORPUS" not in os.environ, reason="WEIR_CORPUS names no folder with mail")


def unescape(text):
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1]), text)


def our_parts(paths):
    """{path: [(type, file name, text)]}"""
    out = subprocess.run([BIN / "weir-score", "--parts"], input="".join(f"{path}\n" for path in paths).encode(), check=True, stdout=subprocess.PIPE).stdout
    found = {}
    for line in out.decode("utf-8", "replace").split("\n"):
        if line.startswith("\t"):
            _, _, kind, name, text = line.split("\t")
            found[path].append((kind, unescape(name), unescape(text)))
        elif line:
            path = line
            found[path] = []
    return found


def field(part, name):
    for header in part["headers"]:
        if header["name"] == name and isinstance(header["value"], dict) and "ContentType" in header["value"]:
            return header["value"]["ContentType"]
    return None


def attribute(content, name):
    for one in (content or {}).get("attributes") or []:
        if one["name"] == name:
            return one["value"]
    return None


def their_parts(message):
    for part in message["parts"]:
        content = field(part, "content_type")
        kind = f"{content['c_type']}/{content['c_subtype']}".lower() if content and content["c_subtype"] else None
        name = attribute(field(part, "content_disposition"), "filename") or attribute(content, "name") or ""
        body = part["body"]
        text = body if isinstance(body, str) else body.get("Text", body.get("Html"))
        yield kind, name, text
        if isinstance(body, dict) and "Message" in body:
            yield from their_parts(body["Message"])


def same_text(ours, theirs):
    def words(text):
        return re.sub(r"\s+", " ", text.replace("\ufeff", "")).strip()
    return words(ours) == words(theirs)


def test_beside_mail_parser():
    folder = pathlib.Path(os.environ["WEIR_CORPUS"]) / "vectors/mime/stalwart"
    # Not those in malformed/: each reader makes something else of them, which is why they have anomalies here.
    paths = sorted(path for path in folder.rglob("*.eml") if path.with_suffix(".json").exists() and path.parent.name != "malformed")
    ours = our_parts(paths)
    agree = {"parts": 0, "types": 0, "names": 0, "texts": 0}
    of = dict(agree)
    for path in paths:
        theirs, mine = list(their_parts(json.loads(path.with_suffix(".json").read_text()))), ours[str(path)]
        of["parts"] += 1
        if len(theirs) != len(mine):
            print("parts:", path.relative_to(folder), len(mine), "and theirs", len(theirs))
            continue
        agree["parts"] += 1
        for number, ((kind, name, text), (other, their_name, their_text)) in enumerate(zip(mine, theirs)):
            for what, known, same in (("types", other is not None, kind == other), ("names", True, name == their_name),
                                      ("texts", their_text is not None and text != "", same_text(text, their_text or ""))):
                of[what] += known
                agree[what] += known and same
                if known and not same:
                    print(what, path.relative_to(folder), number, repr((kind, name, text[:200])), "and theirs", repr((other, their_name, (their_text or "")[:200])))
    print({what: f"{agree[what]} of {of[what]}" for what in of})
    # uuencoded files are parts here and text there; headers and texts in bare 8 bits are guessed here and not there.
    assert all(agree[what] >= 0.9 * of[what] for what in of), (agree, of)

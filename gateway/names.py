"""What to say of a name that a call does not have: the one that was meant, or why it has no place there; pure.

One table for queries and JSON bodies. Nothing is claimed of upstream that does not hold under both of its contracts: a
filter that only the newest has is not called unknown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from urllib.parse import unquote

_SHOWABLE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,40}")
_MAX_WRITTEN = 120
_ALIKE = 0.7
_BESIDE_LETTERS = re.compile(r"[^a-z]")

_NEWEST_FILTER = (
    "QStash's newest contract has it as a filter of cancels, but an account that does not know it may cancel without "
    "it, so this gateway does not pass it; name the workflow with 'workflowUrl'"
)
_DEAD_LETTERS = "it names entries of the dead letter queue, and this call is about workflow runs"
_MESSAGES = "it selects messages, and this call is about workflow runs"
_LISTING = "it belongs to the call that lists runs; leave it out"
_CREDENTIAL = (
    "a token or key in a request ends in logs; send your gateway key in the header 'Authorization: Bearer …', and "
    "replace this one if it was real"
)
_PREVIEW = "to see first which runs a cancel would hit, ask /preview/v2/workflows/runs or POST /gateway/v1/plans"

_PLACES: dict[str, tuple[str, ...]] = {
    _NEWEST_FILTER: ("host", "hosts", "hostname", "path", "paths", "pathname"),
    "QStash's newest contract has it for cancels, to answer before the runs are cancelled; the gateway waits and tells "
    "you the total, so leave it out": ("async", "isasync", "background", "wait"),
    _DEAD_LETTERS: ("dlqid", "dlqids", "dlq"),
    _MESSAGES: ("messageid", "messageids", "topicname", "urlgroup", "queue", "queuename", "scheduleid", "schedule"),
    _LISTING: ("cursor", "groupby", "state", "status", "workflowstate", "runstate", "trimbody"),
    "a request that names nothing means every run already; name the runs (workflowRunIds) or the workflow "
    "(workflowUrl)": ("all", "everything", "cancelall"),
    "write the fields of the filter themselves, with nothing around them": ("filter", "filters", "where"),
    "the reason of a cancel goes into the header 'Gateway-Reason'": ("reason", "gatewayreason", "why", "comment"),
    "workflowUrl is matched exactly here; leave it out": ("workflowurlexactmatch", "exactmatch", "exact"),
    _PREVIEW: ("dryrun", "preview", "simulate"),
    _CREDENTIAL: ("qstashtoken", "token", "apikey", "authorization", "accesstoken", "gatewaykey"),
}
"""Names that this or another call of QStash has, that clients or people write, and why they have no place in it."""

_WHY = {name: why for why, names in _PLACES.items() for name in names}

_MEANT: dict[tuple[str, ...], tuple[str, ...]] = {
    ("workflowRunIds", "workflowRunId"): (
        *("workflowrunid", "workflowrunids", "runid", "runids", "id", "ids", "run", "runs", "workflowrun"),
        *("workflowruns", "workflowid", "workflowids"),
    ),
    ("workflowUrl",): (
        *("workflowurls", "url", "urls", "uri", "urlprefix", "workflowurlprefix", "urlstartingwith", "startingwith"),
        *("workflowurlstartingwith", "prefix", "startswith", "workflow", "workflows", "endpoint", "destination"),
    ),
    ("workflowUrlExactMatch",): ("exact", "exactmatch", "urlexactmatch", "workflowurlexact", "isexact"),
    ("fromDate",): ("from", "since", "after", "start", "startdate", "fromtime", "createdafter", "newerthan"),
    ("toDate",): ("to", "until", "before", "end", "enddate", "totime", "createdbefore", "olderthan"),
    ("callerIp",): ("ip", "ips", "callerips", "calleraddress", "clientip", "workflowruncallerip"),
    ("flowControlKey",): ("flowcontrol", "flowcontrolkeys", "flowkey", "flowcontrolname"),
    ("label",): ("labels", "tag", "tags"),
    ("count",): ("limit", "max", "maxcount", "maxruns", "number", "size", "counts", "pagesize"),
    ("state",): ("status", "workflowstate", "runstate"),
    ("workflowCreatedAt",): ("workflowruncreatedat", "createdat", "created"),
    ("cursor",): ("page", "offset", "next"),
}
"""Words that people and other calls of QStash use, under the names that a call may have instead, the better first."""

_ALIASES = {word: names for names, words in _MEANT.items() for word in words}
_PREFIXES = frozenset(word for word in _ALIASES if word.endswith(("prefix", "with")))


def about(name: str, known: Sequence[str], *, risk: str = "") -> str:
    """What to say of a name, as it was written, that is none of `known`.

    `risk` is a sentence on what may come of a name that upstream does not know; it is left out where that is not so.
    """
    name = unquote(name, errors="replace") if len(name) <= _MAX_WRITTEN else ""
    if not _SHOWABLE.fullmatch(name):
        return _joined("The request has a name that is no parameter of this call.", risk)
    plain = _BESIDE_LETTERS.sub("", name.lower())
    said = f"'{name}' is not a parameter of this call"
    meant = _meant(plain, known)
    if meant is not None:
        return _joined(f"{said}; did you mean '{meant}'?", _how(name, plain, meant, known), risk)
    if plain in _WHY:
        return f"{said}: {_WHY[plain]}."
    return _joined(f"{said}; known are {', '.join(known)}.", risk)


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _meant(plain: str, known: Sequence[str]) -> str | None:
    by_letters = {_BESIDE_LETTERS.sub("", one.lower()): one for one in known}
    if plain in by_letters:
        return by_letters[plain]
    if plain in _ALIASES:
        return next((one for one in _ALIASES[plain] if one in known), None)
    close = [] if plain in _WHY else difflib.get_close_matches(plain, by_letters, n=1, cutoff=_ALIKE)
    return by_letters[close[0]] if close else None


def _how(name: str, plain: str, meant: str, known: Sequence[str]) -> str:
    """What else the writer has to know of the name that was meant."""
    if name.lower() == meant.lower():
        return "Upper and lower case count."
    if plain in _PREFIXES and "workflowUrlExactMatch" in known:
        return "Without workflowUrlExactMatch=true it is a prefix."
    if "[" in name:
        return "For several values repeat the name, without brackets."
    return ""

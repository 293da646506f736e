"""The values and names that a cancel may carry: each function returns the typed value or raises ValueError.

The rules are stricter than upstream's on purpose: a value that two parsers could read differently is refused, never
normalised. Requests and policy files share this module, so a policy can only name what a request can carry.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from urllib.parse import unquote

MAX_RUN_ID = 128
MAX_REASON_CHARS = 200
MAX_URL = 4096
MAX_KEY = 256
MAX_VALUES = 100
"""The limits on one value, and (`MAX_VALUES`) on the values of one filter field: each value is judged and recorded."""

REMEMBERED_URLS = 512
"""The most canonical URLs in the cache of those that need no second check; the same few are named all day."""

EARLIEST_MS = 1_767_225_600_000
"""2026-01-01 in Unix milliseconds. A clock that shows less is wrong: nothing that depends on the time is allowed."""

find_reserved = re.compile(r"[^A-Za-z0-9_.~-]").search
"""Finds a character that does not mean itself everywhere in a URL (RFC 3986, 2.3)."""

_RUN_ID = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_RUN_ID}}}")
_RUN_ID_PREFIX = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_RUN_ID}}}")
_NOT_IN_KEY = re.compile(r"[^A-Za-z0-9_.-]")
_GATEWAY_KEY = re.compile(r"qgk_[a-z0-9-]+_[A-Za-z0-9_-]{43}")
_LASTING = re.compile(r"([1-9][0-9]{0,4})([mh])")
_LONGEST_MIN = 7 * 24 * 60
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_DATE = re.compile(r"[1-9][0-9]{12}")

# RFC 3986: pchar without the comma (upstream splits values at it) and without the semicolon (Go drops the pair).
_SEGMENT = r"(?:[A-Za-z0-9._~!$&'()*+=:@-]|%[0-9A-F]{2})"
_NETLOC = r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?"
_PATHS = rf"(?P<path>(?:/{_SEGMENT}*)*)"
_URL = re.compile(rf"(?P<scheme>https?)://{_NETLOC}{_PATHS}(?:\?(?P<query>(?:{_SEGMENT}|[/?])+))?")
_HOST, _PATH = re.compile(_NETLOC), re.compile(_PATHS)
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_DEFAULT_PORT = {"http": 80, "https": 443}
_MAX_PORT = 65535
# Escapes of characters that need none (RFC 3986, 6.2.2.2), or that a second decoding would turn into structure or new
# escapes.
_BAD_ESCAPE = re.compile(r"%(?:2[356CDEF]|3[0-9BDF]|4[1-9A-F]|5[0-9AC]|5F|6[1-9A-F]|7[0-9AEF]|[01][0-9A-F])")


def run_id(text: str) -> str:
    """Check a workflow run ID: 1 to 128 of `A-Z a-z 0-9 _ . -`, at least one of them a letter or digit."""
    if not _RUN_ID.fullmatch(text) or not text.strip("_.-"):
        raise ValueError("a run ID is 1 to 128 letters, digits, '_', '.' or '-', at least one a letter or digit")
    return _no_gateway_key(text)


def item_id(text: str) -> str:
    """Check an ID, or a name that becomes a segment: 1 to 128 of `A-Z a-z 0-9 _ . -`, one a letter or digit."""
    if not _RUN_ID.fullmatch(text) or not text.strip("_.-"):
        raise ValueError("an ID or name is 1 to 128 letters, digits, '_', '.' or '-', at least one a letter or digit")
    return _no_gateway_key(text)


def id_prefix(text: str) -> str:
    """Check the prefix of IDs in a policy: 1 to 128 of `A-Z a-z 0-9 _ . -`."""
    if not _RUN_ID_PREFIX.fullmatch(text):
        raise ValueError("the prefix of an ID is 1 to 128 letters, digits, '_', '.' or '-'")
    return _no_gateway_key(text)


def _no_gateway_key(text: str) -> str:
    # A key pasted into the wrong place would be sent upstream and be written to the record. files/secrecy knows more
    # forms.
    if "qgk_" in text and _GATEWAY_KEY.search(text):
        raise ValueError("this looks like a gateway key; a key goes into the Authorization header only")
    return text


def key(text: str) -> str:
    """Check a label or flow-control key: letters, digits, `_`, `.`, `-`, at most 256 characters."""
    if not text or _NOT_IN_KEY.search(text) or len(text) > MAX_KEY:
        raise ValueError(f"only letters, digits, '_', '.' and '-' are allowed, at most {MAX_KEY}")
    return _no_gateway_key(text)


def ip_address(text: str) -> str:
    """Check an IP address in its canonical text form (RFC 5952 for IPv6); zones and IPv4-mapped forms are refused."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("not an IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.scope_id):
        raise ValueError("write an IPv4 address as IPv4, and an IPv6 address without a zone")
    if str(address) != text:
        raise ValueError(f"write the address as {address}")
    return text


def count(text: str) -> int:
    """Read a number of runs: 1 to 999,999,999, in ASCII digits without a sign or leading zero."""
    if not _COUNT.fullmatch(text):
        raise ValueError("count is a whole number from 1 to 999999999, without sign, space or leading zero")
    return int(text)


def date(text: str) -> int:
    """Read a creation time in Unix milliseconds: exactly 13 ASCII digits, so that seconds are never read as 1970.

    It must not begin with 0: a Go server reads zero as *not given* and would drop the filter.
    """
    if not _DATE.fullmatch(text):
        raise ValueError("a date is Unix milliseconds, exactly 13 digits, not beginning with 0")
    return int(text)


def lasting_ms(text: str) -> int:
    """Read how long a pause lasts, `90m` or `2h`, in milliseconds: whole minutes or hours, at most seven days."""
    match = _LASTING.fullmatch(text)
    minutes = int(match[1]) * (60 if match[2] == "h" else 1) if match is not None else 0
    if not 0 < minutes <= _LONGEST_MIN:
        raise ValueError("a pause lasts whole minutes or hours, as in 90m or 2h, at most 168h")
    return minutes * 60_000


def reason(text: str) -> str:
    """Check the reason for a cancel in a person's words: 1 to 200 printable characters, not blank."""
    if not text.strip() or len(text) > MAX_REASON_CHARS or not text.isprintable():
        raise ValueError(f"a reason is 1 to {MAX_REASON_CHARS} printable characters")
    return _no_gateway_key(text)


@lru_cache(maxsize=REMEMBERED_URLS)
def url(text: str) -> str:
    """Check an exact workflow URL: canonical, with a path and perhaps a `?query`."""
    return _canonical(text, need_path=True, allow_query=True)


def url_prefix(text: str) -> str:
    """Check a workflow URL prefix in a request: canonical, with a path, without a query."""
    return _canonical(text, need_path=True, allow_query=False)


def policy_url_prefix(text: str) -> str:
    """Check a workflow URL prefix in a policy: as in a request, but the path may be left out."""
    return _canonical(text, need_path=False, allow_query=False)


def host(text: str) -> str:
    """Check a host as it stands in a canonical URL: a lower-case name or an address, perhaps with a port."""
    match = _HOST.fullmatch(text) if len(text) <= MAX_URL else None
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        raise ValueError("a host is name[:port] as in a workflow URL: lower case, without scheme, userinfo or path")
    _check_host(match["host"])
    return _no_gateway_key(text)


def path(text: str) -> str:
    """Check a path as it stands in a canonical URL: with its first `/`, without the `?query`."""
    if len(text) > MAX_URL or not text or not _PATH.fullmatch(text):
        raise ValueError(
            "a path begins with '/' and is as in a workflow URL: no ?query, fragment, comma, semicolon or space, at "
            "most 4096 characters"
        )
    _check_path(text, need_path=True)
    _check_escapes(text)
    return _no_gateway_key(text)


def host_of(url: str) -> str:
    """Return the host of an exact workflow URL, with its port if it has one, byte for byte."""
    return url[url.index("//") + 2 :].partition("/")[0]


def path_of(url: str) -> str:
    """Return the path of an exact workflow URL, without the `?query`, byte for byte."""
    page = url.partition("?")[0]
    return page[page.index("/", page.index("//") + 2) :]


def check_each(name: str, rule: Callable[[str], str], values: Sequence[str]) -> None:
    """Check every value of a filter field, and how many there are.

    The message of the ValueError begins with the field's name.
    """
    if len(values) > 1 and (len(values) > MAX_VALUES or len(set(values)) != len(values)):
        raise ValueError(f"{name}: at most {MAX_VALUES} values, none of them twice")
    check_values(name, rule, values)


def check_values(name: str, rule: Callable[[str], str], values: Iterable[str]) -> None:
    """Check every value of a field. The message of the ValueError begins with the field's name."""
    for value in values:
        try:
            rule(value)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from None


def _canonical(text: str, *, need_path: bool, allow_query: bool) -> str:
    match = _URL.fullmatch(text) if len(text) <= MAX_URL else None
    if match is None:
        raise ValueError(
            "a workflow URL is http(s)://host[:port]/path in canonical form: lower-case scheme and host, no userinfo, "
            "fragment, comma, semicolon or space, at most 4096 characters"
        )
    _check_host(match["host"])
    port = match["port"]
    if port and (int(port) > _MAX_PORT or int(port) == _DEFAULT_PORT[match["scheme"]]):
        raise ValueError("leave out the default port; a port is at most 65535")
    _check_path(match["path"], need_path=need_path)
    if match["query"] is not None and not allow_query:
        raise ValueError("a URL prefix has no ?query")
    _check_escapes(text)
    return _no_gateway_key(text)


def _check_escapes(text: str) -> None:
    if _BAD_ESCAPE.search(text):
        raise ValueError("the URL has a percent-encoding that is needless or hides a separator or control character")


def _check_path(path: str, *, need_path: bool) -> None:
    if not path and need_path:
        raise ValueError("the workflow URL has no path: add '/' after the host")
    segments = path.split("/")
    if "." in segments or ".." in segments or "//" in path:
        raise ValueError("the URL path has a dot segment or a double slash")


def _check_host(host: str) -> None:
    if host.startswith("["):
        address = ip_address(host[1:-1])
        if ":" not in address:
            raise ValueError("only an IPv6 address stands in brackets")
        return
    if not is_host_name(host):
        raise ValueError("the URL's host is not a canonical host name")
    if reads_as_number(host):
        ip_address(host)


def is_host_name(host: str) -> bool:
    """Return whether a host without brackets has the form of a name in lower case; an IPv4 address has it as well."""
    return len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in host.split("."))


def reads_as_number(host: str) -> bool:
    """Return whether browsers, Go and libc read a host as an IP address: it is in brackets, or ends in a number.

    A last label of digits or hex makes them read the whole name as an IPv4 number (WHATWG URL, 3.5).
    """
    last = host.rpartition(".")[2]
    return host.startswith("[") or last.isdigit() or last.startswith("0x")


_SHOWABLE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,40}")
_MAX_WRITTEN = 120
_ALIKE = 0.7
_BESIDE_LETTERS = re.compile(r"[^a-z]")

_DEAD_LETTERS = "it names entries of the dead letter queue, and this call is about workflow runs"
_MESSAGES = "it selects messages, and this call is about workflow runs"
_LISTING = "it belongs to the call that lists runs; leave it out"
_CREDENTIAL = (
    "a token or key in a request ends in logs; send your gateway key in the header 'Authorization: Bearer …', and "
    "replace this one if it was real"
)
_PREVIEW = "to see first which runs a cancel would hit, ask /preview/v2/workflows/runs or POST /gateway/v1/plans"

_PLACES: dict[str, tuple[str, ...]] = {
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
"""Names that people, clients or other QStash calls use but this call does not take, under the reason why not."""

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
    ("host",): ("hosts", "hostname", "hostnames", "domain"),
    ("path",): ("paths", "pathname", "pathnames"),
    ("count",): ("limit", "max", "maxcount", "maxruns", "number", "size", "counts", "pagesize"),
    ("state",): ("status", "workflowstate", "runstate"),
    ("workflowCreatedAt",): ("workflowruncreatedat", "createdat", "created"),
    ("cursor",): ("page", "offset", "next"),
}
"""Words that people and other QStash calls use, under the parameters they may mean, the better match first."""

_ALIASES = {word: names for names, words in _MEANT.items() for word in words}
_PREFIXES = frozenset(word for word in _ALIASES if word.endswith(("prefix", "with")))


def showable(name: str) -> str:
    """Return the name of a parameter as it may be shown to its caller; empty if it may not. `name` is as written."""
    name = unquote(name, errors="replace") if len(name) <= _MAX_WRITTEN else ""
    return name if _SHOWABLE.fullmatch(name) else ""


def unknown_name(name: str, known: Sequence[str], *, risk: str = "") -> str:
    """Return what to tell the caller about a name that is none of `known`; `name` is as it was written.

    `risk` is a sentence on what may happen if upstream does not know the name; leave it empty if nothing can.
    """
    name = showable(name)
    if not name:
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
    """Return a hint on how to use the name that was meant; empty if there is none."""
    if name.lower() == meant.lower():
        return "Upper and lower case count."
    if plain in _PREFIXES and "workflowUrlExactMatch" in known:
        return "Without workflowUrlExactMatch=true it is a prefix."
    if "[" in name:
        return "For several values repeat the name, without brackets."
    return ""


def at_or_below(url: str, prefix: str) -> bool:
    """Return whether `url` is the prefix or lies below it at a segment boundary; a final `/` of the prefix counts."""
    if not url.startswith(prefix):
        return False
    return prefix.endswith("/") or url[len(prefix) : len(prefix) + 1] in ("", "/")


def lies_under(url: str, tops: tuple[str, ...], lies: Callable[[str, str], bool]) -> bool:
    """Return whether `url` lies under one of `tops`, as `lies` judges it. `tops` have no ?query.

    One `startswith` rules most URLs out.
    """
    page = url.partition("?")[0]
    return f"{page}/".startswith(tops) and any(lies(url, top) for top in tops)


def in_subtree(url: str, top: str) -> bool:
    """Return whether `url` is the page `top` or lies below it; a final `/` of `top` makes no difference."""
    page = top.removesuffix("/")
    return url == page or url.startswith(page + "/")


def denied_below(url: str, prefix: str) -> bool:
    """Like `at_or_below`, but in doubt true (for a `deny`): a final `/` does not matter, and a ?query may follow."""
    page = prefix.rstrip("/")
    return at_or_below(url, page) or url.startswith(page + "?")

"""How each gateway is started: a command, an environment and the files that it reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.harness.configuration import Tables, write_gateway
from benchmarks.harness.machine import CannotMeasure, missing_programs, program, version
from benchmarks.harness.requests import KEY, TOKEN

CONF = Path(__file__).parent / "conf"
PEERS = Path("build/bench/peers").absolute()
"""The environment that `make` fills with the wheels of benchmarks/peers.txt."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance lives: its directory, its port, and the port of its upstream."""

    directory: Path
    port: int
    upstream_port: int


@dataclass(frozen=True, slots=True)
class Launch:
    """A command with its environment; `audit` is the directory of the record, where there is one."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    audit: Path | None = None


def gateway(
    place: Place, *, durability: str = "os", tables: Tables | None = None, run_as: str = "gateway", more: str = ""
) -> Launch:
    """The project; `run_as` is the module that is run, `more` more of its configuration."""
    write_gateway(place.directory, port=place.port, upstream_port=place.upstream_port,
                  durability=durability, tables=tables or Tables(), more=more)  # fmt: skip
    command = (sys.executable, "-m", run_as, "serve", "--config", str(place.directory / "config.yaml"))
    root = str(Path(__file__).parents[2])
    return Launch(command, {"PYTHONPATH": root}, audit=place.directory / "audit")


def _nginx(place: Place) -> Launch:
    return nginx(place, "nginx.conf")


def nginx(place: Place, name: str, *, changes: Mapping[str, str] | None = None) -> Launch:
    """One of the nginx configurations in `conf/`; `changes` are texts of it and what replaces them."""
    path = render(name, place, changes=changes)
    return Launch((program("nginx"), "-p", str(place.directory), "-c", path))


def _envoy(place: Place) -> Launch:
    found = sorted(PEERS.glob("lib/python3*/site-packages/envoy/_bin/envoy"))
    options = ("--concurrency", "1", "--log-level", "error", "--base-id", str(place.port))
    return Launch((str(found[0]), "-c", render("envoy.yaml", place), *options))


def _caddy(place: Place) -> Launch:
    command = (str(PEERS / "bin/caddy"), "run", "--adapter", "caddyfile", "--config", render("Caddyfile", place))
    home = str(place.directory)
    return Launch(command, {"GOMAXPROCS": "1", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home})


def _mitmproxy(place: Place) -> Launch:
    command: tuple[str, ...] = (
        str(PEERS / "bin/mitmdump"),
        "--quiet",
        "--listen-host",
        "127.0.0.1",
        "--listen-port",
        str(place.port),
    )
    command += ("--mode", f"reverse:http://127.0.0.1:{place.upstream_port}", "-s", str(CONF / "mitmproxy_gate.py"))
    log = str(place.directory / "access.log")
    environment = {"BENCH_KEY": KEY, "BENCH_TOKEN": TOKEN, "BENCH_LOG": log}
    return Launch((*command, "--set", f"confdir={place.directory}"), environment)


KINDS: Mapping[str, Callable[[Place], Launch]] = {
    "gateway": gateway,
    "gateway-fsync": partial(gateway, durability="fsync"),
    "nginx": _nginx,
    "envoy": _envoy,
    "caddy": _caddy,
    "mitmproxy": _mitmproxy,
}

_WHEELS = {"envoy": "lib/python3*/site-packages/envoy/_bin/envoy", "caddy": "bin/caddy", "mitmproxy": "bin/mitmdump"}


def render(name: str, place: Place, *, changes: Mapping[str, str] | None = None) -> str:
    """Fills in a file of `conf/`, changed first; the path of what was written."""
    text = (CONF / name).read_text()
    for before, after in (changes or {}).items():
        if before not in text:
            raise CannotMeasure(f"{name} has no {before!r} to change.")
        text = text.replace(before, after)
    values = {"directory": place.directory, "port": place.port, "upstream": place.upstream_port,
              "key": KEY, "token": TOKEN}  # fmt: skip
    for word, value in values.items():
        text = text.replace(f"@{word}@", str(value))
    path = place.directory / name
    path.write_text(text)
    return str(path)


def require(kinds: tuple[str, ...], *, programs: tuple[str, ...] = ("nginx", "wrk")) -> None:
    """Raises CannotMeasure with a sentence for everything that is missing to measure these."""
    sentences = missing_programs(programs)
    wheels = [kind for kind in kinds if kind in _WHEELS and not list(PEERS.glob(_WHEELS[kind]))]
    if wheels:
        sentences.append(f"{', '.join(wheels)} not in build/bench/peers: run `make build/bench/peers/.made`.")
    if sentences:
        raise CannotMeasure("\n".join(sentences))


def versions(kinds: tuple[str, ...]) -> dict[str, str]:
    """What the peers say of their versions; our own is the commit."""
    commands: dict[str, tuple[str, ...]] = {"wrk": (program("wrk"), "-v")}
    for kind in kinds:
        if kind == "nginx":
            commands[kind] = (program("nginx"), "-v")
        elif kind in _WHEELS:
            (binary, *_) = sorted(PEERS.glob(_WHEELS[kind]))
            commands[kind] = (str(binary), "version" if kind == "caddy" else "--version")
    return {name: version(command) for name, command in commands.items()}

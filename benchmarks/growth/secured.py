"""What TLS to upstream costs: over connections that are kept, and where each cancel needs one of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.growth.tables import Bench
from benchmarks.harness.instance import Instance, Stub, turns
from benchmarks.harness.launch import Launch, Place, gateway
from benchmarks.harness.machine import CannotMeasure, Cores, program
from benchmarks.harness.requests import cancel

_LISTEN = "listen 127.0.0.1:@port@"
_KEPT = "keepalive_timeout 1h;"
_ROOT, _CERTIFICATE = "root.pem", "upstream.pem"

UPSTREAMS: Mapping[str, tuple[bool, bool]] = {
    "HTTP, kept": (False, True),
    "TLS, kept": (True, True),
    "HTTP, fresh": (False, False),
    "TLS, fresh": (True, False),
}
"""Whether there is TLS, and whether connections are kept."""


def secured(bench: Bench) -> list[str]:
    """Cancels over each kind of connection to upstream; the names under which they are kept."""
    with ExitStack() as stack:
        instances = {name: stack.enter_context(_instance(bench, name)) for name in UPSTREAMS}
        cells = [partial(bench.load, name, [one], cancel()) for name, one in instances.items()]
        for turn in turns(bench.rounds, cells):
            turn()
        for name, instance in instances.items():
            proof = instance.stop()
            if proof is None or not proof.holds:
                raise CannotMeasure(f"{name} {proof and proof.sentence}; see {instance.directory}.")
            bench.proofs.append((name, proof))
    return list(UPSTREAMS)


def _instance(bench: Bench, name: str) -> Instance:
    tls, kept = UPSTREAMS[name]
    directory = bench.directory / f"upstream-{'tls' if tls else 'http'}-{'kept' if kept else 'fresh'}"
    launch = _trusting if tls else gateway
    return Instance(name, launch, directory=directory, cores=bench.cores, stub=_stub(tls=tls, kept=kept))


def _stub(*, tls: bool, kept: bool) -> Callable[[Path, Cores], Stub]:
    """The stub of every measurement, with a certificate and without keeping connections where that is asked."""
    changes = {} if kept else {_KEPT: "keepalive_timeout 0;"}

    def start(directory: Path, cores: Cores) -> Stub:
        """Starts it."""
        if not tls:
            return Stub(directory, cores, changes=changes)
        _certify(directory)
        files = f"ssl_certificate {directory / _CERTIFICATE}; ssl_certificate_key {directory / _CERTIFICATE}.key;"
        return Stub(directory, cores, changes=changes | {_LISTEN: f"{files} {_LISTEN} ssl"}, tls=True)

    return start


def _certify(directory: Path) -> None:
    """Makes a root, and a certificate for 127.0.0.1 below it. Raises: CannotMeasure."""
    directory.mkdir(parents=True, exist_ok=True)
    root = ("-CA", str(directory / _ROOT), "-CAkey", str(directory / f"{_ROOT}.key"))
    # The library below the transport takes no certificate that may sign others for that of a server.
    extensions = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE")
    _openssl(directory / _ROOT, "/CN=bench")
    _openssl(directory / _CERTIFICATE, "/CN=127.0.0.1", *root, *extensions)


def _openssl(path: Path, subject: str, *options: str) -> None:
    command = [program("openssl"), "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-days", "2", "-subj", subject, *options, "-keyout", f"{path}.key", "-out", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotMeasure(f"openssl made no certificate:\n{done.stderr}")


def _trusting(place: Place) -> Launch:
    """The project, asking its upstream over TLS and trusting that one certificate."""
    launch = gateway(place, run_as="benchmarks.growth.trusting")
    config = place.directory / "config.yaml"
    config.write_text(config.read_text().replace('url: "http://127', 'url: "https://127'))
    roots = str(place.directory / "upstream" / _ROOT)
    return replace(launch, environment={**launch.environment, "BENCH_ROOTS": roots})

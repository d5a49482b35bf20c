"""One run of load against one server, and the proof that every answer was right."""

import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from servers import ECHO, HOST, BenchError

HERE = Path(__file__).parent
# The log writer of PiCloud works behind the answers: its CPU belongs to the run that caused it.
SETTLE_SECONDS = 1.2
H2_CONNECTIONS, H2_STREAMS = 16, 4


@dataclass(frozen=True)
class Work:
    """One row of the table: what is asked, over what, and what must come back."""

    row: str
    title: str
    scheme: str
    protocol: str
    method: str
    path: str
    expected: object
    # Who answers it: a constant is no match for a parameter, nor for what has to be computed.
    servers: tuple = ("picloud", "ProxyHttp", "HttpServerApp", "hyper", "nginx", "nginx+lua", "caddy")
    # Fewer than an app may have running and waiting, where it matters.
    most_connections: int = 1_000_000

    @property
    def body(self):
        return ECHO if self.method == "POST" else None


PARSE = ("picloud", "ProxyHttp", "HttpServerApp", "hyper", "nginx+lua")
NAME = ("picloud", "nginx+lua", "caddy")
COMPUTE = ("picloud", "engine alone", "nginx+lua")
STORED = ("picloud", "store alone")
HANDSHAKES = ("picloud", "ProxyHttp", "hyper", "nginx", "nginx+lua", "caddy")
WORKS = [
    Work("P1", "hello", "http", "h1", "GET", "/hello", "Hello, World!", (*Work.servers, "picloud+log")),
    Work("P2", "echo 1 KB JSON", "http", "h1", "POST", "/echo", json.loads(ECHO), PARSE),
    Work("P3", "hello with a parameter", "http", "h1", "GET", "/hello/pi", {"hello": "pi"}, NAME),
    Work("P4 h1", "hello, TLS", "https", "h1", "GET", "/hello", "Hello, World!"),
    Work("P4 h2", "hello, TLS and HTTP/2", "https", "h2", "GET", "/hello", "Hello, World!"),
    Work("P5 full", "a full handshake, then hello", "https", "full", "GET", "/hello", "Hello, World!", HANDSHAKES),
    Work("P5 resumed", "a resumed one, then hello", "https", "resumed", "GET", "/hello", "Hello, World!", HANDSHAKES),
    Work("P6 loop", "10,000 additions", "http", "h1", "GET", "/additions", 49995000, COMPUTE, 32),
    Work("P6 fib", "fib(20)", "http", "h1", "GET", "/fib", 6765, COMPUTE, 32),
    Work("P8 get", "one kv::get", "http", "h1", "GET", "/kv/get", "Hello, World!", STORED, 32),
    Work("P8 set", "one kv::set", "http", "h1", "GET", "/kv/set", "Hello, World!", STORED, 32),
]


@dataclass(frozen=True)
class Sample:
    """What one run of load showed."""

    requests: int
    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float


def check_answer(server, work):
    """Asks once, compares what is said, and gives the body that every further answer must have, byte by byte."""
    status, body, _ = server.ask(work.scheme, work.method, work.path, body=work.body)
    got = body.decode() if isinstance(work.expected, str) else json.loads(body)
    if status != 200 or got != work.expected:
        raise BenchError(f"{server.name} answered {work.row} with {status} and {body!r}")
    return body


def measure(server, work, seconds, connections, core, handshakes, spread=None):
    body = check_answer(server, work)
    before = server.cpu_us()
    if work.protocol == "h1":
        figures = run_wrk(server, work, seconds, min(connections, work.most_connections), core, body, spread or {})
    elif work.protocol == "h2":
        figures = run_h2load(server, work, seconds, core, body)
    else:
        figures = run_handshakes(server, work, seconds, core, body, handshakes)
    if server.process.poll() is not None:
        raise BenchError(f"{server.name} ended under {work.row}:\n{server.log.read_text()}")
    time.sleep(SETTLE_SECONDS)
    cpu_us = (server.cpu_us() - before) / figures["requests"]
    return Sample(cpu_us=cpu_us, **figures)


def run_wrk(server, work, seconds, connections, core, body, spread):
    environment = {**os.environ, **spread, "BENCH_EXPECTED": body.decode(), **({"BENCH_BODY": work.body} if work.body else {})}
    url = f"{work.scheme}://127.0.0.1:{server.ports[work.scheme]}{work.path}"
    output = run(
        ["taskset", "--cpu-list", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
         "-H", f"Host: {HOST}", "-s", HERE / "wrk.lua", url], environment)
    figures = re.search(r"^figures (.*)$", output, re.MULTILINE)
    if figures is None:
        raise BenchError(f"wrk told no figures:\n{output}")
    figures = json.loads(figures[1])
    requests = figures["requests"]
    if requests == 0 or figures["wrong"] or figures["broken"]:
        raise BenchError(f"{server.name} failed under {work.row}, where the answer is {body!r}: {figures}")
    return {
        "requests": requests, "per_second": requests * 1e6 / figures["duration_us"],
        "p50_ms": figures["p50_us"] / 1000, "p99_ms": figures["p99_us"] / 1000,
    }


def run_h2load(server, work, seconds, core, body):
    with tempfile.NamedTemporaryFile(prefix="picloud-h2load.") as log:
        output = run(
            ["taskset", "--cpu-list", str(core), "h2load", "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", "-D",
             str(seconds), f"--connect-to=127.0.0.1:{server.ports['https']}", f"--log-file={log.name}",
             f"https://{HOST}{work.path}"],
            os.environ)
        lines = [line.split() for line in Path(log.name).read_text().splitlines()]
    statuses = [int(status) for _, status, _ in lines]
    latencies_us = sorted(int(latency) for _, _, latency in lines)
    begun_us = [int(begun) for begun, _, _ in lines]
    data = re.search(r"space savings [\d.]+%\), [\d.]+\w+ \((\d+)\) data", output)
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    if not lines or data is None or done is None or "Application protocol: h2\n" not in output:
        raise BenchError(f"h2load told no figures:\n{output}")
    wrong = [status for status in statuses if status != 200]
    # h2load keeps no bodies, but counts their bytes; what is on its way when the time ends is counted and not logged.
    surplus = int(data[1]) - len(lines) * len(body)
    wrong_size = not 0 <= surplus <= H2_CONNECTIONS * H2_STREAMS * len(body)
    # h2load is silent about connections that broke off: then the requests end before the time does.
    broke_off = max(begun_us) - min(begun_us) < 0.8 * seconds * 1e6
    if wrong or broke_off or any(map(int, done.groups()[2:])) or wrong_size:
        what = f"{len(wrong)} wrong statuses, broke off: {broke_off}, bytes beyond {len(lines)} answers: {surplus}"
        raise BenchError(f"{server.name} failed under {work.row}: {what}\n{output}")
    return {
        "requests": len(lines), "per_second": len(lines) / seconds,
        "p50_ms": percentile(latencies_us, 50) / 1000, "p99_ms": percentile(latencies_us, 99) / 1000,
    }


def run_handshakes(server, work, seconds, core, body, handshakes):
    """Each connection proves to be TLS 1.3 by a handshake of that kind, and each answer to be right; else there are no figures."""
    program, root = handshakes
    output = run(
        ["taskset", "--cpu-list", str(core), program, work.protocol, str(seconds),
         f"127.0.0.1:{server.ports[work.scheme]}", HOST, root, work.path, body.decode()], os.environ)
    figures = json.loads(output)
    return {
        "requests": figures["handshakes"], "per_second": figures["handshakes"] * 1e6 / figures["duration_us"],
        "p50_ms": figures["p50_us"] / 1000, "p99_ms": figures["p99_us"] / 1000,
    }


@dataclass(frozen=True)
class Steady:
    """One run at a steady rate: how long answers took."""

    p50_ms: float
    p99_ms: float
    p999_ms: float


def steady(server, host, path, connections, per_second, seconds, core):
    """Asks at that rate over HTTP/1.1, with so many connections; every answer must be 200."""
    each = max(1, round(per_second / connections))
    with tempfile.NamedTemporaryFile(prefix="picloud-h2load.") as log:
        output = run(
            ["taskset", "--cpu-list", str(core), "h2load", "--h1", "-t1", f"-c{connections}", f"--rps={each}", "-D", str(seconds),
             f"--connect-to=127.0.0.1:{server.ports['http']}", f"--log-file={log.name}", f"http://{host}{path}"], None)
        lines = [line.split() for line in Path(log.name).read_text().splitlines()]
    done = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    wrong = [status for _, status, _ in lines if status != "200"]
    if done is None or any(map(int, done.groups())) or wrong or len(lines) < connections * each * seconds * 0.9:
        raise BenchError(f"{server.name} was too slow for {per_second:.0f}/s, {len(wrong)} wrong statuses:\n{output}")
    latencies_us = sorted(int(latency) for _, _, latency in lines)
    return Steady(*(percentile(latencies_us, percent) / 1000 for percent in (50, 99, 99.9)))


def percentile(ordered, percent):
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def run(command, environment):
    done = subprocess.run(list(map(str, command)), env=environment, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise BenchError(f"{command[3]} failed:\n{done.stdout}")
    return done.stdout

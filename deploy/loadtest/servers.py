"""The servers under measurement: started on their core, made ready, asked once, and read for what CPU they used."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

HOST = "bench.localhost"
ECHO = json.dumps({f"field_{n:02}": "x" * 34 for n in range(20)} | {"id": 7}, sort_keys=True, separators=(",", ":"))
# Scripts that only compute, by path; what runs Rhai alone is given the same.
COMPUTING = {
    "/additions": "let n = 0; for i in 0..10000 { n += i; } n",
    "/fib": "fn fib(n) { if n < 2 { n } else { fib(n - 1) + fib(n - 2) } } fib(20)",
}
SCRIPTS = [
    ("hello", "GET", "exact", "/hello", '"Hello, World!"'),
    ("echo", "POST", "exact", "/echo", "ctx.request.body"),
    ("greet", "GET", "param", "/hello/:name", "#{ hello: ctx.request.params.name }"),
    ("kv-get", "GET", "exact", "/kv/get", 'kv::get("hello")'),
    ("kv-set", "GET", "exact", "/kv/set", 'kv::set("last", ctx.execution_id); "Hello, World!"'),
    *((path[1:], "GET", "exact", path, source) for path, source in COMPUTING.items()),
]
# The neighbour that floods: its script runs for two seconds, whatever share of a core it gets.
NEIGHBOUR = "neighbour.localhost"
SPIN = "let end = time::now() + 2000; while time::now() < end { } \"done\""


class BenchError(Exception):
    """Why the measurement cannot go on, in words for the person who started it."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificate(directory, host=HOST):
    """A self-made ECDSA P-256 certificate, the same for every server."""
    chain, key = directory / "chain.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host},DNS:localhost",
         "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", chain],
        check=True, capture_output=True)
    return chain, key


class Server:
    """One process on the server's core; `ports` maps `http` and `https` to where it listens."""

    def __init__(self, name, command, ports, core, directory, environment=None):
        self.name, self.ports = name, ports
        self.log = directory / f"{name}.log"
        # Nothing that is set for another PiCloud, such as its database, may reach this one.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PICLOUD_")}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *map(str, command)], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=directory, env={**inherited, **(environment or {})})

    def wait_ready(self, seconds=60):
        deadline = time.monotonic() + seconds
        for port in self.ports.values():
            while True:
                if self.process.poll() is not None:
                    raise BenchError(f"{self.name} ended at start:\n{self.log.read_text()}")
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise BenchError(f"{self.name} does not listen on port {port}:\n{self.log.read_text()}") from None
                    time.sleep(0.05)

    def cpu_us(self):
        """User and system time of all threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000 // os.sysconf("SC_CLK_TCK")

    def stop(self, seconds=5):
        """Has it end within so many seconds, or kills it; the status that it ended with."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def ask(self, scheme, method, path, host=HOST, body=None, headers=()):
        """One HTTP/1.1 exchange on a connection of its own: status, body and the size of the whole answer."""
        with socket.create_connection(("127.0.0.1", self.ports[scheme]), timeout=30) as plain:
            connection = plain
            if scheme == "https":
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                connection = context.wrap_socket(plain, server_hostname=host)
            content = (body or "").encode()
            lines = [f"{method} {path} HTTP/1.1", f"host: {host}", *headers]
            if body is not None:
                lines += ["content-type: application/json", f"content-length: {len(content)}"]
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
            return self._read_answer(connection)

    def _read_answer(self, connection):
        answer = b""
        while True:
            head, end, rest = answer.partition(b"\r\n\r\n")
            if end:
                length = re.search(rb"\r\ncontent-length: *(\d+)", head + b"\r\n", re.IGNORECASE)
                if length is None or len(rest) >= int(length[1]):
                    return int(head.split()[1]), rest, len(answer)
            received = connection.recv(65536)
            if not received:
                raise BenchError(f"{self.name} closed the connection after {answer!r}")
            answer += received


class PiCloud(Server):
    """A PiCloud with a fresh data directory and the measured scripts published through its admin API."""

    USERNAME, PASSWORD = "bench", "a passphrase for measuring"
    token = None

    def __init__(self, binary, ports, certificate, core, directory, name="picloud", access_log=False):
        chain, key = certificate
        ports = {**ports, "internal": free_port()}
        environment = {
            "PICLOUD_DATA_DIR": str(directory / f"{name}-data"), "PICLOUD_ACCESS_LOG": str(access_log).lower(),
            "PICLOUD_ADMIN_USERNAME": self.USERNAME, "PICLOUD_ADMIN_PASSWORD": self.PASSWORD,
            "PICLOUD_TLS_CHAIN": str(chain), "PICLOUD_TLS_KEY": str(key),
            # Otherwise the certificate's name would be the dashboard's, which no app can claim.
            "PICLOUD_PUBLIC_BASE_URL": f"http://127.0.0.1:{ports['http']}",
            **{f"PICLOUD_{scheme.upper()}": f"127.0.0.1:{port}" for scheme, port in ports.items()},
        }
        # In development mode plain HTTP is served beside HTTPS instead of redirecting to it.
        super().__init__(name, [binary, "serve", "--dev"], ports, core, directory, environment)

    def publish(self):
        self.sign_in()
        self._publish_app("bench", HOST, SCRIPTS)
        self.admin("apps/bench/kv/default/hello", {"value": "Hello, World!"}, 200, "PUT")
        limits = {"timeout_ms": 10_000, "sandbox": {"max_operations": 50_000_000}}
        self._publish_app("neighbour", NEIGHBOUR, [("spin", "GET", "exact", "/spin", SPIN)], limits)

    def sign_in(self):
        self.token = self.admin("auth/login", {"username": self.USERNAME, "password": self.PASSWORD}, 200)["token"]

    def _publish_app(self, slug, host, scripts, limits=None):
        app = self.admin("apps", {"slug": slug, "name": slug}, 201)["id"]
        self.admin(f"apps/{app}/domains", {"pattern": host}, 201)
        for name, method, path_kind, path, source in scripts:
            script = {"app_id": app, "name": name, "kind": "endpoint", "source": source, **(limits or {})}
            script_id = self.admin("scripts", script, 201)["id"]
            route = {"host_kind": "any", "path_kind": path_kind, "path": path, "method": method}
            self.admin(f"scripts/{script_id}/routes", route, 201)

    def admin(self, call, body, expected, method="POST"):
        """One call of the admin API, as who signed in."""
        headers = [f"authorization: Bearer {self.token}"] if self.token else []
        path = f"/api/v1/admin/{call}"
        status, answer, _ = self.ask("http", method, path, "localhost", json.dumps(body), headers)
        if status != expected:
            raise BenchError(f"{method} {path} answered {status} instead of {expected}: {answer.decode()}")
        return json.loads(answer)

"""P7: what a visitor of one app feels while another app's scripts of two seconds hold every worker and its queue is full."""

import re
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from load import percentile, run
from servers import HOST, NEIGHBOUR, BenchError

# More than an app may have running and waiting (64 by default), so that some are always refused.
FLOOD_CONNECTIONS = 100
# Well below what the server can do: the row asks how long an answer takes, not how many there are.
CONNECTIONS, PER_SECOND_EACH = 8, 250


@dataclass(frozen=True)
class Neighbour:
    """One round: the visitor's p99 without and with the flood, and what became of the flood's requests."""

    quiet_p99_ms: float
    flooded_p99_ms: float
    served: int
    refused: int


def measure_neighbour(server, seconds, core):
    quiet = visit(server, seconds, core)
    with Flood(server) as flood:
        flood.wait_until_full()
        flooded = visit(server, seconds, core)
    return Neighbour(quiet, flooded, flood.statuses[200], flood.statuses[503])


def visit(server, seconds, core):
    """The p99 of hello at a steady rate, in milliseconds; every answer must be right."""
    with tempfile.NamedTemporaryFile(prefix="picloud-h2load.") as log:
        output = run(
            ["taskset", "--cpu-list", str(core), "h2load", "--h1", "-t1", f"-c{CONNECTIONS}", f"--rps={PER_SECOND_EACH}",
             "-D", str(seconds), f"--connect-to=127.0.0.1:{server.ports['http']}", f"--log-file={log.name}",
             f"http://{HOST}/hello"], None)
        lines = [line.split() for line in Path(log.name).read_text().splitlines()]
    done = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    wrong = [status for _, status, _ in lines if status != "200"]
    if done is None or any(map(int, done.groups())) or wrong or len(lines) < CONNECTIONS * PER_SECOND_EACH * seconds / 2:
        raise BenchError(f"the visitor of P7 was not served, {len(wrong)} wrong statuses:\n{output}")
    return percentile(sorted(int(latency) for _, _, latency in lines), 99) / 1000


class Flood:
    """Connections that ask for the slow script again and again; who is refused comes back after the second it is told."""

    def __init__(self, server):
        self.server, self.statuses, self.over = server, Counter(), threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(FLOOD_CONNECTIONS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _ask(self):
        while not self.over.is_set():
            status, _, _ = self.server.ask("http", "GET", "/spin", NEIGHBOUR)
            self.statuses[status] += 1
            if status == 503:
                self.over.wait(1)

    def wait_until_full(self):
        end = time.monotonic() + 10
        while self.statuses[503] == 0:
            if time.monotonic() > end:
                raise BenchError(f"the flood of P7 found no end of the queue: {dict(self.statuses)}")
            time.sleep(0.05)

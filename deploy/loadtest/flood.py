"""P7: what a visitor of one app feels while another app's scripts of two seconds hold all workers that it may have and its queue is full."""

import threading
import time
from collections import Counter
from dataclasses import dataclass

from load import steady
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
    """The p99 of hello at a steady rate, in milliseconds."""
    return steady(server, HOST, "/hello", CONNECTIONS, CONNECTIONS * PER_SECOND_EACH, seconds, core).p99_ms


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

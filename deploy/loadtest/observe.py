"""What it costs to watch PiCloud from outside: a scrape of /metrics. (The access log is the server `picloud+log` of P1.)"""

from dataclasses import dataclass

from servers import BenchError

SCRAPES = 2_000


@dataclass(frozen=True)
class Scrape:
    """One run of scrapes, each on a connection of its own."""

    cpu_us: float
    size: int


def measure_scrape(cloud):
    before = cloud.cpu_us()
    for _ in range(SCRAPES):
        status, body, _ = cloud.ask("internal", "GET", "/metrics", "localhost")
        if status != 200 or b"picloud_http_requests_total" not in body:
            raise BenchError(f"/metrics answered {status} and {body[:200]!r}")
    return Scrape((cloud.cpu_us() - before) / SCRAPES, len(body))

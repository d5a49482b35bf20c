"""P9 and P11: what PiCloud costs idle, for each connection, for each route, and with a million of them."""

import hashlib
import os
import socket
import sqlite3
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from load import WORKS, measure
from servers import HOST, BenchError, PiCloud, free_port

CONNECTIONS = 2_000
# Apps, and routes of each: where P11 starts, and the two places of P9.
SOME, FEW, MANY = (100, 100), (1, 10), (10_000, 100)
# Apps of P9 that are asked, far from one another, each compiled once by then: what is measured is how they are found.
ASKED_APPS = 100
PUBLISHES = 20


@dataclass(frozen=True)
class Idle:
    """Row P11."""

    idle_mb: float
    connection_kb: float
    start_ms: float


@dataclass(frozen=True)
class Many:
    """Row P9."""

    few_us: float
    many_us: float
    publish_few_ms: float
    publish_many_ms: float
    route_bytes: float


class Place:
    """A data directory that PiCloud is started on again and again."""

    def __init__(self, options, certificate, core, directory):
        self.options, self.certificate, self.core, self.directory = options, certificate, core, directory
        directory.mkdir()

    def start(self):
        ports = {"http": free_port(), "https": free_port()}
        return PiCloud(self.options["binaries"] / "picloud", ports, self.certificate, self.core, self.directory)

    def publish(self):
        """What is measured, published by the API."""
        cloud = self.start()
        try:
            cloud.wait_ready()
            cloud.publish()
        finally:
            ended = cloud.stop(30)
        if ended != 0:
            raise BenchError(f"picloud did not end well:\n{cloud.log.read_text()}")

    def fill(self, apps, routes_per_app):
        """Adds apps with so many routes each, as copies of the one that is there: through the API it would take an hour."""
        database = sqlite3.connect(self.directory / "picloud-data" / "main.db")
        database.row_factory = sqlite3.Row
        rows = {"apps": dict(database.execute("SELECT * FROM apps WHERE slug = 'bench'").fetchone())}
        for table, which in (("domains", f"pattern = '{HOST}'"), ("scripts", "name = 'hello'"), ("routes", "path = '/hello'")):
            found = database.execute(f"SELECT * FROM {table} WHERE app_id = ? AND {which}", (rows["apps"]["id"],))
            rows[table] = dict(found.fetchone())

        def insert(table, changed):
            columns = list(rows[table])
            places = ", ".join("?" * len(columns))
            values = ([{**rows[table], **row}[column] for column in columns] for row in changed)
            database.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", values)

        ids = [(uuid.uuid4().bytes, uuid.uuid4().bytes, number) for number in range(apps)]
        insert("apps", ({"id": app, "slug": f"app-{number}"} for app, _, number in ids))
        insert("domains", ({"id": uuid.uuid4().bytes, "app_id": app, "pattern": f"a{number}.{HOST}", "shape_key": f"a{number}.{HOST}",
                            "parent": HOST} for app, _, number in ids))
        insert("scripts", ({"id": script, "app_id": app} for app, script, _ in ids))
        insert("routes", ({"id": uuid.uuid4().bytes, "app_id": app, "script_id": script, "path": f"/things/{place}/hello",
                           "path_shape": hashlib.sha256(f"/things/{place}/hello".encode()).digest()}
                          for app, script, _ in ids for place in range(routes_per_app)))
        database.commit()
        database.close()


def rss_bytes(server):
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settled_rss_bytes(server):
    """Once it grows no more: what is begun at a start has been done."""
    held = rss_bytes(server)
    for _ in range(30):
        time.sleep(1)
        before, held = held, rss_bytes(server)
        if abs(held - before) < 100_000:
            break
    return held


def until_answered(server, host, path):
    """Milliseconds from now until it answers for the first time."""
    begun = time.monotonic()
    while time.monotonic() < begun + 120:
        if server.process.poll() is not None:
            raise BenchError(f"picloud ended at start:\n{server.log.read_text()}")
        try:
            if server.ask("http", "GET", path, host)[0] == 200:
                return (time.monotonic() - begun) * 1000
        # Nobody listens yet, or nobody answers any more.
        except (OSError, BenchError):
            pass
        time.sleep(0.002)
    raise BenchError(f"picloud answers nothing:\n{server.log.read_text()}")


def measure_idle(options, certificate, core, directory):
    place = Place(options, certificate, core, directory / "idle")
    place.publish()
    cloud = place.start()
    try:
        until_answered(cloud, HOST, "/hello")
        idle = settled_rss_bytes(cloud)
        connection = connection_bytes(cloud, idle)
    finally:
        cloud.stop(30)
    place.fill(*SOME)
    starts = []
    for _ in range(options["rounds"]):
        cloud = place.start()
        try:
            starts.append(until_answered(cloud, f"a7.{HOST}", "/things/7/hello"))
        finally:
            cloud.stop(30)
    return Idle(idle / 1e6, connection / 1e3, sorted(starts)[len(starts) // 2])


def connection_bytes(cloud, idle):
    """What a connection holds that has had one answer and waits for the next request."""
    request = f"GET /hello HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode()
    connections = []
    try:
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", cloud.ports["http"]), timeout=30)
            connections.append(connection)
            connection.sendall(request)
            if b"Hello, World!" not in connection.recv(4096):
                raise BenchError("a connection was not answered")
        return (rss_bytes(cloud) - idle) / CONNECTIONS
    finally:
        for connection in connections:
            connection.close()


def measure_many(options, certificate, core, load_core, directory):
    """Requests all over the routes, and a change, where there are ten routes and where there are a million, by turns."""
    places = {"few": Place(options, certificate, core, directory / "few"), "many": Place(options, certificate, core, directory / "many")}
    shape, clouds, held = {"few": FEW, "many": MANY}, {}, {}
    try:
        for name, place in places.items():
            place.publish()
            place.fill(*shape[name])
            clouds[name] = place.start()
            until_answered(clouds[name], HOST, "/hello")
            held[name] = settled_rss_bytes(clouds[name])
            clouds[name].sign_in()
        work = next(work for work in WORKS if work.row == "P1")
        cpu, publish = {"few": [], "many": []}, {"few": [], "many": []}
        for number in range(options["rounds"] + 1):
            for name, cloud in clouds.items():
                apps, routes = shape[name]
                spread = {"BENCH_APPS": str(min(apps, ASKED_APPS)), "BENCH_STEP": str(max(1, apps // ASKED_APPS)), "BENCH_ROUTES": str(routes)}
                seconds = options["seconds"] if number else 5
                sample = measure(cloud, work, seconds, options["connections"], load_core, None, spread)
                if number:
                    cpu[name].append(sample.cpu_us)
                publish[name] += publish_times(cloud)
    finally:
        for cloud in clouds.values():
            cloud.stop(60)

    def middle(values):
        return sorted(values)[len(values) // 2]

    return Many(middle(cpu["few"]), middle(cpu["many"]), middle(publish["few"]), middle(publish["many"]),
                (held["many"] - held["few"]) / (MANY[0] * MANY[1]))


def publish_times(cloud):
    """Milliseconds of a change of a script, from the call to the answer, which comes once it is live."""
    script = cloud.admin("scripts?app=neighbour", None, 200, "GET")["items"][0]["id"]
    times = []
    for number in range(PUBLISHES):
        begun = time.monotonic()
        cloud.admin(f"scripts/{script}", {"description": f"change {number}"}, 200, "PATCH")
        times.append((time.monotonic() - begun) * 1000)
    return times

"""What the samples say: medians, ratios, and whether each budget holds."""

from dataclasses import asdict
from statistics import median

FIGURES = ("cpu_us", "per_second", "p50_ms", "p99_ms")
SUBJECT, FLOOR, ENGINE, STORE, NGINX, LUA = "picloud", "ProxyHttp", "engine alone", "store alone", "nginx", "nginx+lua"

# How a verdict is told; nothing of what has no budget.
HOLDS = {True: "yes", False: "no", None: ""}

# What the ratios of a row are to, where it is not FLOOR.
UNIT = {"P5": NGINX, "P6": ENGINE, "P8": STORE}


def medians(samples):
    """`{row: {server: {figure: median}}}` from `{(row, server): [sample of each round]}`."""
    table = {}
    for (row, server), rounds in samples.items():
        runs = [asdict(sample) for sample in rounds]
        table.setdefault(row, {})[server] = {figure: median(run[figure] for run in runs) for figure in FIGURES}
    return table


def budgets(table):
    """The rows of budgets that the servers measured here can decide: (row, rule, figure, holds)."""
    def cpu(row, server=SUBJECT):
        return table.get(row, {}).get(server, {}).get("cpu_us")

    verdicts = []
    for row in ("P1", "P4 h1", "P4 h2"):
        if cpu(row) and cpu(row, FLOOR):
            ratio = cpu(row) / cpu(row, FLOOR)
            verdicts.append((row, f"CPU <= 1.15 x bare {FLOOR}", f"{ratio:.2f} x", ratio <= 1.15))
    for row, allowance in (("P2", 14), ("P3", 3), ("P8 get", 10)):
        if cpu(row) and cpu("P1"):
            more = cpu(row) - cpu("P1")
            verdicts.append((row, f"CPU <= P1 + {allowance} us", f"P1 + {more:.1f} us", more <= allowance))
    for row in ("P5 full", "P5 resumed"):
        if cpu(row) and cpu(row, NGINX):
            ratio = cpu(row) / cpu(row, NGINX)
            verdicts.append((row, "CPU <= nginx's", f"{ratio:.2f} x", ratio <= 1))
    for row in ("P6 loop", "P6 fib"):
        if cpu(row) and cpu(row, ENGINE):
            ratio = cpu(row) / cpu(row, ENGINE)
            verdicts.append((row, f"CPU <= 1.05 x {ENGINE}", f"{ratio:.3f} x", ratio <= 1.05))
    return verdicts


def neighbours(rounds):
    """The budget of P7, from what a visitor of one app felt while another app's scripts held every worker."""
    quiet, flooded = (median(getattr(sample, name) for sample in rounds) for name in ("quiet_p99_ms", "flooded_p99_ms"))
    refused = min(sample.refused for sample in rounds)
    told = f"{flooded:.2f} ms, quiet {quiet:.2f} ms; at least {refused} of B got 503"
    return ("P7", "p99 <= 2 x quiet + 5 ms; B's overflow gets 503", told, flooded <= 2 * quiet + 5 and refused > 0)


def half_load(samples):
    """Row P12, of each server at the rate that is half of what the slowest of them can do."""
    percentiles = {name: [median(getattr(sample, what) for sample in rounds) for what in ("p50_ms", "p99_ms", "p999_ms")]
                   for name, rounds in samples.items()}
    lines = []
    if SUBJECT in percentiles and LUA in percentiles:
        for what, own, other in zip(("p50", "p99", "p99.9"), percentiles[SUBJECT], percentiles[LUA]):
            lines.append(("P12", f"{what} <= 1.2 x {LUA}", f"{own:.2f} ms, {LUA} {other:.2f} ms", own <= 1.2 * other))
    return lines


def half_load_table(samples, rate):
    lines = [f"P12: hello at {rate:,.0f} requests/s, half of what the slowest but PiCloud did in P1.", "",
             "| server | p50 ms | p99 ms | p99.9 ms |", "| --- | ---: | ---: | ---: |"]
    for name, rounds in samples.items():
        figures = (median(getattr(sample, what) for sample in rounds) for what in ("p50_ms", "p99_ms", "p999_ms"))
        lines.append(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    return "\n".join(lines)


def observing(table, scrapes):
    """What watching costs; there are no budgets for it."""
    lines, own = [], table.get("P1", {})
    if SUBJECT in own and f"{SUBJECT}+log" in own:
        more = own[f"{SUBJECT}+log"]["cpu_us"] - own[SUBJECT]["cpu_us"]
        lines.append(("P1", "with an access log", f"P1 + {more:.1f} us", None))
    if scrapes:
        cost, size = (median(getattr(sample, name) for sample in scrapes) for name in ("cpu_us", "size"))
        lines.append(("scrape", "a scrape of /metrics", f"{cost:.0f} us, {size / 1000:.1f} KB", None))
    return lines


def record(sample):
    kept, sampled = sample["kept_ns"], sample["sampled_ns"]
    return ("P10", "handing over a record <= 1 us", f"{kept / 1000:.2f} us, {sampled / 1000:.2f} us where few are kept", kept <= 1000)


def idle(sample):
    return [
        ("P11", "idle memory <= 30 MB", f"{sample.idle_mb:.1f} MB", sample.idle_mb <= 30),
        ("P11", "an idle connection <= 40 KB", f"{sample.connection_kb:.1f} KB", sample.connection_kb <= 40),
        ("P11", "first answer with 10,000 routes <= 200 ms", f"{sample.start_ms:.0f} ms", sample.start_ms <= 200),
    ]


def many(sample):
    return [
        ("P9", "CPU <= 1.5 x that with few routes", f"{sample.many_us / sample.few_us:.2f} x", sample.many_us <= 1.5 * sample.few_us),
        ("P9", "a change live in <= 5 ms", f"{sample.publish_many_ms:.1f} ms, with few routes {sample.publish_few_ms:.1f} ms",
         sample.publish_many_ms <= 5),
        ("P9", "a route <= 400 B", f"{sample.route_bytes:.0f} B", sample.route_bytes <= 400),
    ]


def markdown(table, works, settings, verdicts):
    lines = [
        f"Medians of {settings['rounds']} interleaved rounds of {settings['seconds']} s; "
        f"one core for the server, one for the load. The ratio is to {FLOOR}, in P5 to nginx, in P6 to the engine alone, in P8 to the store alone.",
        "",
        "| row | work | server | CPU us/request | ratio | requests/s | p50 ms | p99 ms |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for work in works:
        servers = table.get(work.row, {})
        floor = servers.get(UNIT.get(work.row.split()[0], FLOOR), {}).get("cpu_us")
        for server, figures in servers.items():
            ratio = f"{figures['cpu_us'] / floor:.2f}" if floor else ""
            lines.append(
                f"| {work.row} | {work.title} | {server} | {figures['cpu_us']:.1f} | {ratio} | "
                f"{figures['per_second']:,.0f} | {figures['p50_ms']:.2f} | {figures['p99_ms']:.2f} |")
    if verdicts:
        lines += ["", "| row | budget | measured | holds |", "| --- | --- | ---: | --- |"]
        lines += [f"| {row} | {rule} | {figure} | {HOLDS[holds]} |" for row, rule, figure, holds in verdicts]
    return "\n".join(lines)

"""What the samples say: medians, ratios, and whether each budget holds."""

from dataclasses import asdict
from statistics import median

FIGURES = ("cpu_us", "per_second", "p50_ms", "p99_ms")
SUBJECT, FLOOR, ENGINE, STORE, NGINX = "picloud", "ProxyHttp", "engine alone", "store alone", "nginx"


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
        floor = servers.get(next((name for name in (ENGINE, STORE, NGINX) if name in servers), FLOOR), {}).get("cpu_us")
        for server, figures in servers.items():
            ratio = f"{figures['cpu_us'] / floor:.2f}" if floor else ""
            lines.append(
                f"| {work.row} | {work.title} | {server} | {figures['cpu_us']:.1f} | {ratio} | "
                f"{figures['per_second']:,.0f} | {figures['p50_ms']:.2f} | {figures['p99_ms']:.2f} |")
    if verdicts:
        lines += ["", "| row | budget | measured | holds |", "| --- | --- | ---: | --- |"]
        lines += [f"| {row} | {rule} | {figure} | {'yes' if holds else 'no'} |" for row, rule, figure, holds in verdicts]
    return "\n".join(lines)

"""What a call of `run` found, for a reader and for the repository.

    python report.py DIR                     the summary of DIR/report.json
    python report.py DIR --results FOLDER    writes FOLDER/<date>-<device>.json: figures and how checks ended, without outputs
"""

import argparse
import csv
import datetime
import json
import pathlib
import platform
import re
import subprocess
import sys

MOST = 9800  # characters of a summary


def describe(device, root):
    """Device, driver and versions, as far as they can be found."""

    def output_of(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""

    gpu = "" if device == "cpu" else output_of(
        "nvidia-smi", f"--id={device.partition(':')[2] or '0'}", "--query-gpu=name,driver_version,memory.total",
        "--format=csv,noheader")  # fmt: skip
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **json.loads((root / "commit.json").read_text()),
        "device": device,
        "gpu": gpu or None,
        "nvcc": output_of("nvcc", "--version").splitlines()[-1:],
        "python": platform.python_version(),
        "parts": {},
    }


def counts(text):
    """`N passed, N failed` of a table, its failures, and what a sanitizer counted."""
    found = re.findall(r"^(\d+) passed, (\d+) failed$", text, re.M)
    failures = [line[:240] for line in text.splitlines() if re.match(r"FAIL|PROBLEM|DIFFERS|FAULTS|DIES|HANGS|========= (Invalid|Error: Race|Program hit)", line)][:40]
    errors = re.findall(r"^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+)", text, re.M)
    return {**({"sanitizer": sum(map(int, errors))} if errors else {}), **({"counts": [int(number) for number in found[-1]]} if found else {}), **({"failures": failures} if failures else {})}


def kernels(file):
    """ncu's rows, by kernel: launches, and the mean of each metric."""
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.startswith('"')]
    found = {}
    for row in csv.DictReader(lines):
        name = row.get("Kernel Name")
        if not name:  # the row of units
            continue
        entry = found.setdefault(name[:160], {"launches": 0})
        entry["launches"] += 1
        for metric, value in row.items():
            if metric and "__" in metric and "." in metric:
                try:
                    entry[metric] = entry.get(metric, 0.0) + float(value.replace(",", ""))
                except ValueError:
                    pass
    for entry in found.values():
        for metric in entry:
            if metric != "launches":
                entry[metric] = round(entry[metric] / entry["launches"], 3)
    return found


def op_rows(part):
    for row in (part.get("figures") or {}).get("rows", []):
        yield (f"{row['name'][:64]:64} {row['milliseconds']:9.3f} ms {row['teraflops']:7.1f} TFLOP/s  "
               f"{row['ratio']:5.2f} x {row['against']}{'' if row['agrees'] else '  DIFFERS'}")  # fmt: skip


def profile_rows(part, most):
    for figures in part.get("figures") or []:
        yield (f"{figures['work']} {figures['precision']}, {figures['seconds']:g} s: {figures['milliseconds']:.2f} ms of ops, "
               f"{figures['clock']:.2f} ms a run by the clock, {figures['replayed']} graphs replayed")  # fmt: skip
        for name, (milliseconds, calls, flops) in sorted(figures["ops"].items(), key=lambda item: -item[1][0])[:most]:
            rate = f"{flops / milliseconds / 1e9:7.1f} TFLOP/s" if flops and milliseconds else ""
            yield f"  {milliseconds:8.3f} ms {calls:5g} calls  {name[:60]:60} {rate}"


def kernel_rows(part, most):
    duration = "gpu__time_duration.sum"
    rows = sorted((part.get("figures") or {}).items(), key=lambda item: -item[1].get(duration, 0) * item[1]["launches"])
    for name, entry in rows[:most]:
        others = "  ".join(f"{metric.split('.')[0].split('__')[1]} {value:g}" for metric, value in entry.items()
                           if metric not in ("launches", duration))  # fmt: skip
        yield f"  {entry['launches']:4} x {entry.get(duration, 0) / 1000:9.2f} us  {name[:70]:70} {others}"


def bench_rows(part):
    figures = part.get("figures") or {}
    seconds = figures.get("workload", {}).get("seconds")
    for row in figures.get("contenders", []):
        yield f"  {row['name'][:60]:60} {row['median']:10.2f} ms {1000 * seconds / row['median']:9.0f} audio s/s"
    for row in figures.get("ratios", []):
        memory = f", {row['gpuMemory']:.2f} of its GPU memory" if "gpuMemory" in row else ""
        yield f"  {row['ours']}: {row['speed']:.2f} times the speed of {row['theirs']}{memory}"


def parity_rows(part):
    for row in (part.get("figures") or {}).get("rows", []):
        what = ", ".join(f"{name} {row[name]:.1e}" for name in ("hidden", "loss", "gradients", "each") if name in row)
        yield f"  {row['name']}: {what or str(row['differ']) + ' tensors differ'}{'' if row['agrees'] else '  TOO LARGE'}"


def summary(report):
    """The most important last: a reply may have its end alone."""
    parts = report["parts"]
    gpu = report["gpu"] or report["device"]
    sections = [[f"emoframe {report['commit'][:12]}{' (changed)' if report['changed'] else ''} on {gpu}, {report['date']}"]]

    def add(title, rows, most=99):
        rows = list(rows)[:most]
        if rows:
            sections.append([f"-- {title}", *rows])

    for name, part in parts.items():
        if name in ("bench-ops", "bench-kmeans"):
            add(name, op_rows(part), 24)
    rates = [line for line in parts.get("probe", {}).get("output", "").splitlines() if re.search(r"\d (TFLOP|GFLOP|TB|GB|us|ns)\b|/s\b", line)]
    add("probe, rates", [f"  {line[:130]}" for line in rates], 20)
    add("ncu, by kernel", kernel_rows(parts.get("ncu", {}), 14))
    for name, part in parts.items():
        if name.startswith(("profile-", "variant-")):
            add(name, profile_rows(part, 12 if name.startswith("profile-") else 4))
    add("parity", parity_rows(parts.get("parity", {})))
    for name in ("bench-inference", "bench-training"):
        add(name, bench_rows(parts.get(name, {})))
    failures = []
    for name, part in parts.items():
        for line in part.get("failures", [])[:8]:
            failures.append(f"  {name}: {line[:150]}")
        if part["status"].startswith("failed") and not part.get("failures"):
            failures += [f"  {name}: {line[:150]}" for line in part.get("output", "").strip().splitlines()[-3:]]
    add("failures", failures, 30)
    rows = []
    for name, part in parts.items():
        status, counts = part["status"], part.get("counts")
        if counts:
            status += f" ({counts[0]} passed, {counts[1]} failed)"
        rows.append(f"  {name:26} {part.get('seconds', 0):6.1f} s  {status[:90]}")
    sections.append(["-- parts", *rows])
    # What was said first gives way.
    while sum(len(line) + 1 for section in sections for line in section) > MOST and len(sections) > 2:
        longest = next((section for section in sections[1:-1] if len(section) > 4), None)
        if longest is None:
            sections.pop(1)
        else:
            longest.pop()
    return "\n".join("\n".join(section) for section in sections) + "\n"


def results(report, folder):
    """For bench/results: what was measured, and how checks ended."""
    kept = {name: {key: part[key] for key in ("status", "seconds", "counts", "failures", "figures") if key in part}
            for name, part in report["parts"].items()}  # fmt: skip
    gpu = (report["gpu"] or report["device"]).split(",")[0].removeprefix("NVIDIA ").lower()
    name = f"{report['date'][:10]}-gpu-check-{re.sub(r'[^a-z0-9]+', '-', gpu).strip('-')}.json"
    file = folder / name
    file.write_text(json.dumps({**report, "parts": kept}, indent=1) + "\n")
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--results", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    report = json.loads((options.folder / "report.json").read_text())
    if options.results:
        print(results(report, options.results))
    else:
        print(summary(report))


if __name__ == "__main__":
    sys.exit(main())

"""A contender's side of harness/child.js in Python: one JSON line in, one out, on standard input and output."""

import json
import os
import sys
import time
import traceback
from contextlib import contextmanager


@contextmanager
def timed(synchronize=lambda: None):
    """Says how long its body took on the clock, and of all processors together; work on a device is waited for."""
    synchronize()
    times = {}
    cpu, started = time.process_time(), time.perf_counter()
    yield times
    synchronize()
    times["milliseconds"] = 1000 * (time.perf_counter() - started)
    times["cpuMilliseconds"] = 1000 * (time.process_time() - cpu)


def iteration_times(fit, iterations):
    """What `fit(1 + iterations)` gives, and times of one iteration: of what it took longer than `fit(1)`."""
    with timed() as once:
        fit(1)
    with timed() as all_times:
        result = fit(1 + iterations)
    times = {name: (all_times[name] - once[name]) / iterations for name in all_times}
    if min(times.values()) <= 0:
        raise RuntimeError(
            f"{1 + iterations} iterations took no longer than one: the machine is too busy, or more --iterations are needed."
        )
    return result, times


def serve(handlers):
    """`handlers`: functions of one dictionary, by method."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = handlers[request["method"]](request["parameters"])
            # This process may not be the one that was started (scripts/gpu-check/python).
            answer = {"result": {**result, "pid": os.getpid()}}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)

"""A job for tests: it logs steps at an even pace, and prints what that took from it.

    python logging_job.py FOLDER FIRST_STEP LAST_STEP SECONDS [PAUSE_FILE]
    python logging_job.py --impatient ...  looks for news, and for a server, more often

Four metrics per step. With no SECONDS at all it works between the steps. It resumes the history if
FIRST_STEP is not 1. With PAUSE_FILE it does not end before that file exists.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

from l2o.jobs.record import Run
from l2o.tracking.live import LiveRun, follow_jobs

_WORK = bytes(8_000_000)


def values(step: int) -> dict[str, float]:
    """What is logged at a step."""
    return {f"task/m{i}": step * 0.5 + i for i in range(4)}


def main(folder: str, first: int, last: int, seconds: float, pause: str | None = None) -> None:
    """Run the job."""
    logging = longest = 0.0
    begin = time.perf_counter()
    with Run(folder, stage="meta_train", config={"lr": 0.1}, seed=1, tags={"recipe": "r"}) as run:
        if first > 1:
            run.resume(first - 1)
        step = first
        while step <= last or (pause is not None and not Path(pause).exists()):
            before, cpu = time.perf_counter(), time.thread_time()
            run.log(step, values(step))
            longest = max(longest, time.perf_counter() - before)
            logging += time.thread_time() - cpu
            if seconds:
                time.sleep(seconds / (last - first + 1))
            else:
                hashlib.sha256(_WORK)  # lets other threads run, as JAX does
            step += 1
        # The thread that delivers has the processor time that this one has not.
        other = time.process_time() - time.thread_time()
        inside = time.perf_counter() - begin
        end = time.perf_counter()
    measures = {
        "cpu": time.process_time(),
        "seconds": inside,
        "delivery_cpu": other,
        "logging_cpu": logging,
        "longest": longest,
        "farewell": time.perf_counter() - end,
        "last": step - 1,
    }
    print(json.dumps(measures))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "--impatient":
        LiveRun.interval, LiveRun.longest_pause = 0.5, 1.0
        del arguments[0]
    follow_jobs()  # as the command line does
    main(arguments[0], *map(int, arguments[1:3]), float(arguments[3]), *arguments[4:])

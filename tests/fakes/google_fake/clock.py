# SPDX-License-Identifier: Apache-2.0
"""The stand-in's clock: the real one plus what tests have added, and calls at given times.

An hour passes for tokens, sessions and jobs when a test says so, not by waiting for it.
"""
import datetime
import heapq
import itertools
import sys
import threading
import time
import traceback

SETTLE_SECONDS = 30


class Clock:
    def __init__(self):
        self._offset = 0.0
        self._changed = threading.Condition()
        self._calls, self._count, self._busy = [], itertools.count(), False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def now(self):
        """Seconds since the epoch."""
        return time.time() + self._offset

    def advance(self, seconds):
        """Let seconds pass; calls that are due by then have run when this returns."""
        with self._changed:
            self._offset += seconds
            self._changed.notify_all()
            self._changed.wait_for(self._settled, SETTLE_SECONDS)
        return self.now()

    def at(self, when, call):
        """Run call() at that time, in the clock's thread."""
        with self._changed:
            heapq.heappush(self._calls, (when, next(self._count), call))
            self._changed.notify_all()

    def after(self, seconds, call):
        self.at(self.now() + seconds, call)

    def stop(self):
        """Make no more calls."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _settled(self):
        return not self._busy and (not self._calls or self._calls[0][0] > self.now())

    def _run(self):
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._stopped and (not self._calls or self._calls[0][0] > self.now()):
                    wait = self._calls[0][0] - self.now() if self._calls else None
                    self._changed.wait(wait)
                if self._stopped:
                    return
                _, _, call = heapq.heappop(self._calls)
                self._busy = True
            try:
                call()
            except Exception:  # one job's accident must not stop the others' time
                traceback.print_exc(file=sys.stderr)


def stamp(seconds, digits=6):
    """RFC 3339 as Google prints it; digits: 3 for Storage, 6 for the others, or 0."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    fraction = "." + f"{at.microsecond:06d}"[:digits] if digits else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def parse_stamp(text):
    """Seconds of an RFC 3339 time, or ValueError."""
    at = datetime.datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return at.timestamp()

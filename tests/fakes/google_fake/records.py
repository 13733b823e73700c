# SPDX-License-Identifier: Apache-2.0
"""What was asked of the stand-in: a bounded log of requests, and counts for tests and numbers."""
import collections
import fnmatch
import threading
import time

KEPT = 200_000


class Records:
    def __init__(self):
        self._lock = threading.Lock()
        self.clear()

    def clear(self):
        with self._lock:
            self._entries = collections.deque(maxlen=KEPT)
            self._seq = 0

    def add(self, request, op, status, fault, began):
        """status None: the connection was reset."""
        now = time.time()
        entry = {"op": op, "method": request.method, "path": request.path, "status": status,
                 "connection": request.connection, "principal": request.principal,
                 "fault": fault, "time": round(now, 4), "ms": round((now - began) * 1000, 2),
                 "bytes": request.body.taken}
        with self._lock:
            self._seq += 1
            entry["seq"] = self._seq
            self._entries.append(entry)

    def list(self, since=0, op="*"):
        with self._lock:
            return [e for e in self._entries if e["seq"] > since and fnmatch.fnmatch(e["op"], op)]

    def stats(self, since=0, op="*"):
        """Counts by operation and answer, and the rate between the first and the last."""
        entries = self.list(since, op)
        ops, seconds = {}, collections.Counter()
        for e in entries:
            answers = ops.setdefault(e["op"], {})
            key = "reset" if e["status"] is None else str(e["status"])
            answers[key] = answers.get(key, 0) + 1
            seconds[int(e["time"])] += 1
        span = entries[-1]["time"] - entries[0]["time"] if entries else 0.0
        return {"seq": self._seq, "requests": len(entries), "ops": ops,
                "connections": len({e["connection"] for e in entries}),
                "span_seconds": round(span, 3),
                "per_second": round((len(entries) - 1) / span, 3) if span > 0 else None,
                "most_in_a_second": max(seconds.values(), default=0),
                "bytes": sum(e["bytes"] for e in entries)}

# SPDX-License-Identifier: Apache-2.0
"""Custom jobs and their lives: states that move by the clock, by containers and by control."""
import fnmatch
import itertools
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

from google.cloud.aiplatform_v1.types import AcceleratorType, JobState
from google.protobuf import json_format

from . import spec
from .container import Container
from .faults import machine_quota

QUEUED, PENDING, RUNNING = (JobState[f"JOB_STATE_{s}"] for s in ("QUEUED", "PENDING", "RUNNING"))
SUCCEEDED, FAILED = JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED
CANCELLING, CANCELLED = JobState.JOB_STATE_CANCELLING, JobState.JOB_STATE_CANCELLED
TERMINAL = {SUCCEEDED, FAILED, CANCELLED, JobState.JOB_STATE_EXPIRED,
            JobState.JOB_STATE_PARTIALLY_SUCCEEDED}
DEFAULT_TIMEOUT = 7 * 86400
MAX_RESTARTS = 6  # of a preempted job whose retries are not disabled
STOCKOUT = ("Resources are insufficient in region: {region}. Please try a different region or a "
            "different machine type or accelerator.")
EXIT = ("The replica workerpool0-0 exited with a non-zero status of {code}. Termination reason: "
        "Error. To find out more about why your job exited please check the logs: "
        "https://console.cloud.google.com/logs/viewer?project={number}&resource=ml_job%2Fjob_id%2F"
        "{id}&advancedFilter=resource.type%3D%22ml_job%22%0Aresource.labels.job_id%3D%22{id}%22")


class Plan:
    """How a job will fare.  The keys of a rule of the control API, with what holds otherwise."""
    DEFAULTS = {
        "mode": "run",          # "run": the notebook, for real; "timer": states move by time alone
        "queue": 0.05, "pending": 0.05,   # seconds in these states
        "run": 0.2,             # seconds of RUNNING, in mode "timer"
        "remember": False,      # a notebook that was run before is not run again: its end is the same
        "outcome": "SUCCEEDED", "code": 3, "message": None,  # the end, in mode "timer"
        "stockout": False,      # no machines: FAILED with code 8
        "preempt_after": None,  # seconds of RUNNING, then the machine is taken away
        "cancel": 0.05,         # seconds in CANCELLING
        "stuck_cancelling": False,        # for ever, or until the action "release"
        "cancel_ends": "CANCELLED",       # or SUCCEEDED or FAILED: it was faster
        "timeout_ends": "CANCELLED",      # or FAILED or EXPIRED; None: it goes on
        "no_output": False,     # SUCCEEDED, but the output object is not written
        "replace_output": None,           # text that another writer puts there right after
        "delete_after_end": False,        # deleted behind our back
    }
    # Which jobs a rule is for.
    MATCH = ("display_name", "region", "machine_type", "accelerator", "strategy", "label", "times")

    def __init__(self, values):
        self.__dict__.update(self.DEFAULTS, **values)


class Rule:
    def __init__(self, order):
        unknown = set(order) - set(Plan.DEFAULTS) - set(Plan.MATCH)
        if unknown:
            raise ValueError(f"no such keys: {sorted(unknown)}")
        self.match = {k: v for k, v in order.items() if k in Plan.MATCH and k != "times"}
        self.values = {k: v for k, v in order.items() if k in Plan.DEFAULTS}
        self.times = order.get("times")

    def fits(self, job):
        if self.times is not None and self.times <= 0:
            return False
        machine = job.message.job_spec.worker_pool_specs[0].machine_spec
        strategy = job.message.job_spec.scheduling.strategy
        values = {"display_name": job.message.display_name, "region": job.region,
                  "machine_type": machine.machine_type,
                  "accelerator": AcceleratorType(machine.accelerator_type).name,
                  "strategy": job.strategies[strategy]}
        return all(
            dict(job.message.labels).items() >= wanted.items() if key == "label"
            else fnmatch.fnmatchcase(values[key], wanted) for key, wanted in self.match.items())


class Job:
    strategies = {v: k for k, v in spec.Scheduling.Strategy.__members__.items()}

    def __init__(self, identifier, message, project, region, principal, now):
        self.id, self.message, self.region, self.principal = identifier, message, region, principal
        self.project_id, self.project_number = project
        self.name = f"projects/{project[1]}/locations/{region}/customJobs/{identifier}"
        self.created, self.times = now, {}
        self.restarts, self.container, self.hidden, self.state = 0, None, 0, None
        self.plan, self.usage = None, spec.usage(message)
        self._shown, self._fields = {}, None
        message.name = self.name
        message.create_time.FromMicroseconds(int(now * 1e6))

    @property
    def ended(self):
        return self.state in TERMINAL

    def move(self, state, now, code=0, text=""):
        self.state, self.message.state = state, state
        self.times.setdefault(state.name, now)
        self.message.update_time.FromMicroseconds(int(now * 1e6))
        if state == RUNNING and not self.message.HasField("start_time"):
            self.message.start_time.FromMicroseconds(int(now * 1e6))
        if self.ended:
            self.message.end_time.FromMicroseconds(int(now * 1e6))
        if code:
            self.message.error.code, self.message.error.message = code, text
        self._shown, self._fields = {}, None

    def show(self, numbers=False):
        """The resource; numbers: enums as numbers, as `alt=json;enum-encoding=int` asks for."""
        if numbers not in self._shown:
            self._shown[numbers] = json_format.MessageToDict(
                self.message, use_integers_for_enums=numbers)
        return self._shown[numbers]

    def fields(self):
        """What a list's filter can ask for."""
        if self._fields:
            return self._fields
        values = {f"labels.{k}": v for k, v in self.message.labels.items()}
        values.update(display_name=self.message.display_name, state=self.state.name,
                      create_time=self.created, name=self.name,
                      update_time=self.message.update_time.ToMicroseconds() / 1e6)
        for member in ("start_time", "end_time"):
            if self.message.HasField(member):
                values[member] = getattr(self.message, member).ToMicroseconds() / 1e6
        self._fields = values
        return values

    def timeout(self):
        scheduling = self.message.job_spec.scheduling
        if not scheduling.HasField("timeout"):
            return DEFAULT_TIMEOUT
        return scheduling.timeout.seconds + scheduling.timeout.nanos / 1e9


class Jobs:
    """All jobs.  The cloud's lock guards them; every method takes it itself."""

    def __init__(self, cloud, containers):
        self.cloud, self.clock, self.lock = cloud, cloud.clock, cloud.lock
        self.jobs, self.rules = {}, []
        self.limits, self.queue_on_quota = {}, False  # of machines: metric -> amount
        self.lag_lists, self.stale_lists, self._stale = 0, 0, None
        self._count = itertools.count(secrets.randbelow(10 ** 6))
        self._pool = ThreadPoolExecutor(max_workers=containers, thread_name_prefix="container")
        self.moved = threading.Condition(self.lock)

    # For the API

    def create(self, message, project, region, principal):
        with self.lock:
            identifier = str(10 ** 18 + next(self._count) * 7919)
            job = Job(identifier, message, project, region, principal, self.clock.now())
            over = self.over_quota(job, (QUEUED, PENDING, RUNNING, CANCELLING))
            if over and not self.queue_on_quota:
                raise machine_quota(over)
            job.plan, job.hidden = self.plan(job), self.lag_lists
            self.jobs[identifier] = job
            self.move(job, PENDING if job.plan.queue == 0 and not over else QUEUED)
            answer = dict(job.show())
            if job.state == PENDING:
                self.clock.after(job.plan.pending, lambda: self.begin(job))
            else:
                self.clock.after(job.plan.queue, lambda: self.leave_queue(job))
            return job, answer

    def plan(self, job):
        values = {}
        for rule in self.rules:
            if rule.fits(job):
                values.update(rule.values)
                if rule.times is not None:
                    rule.times -= 1
        return Plan(values)

    def over_quota(self, job, states):
        """The metrics that the job and the jobs in these states exceed together."""
        if not self.limits:
            return []
        used = dict(job.usage)
        for other in self.jobs.values():
            if other is not job and other.state in states and \
                    (other.project_id, other.region) == (job.project_id, job.region):
                for metric, amount in other.usage.items():
                    used[metric] = used.get(metric, 0) + amount
        return sorted(m for m in job.usage if m in self.limits and used[m] > self.limits[m])

    def list(self, project, region, predicate, after, most, numbers):
        """([resource], id to go on after or None), the newest first."""
        with self.lock:
            found, stale = [], self.take_stale()
            for job in reversed(self.jobs.values()):
                if job.project_id != project or job.region != region or \
                        after and job.id >= after:
                    continue
                if stale is not None and job.id not in stale:
                    continue
                if not predicate(job.fields() if stale is None else stale[job.id][0]):
                    continue
                if job.hidden > 0:
                    job.hidden -= 1
                    continue
                if len(found) == most:
                    return [r for _, r in found], found[-1][0]
                found.append((job.id, job.show(numbers) if stale is None else stale[job.id][1]))
            return [r for _, r in found], None

    def take_stale(self):
        if self.stale_lists <= 0:
            return None
        self.stale_lists -= 1
        return self._stale

    def be_stale(self, lists):
        """The next lists show what is so now."""
        with self.lock:
            self.stale_lists = lists
            self._stale = {j.id: (j.fields(), dict(j.show())) for j in self.jobs.values()}

    def cancel(self, job):
        """Whether it could be: an ended job cannot."""
        with self.lock:
            if job.ended:
                return False
            if job.state != CANCELLING:
                self.move(job, CANCELLING)
                if not job.plan.stuck_cancelling:
                    self.clock.after(job.plan.cancel, lambda: self.end_cancel(job))
            return True

    def remove(self, job):
        with self.lock:
            if not job.ended:
                self.stop(job)
            self.jobs.pop(job.id, None)

    # The life of a job

    def move(self, job, state, code=0, text=""):
        job.move(state, self.clock.now(), code, text)
        self.moved.notify_all()
        if job.ended:
            self.stop(job)
            if job.plan.delete_after_end:
                self.jobs.pop(job.id, None)
            for other in self.jobs.values() if self.limits else ():
                if other.state == QUEUED:  # what this one held may be enough for another
                    self.clock.after(0, lambda other=other: self.leave_queue(other))

    def leave_queue(self, job):
        with self.lock:
            if job.state != QUEUED or self.over_quota(job, (PENDING, RUNNING, CANCELLING)):
                return
            self.move(job, PENDING)
            self.clock.after(job.plan.pending, lambda: self.begin(job))

    def begin(self, job):
        with self.lock:
            if job.state != PENDING:
                return
            if job.plan.stockout:
                self.move(job, FAILED, 8, STOCKOUT.format(region=job.region))
            elif job.plan.mode == "timer":
                self.run(job)
                self.clock.after(job.plan.run, lambda: self.end_timer(job))
            else:
                self._pool.submit(self.contain, job)

    def run(self, job):
        self.move(job, RUNNING)
        restarts = job.restarts
        self.clock.after(job.timeout(), lambda: self.time_out(job))
        if job.plan.preempt_after is not None:
            self.clock.after(job.plan.preempt_after, lambda: self.preempt(job, restarts))

    def contain(self, job):
        """In a thread of the pool: run the container and judge its end."""
        with self.lock:
            if job.state != PENDING:
                return
            self.run(job)
            container = job.container = Container(self.cloud, job)
        code = container.run()
        with self.lock:
            if job.container is not container:
                return  # it was stopped, and why has been said
            job.container = None
            self.end_run(job, code)

    def end_run(self, job, code):
        if job.state not in (RUNNING, CANCELLING) or \
                job.state == CANCELLING and job.plan.cancel_ends == "CANCELLED":
            return
        if code == 0:
            self.move(job, SUCCEEDED)
        else:
            self.move(job, FAILED, 3, EXIT.format(code=code, number=job.project_number, id=job.id))

    def end_timer(self, job):
        with self.lock:
            if job.state != RUNNING:
                return
            if job.plan.outcome == "SUCCEEDED":
                self.move(job, SUCCEEDED)
            else:
                text = job.plan.message or EXIT.format(code=1, number=job.project_number, id=job.id)
                self.move(job, JobState[f"JOB_STATE_{job.plan.outcome}"], job.plan.code, text)

    def end_cancel(self, job):
        with self.lock:
            if job.state != CANCELLING:
                return
            end = JobState[f"JOB_STATE_{job.plan.cancel_ends}"]
            if end == CANCELLED:
                self.move(job, CANCELLED, 1, "CANCELED")
            elif end == FAILED:
                self.move(job, FAILED, 3, EXIT.format(code=1, number=job.project_number, id=job.id))
            elif job.container is None:  # else it ends as its container does
                self.move(job, end)

    def time_out(self, job):
        with self.lock:
            if job.state in (RUNNING, CANCELLING) and job.plan.timeout_ends:
                self.move(job, JobState[f"JOB_STATE_{job.plan.timeout_ends}"], 4,
                          "The job has exceeded its maximum running time.")

    def preempt(self, job, restarts=None):
        """Take the machine away.  The job starts again, unless its retries are disabled."""
        with self.lock:
            if job.state != RUNNING or restarts not in (None, job.restarts):
                return
            self.stop(job)
            if job.message.job_spec.scheduling.disable_retries or job.restarts >= MAX_RESTARTS:
                self.move(job, FAILED, 8, STOCKOUT.format(region=job.region))
                return
            job.restarts += 1
            job.plan.preempt_after = None
            self.move(job, PENDING)
            self.clock.after(job.plan.pending, lambda: self.begin(job))

    @staticmethod
    def stop(job):
        """Kill the container, which writes what it has before."""
        container, job.container = job.container, None
        if container:
            container.stop()

    def end(self, job, state, code=0, text=""):
        """For tests: the job ends so, now."""
        with self.lock:
            if not job.ended:
                self.move(job, JobState[f"JOB_STATE_{state}"], code, text)

    def shutdown(self):
        with self.lock:
            for job in self.jobs.values():
                self.stop(job)
        self._pool.shutdown(wait=True, cancel_futures=True)

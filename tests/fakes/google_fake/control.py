# SPDX-License-Identifier: Apache-2.0
"""What tests order and ask: /__control/..., without authentication.  README.md lists it."""
import base64
import json
import threading

from .errors import Refused
from .jobs import Plan, Rule
from .web import Response

LONGEST_WAIT = 60


def wrong(text):
    return Refused(400, {"error": text})


class Control:
    def __init__(self, cloud):
        self.cloud = cloud

    def answer(self, request):
        path = request.path.removeprefix("/__control/").split("/")
        name = f"{request.method.lower()}_{path[0]}"
        handler = getattr(self, name, None) if path[0].isalpha() else None
        if handler is None or len(path) > 2:
            raise Refused(404, {"error": f"no such order: {request.method} {request.path}"})
        body = request.json_object(wrong) if request.method == "POST" else {}
        try:
            answer = handler(request, body, *path[1:])
        except (ValueError, KeyError, TypeError, IndexError) as e:
            raise wrong(f"{type(e).__name__}: {e}") from None
        return answer if isinstance(answer, Response) else Response(value=answer)

    # Faults, time, what was asked

    def post_faults(self, request, body):
        return {"id": self.cloud.faults.add(body)}

    def get_faults(self, request, body):
        return self.cloud.faults.list()

    def delete_faults(self, request, body):
        self.cloud.faults.clear()
        return {}

    def post_clock(self, request, body):
        return {"now": self.cloud.clock.advance(float(body.get("advance", 0)))}

    def get_clock(self, request, body):
        return {"now": self.cloud.clock.now()}

    def get_requests(self, request, body):
        return self.cloud.records.list(int(request.param("since", "0")), request.param("op", "*"))

    def delete_requests(self, request, body):
        self.cloud.records.clear()
        return {}

    def get_stats(self, request, body):
        stats = self.cloud.records.stats(int(request.param("since", "0")), request.param("op", "*"))
        return {**stats, "server": dict(request.server.connections)}

    # Jobs

    def get_jobs(self, request, body, identifier=None):
        with self.cloud.lock:
            jobs = self.cloud.jobs.jobs
            if identifier:
                return self.show(self.find(identifier))
            return [self.show(job) for job in jobs.values()]

    @staticmethod
    def show(job):
        return {"id": job.id, "name": job.name, "state": job.state.name, "region": job.region,
                "project": job.project_id, "principal": job.principal, "restarts": job.restarts,
                "times": job.times, "resource": job.show()}

    def find(self, identifier):
        job = self.cloud.jobs.jobs.get(identifier)
        if job is None:
            raise Refused(404, {"error": f"no job {identifier}"})
        return job

    def post_rules(self, request, body):
        """How jobs that are created from now on will fare."""
        with self.cloud.lock:
            self.cloud.jobs.rules.append(Rule(body))
        return {}

    def delete_rules(self, request, body):
        with self.cloud.lock:
            self.cloud.jobs.rules.clear()
        return {}

    def post_jobs(self, request, body, identifier):
        """Something happens to one job, now."""
        jobs, action = self.cloud.jobs, body.get("action")
        with self.cloud.lock:
            job = self.find(identifier)
            if action == "delete":
                jobs.remove(job)
            elif action == "preempt":
                jobs.preempt(job)
            elif action == "end":
                jobs.end(job, body["state"], body.get("code", 0), body.get("message", ""))
            elif action == "release":
                job.plan.stuck_cancelling = False
                jobs.end_cancel(job)
            elif action == "plan":
                if set(body) - {"action"} - set(Plan.DEFAULTS):
                    raise wrong("no such keys of a plan")
                job.plan.__dict__.update({k: v for k, v in body.items() if k != "action"})
            else:
                raise wrong("action: delete, preempt, end, release or plan")
        return {}

    def post_wait(self, request, body):
        """Wait until the jobs (all, or "ids") are in one of the states, or in any end."""
        jobs, wanted = self.cloud.jobs, body["states"]
        if wanted == "ended":
            def is_there(job):
                return job.ended
        else:
            def is_there(job):
                return job.state.name.removeprefix("JOB_STATE_") in wanted

        def all_there():
            chosen = [jobs.jobs[i] for i in body["ids"]] if "ids" in body else jobs.jobs.values()
            return all(map(is_there, chosen))
        with self.cloud.lock:
            there = jobs.moved.wait_for(all_there, min(body.get("seconds", 30), LONGEST_WAIT))
            return {"there": there}

    def post_lists(self, request, body):
        jobs = self.cloud.jobs
        if "lag" in body:
            with self.cloud.lock:
                jobs.lag_lists = int(body["lag"])
        if "stale" in body:
            jobs.be_stale(int(body["stale"]))
        if "empty_pages" in body:
            with self.cloud.lock:
                self.cloud.vertex.empty_pages = bool(body["empty_pages"])
        return {}

    def post_quotas(self, request, body):
        with self.cloud.lock:
            for key in ("crud", "submit"):
                if key in body:
                    self.cloud.vertex.per_minute[key] = body[key]
            if "machines" in body:
                self.cloud.jobs.limits = dict(body["machines"])
                self.cloud.jobs.queue_on_quota = bool(body.get("queue", False))
        return {}

    # Identity

    def post_grants(self, request, body):
        with self.cloud.lock:
            for key in ("allow", "deny"):
                if key in body:
                    rules = [tuple(rule) for rule in body[key]]
                    if any(len(rule) != 3 for rule in rules):
                        raise wrong("a grant is [principal, project, permission]")
                    getattr(self.cloud.identity, key).extend(rules)
            if body.get("reset_deny"):
                self.cloud.identity.deny.clear()
        return {}

    def post_tokens(self, request, body):
        """Tokens end now ("expire": true), or live so long from now on ("lifetime": S)."""
        identity = self.cloud.identity
        with self.cloud.lock:
            if body.get("expire"):
                for token in identity.tokens.values():
                    token.expiry = 0
            if "lifetime" in body:
                identity.lifetime = int(body["lifetime"])
            identity.disabled_keys.update(body.get("disable_keys", []))
            if body.get("no_instance"):
                self.cloud.tokens.instance = None
        return {}

    def post_accounts(self, request, body):
        """A further service account; answers its key file."""
        email = body["email"]
        with self.cloud.lock:
            key = self.cloud.identity.add_service_account(email)
            self.cloud.keys[email] = (email, key)
        return self.cloud.key_file(email, request.server.url)

    # Storage

    def post_buckets(self, request, body):
        with self.cloud.lock:
            project = self.cloud.identity.project(body.get("project", self.cloud.home))
            self.cloud.store.add_bucket(body["name"], *project)
        return {}

    def post_objects(self, request, body):
        """put (a new generation by another writer), delete, or corrupt what is stored."""
        store, action = self.cloud.store, body.get("action", "put")
        with self.cloud.lock:
            bucket, name = store.buckets[body["bucket"]], body["name"]
            if action == "put":
                data = base64.b64decode(body["base64"]) if "base64" in body else \
                    body["text"].encode()
                return {"generation": str(store.put_bytes(bucket, name, data).generation)}
            if action == "delete":
                store.delete(bucket, name)
            elif action == "corrupt":
                item = bucket.objects[name]
                with open(item.path, "r+b") as f:
                    f.seek(item.offset)
                    first = f.read(1)
                    f.seek(item.offset)
                    f.write(bytes([first[0] ^ 1]))
            else:
                raise wrong("action: put, delete or corrupt")
        return {}

    def get_objects(self, request, body):
        """The names of a bucket; with name=, the bytes of one."""
        with self.cloud.lock:
            bucket = self.cloud.store.buckets[request.param("bucket")]
            name = request.param("name")
            if name is None:
                return [{"name": n, "generation": str(bucket.objects[n].generation),
                         "size": bucket.objects[n].size} for n in bucket.names]
            item = bucket.objects[name]
            return Response(stream=(item.size, item.parts(0, item.size)))

    # Logs, health

    def post_logs(self, request, body):
        self.cloud.logs.lag = float(body.get("lag", 0))
        return {}

    def get_about(self, request, body):
        cloud = self.cloud
        return {"project": cloud.home, "number": cloud.number, "accounts": {
            name: email for name, (email, _) in cloud.keys.items()},
            "audience": cloud.tokens.provider["audience"], "threads": threading.active_count()}

    def post_subject(self, request, body):
        """A subject token for workload identity federation, of that lifetime."""
        return {"token": self.cloud.tokens.subject_token(int(body.get("lifetime", 3600)))}


def order(json_text):
    """For command lines: the text of a rule as a Rule()."""
    return Rule(json.loads(json_text))

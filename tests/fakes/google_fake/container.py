# SPDX-License-Identifier: Apache-2.0
"""A job's container: no image, but what its command says is done, with a real kernel.

Two commands are known, those that run notebooks: `nbexecutor` and `papermill`.  Cloud Storage
is read and written as the job's service account, under gs:// and under /gcs/.  A third, `sh -c`,
is a real shell, for which /gcs/ is a copy of what its arguments are beside, and in whose PATH
are the other two.
"""
import json
import os
import posixpath
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback

from . import logs
from .commands import COMMANDS, Failed

PYTHON = "/usr/bin/python3"
HERE = os.path.dirname(os.path.abspath(__file__))
EXECUTE, TOOL = os.path.join(HERE, "execute.py"), os.path.join(HERE, "tool.py")
KILLED, NOT_FOUND, BROKEN = 137, 127, 125
MAX_WORKSPACE_OBJECTS = 1000


def expand(text, env):
    """$(NAME) is the variable's value, $$(NAME) the text $(NAME)."""
    return re.sub(r"\$(\$?)\((\w+)\)",
                  lambda m: m[0][1:] if m[1] else env.get(m[2], m[0]), text)


def read_gcs(path):
    """(bucket, object) of gs://bucket/object or /gcs/bucket/object."""
    match = re.fullmatch(r"(?:gs://|/gcs/)([^/]+)/(.+)", path)
    if not match or ".." in match[2].split("/"):
        raise Failed(1, f"{path!r} is neither gs://BUCKET/OBJECT nor /gcs/BUCKET/OBJECT: "
                        "nothing else of the container's disk outlives it")
    return match[1], match[2]


class Container:
    def __init__(self, cloud, job):
        self.cloud, self.job = cloud, job
        self.spec = job.message.job_spec
        self.principal = self.spec.service_account or \
            f"service-{job.project_number}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
        self._lock, self._process, self._stopped = threading.Lock(), None, False
        self._save = None  # writes what there is of the output so far

    def stop(self):
        """Under the cloud's lock: when the job's end can be seen, all that the container ever
        wrote is there."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            if self._process and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._save:
            try:
                self._save()
            except Failed as e:
                self.log(str(e), error=True)
        self._save = None

    def log(self, text, error=False):
        self.cloud.logs.add(logs.of_job(self.job), text, error)

    def run(self):
        """The exit status of the command."""
        scratch = tempfile.mkdtemp(prefix="container-", dir=self.cloud.scratch)
        try:
            return self.execute(scratch)
        except Failed as e:
            self.log(str(e), error=True)
            return e.code
        except Exception:  # a mistake of the stand-in: the job must not run for ever
            traceback.print_exc(file=sys.stderr)
            return BROKEN
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def environment(self, scratch):
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": scratch, "LANG": "C.UTF-8",
               "CLOUD_ML_JOB_ID": self.job.id, "CLOUD_ML_PROJECT_ID": self.job.project_number}
        if self.spec.HasField("base_output_directory"):
            base = self.spec.base_output_directory.output_uri_prefix.rstrip("/")
            env.update(AIP_MODEL_DIR=base + "/model/", AIP_CHECKPOINT_DIR=base + "/checkpoints/",
                       AIP_TENSORBOARD_LOG_DIR=base + "/logs/")
        for variable in self.spec.worker_pool_specs[0].container_spec.env:
            env[variable.name] = expand(variable.value, env)
        return env

    def execute(self, scratch):
        pool = self.spec.worker_pool_specs[0]
        if pool.WhichOneof("task") != "container_spec":
            raise Failed(NOT_FOUND, "the stand-in runs container specs only")
        env = self.environment(scratch)
        argv = [expand(a, env) for a in (*pool.container_spec.command, *pool.container_spec.args)]
        if argv and posixpath.basename(argv[0]) == "sh":
            return self.shell(argv, scratch, env)
        if not argv or posixpath.basename(argv[0]) not in COMMANDS:
            raise Failed(NOT_FOUND, f"exec: {argv[:1]}: not found (the stand-in has "
                                    f"{', '.join(COMMANDS)} and sh)")
        what = COMMANDS[posixpath.basename(argv[0])](argv[1:])
        notebook, output = (os.path.join(scratch, n) for n in ("in.ipynb", "out.ipynb"))
        target = read_gcs(what["output"])
        with open(notebook, "wb") as f:
            f.write(self.read(*read_gcs(what["input"])))
        workspace = self.fill_workspace(scratch, what["cwd"])
        order = {"input": notebook, "output": output, "kernel": what["kernel"],
                 "parameters": what["parameters"], "cwd": workspace or scratch,
                 "input_path": what["input"], "output_path": what["output"]}

        def save():
            if workspace:
                self.save_workspace(workspace, what["cwd"])
            if os.path.exists(output) and not self.job.plan.no_output:
                with open(output, "rb") as f:
                    self.write(*target, f.read())
            replacement = self.job.plan.replace_output
            if replacement is not None:
                self.write(*target, replacement.encode())

        return self.saving(
            save, lambda: self.notebook(order, env, self.job.plan.remember and not workspace))

    def saving(self, save, run):
        """run(), then save(), unless it is stopped before."""
        with self.cloud.lock:
            if self._stopped:
                return KILLED
            self._save = save
        code = run()
        with self.cloud.lock:
            if self._save:
                self._save()
                self._save = None
        return code

    def notebook(self, order, env, remember):
        """Run it, or take what came of the same one before."""
        with open(order["input"], "rb") as f:
            key = f.read(), order["kernel"], json.dumps(order["parameters"])
        known = self.cloud.remembered.get(key) if remember else None
        if known:
            with open(order["output"], "wb") as f:
                f.write(known[1])
            return known[0]
        code = self.spawn([PYTHON, "-I", EXECUTE], env, order["cwd"], json.dumps(order))
        if remember and code <= 1 and os.path.exists(order["output"]):
            with open(order["output"], "rb") as f:
                self.cloud.remembered[key] = code, f.read()
        return code

    def shell(self, argv, scratch, env):
        """Run it for real: every /gcs/ in an argument is a path below scratch."""
        if argv[1:2] != ["-c"] or len(argv) < 3:
            raise Failed(NOT_FOUND, "the stand-in's sh takes -c only")
        root = os.path.join(scratch, "gcs")
        for bucket, name in re.findall(r"(?:gs://|/gcs/)([^/]+)/(\S+)", " ".join(argv[3:])):
            self.fill_gcs(root, bucket, posixpath.dirname(name.rstrip("/")))
        tools, tmp = os.path.join(scratch, "bin"), os.path.join(scratch, "tmp")
        os.mkdir(tools)
        os.mkdir(tmp)
        for name in COMMANDS:
            path = os.path.join(tools, name)
            with open(path, "w", encoding="ascii") as f:
                f.write(f'#!/bin/sh\nexec {PYTHON} -I {TOOL} {name} "$@"\n')
            os.chmod(path, 0o755)
        env = {**env, "PATH": f"{tools}:{env['PATH']}", "TMPDIR": tmp, "STANDIN_GCS": root + "/"}
        words = ["sh", "-c", argv[2], *(a.replace("/gcs/", root + "/") for a in argv[3:])]
        save = (lambda: None) if self.job.plan.no_output else (lambda: self.save_gcs(root))
        return self.saving(save, lambda: self.spawn(words, env, scratch, ""))

    def fill_gcs(self, root, bucket, prefix):
        with self.cloud.lock:
            where = self.permit(bucket, "storage.objects.list")
            found, _, more = self.cloud.store.list(where, prefix + "/", "", "",
                                                   MAX_WORKSPACE_OBJECTS)
        if more is not None:
            raise Failed(1, f"/gcs/{bucket}/{prefix} has more than {MAX_WORKSPACE_OBJECTS} objects")
        for item in found:
            path = os.path.normpath(os.path.join(root, bucket, item.name))
            if path.startswith(root + os.sep) and not os.path.exists(path):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as f:
                    f.write(self.read(bucket, item.name))
                os.utime(path, (0, 0))  # what the run changes gets a new time

    def save_gcs(self, root):
        for where, _, names in os.walk(root):
            for name in names:
                path = os.path.join(where, name)
                if os.path.islink(path) or os.stat(path).st_mtime == 0:
                    continue
                bucket, _, target = os.path.relpath(path, root).partition("/")
                with open(path, "rb") as f:
                    self.write(bucket, target, f.read())

    def spawn(self, argv, env, cwd, text):
        with self._lock:
            if self._stopped:
                return KILLED
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=env, cwd=cwd, start_new_session=True)
        process = self._process
        errors = threading.Thread(target=self.copy, args=(process.stderr, True))
        errors.start()
        try:
            process.stdin.write(text.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it had read; its exit status says more
        self.copy(process.stdout, False)
        errors.join()
        code = process.wait()
        try:
            os.killpg(process.pid, signal.SIGKILL)  # what the kernel left behind
        except ProcessLookupError:
            pass
        return code if code >= 0 else 128 - code

    def copy(self, stream, error):
        with stream:
            for line in stream:
                self.log(line.decode("utf-8", "replace").rstrip("\n"), error)

    # Cloud Storage, as the job's service account

    def permit(self, bucket, permission):
        """The bucket.  The lock is held."""
        found = self.cloud.store.buckets.get(bucket)
        if found is None:
            raise Failed(1, f"gs://{bucket}: The specified bucket does not exist.")
        if not self.cloud.identity.allowed(self.principal, found.project, permission):
            raise Failed(1, f"{self.principal} does not have {permission} access to gs://{bucket}")
        return found

    def read(self, bucket, name):
        with self.cloud.lock:
            found = self.permit(bucket, "storage.objects.get").objects.get(name)
            if found is None:
                raise Failed(1, f"No such object: {bucket}/{name}")
            parts = found.parts(0, found.size)
        return b"".join(parts)

    def write(self, bucket, name, data):
        with self.cloud.lock:
            where = self.permit(bucket, "storage.objects.create")
            self.cloud.store.put_bytes(where, name, data)

    def fill_workspace(self, scratch, cwd):
        """A directory with the objects below /gcs/... that is to be the working directory."""
        if not cwd:
            return None
        bucket, prefix = read_gcs(cwd.rstrip("/"))
        directory = os.path.join(scratch, "workspace")
        os.mkdir(directory)
        with self.cloud.lock:
            where = self.permit(bucket, "storage.objects.list")
            found, _, more = self.cloud.store.list(where, prefix + "/", "", "",
                                                   MAX_WORKSPACE_OBJECTS)
        if more is not None:
            raise Failed(1, f"{cwd} has more than {MAX_WORKSPACE_OBJECTS} objects")
        for item in found:
            path = os.path.normpath(os.path.join(directory, item.name[len(prefix) + 1:]))
            if not path.startswith(directory + os.sep) or item.name.endswith("/"):
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(self.read(bucket, item.name))
            os.utime(path, (0, 0))  # what the run changes gets a new time
        return directory

    def save_workspace(self, directory, cwd):
        bucket, prefix = read_gcs(cwd.rstrip("/"))
        for where, _, names in os.walk(directory):
            for name in names:
                path = os.path.join(where, name)
                if os.path.islink(path) or os.stat(path).st_mtime == 0:
                    continue
                with open(path, "rb") as f:
                    self.write(bucket, f"{prefix}/{os.path.relpath(path, directory)}", f.read())

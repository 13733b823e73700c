#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-in for Vertex AI and Logging: what it refuses, how jobs move, what they run."""
import json
import time
import unittest
import urllib.parse

from google_harness import BUCKET, IMAGE, NUMBER, PROJECT, REGION, WithCloud


class Jobs(WithCloud):
    arguments = ("--rule", '{"mode": "timer"}')

    def refusal(self, **more):
        answer = self.vertex("POST", body=self.job(**more))
        self.assertEqual((answer.status, answer.error[0]), (400, "INVALID_ARGUMENT"), more)
        return answer.error[1]

    def spec(self, machine=None, container=None, pool=None, **more):
        body = self.job()["jobSpec"]
        first = body["workerPoolSpecs"][0]
        first["machineSpec"].update(machine or {})
        first["containerSpec"].update(container or {})
        first.update(pool or {})
        body.update(more)
        return body

    def test_create_and_get(self):
        answer = self.vertex("POST", body=self.job(displayName="é" * 128))
        made = answer.json
        self.assertRegex(made["name"],
                         rf"^projects/{NUMBER}/locations/{REGION}/customJobs/\d{{19}}$")
        self.assertEqual(made["state"], "JOB_STATE_QUEUED")
        self.assertEqual(made["jobSpec"]["workerPoolSpecs"][0]["replicaCount"], "1")
        self.assertRegex(made["createTime"], r"^[0-9T:-]{19}(\.\d{3}|\.\d{6})?Z$")
        self.assertNotIn("startTime", made)
        done = self.wait(made["name"].rpartition("/")[2])
        self.assertEqual(done["state"], "JOB_STATE_SUCCEEDED")
        self.assertTrue({"startTime", "endTime", "updateTime"} <= set(done))
        # By the project's number, and by another name of the host.
        identifier = made["name"].rpartition("/")[2]
        self.assertEqual(self.vertex("GET", "/" + identifier, project=NUMBER).json, done)
        host = {"Host": f"{REGION}-aiplatform.googleapis.com"}
        path = f"/v1/projects/{PROJECT}/locations/{REGION}/customJobs/{identifier}"
        self.assertEqual(self.call("GET", path, headers=host).json, done)
        self.assertEqual(self.call("GET", path).status, 404)

    def test_hosts_and_projects(self):
        self.assertEqual(self.vertex("GET", prefix="europe-west4").status, 400)
        self.assertEqual(self.vertex("GET", prefix="mars-north1", region="mars-north1").status, 400)
        path = f"/v1/projects/{PROJECT}/locations/{REGION}/customJobs"
        answer = self.call("GET", path, headers={"Host": "us-east1-aiplatform.googleapis.com"})
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.vertex("GET", project="nonesuch").status, 403)
        self.assertEqual(self.vertex("GET", project="other-project").status, 403)
        self.assertEqual(self.vertex("GET", "/123").error[0], "NOT_FOUND")
        self.assertEqual(self.vertex("PUT", "/123").status, 404)
        self.assertEqual(self.vertex("GET", "?colour=red").status, 400)
        self.assertEqual(self.vertex("POST", body=b"{}",
                                     headers={"Content-Type": "text/plain"}).status, 400)

    def test_unknown_members(self):
        self.assertEqual(self.refusal(colour="red"),
                         "Invalid JSON payload received. Unknown name \"colour\" at 'custom_job': "
                         "Cannot find field.")
        self.assertIn("Unknown name \"masterType\" at 'custom_job.job_spec'",
                      self.refusal(jobSpec={"masterType": "x"}))
        for body in (b"{", b"[]", b"\xff", b'{"customJob": {}}'):
            self.assertEqual(self.vertex("POST", body=body, headers={
                "Content-Type": "application/json"}).status, 400, body)
        for spec in (self.spec(pool={"replicaCount": "many"}),
                     self.spec(pool={"replicaCount": 1.5}),
                     self.spec(scheduling={"timeout": "1h"}), self.spec(scheduling={"timeout": 60}),
                     self.spec(scheduling={"strategy": "CHEAP"}),
                     self.spec(machine={"acceleratorType": "NVIDIA_TESLA_X"}),
                     self.spec(pool={"pythonPackageSpec": {"pythonModule": "x"}})):
            self.refusal(jobSpec=spec)
        self.assertEqual(self.asked("jobs"), [])

    def test_labels_and_names(self):
        for labels in ({"a": "UPPER"}, {"a": "owner/repo"}, {"a": "x.y"}, {"a": "x" * 65},
                       {"A": "x"}, {"": "x"}, {"1a": "x"}, {"a b": "x"},
                       {f"k{i}": "x" for i in range(65)}, {"a": 1}):
            self.refusal(labels=labels)
        for labels in ({"a": "x" * 64}, {"a": ""}, {"a_b-c1": "é-1_"},
                       {f"k{i}": "x" for i in range(64)}):
            self.create(labels=labels)
        self.assertEqual(self.refusal(displayName=None),
                         "List of found errors:\t1.Field: display_name; "
                         "Message: Required field is not set.\t")
        self.refusal(displayName="x" * 129)

    def test_specs(self):
        refused = [
            {"workerPoolSpecs": []}, self.spec(pool={"replicaCount": "2"}),
            self.spec(pool={"containerSpec": None}), self.spec(container={"imageUri": ""}),
            self.spec(machine={"machineType": ""}), self.spec(machine={"machineType": "n1-mega-1"}),
            self.spec(pool={"diskSpec": {"bootDiskType": "floppy"}}),
            self.spec(pool={"diskSpec": {"bootDiskSizeGb": 10}}),
            self.spec(scheduling={"timeout": "0s"}), self.spec(scheduling={"timeout": "-5s"}),
            self.spec(serviceAccount="me"), self.spec(network="projects/p/global/networks/n"),
            self.spec(baseOutputDirectory={"outputUriPrefix": "s3://x"}),
            *(self.spec(container={"env": env}) for env in (
                [{"name": "1A"}], [{"name": "a-b"}], [{"name": ""}], [{"name": "A"}, {"name": "A"}],
                [{"name": f"A{i}"} for i in range(101)])),
            *(self.spec(container={"imageUri": uri}) for uri in (
                "gcr.io/x; rm -rf /", "gcr.io/X/y", "https://gcr.io/x/y", "gcr.io/x/y:", "$(id)",
                "gcr.io/x/y@sha256:12", "gcr.io//x", "gcr.io/x y"))]
        for spec in refused:
            self.refusal(jobSpec=spec)
        for spec in [
                self.spec(container={"imageUri": "us-docker.pkg.dev/p/r/i@sha256:" + "a" * 64}),
                self.spec(container={"imageUri": "tensorflow/tensorflow:2.1"}),
                self.spec(container={"env": [{"name": "_A1", "value": "$(HOME)"}]}),
                self.spec(pool={"diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100}}),
                self.spec(scheduling={"timeout": "3.5s", "strategy": "SPOT",
                                      "maxWaitDuration": "86400s"}),
                self.spec(network=f"projects/{NUMBER}/global/networks/default"),
                self.spec(baseOutputDirectory={"outputUriPrefix": "gs://acme-nb/dir"}),
                self.spec(serviceAccount=self.email)]:
            self.create(jobSpec=spec)
        answer = self.vertex("POST", body=self.job(
            jobSpec=self.spec(serviceAccount="x@y.iam.gserviceaccount.com")))
        self.assertIn("permission to act as service_account", answer.error[1])

    def test_accelerators(self):
        def machine(kind, accelerator=None, count=None):
            given = {"machineType": kind, "acceleratorType": accelerator, "acceleratorCount": count}
            return self.spec(machine={k: v for k, v in given.items() if v is not None})
        self.assertIn("Both `accelerator_type` and `accelerator_count` should be specified or none",
                      self.refusal(jobSpec=machine("n1-standard-4", "NVIDIA_TESLA_T4")))
        self.refusal(jobSpec=machine("n1-standard-4", count=1))
        self.assertEqual(self.refusal(jobSpec=machine("n1-standard-4", "NVIDIA_TESLA_K80", 1)),
                         'Accelerator "NVIDIA_TESLA_K80" is not supported for machine type '
                         '"n1-standard-4".')
        for given in (("e2-standard-4", "NVIDIA_TESLA_T4", 1), ("n1-standard-4", "NVIDIA_L4", 1),
                      ("n1-standard-32", "NVIDIA_TESLA_T4", 1), ("g2-standard-4",),
                      ("n1-standard-4", "NVIDIA_TESLA_T4", 3), ("a2-highgpu-1g", "NVIDIA_L4", 1),
                      ("g2-standard-24", "NVIDIA_L4", 1)):
            self.refusal(jobSpec=machine(*given))
        for given in (("n1-standard-4", "NVIDIA_TESLA_T4", 1), ("g2-standard-24", "NVIDIA_L4", 2),
                      ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1)):
            self.create(jobSpec=machine(*given))
        body = self.job(jobSpec=machine("n1-standard-4", "NVIDIA_TESLA_V100", 1))
        answer = self.vertex("POST", body=body, region="europe-west3", prefix="europe-west3")
        self.assertIn("not supported in region", answer.error[1])

    def names(self, query):
        answer = self.vertex("GET", query)
        self.assertEqual(answer.status, 200, answer.body)
        return [j["displayName"] for j in answer.json.get("customJobs", [])]

    def test_list(self):
        self.assertEqual(self.vertex("GET").json, {})
        for i in range(5):
            self.create(displayName=f"job-{i}", labels={"n": str(i), "odd": str(i % 2)})
        quote = urllib.parse.quote

        def listed(text):
            return self.names("?filter=" + quote(text))
        self.assertEqual(self.names(""), [f"job-{i}" for i in (4, 3, 2, 1, 0)])
        self.assertEqual(listed("labels.odd=1"), ["job-3", "job-1"])
        self.assertEqual(listed('labels.odd="1" AND NOT labels.n=3'), ["job-1"])
        self.assertEqual(listed("labels.n=0 OR labels.n=2"), ["job-2", "job-0"])
        self.assertEqual(listed("(labels.n=0 OR labels.n=2) AND display_name:\"*-2\""), ["job-2"])
        self.assertEqual(listed("labels.none:*"), [])
        self.assertEqual(len(listed("labels.odd:*")), 5)
        self.assertEqual(len(listed('create_time>"2021-05-18T00:00:00Z"')), 5)
        self.control("wait", {"states": "ended"})
        self.assertEqual(len(listed('state="JOB_STATE_SUCCEEDED"')), 5)
        self.assertEqual(listed('state="JOB_STATE_RUNNING"'), [])
        for text in ("colour=red", "labels.odd=", "(labels.odd=1", "create_time>\"x\"", "=", "a",
                     "displayName=x", "labels.odd=1 labels.n=1"):
            self.assertEqual(self.vertex("GET", "?filter=" + quote(text)).status, 400, text)
        masked = self.vertex("GET", "?readMask=name,state&pageSize=1").json["customJobs"]
        self.assertEqual(set(masked[0]), {"name", "state"})
        self.assertEqual(self.vertex("GET", "?readMask=colour").status, 400)

    def test_pages(self):
        self.control("rules", {"queue": 3600})
        for i in range(5):
            self.create(displayName=f"job-{i}")
        pages, token = [], ""
        while token is not None:
            answer = self.vertex("GET", f"?pageSize=2&pageToken={token}").json
            pages.append([j["displayName"] for j in answer["customJobs"]])
            token = answer.get("nextPageToken")
        self.assertEqual(pages, [["job-4", "job-3"], ["job-2", "job-1"], ["job-0"]])
        self.assertEqual(self.vertex("GET", "?pageToken=x").status, 400)
        self.assertEqual(self.vertex("GET", "?pageSize=x").status, 400)

    def test_slow_and_stale_lists(self):
        self.control("rules", {"queue": 600, "pending": 600})
        self.create(displayName="old")
        self.control("lists", {"lag": 2})
        identifier = self.create(displayName="new")
        self.assertEqual([self.names("") for _ in range(3)], [["old"], ["old"], ["new", "old"]])
        self.assertEqual(self.vertex("GET", "/" + identifier).status, 200)
        self.control("lists", {"lag": 0, "stale": 1})
        self.control("clock", {"advance": 600})
        self.assertEqual([[j["state"] for j in self.vertex("GET").json["customJobs"]]
                          for _ in range(2)], [["JOB_STATE_QUEUED"] * 2, ["JOB_STATE_PENDING"] * 2])

    def test_states_move_by_the_clock(self):
        self.control("rules", {"queue": 10, "pending": 100, "run": 1000})
        identifier, seen = self.create(), []
        for seconds in (0, 11, 101, 1001):
            self.control("clock", {"advance": seconds})
            seen.append(self.vertex("GET", "/" + identifier).json["state"])
        self.assertEqual([s.removeprefix("JOB_STATE_") for s in seen],
                         ["QUEUED", "PENDING", "RUNNING", "SUCCEEDED"])

    def test_ends(self):
        for rule, state, code, text in [
                ({"outcome": "FAILED"}, "FAILED", 3, "non-zero status of 1"),
                ({"outcome": "FAILED", "code": 13, "message": "Internal error"}, "FAILED", 13,
                 "Internal"),
                ({"stockout": True}, "FAILED", 8, f"insufficient in region: {REGION}"),
                ({"preempt_after": 0, "run": 60}, "FAILED", 8, "insufficient")]:
            self.control("rules", {**rule, "times": 1})
            done = self.wait(self.create())
            self.assertEqual((done["state"], done["error"]["code"]), ("JOB_STATE_" + state, code))
            self.assertIn(text, done["error"]["message"])

    def test_stockout_of_a_machine_only(self):
        self.control("rules", {"stockout": True, "accelerator": "NVIDIA_*"})
        self.assertEqual(self.wait(self.create())["state"], "JOB_STATE_SUCCEEDED")
        spec = self.spec(machine={"acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1})
        self.assertEqual(self.wait(self.create(jobSpec=spec))["state"], "JOB_STATE_FAILED")

    def test_preempted_with_retries(self):
        self.control("rules", {"run": 3600})
        identifier = self.create(jobSpec=self.spec(scheduling={"strategy": "SPOT"}))
        for restarts in (1, 2):
            self.wait(identifier, "RUNNING")
            self.control("jobs/" + identifier, {"action": "preempt"})
            self.assertEqual(self.asked("jobs/" + identifier)["restarts"], restarts)

    def test_timeout(self):
        for ends, state in [("CANCELLED", "CANCELLED"), ("EXPIRED", "EXPIRED")]:
            self.control("rules", {"run": 10 ** 6, "timeout_ends": ends})
            identifier = self.create(jobSpec=self.spec(scheduling={"timeout": "600s"}))
            self.wait(identifier, "RUNNING")
            self.control("clock", {"advance": 601})
            self.token = self.token_of(self.email)
            self.assertEqual(self.vertex("GET", "/" + identifier).json["state"],
                             "JOB_STATE_" + state)

    def test_cancel(self):
        self.control("rules", {"run": 3600, "cancel": 10})
        identifier = self.create()
        self.wait(identifier, "RUNNING")
        answer = self.vertex("POST", f"/{identifier}:cancel", {})
        self.assertEqual((answer.status, answer.json), (200, {}))
        self.assertEqual(self.vertex("GET", "/" + identifier).json["state"], "JOB_STATE_CANCELLING")
        self.assertEqual(self.vertex("POST", f"/{identifier}:cancel", {}).status, 200)
        self.control("clock", {"advance": 11})
        done = self.vertex("GET", "/" + identifier).json
        self.assertEqual((done["state"], done["error"]["code"]), ("JOB_STATE_CANCELLED", 1))
        self.assertIn("endTime", done)
        self.assertEqual(self.vertex("POST", f"/{identifier}:cancel", {}).error[0],
                         "FAILED_PRECONDITION")
        self.assertEqual(self.vertex("POST", f"/{identifier}:cancel", {"x": 1}).status, 400)
        self.assertEqual(self.vertex("POST", "/1:cancel", {}).status, 404)

    def test_cancel_stuck_or_too_late(self):
        self.control("rules", {"run": 3600, "stuck_cancelling": True, "times": 1})
        identifier = self.create()
        self.wait(identifier, "RUNNING")
        self.vertex("POST", f"/{identifier}:cancel", {})
        self.control("clock", {"advance": 600})
        self.assertEqual(self.vertex("GET", "/" + identifier).json["state"], "JOB_STATE_CANCELLING")
        self.control("jobs/" + identifier, {"action": "release"})
        self.assertEqual(self.wait(identifier)["state"], "JOB_STATE_CANCELLED")
        self.control("rules", {"run": 3600, "cancel_ends": "SUCCEEDED"})
        identifier = self.create()
        self.wait(identifier, "RUNNING")
        self.vertex("POST", f"/{identifier}:cancel", {})
        self.assertEqual(self.wait(identifier)["state"], "JOB_STATE_SUCCEEDED")

    def test_delete(self):
        self.control("rules", {"queue": 3600, "times": 1})
        running, ended = self.create(), self.create()
        self.wait(ended)
        self.assertEqual(self.vertex("DELETE", "/" + running).error[0], "FAILED_PRECONDITION")
        operation = self.vertex("DELETE", "/" + ended).json
        self.assertTrue(operation["done"])
        self.assertEqual(self.call("GET", f"/{REGION}/v1/{operation['name']}").json, operation)
        self.assertEqual(self.call("GET", f"/{REGION}/v1/{operation['name']}0").status, 404)
        self.assertEqual(self.vertex("GET", "/" + ended).status, 404)
        self.control("jobs/" + running, {"action": "delete"})
        self.assertEqual(self.vertex("GET", "/" + running).status, 404)

    def test_quotas(self):
        self.control("rules", {"queue": 3600})
        self.control("quotas", {"crud": 5, "submit": 2})
        self.create()
        self.create()
        answer = self.vertex("POST", body=self.job())
        self.assertEqual(answer.json["error"]["details"][0]["reason"], "RATE_LIMIT_EXCEEDED")
        self.assertEqual([self.vertex("GET").status for _ in range(4)], [200, 200, 429, 429])
        self.control("clock", {"advance": 61})
        self.assertEqual(self.vertex("GET").status, 200)

    def test_machine_quota(self):
        self.control("quotas", {"machines": {"custom_model_training_cpus": 8}})
        self.control("rules", {"run": 3600})
        first = self.create()
        self.create()
        answer = self.vertex("POST", body=self.job())
        self.assertEqual((answer.status, answer.error[1]), (
            429, "The following quota metrics exceed quota limits: "
                 "aiplatform.googleapis.com/custom_model_training_cpus"))
        self.control("quotas", {"machines": {"custom_model_training_cpus": 8}, "queue": True})
        third = self.create()
        self.wait(first, "RUNNING")
        self.control("clock", {"advance": 60})
        self.assertEqual(self.vertex("GET", "/" + third).json["state"], "JOB_STATE_QUEUED")
        self.vertex("POST", f"/{first}:cancel", {})
        self.wait(third, "RUNNING")

    def test_enum_numbers(self):
        identifier = self.create()
        self.wait(identifier)
        answer = self.vertex("GET", f"/{identifier}?$alt=json%3Benum-encoding%3Dint").json
        self.assertEqual(answer["state"], 4)
        self.assertEqual(self.vertex("GET", f"/{identifier}?alt=proto").status, 400)


class Containers(WithCloud):
    """Notebooks really run."""

    def run_job(self, *args, command=(), **more):
        container = {"imageUri": IMAGE, "command": list(command), "args": list(args), **more}
        spec = self.job()["jobSpec"]
        spec["workerPoolSpecs"][0]["containerSpec"] = container
        return self.wait(self.create(jobSpec=spec))

    def output(self, name="out.ipynb"):
        return self.object(name, "?alt=media").json

    def nbexecutor(self, **more):
        return self.run_job("nbexecutor", "--input-notebook", f"gs://{BUCKET}/in.ipynb",
                            f"--output-notebook=gs://{BUCKET}/out.ipynb",
                            "--kernel-name=python3", **more)

    def entries(self, job, **more):
        answer = self.call("POST", "/v2/entries:list", {
            "resourceNames": [f"projects/{PROJECT}"], "filter":
            f'resource.type="ml_job" resource.labels.job_id="{job["name"].rpartition("/")[2]}"',
            **more})
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json

    def test_nbexecutor(self):
        given = self.media("in.ipynb", self.notebook("import os\nprint(6 * 7, os.environ['A'])"))
        job = self.nbexecutor(env=[{"name": "A", "value": "$(CLOUD_ML_PROJECT_ID)!$$(B)"}])
        self.assertEqual(job["state"], "JOB_STATE_SUCCEEDED", self.entries(job))
        self.assertEqual(self.output()["cells"][0]["outputs"][0]["text"],
                         [f"42 {NUMBER}!$(B)\n"])
        about = self.output()["metadata"]["papermill"]
        self.assertEqual(about["input_path"], f"gs://{BUCKET}/in.ipynb")
        self.assertGreater(int(self.object("out.ipynb").json["generation"]),
                           int(given.json["generation"]))

    def test_a_cell_fails(self):
        self.media("in.ipynb", self.notebook("print(1)", "1 / 0", "print(3)"))
        job = self.nbexecutor()
        self.assertEqual((job["state"], job["error"]["code"]), ("JOB_STATE_FAILED", 3))
        self.assertIn("The replica workerpool0-0 exited with a non-zero status of 1. Termination "
                      "reason: Error.", job["error"]["message"])
        cells = self.output()["cells"]
        self.assertEqual(cells[1]["outputs"][0]["ename"], "ZeroDivisionError")
        self.assertEqual(cells[2]["outputs"], [])
        self.assertTrue(self.output()["metadata"]["papermill"]["exception"])
        entries = self.entries(job)["entries"]
        self.assertTrue(any("ZeroDivisionError" in e.get("jsonPayload", {}).get("message", "")
                            for e in entries))

    def test_papermill(self):
        source = self.notebook("n = 1; s = ''", "print(repr(n + 1), s)")
        value = json.loads(source)
        value["cells"][0]["metadata"]["tags"] = ["parameters"]
        self.media("dir/in.ipynb", json.dumps(value).encode())
        self.media("ws/data.txt", b"from the workspace")
        job = self.run_job(f"/gcs/{BUCKET}/dir/in.ipynb", f"/gcs/{BUCKET}/dir/out.ipynb",
                           "-k", "python3", "-p", "n", "41", "-r", "s", "7",
                           command=["papermill"])
        self.assertEqual(job["state"], "JOB_STATE_SUCCEEDED", self.entries(job))
        cells = self.output("dir/out.ipynb")["cells"]
        self.assertEqual(cells[1]["metadata"]["tags"], ["injected-parameters"])
        self.assertEqual(cells[2]["outputs"][0]["text"], ["42 7\n"])

    def test_workspace(self):
        self.media("in.ipynb", self.notebook(
            "print(open('sub/data.txt').read())", "open('made.txt', 'w').write('new')"))
        self.media("ws/sub/data.txt", b"from the workspace")
        before = self.object("ws/sub/data.txt").json["generation"]
        job = self.run_job("papermill", f"gs://{BUCKET}/in.ipynb", f"gs://{BUCKET}/out.ipynb",
                           "--cwd", f"/gcs/{BUCKET}/ws")
        self.assertEqual(job["state"], "JOB_STATE_SUCCEEDED", self.entries(job))
        self.assertEqual(self.output()["cells"][0]["outputs"][0]["text"],
                         ["from the workspace\n"])
        self.assertEqual(self.object("ws/made.txt", "?alt=media").body, b"new")
        self.assertEqual(self.object("ws/sub/data.txt").json["generation"], before)

    def test_commands_refused(self):
        self.media("in.ipynb", self.notebook("1"))
        files = [f"gs://{BUCKET}/in.ipynb", f"gs://{BUCKET}/out.ipynb"]
        for args, code, text in [
                (("nbexecutor", "--input-notebook", files[0], "--output-notebook", files[1],
                  "--colour", "red"), 2, "unrecognized arguments: --colour"),
                (("nbexecutor", "--input-notebook", files[0]), 2, "--output-notebook"),
                (("nbexecutor", "--input-notebook=/tmp/x", "--output-notebook", files[1]), 2,
                 "not a gs:// URI"),
                (("papermill", *files, "--nonesuch"), 2, "--nonesuch"),
                (("papermill", "/etc/passwd", files[1]), 1, "neither gs://"),
                (("papermill", files[0], "/tmp/out.ipynb"), 1, "neither gs://"),
                (("papermill", files[0] + "x", files[1]), 1, "No such object"),
                (("papermill", *files, "-k", "local-pytorch"), 1, "No such kernel"),
                (("sh", "x.sh"), 127, "takes -c only"), (("sh", "-c", "exit 3"), 3, ""),
                (("sh", "-c", "papermill $1 $2", "sh", files[0], "/etc/x"), 1, ""),
                (("bash", "-c", "true"), 127, "not found"), ((), 127, "not found")]:
            job = self.run_job(*args)
            self.assertIn(f"non-zero status of {code}.", job["error"]["message"], args)
            said = json.dumps(self.entries(job))
            self.assertIn(text, said)
        self.assertEqual(self.object("out.ipynb").status, 200)  # of the run without a kernel

    def test_rights_of_the_job(self):
        self.control("buckets", {"name": "theirs", "project": "other-project"})
        self.control("objects", {"bucket": "theirs", "name": "in.ipynb", "text": "{}"})
        self.control("grants", {"deny": [["service-*", "other-project", "storage.*"]]})
        job = self.run_job("papermill", "gs://theirs/in.ipynb", f"gs://{BUCKET}/out.ipynb")
        self.assertEqual(job["state"], "JOB_STATE_FAILED")
        self.assertIn("does not have storage.objects.get", json.dumps(self.entries(job)))

    def test_cancel_kills(self):
        self.media("in.ipynb", self.notebook("print('begun', flush=True)",
                                             "import time\ntime.sleep(600)"))
        identifier = self.create()
        job = self.wait(identifier, "RUNNING")
        deadline = time.monotonic() + 60
        while "Executing Cell 2" not in json.dumps(self.entries(job)):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.vertex("POST", f"/{identifier}:cancel", {})
        self.assertEqual(self.wait(identifier)["state"], "JOB_STATE_CANCELLED")
        # what it had written is there when its end can be seen, and nothing comes later
        self.assertEqual(self.output()["cells"][0]["outputs"][0]["text"], ["begun\n"])

    def test_lying_outputs(self):
        self.media("in.ipynb", self.notebook("1"))
        self.control("rules", {"no_output": True, "times": 1})
        self.assertEqual(self.nbexecutor()["state"], "JOB_STATE_SUCCEEDED")
        self.assertEqual(self.object("out.ipynb").status, 404)
        self.control("rules", {"replace_output": "not a notebook"})
        self.assertEqual(self.nbexecutor()["state"], "JOB_STATE_SUCCEEDED")
        self.assertEqual(self.object("out.ipynb", "?alt=media").body, b"not a notebook")

    def test_logs(self):
        self.media("in.ipynb", self.notebook("1"))
        job = self.nbexecutor()
        first = self.entries(job, pageSize=1)
        self.assertIn("Input Notebook", first["entries"][0]["textPayload"])
        second = self.entries(job, pageSize=1, pageToken=first["nextPageToken"])
        self.assertNotEqual(first["entries"], second["entries"])
        last = self.entries(job, orderBy="timestamp desc")["entries"]
        self.assertEqual(last[-1], first["entries"][0])
        ours = {"resourceNames": [f"projects/{PROJECT}"]}
        for body, status in [({}, 400), ({"resourceNames": ["x"]}, 400),
                             ({"resourceNames": ["projects/nonesuch"]}, 403),
                             ({**ours, "filter": "colour=1"}, 400),
                             ({**ours, "pageSize": 1001}, 400), ({**ours, "colour": 1}, 400)]:
            self.assertEqual(self.call("POST", "/v2/entries:list", body).status, status, body)
        self.control("grants", {"deny": [["*", "*", "logging.*"]]})
        self.assertEqual(self.call("POST", "/v2/entries:list", ours).status, 403)


if __name__ == "__main__":
    unittest.main()

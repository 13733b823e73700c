# SPDX-License-Identifier: Apache-2.0
"""What Vertex AI checks of a custom job before it takes it.

Members and types are those of Google's own messages; the rules beside them stand in the comments
of those messages or in its documentation, and README.md says which are only assumed.
"""
import re
import unicodedata

from google.cloud.aiplatform_v1.types import AcceleratorType, CustomJob, Scheduling
from google.protobuf import json_format

from . import machines
from .errors import field_errors, invalid, status_error

CustomJobMessage = CustomJob.pb()
OUTPUT_ONLY = ("name", "state", "create_time", "start_time", "end_time", "update_time", "error",
               "web_access_uris", "satisfies_pzs", "satisfies_pzi")
IMAGE = re.compile(r"(?:(?=[^/]*[.:])[a-z0-9.-]+(?::\d+)?/)?"        # host, with a dot or a port
                   r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
                   r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com")
NETWORK = re.compile(r"projects/\d+/global/networks/[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
GCS_PREFIX = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\r\n]*)?")
DISK_TYPES = ("pd-ssd", "pd-standard", "hyperdisk-balanced")
MAX_TIMEOUT = 28 * 86400
MAX_LABELS, MAX_LABEL, MAX_ENV, MAX_POOLS, MAX_NAME = 64, 64, 100, 4, 128


def parse(body):
    """The message of a request's body, or 400 in the words of the API."""
    message = CustomJobMessage()
    try:
        json_format.ParseDict(body, message)
    except json_format.ParseError as e:
        raise invalid(_parse_error(str(e))) from None
    except (TypeError, ValueError) as e:  # some bad values escape ParseDict's own words
        raise invalid(f"Invalid JSON payload received. {e}") from None
    for field in OUTPUT_ONLY:
        message.ClearField(field)
    return message


def _parse_error(text):
    unknown = re.search(r'has no field named "([^"]*)" at "([^"]*)"', text)
    if not unknown:
        return "Invalid value. " + text.splitlines()[0]
    path = ".".join(_snake(part) for part in unknown[2].split("."))
    return (f'Invalid JSON payload received. Unknown name "{unknown[1]}" at \'{path}\': '
            "Cannot find field.")


def _snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def is_label_text(text):
    """Lower-case letters, of any script, digits, "_" and "-"."""
    return len(text) <= MAX_LABEL and all(
        c in "_-" or unicodedata.category(c) in ("Ll", "Lo", "Nd") for c in text)


def check(job, region):
    """400 with all that is wrong."""
    found = [*_job_errors(job), *_pool_errors(job.job_spec, region), *_run_errors(job.job_spec)]
    if found:
        raise field_errors(found)
    for pool in job.job_spec.worker_pool_specs:
        _check_machine(pool.machine_spec, region)


def _job_errors(job):
    if not job.display_name:
        yield "display_name", "Required field is not set."
    elif len(job.display_name) > MAX_NAME:
        yield "display_name", (f"The display name exceeds the maximum length of {MAX_NAME} "
                               "characters.")
    if len(job.labels) > MAX_LABELS:
        yield "labels", f"No more than {MAX_LABELS} labels are allowed."
    for key, value in job.labels.items():
        if not is_label_text(key) or not key or \
                unicodedata.category(key[0]) not in ("Ll", "Lo"):
            yield f"labels[{key}]", (
                "Label keys can only contain lowercase letters, numeric characters, underscores "
                f"and dashes, start with a letter, and have at most {MAX_LABEL} characters.")
        if not is_label_text(value):
            yield f"labels[{key}]", (
                f'Label value "{value}" is not valid: only lowercase letters, numeric characters, '
                f"underscores and dashes are allowed, and at most {MAX_LABEL} characters.")


def _pool_errors(spec, region):
    pools = spec.worker_pool_specs
    if not pools:
        yield "job_spec.worker_pool_specs", "Required field is not set."
    if len(pools) > MAX_POOLS:
        yield "job_spec.worker_pool_specs", f"At most {MAX_POOLS} worker pools are allowed."
    for i, pool in enumerate(pools):
        where = f"job_spec.worker_pool_specs[{i}]"
        if i == 0 and pool.replica_count != 1:
            yield f"{where}.replica_count", "The replica count of worker pool 0 must be 1."
        elif pool.replica_count < 0:
            yield f"{where}.replica_count", "The replica count must not be negative."
        kind = pool.WhichOneof("task")
        if kind is None:
            yield where, "One of `container_spec` and `python_package_spec` must be set."
        elif kind == "container_spec":
            yield from _container_errors(where + ".container_spec", pool.container_spec)
        elif not pool.python_package_spec.python_module:
            yield f"{where}.python_package_spec.python_module", "Required field is not set."
        yield from _machine_errors(where + ".machine_spec", pool.machine_spec)
        disk = pool.disk_spec
        if disk.boot_disk_type and disk.boot_disk_type not in DISK_TYPES:
            yield f"{where}.disk_spec.boot_disk_type", (
                f"Boot disk type {disk.boot_disk_type} is not supported.")
        if disk.boot_disk_size_gb and not 100 <= disk.boot_disk_size_gb <= 64000:
            yield f"{where}.disk_spec.boot_disk_size_gb", (
                "Boot disk size must be between 100 and 64000 GB.")


def _container_errors(where, container):
    if not container.image_uri:
        yield f"{where}.image_uri", "Required field is not set."
    elif not IMAGE.fullmatch(container.image_uri):
        yield f"{where}.image_uri", f"Image URI {container.image_uri} is not valid."
    if len(container.env) > MAX_ENV:
        yield f"{where}.env", f"At most {MAX_ENV} environment variables are allowed."
    names = [e.name for e in container.env]
    for i, name in enumerate(names):
        if not ENV_NAME.fullmatch(name):
            yield f"{where}.env[{i}].name", f'"{name}" is not a valid C identifier.'
        elif name in names[:i]:
            yield f"{where}.env[{i}].name", f'"{name}" is given more than once.'


def _machine_errors(where, machine):
    if not machine.machine_type:
        yield f"{where}.machine_type", "Required field is not set."
    elif machine.machine_type not in machines.CPUS:
        yield f"{where}.machine_type", (
            f"Machine type {machine.machine_type} is not supported for custom training.")
    if machine.accelerator_type not in AcceleratorType._value2member_map_:
        yield f"{where}.accelerator_type", "Unknown accelerator type."
    if bool(machine.accelerator_type) != bool(machine.accelerator_count):
        yield f"{where}.accelerator_type", (
            "Both `accelerator_type` and `accelerator_count` should be specified or none.")


def _run_errors(spec):
    timeout = spec.scheduling.timeout
    if spec.scheduling.HasField("timeout"):
        seconds = timeout.seconds + timeout.nanos / 1e9
        if not 0 < seconds <= MAX_TIMEOUT:
            yield "job_spec.scheduling.timeout", (
                f"The timeout must be positive and at most {MAX_TIMEOUT}s.")
    if spec.scheduling.strategy not in Scheduling.Strategy._value2member_map_:
        yield "job_spec.scheduling.strategy", "Unknown strategy."
    if spec.service_account and not ACCOUNT.fullmatch(spec.service_account):
        yield "job_spec.service_account", "The service account is not a valid email address."
    if spec.network and not NETWORK.fullmatch(spec.network):
        yield "job_spec.network", (
            "The network must be projects/{project number}/global/networks/{name}.")
    prefix = spec.base_output_directory.output_uri_prefix
    if spec.HasField("base_output_directory") and not GCS_PREFIX.fullmatch(prefix):
        yield "job_spec.base_output_directory.output_uri_prefix", (
            "The output directory must be a Cloud Storage URI.")


def _check_machine(spec, region):
    machine, count = spec.machine_type, spec.accelerator_count
    kind = AcceleratorType(spec.accelerator_type).name if spec.accelerator_type else None
    if machines.unsupported(machine, kind, count):
        if kind is None:
            raise invalid(f'Machine type "{machine}" requires accelerators to be specified.')
        raise invalid(f'Accelerator "{kind}" is not supported for machine type "{machine}".')
    if kind in machines.ABSENT.get(region, ()):
        raise invalid(f'Accelerator "{kind}" is not supported in region "{region}".')


def actas_denied(account):
    return status_error("PERMISSION_DENIED",
                        f"You do not have permission to act as service_account: {account}. "
                        "(or the resource may not exist).")


def usage(job):
    """{quota metric: amount} of the machines that a job asks for."""
    total = {}
    for pool in job.job_spec.worker_pool_specs:
        machine = pool.machine_spec
        kind = AcceleratorType(machine.accelerator_type).name if machine.accelerator_type else None
        for metric, amount in machines.quota_metrics(machine.machine_type, kind,
                                                     machine.accelerator_count,
                                                     pool.replica_count).items():
            total[metric] = total.get(metric, 0) + amount
    return total

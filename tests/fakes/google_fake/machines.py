# SPDX-License-Identifier: Apache-2.0
"""Machines, accelerators and regions of custom training: a part of the documented tables."""

REGIONS = {"us-central1", "us-east1", "us-east4", "us-west1", "us-west4", "europe-west1",
           "europe-west2", "europe-west3", "europe-west4", "asia-east1", "asia-northeast1",
           "asia-southeast1", "australia-southeast1"}

_SIZES = {
    "n1-standard": (4, 8, 16, 32, 64, 96), "n1-highmem": (2, 4, 8, 16, 32, 64, 96),
    "n1-highcpu": (16, 32, 64, 96),
    "n2-standard": (4, 8, 16, 32, 48, 64, 80), "n2-highmem": (2, 4, 8, 16, 32, 48, 64, 80),
    "e2-standard": (4, 8, 16, 32), "e2-highmem": (2, 4, 8, 16), "e2-highcpu": (16, 32),
    "c2-standard": (4, 8, 16, 30, 60),
}
# Machine type -> its CPUs.
CPUS = {f"{family}-{n}": n for family, sizes in _SIZES.items() for n in sizes}

# Machines that come with accelerators of their own: (type, count) must be given, just so.
FIXED = {
    "a2-highgpu-1g": ("NVIDIA_TESLA_A100", 1), "a2-highgpu-2g": ("NVIDIA_TESLA_A100", 2),
    "a2-highgpu-4g": ("NVIDIA_TESLA_A100", 4), "a2-highgpu-8g": ("NVIDIA_TESLA_A100", 8),
    "a2-megagpu-16g": ("NVIDIA_TESLA_A100", 16),
    "a2-ultragpu-1g": ("NVIDIA_A100_80GB", 1), "a2-ultragpu-2g": ("NVIDIA_A100_80GB", 2),
    "a2-ultragpu-4g": ("NVIDIA_A100_80GB", 4), "a2-ultragpu-8g": ("NVIDIA_A100_80GB", 8),
    "a3-highgpu-8g": ("NVIDIA_H100_80GB", 8), "a3-megagpu-8g": ("NVIDIA_H100_MEGA_80GB", 8),
    "g2-standard-4": ("NVIDIA_L4", 1), "g2-standard-8": ("NVIDIA_L4", 1),
    "g2-standard-12": ("NVIDIA_L4", 1), "g2-standard-16": ("NVIDIA_L4", 1),
    "g2-standard-24": ("NVIDIA_L4", 2), "g2-standard-32": ("NVIDIA_L4", 1),
    "g2-standard-48": ("NVIDIA_L4", 4), "g2-standard-96": ("NVIDIA_L4", 8),
}
CPUS.update({"a2-highgpu-1g": 12, "a2-highgpu-2g": 24, "a2-highgpu-4g": 48, "a2-highgpu-8g": 96,
             "a2-megagpu-16g": 96, "a2-ultragpu-1g": 12, "a2-ultragpu-2g": 24,
             "a2-ultragpu-4g": 48, "a2-ultragpu-8g": 96, "a3-highgpu-8g": 208,
             "a3-megagpu-8g": 208, **{m: int(m.rpartition("-")[2])
                                      for m in FIXED if m.startswith("g2-")}})

# Accelerators that a machine of the n1 family can be given: count -> most CPUs beside it.
ATTACHED = {
    "NVIDIA_TESLA_T4": {1: 16, 2: 32, 4: 96},
    "NVIDIA_TESLA_P4": {1: 16, 2: 32, 4: 96},
    "NVIDIA_TESLA_P100": {1: 16, 2: 32, 4: 64},
    "NVIDIA_TESLA_V100": {1: 8, 2: 16, 4: 32, 8: 64},
}
# Those that a region does not have.
ABSENT = {
    "us-west4": {"NVIDIA_TESLA_P100", "NVIDIA_TESLA_V100", "NVIDIA_TESLA_P4"},
    "europe-west3": {"NVIDIA_TESLA_P100", "NVIDIA_TESLA_V100", "NVIDIA_TESLA_P4"},
    "australia-southeast1": {"NVIDIA_TESLA_V100"},
}


def unsupported(machine, accelerator, count):
    """Whether the machine cannot have that many of the accelerator; None or "" for none."""
    if machine in FIXED:
        return (accelerator, count) != FIXED[machine]
    if not accelerator:
        return False
    most = ATTACHED.get(accelerator, {}).get(count)
    return most is None or not machine.startswith("n1-") or CPUS[machine] > most


def quota_metrics(machine, accelerator, count, replicas):
    """{quota metric: how much of it the machines take}."""
    family = machine.partition("-")[0]
    cpus = "custom_model_training_cpus" if family in ("n1", "e2") else \
        f"custom_model_training_{family}_cpus"
    metrics = {cpus: CPUS[machine] * replicas}
    if accelerator:
        name = accelerator.lower().replace("nvidia_tesla_", "nvidia_")
        metrics[f"custom_model_training_{name}_gpus"] = count * replicas
    return metrics

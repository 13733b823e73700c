#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""far.py PROGRAM [ARGUMENT...]: run a test program beside the stand-in for Google Cloud.

The program finds it in NBCID_GOOGLE_URL and NBCID_GOOGLE_DIR. Run by google_fake/environment.py.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'system'))
from google_world import Google  # noqa: E402

google = Google()
google.rule(remember=True)  # the same two notebooks again and again: what counts is ours
try:
    sys.exit(subprocess.run(sys.argv[1:], check=False, env={
        **os.environ, 'no_proxy': '*', 'NBCID_GOOGLE_URL': google.url,
        'NBCID_GOOGLE_DIR': google.dir}).returncode)
finally:
    google.close()

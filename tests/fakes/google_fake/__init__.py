# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for the parts of Google Cloud that nbcid talks to; README.md has the list."""

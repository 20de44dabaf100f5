#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The selftest of the same name, for minutes instead of seconds and with more callers.
# TIMEOUT: 700
ADIT_SECONDS=${ADIT_SECONDS:-300} ADIT_CALLERS=6 exec bash "$(dirname "$0")/../adi_random.sh"

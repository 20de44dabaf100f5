#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The selftest of the same name, for minutes instead of seconds.
# TIMEOUT: 500
SECONDS_OF_CALLS=${SECONDS_OF_CALLS:-240} exec bash "$(dirname "$0")/../adi_hostile.sh"

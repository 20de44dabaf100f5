#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Minutes of what the selftest of the same name does for seconds.
# TIMEOUT: 500
SECONDS_OF_CALLS=${SECONDS_OF_CALLS:-240} exec bash "$(dirname "$0")/../adi_hostile.sh"

-- SPDX-License-Identifier: Apache-2.0 OR MIT
-- For wrk: prints the result as a JSON array on the last line: requests, duration in us, latency in us
-- at 50 and 99 %, requests that failed.
done = function(summary, latency, requests)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("[%d, %d, %d, %d, %d]\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), failed))
end

-- Sends the body named by BENCH_BODY, if any, and ends with one line of figures that load.py reads.

local body = os.getenv("BENCH_BODY")
if body then
  wrk.method = "POST"
  wrk.body = body
  wrk.headers["content-type"] = "application/json"
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nfigures {"requests":%d,"bytes":%d,"duration_us":%d,"not_ok":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.bytes, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end

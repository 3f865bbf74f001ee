-- Posts the bodies of a file one after the other, each line the signature, a blank and the body, and answers with one
-- line of JSON. bad_status counts answers from 400 up.
local requests, at = {}, 0

function init()
  local header = os.getenv("BENCH_SIGNATURE_HEADER")
  for line in io.lines(os.getenv("BENCH_BODIES")) do
    local signature, body = line:match("^(%x+) (.*)$")
    local headers = { ["Content-Type"] = "application/json", [header] = signature }
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local seconds, errors = summary.duration / 1e6, summary.errors
  print(string.format(
    '{"requests":%d,"requests_per_s":%.1f,"p50_ms":%.3f,"p99_ms":%.3f,"bad_status":%d,"socket_errors":%d}',
    summary.requests, summary.requests / seconds, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end

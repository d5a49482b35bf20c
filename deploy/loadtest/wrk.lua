-- Sends the body named by BENCH_BODY, if any, compares every answer with BENCH_EXPECTED, and ends with one line of
-- figures that load.py reads.

local body = os.getenv("BENCH_BODY")
if body then
  wrk.method = "POST"
  wrk.body = body
  wrk.headers["content-type"] = "application/json"
end

-- Requests all over the routes of many apps: BENCH_APPS of them, each BENCH_STEP after the one before, with BENCH_ROUTES each.
local apps = tonumber(os.getenv("BENCH_APPS"))
if apps then
  local step, routes = tonumber(os.getenv("BENCH_STEP")), tonumber(os.getenv("BENCH_ROUTES"))
  local host = wrk.headers["Host"]
  function request()
    local app, route = math.random(0, apps - 1) * step, math.random(0, routes - 1)
    return wrk.format("GET", "/things/" .. route .. "/hello", { Host = "a" .. app .. "." .. host })
  end
end

local expected = os.getenv("BENCH_EXPECTED")

-- How many there are of each byte. A server may write the members of an object in any order.
local function bytes_of(text)
  local counts = {}
  for place = 1, #text do
    local byte = text:byte(place)
    counts[byte] = (counts[byte] or 0) + 1
  end
  return counts
end

local expected_bytes = bytes_of(expected)

local function is_reordered(answer)
  if #answer ~= #expected or answer:sub(1, 1) ~= "{" then
    return false
  end
  for byte, count in pairs(bytes_of(answer)) do
    if expected_bytes[byte] ~= count then
      return false
    end
  end
  return true
end
local threads = {}
wrong = 0

function setup(thread)
  threads[#threads + 1] = thread
end

function response(status, _, answer)
  if status ~= 200 or (answer ~= expected and not is_reordered(answer)) then
    wrong = wrong + 1
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  local all_wrong = 0
  for _, thread in ipairs(threads) do
    all_wrong = all_wrong + thread:get("wrong")
  end
  io.write(string.format(
    '\nfigures {"requests":%d,"bytes":%d,"duration_us":%d,"wrong":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.bytes, summary.duration, all_wrong + errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end

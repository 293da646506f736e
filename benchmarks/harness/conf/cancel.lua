-- Requests that all differ by one number, since identical ones in flight may be answered together.
-- BENCH_HEAD and BENCH_TAIL are the bytes of a request before and after that number.
local head, tail = os.getenv("BENCH_HEAD"), os.getenv("BENCH_TAIL")
local number = 0

function request()
  number = number + 1
  return head .. number .. tail
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nMEASURED {"requests": %d, "took_s": %.6f, "p50_us": %.1f, "p99_us": %.1f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end

-- Read and write a bucket: the beginning of each script that works on buckets.
--
-- A bucket is a string, `run tokens at turn told until`: the server's run that wrote
-- it; the tokens it held at a time, below zero for a debt; until when its tokens are
-- spoken for by those who wait; what the provider told, in tokens a second, and until
-- when that holds. Times are microseconds of the server's clock, 0 is never.
--
-- A bucket that is missing was never used in this lifetime, or has expired when it
-- was full: it counts as empty at the lifetime's beginning. So does one that another
-- run of the server left behind, whose last takes may be lost.

local function now_us()
  local clock = redis.call('TIME')
  return tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end

local function read_bucket(value, life, now, rate, burst, ceiling)
  local run, since = string.match(life, '^(%S+) (%d+)$')
  local bucket = {run = run, turn = 0, told = 0, till = 0, rate = rate, burst = burst}
  local tokens, at = 0, tonumber(since)
  if value then
    local of, held, when, turn, told, till =
      string.match(value, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
    if of == run then
      tokens, at, bucket.turn = tonumber(held), tonumber(when), tonumber(turn)
    end
    bucket.till = tonumber(till)
    if bucket.till > now then
      bucket.told = tonumber(told)
    end
  end
  -- After the clock was put back nobody knows what was earned: begin empty.
  if at > now then
    tokens, at, bucket.turn = 0, now, 0
  end
  if bucket.told > 0 then
    bucket.rate = math.min(ceiling, bucket.told)
    bucket.burst = math.max(1, burst * bucket.rate / rate)
  end
  bucket.tokens = math.min(bucket.burst, tokens + (now - at) * bucket.rate / 1000000)
  return bucket
end

local function write_bucket(key, bucket, now, margin_s)
  local full_ms = (bucket.burst - bucket.tokens) / bucket.rate * 1000
  local told_ms = bucket.told > 0 and (bucket.till - now) / 1000 or 0
  local ttl_ms = math.ceil(math.max(full_ms, told_ms)) + margin_s * 1000
  redis.call('SET', key, string.format('%s %.17g %.0f %.0f %.17g %.0f', bucket.run,
    bucket.tokens, now, bucket.turn, bucket.told, bucket.till),
    'PX', string.format('%.0f', ttl_ms))
end


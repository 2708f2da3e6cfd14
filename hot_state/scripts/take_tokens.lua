-- Take tokens from all buckets or from none, or give them back.
--
-- KEYS[1]   string  lifetime: `run since`, since in microseconds
-- KEYS[2…]  hash    bucket: tokens; at, in microseconds of the server's clock; run
-- ARGV[1]   tokens to take; below zero they are given back, never above the burst
-- ARGV[2]   `all`: all or none · `owed`: what is there, down to an empty bucket
-- ARGV[3]   seconds to keep the lifetime
-- ARGV[4]   seconds to keep a bucket after it would be full
-- ARGV[5…]  for each bucket: tokens a second, burst
-- Answer    text: microseconds to wait, 0 when taken, -1 when the lifetime is unknown
--
-- A bucket that is missing was never used in this lifetime, or has expired when it
-- was full: it counts as empty at the lifetime's beginning. So does one that another
-- run of the server left behind, whose last takes may be lost.

local life = redis.call('GET', KEYS[1])
if not life then
  return '-1'
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
local run, since = string.match(life, '^(%S+) (%d+)$')
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local wanted = tonumber(ARGV[1])

local held, wait = {}, 0
for i = 2, #KEYS do
  local rate, burst = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local bucket = redis.call('HMGET', KEYS[i], 'tokens', 'at', 'run')
  local tokens, at = 0, tonumber(since)
  if bucket[3] == run then
    tokens, at = tonumber(bucket[1]), tonumber(bucket[2])
  end
  -- After the clock was put back nobody knows what was earned: begin empty.
  if at > now then
    tokens, at = 0, now
  end
  held[i] = math.min(burst, tokens + (now - at) * rate / 1000000)
  wait = math.max(wait, (wanted - held[i]) / rate * 1000000)
end
if ARGV[2] == 'owed' then
  wait = 0
end

for i = 2, #KEYS do
  local rate, burst = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local tokens = held[i]
  if wait == 0 then
    tokens = math.max(0, math.min(burst, tokens - wanted))
  end
  redis.call('HSET', KEYS[i], 'tokens', string.format('%.17g', tokens),
    'at', string.format('%.0f', now), 'run', run)
  local ttl = (burst - tokens) / rate + tonumber(ARGV[4])
  redis.call('PEXPIRE', KEYS[i], string.format('%.0f', math.ceil(ttl * 1000)))
end
return string.format('%.0f', math.ceil(wait))

-- Take tokens from all buckets or from none, or give them back.
--
-- KEYS[1]   string  lifetime: `run since`, since in microseconds
-- KEYS[2…]  string  buckets, as `read_bucket.lua` tells
-- ARGV[1]   `all`: all or none · `first`: the same, and nobody is waited behind ·
--           `owed`: what is there, down to an empty bucket
-- ARGV[2]   seconds to keep the lifetime
-- ARGV[3]   seconds to keep a bucket after it would be full
-- ARGV[4]   microseconds from now in which turns are given
-- ARGV[5…]  for each bucket: tokens a second; burst; the most tokens a second that
--           may be told; tokens to take, below zero to give them back
-- Answer    text: `0` when taken, `-1` when the lifetime is unknown, else
--           `microseconds to wait, place of the bucket from 0, its tokens a second`
--
-- Whoever is refused is told a turn of its own, behind those who wait already, so that
-- they do not all come back for the same tokens. A turn reserves nothing; so who asks
-- to be first is only told when its own tokens have come.
--
-- What is more than a burst waits for a full bucket, and leaves a debt.

local function refusal(bucket, wait, place)
  return string.format('%.0f %.0f %.17g', math.ceil(wait), place - 2, bucket.rate)
end

local values = redis.call('MGET', unpack(KEYS))
local life = values[1]
if not life then
  return '-1'
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local now, margin_s = now_us(), tonumber(ARGV[3])

local buckets, longest, short = {}, 0, 0
for i = 2, #KEYS do
  local at = 4 * i - 3
  local bucket = read_bucket(values[i], life, now, tonumber(ARGV[at]),
    tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
  bucket.wanted = tonumber(ARGV[at + 3])
  buckets[i] = bucket
  local missing = math.min(bucket.wanted, bucket.burst) - bucket.tokens
  if missing / bucket.rate * 1000000 > longest then
    longest, short = missing / bucket.rate * 1000000, i
  end
end

if short > 0 and ARGV[1] == 'first' then
  return refusal(buckets[short], longest, short)
end
if short > 0 and ARGV[1] == 'all' then
  local bucket, ahead = buckets[short], tonumber(ARGV[4])
  local wait = longest
  if bucket.turn > now then
    wait = math.max(wait, bucket.turn - now + bucket.wanted / bucket.rate * 1000000)
  end
  if wait <= ahead then
    bucket.turn = now + wait
    write_bucket(KEYS[short], bucket, now, margin_s)
  else
    wait = math.max(longest, ahead)
  end
  return refusal(bucket, wait, short)
end

for i = 2, #KEYS do
  local bucket = buckets[i]
  local left = math.min(bucket.burst, bucket.tokens - bucket.wanted)
  if ARGV[1] == 'owed' then
    left = math.max(math.min(bucket.tokens, 0), left)
  end
  bucket.tokens = left
  write_bucket(KEYS[i], bucket, now, margin_s)
end
return '0'

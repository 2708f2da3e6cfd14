-- Lower a bucket by what the provider told of its own limit.
--
-- KEYS[1]  string  lifetime: `run since`, since in microseconds
-- KEYS[2]  string  bucket, as `read_bucket.lua` tells
-- ARGV[1]  seconds to keep a bucket after it would be full
-- ARGV[2]  tokens a second
-- ARGV[3]  burst
-- ARGV[4]  the most tokens a second that may be told
-- ARGV[5]  tokens a second that the provider told; 0 when it told none
-- ARGV[6]  seconds for which that holds
-- ARGV[7]  seconds from now in which nothing may be taken
-- Answer   1, or 0 when the lifetime is unknown
--
-- What was told last holds, be it more or less. A pause is a debt that is earned back
-- in that time; a second one adds nothing to the first.

local values = redis.call('MGET', unpack(KEYS))
if not values[1] then
  return 0
end
local now, told = now_us(), tonumber(ARGV[5])
local rate, burst, ceiling = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local bucket = read_bucket(values[2], values[1], now, rate, burst, ceiling)
if told > 0 then
  bucket.told, bucket.till = told, now + tonumber(ARGV[6]) * 1000000
  bucket.rate = math.min(ceiling, told)
  bucket.burst = math.max(1, burst * bucket.rate / rate)
  bucket.tokens = math.min(bucket.burst, bucket.tokens)
end
local pause_s = tonumber(ARGV[7])
if pause_s > 0 then
  bucket.tokens = math.min(bucket.tokens, -pause_s * bucket.rate)
end
write_bucket(KEYS[2], bucket, now, tonumber(ARGV[1]))
return 1

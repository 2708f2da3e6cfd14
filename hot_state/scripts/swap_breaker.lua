-- Read a breaker's state, and change it if it is still the one that was read.
--
-- KEYS[1]  string  the state as JSON; none: closed
-- ARGV[1]  `read`, or `swap`
-- ARGV[2]  the state that was read, empty for none
-- ARGV[3]  the state to put in its place, empty for none
-- ARGV[4]  seconds to keep it
-- Answer   1 when it was changed, else 0; the state that was found, empty for none;
--          microseconds of the server's clock as text

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local found = redis.call('GET', KEYS[1]) or ''
local swapped = 0
if ARGV[1] == 'swap' and found == ARGV[2] then
  swapped = 1
  if ARGV[3] == '' then
    redis.call('DEL', KEYS[1])
  else
    redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
  end
end
return {swapped, found, string.format('%.0f', now)}

-- Remember which run of the server this is, and since when it is known.
--
-- KEYS[1]  string  lifetime: `run since`, since in microseconds of the server's clock
-- ARGV[1]  the run, one word
-- ARGV[2]  seconds to keep it
-- Answer   1
--
-- A run that is known already keeps its beginning.

local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%S+') == ARGV[1] then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  return 1
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local life = ARGV[1] .. ' ' .. string.format('%.0f', now)
redis.call('SET', KEYS[1], life, 'EX', ARGV[2])
return 1

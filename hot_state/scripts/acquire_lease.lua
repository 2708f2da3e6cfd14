-- Take a lease that is free, or hold on to one that is mine.
--
-- KEYS[1]  string  the owner
-- ARGV[1]  who asks
-- ARGV[2]  milliseconds it lasts from now on
-- Answer   1 when it is mine, else 0

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

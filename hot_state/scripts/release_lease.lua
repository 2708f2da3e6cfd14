-- Let a lease go that is mine.
--
-- KEYS[1]  string  the owner
-- ARGV[1]  who asks
-- Answer   1 when it was mine, else 0

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1

-- Delete outcome records by name; a batch without records waits no longer.
--
-- KEYS[1]  hash  outcome records by `no:token`
-- KEYS[2]  zset  batches that have records
-- ARGV[1]  the batch
-- ARGV[2…] the fields
-- Answer   how many records are left

for i = 2, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
end
local left = redis.call('HLEN', KEYS[1])
if left == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return left

-- List the batches that have outcome records.
--
-- KEYS[1]  zset  batches by the second their records expire
-- Answer   the batches, those that expire first at the head

local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZRANGE', KEYS[1], 0, -1)

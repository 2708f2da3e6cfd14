-- Draw a group's outcome into the batch's bitmaps and keep its record for sync.
--
-- KEYS[1…5]  string  bitmaps, bit = seq, of highest rank first
-- KEYS[6]    hash    outcome records by `no:token`, each a list of lines
-- KEYS[7]    zset    batches that have records, by the second they expire
-- ARGV[1]    seq of the chunk's first recipient
-- ARGV[2]    recipients in the chunk
-- ARGV[3]    the batch
-- ARGV[4]    the field, `no:token`
-- ARGV[5]    the record, one line with its end
-- ARGV[6]    seconds to keep everything
-- ARGV[7…]   for each bitmap: the set as big-endian 32-bit words, the last as wide
--            as what is left; empty for the empty set
-- Answer     1
--
-- A recipient stays in the highest of the statuses it is given, in one bitmap only.
-- The same record twice changes nothing.

local unpack = table.unpack or unpack
local first, size = tonumber(ARGV[1]), tonumber(ARGV[2])

local function word(words, i)
  if words == '' then
    return 0
  end
  local a, b, c, d = string.byte(words, 4 * i + 1, 4 * i + 4)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function piece(start)
  return 'u' .. string.format('%.0f', math.min(32, size - start)), first + start
end

local function read(key)
  if redis.call('STRLEN', key) * 8 <= first then
    return {}
  end
  local gets = {}
  for start = 0, size - 1, 32 do
    local width, offset = piece(start)
    gets[#gets + 1] = 'GET'
    gets[#gets + 1] = width
    gets[#gets + 1] = offset
  end
  return redis.call('BITFIELD', key, unpack(gets))
end

local function write(key, words)
  local sets = {}
  for i, value in pairs(words) do
    local width, offset = piece(32 * i)
    sets[#sets + 1] = 'SET'
    sets[#sets + 1] = width
    sets[#sets + 1] = offset
    sets[#sets + 1] = string.format('%.0f', value)
  end
  if #sets > 0 then
    redis.call('BITFIELD', key, unpack(sets))
  end
end

local taken = {}
for k = 1, 5 do
  local before, after = read(KEYS[k]), {}
  for i = 0, math.ceil(size / 32) - 1 do
    local old = before[i + 1] or 0
    local higher = taken[i] or 0
    local new = bit.band(bit.bor(old, word(ARGV[6 + k], i)), bit.bnot(higher))
    taken[i] = bit.bor(higher, new)
    -- The library answers with a sign; BITFIELD takes none.
    new = new % 4294967296
    if new ~= old then
      after[i] = new
    end
  end
  write(KEYS[k], after)
  redis.call('EXPIRE', KEYS[k], ARGV[6])
end

local held = redis.call('HGET', KEYS[6], ARGV[4]) or ''
if not string.find(held, ARGV[5], 1, true) then
  redis.call('HSET', KEYS[6], ARGV[4], held .. ARGV[5])
end
redis.call('EXPIRE', KEYS[6], ARGV[6])
local ends = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[6])
redis.call('ZADD', KEYS[7], string.format('%.0f', ends), ARGV[3])
redis.call('EXPIRE', KEYS[7], ARGV[6])
return 1

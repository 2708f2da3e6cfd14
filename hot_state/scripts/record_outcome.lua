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

local types, gets = {}, {}
for start = 0, size - 1, 32 do
  local width = 'u' .. string.format('%.0f', math.min(32, size - start))
  types[#types + 1] = width
  gets[#gets + 1] = 'GET'
  gets[#gets + 1] = width
  gets[#gets + 1] = first + start
end

local function word(words, i)
  local a, b, c, d = string.byte(words, 4 * i - 3, 4 * i)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- Answers with changes as arguments of BITFIELD, and adds to `taken`.
local function merge(before, given, taken)
  local sets = {}
  for i = 1, #types do
    local old, higher = before[i] or 0, taken[i] or 0
    local new = old
    if given ~= '' then
      new = bit.bor(old, word(given, i))
    end
    new = bit.band(new, bit.bnot(higher))
    taken[i] = bit.bor(higher, new)
    -- The library answers with a sign; BITFIELD takes none.
    new = new % 4294967296
    if new ~= old then
      sets[#sets + 1] = 'SET'
      sets[#sets + 1] = types[i]
      sets[#sets + 1] = first + 32 * (i - 1)
      sets[#sets + 1] = string.format('%.0f', new)
    end
  end
  return sets
end

local taken = {}
for k = 1, 5 do
  local given = ARGV[6 + k]
  local reaches = redis.call('STRLEN', KEYS[k]) * 8 > first
  if reaches or given ~= '' then
    local before = reaches and redis.call('BITFIELD', KEYS[k], unpack(gets)) or {}
    local sets = merge(before, given, taken)
    if #sets > 0 then
      redis.call('BITFIELD', KEYS[k], unpack(sets))
    end
    redis.call('EXPIRE', KEYS[k], ARGV[6])
  end
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

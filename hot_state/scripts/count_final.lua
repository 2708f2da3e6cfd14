-- Count who of a range has an end.
--
-- KEYS[1…5]  string  bitmaps, bit = seq; nobody is in two
-- ARGV[1]    seq of the first recipient
-- ARGV[2]    recipients in the range
-- Answer     how many are in one of the bitmaps
--
-- The first and last byte are shared with neighbours, so bits are read, not bytes.

local first, size = tonumber(ARGV[1]), tonumber(ARGV[2])
local from = math.floor(first / 8)
local to = math.floor((first + size - 1) / 8)

local function edge(key, start, width)
  if width == 0 then
    return 0
  end
  local kind = 'u' .. string.format('%.0f', width)
  local value = redis.call('BITFIELD', key, 'GET', kind, string.format('%.0f', start))[1]
  local count = 0
  while value > 0 do
    count = count + value % 2
    value = math.floor(value / 2)
  end
  return count
end

local final = 0
for i = 1, #KEYS do
  final = final + redis.call('BITCOUNT', KEYS[i], string.format('%.0f', from),
    string.format('%.0f', to))
    - edge(KEYS[i], from * 8, first - from * 8)
    - edge(KEYS[i], first + size, (to + 1) * 8 - first - size)
end
return final

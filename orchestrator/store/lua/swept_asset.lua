-- A deleting asset's blob is gone: so is its record.
local asset = ARGV[1]
local key = P .. 'asset:' .. asset
if ASSET[tostring(redis.call('HGET', key, 'state')) .. ' sweep'] ~= 'gone' then return 0 end
redis.call('DEL', key)
redis.call('ZREM', P .. 'assets', asset)
return 1

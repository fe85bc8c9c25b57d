-- Reads an asset's record, and renews its retention: to ask for it is to use it.
local asset = ARGV[1]
local at = redis.call('HMGET', P .. 'asset:' .. asset, 'state', 'doc')
if at[1] ~= 'stored' then return false end
redis.call('ZADD', P .. 'assets', ms(now_ms()), asset)
return at[2]

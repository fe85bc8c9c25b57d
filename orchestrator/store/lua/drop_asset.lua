-- Somebody wants an asset gone. Its place among the unused makes sure that a sweep goes on where its deletion stopped.
local asset = ARGV[1]
local key = P .. 'asset:' .. asset
local at = redis.call('HMGET', key, 'state', 'doc')
if at[1] ~= 'stored' then return false end
redis.call('HSET', key, 'state', ASSET[at[1] .. ' lapse'])
redis.call('ZADD', P .. 'assets', 0, asset)
return at[2]

-- Records an uploaded asset, or renews one with the same content.
local asset, document = unpack(ARGV, 1, 2)
local key = P .. 'asset:' .. asset
local state = redis.call('HGET', key, 'state') or 'gone'
local to = ASSET[state .. ' upload']
if not to then return { 'deleting' } end
redis.call('HSETNX', key, 'doc', document)
redis.call('HSET', key, 'state', to)
redis.call('ZADD', P .. 'assets', ms(now_ms()), asset)
return { 'ok', redis.call('HGET', key, 'doc') }

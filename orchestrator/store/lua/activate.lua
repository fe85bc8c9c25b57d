-- The version that new jobs of a workflow get.
local name, version = unpack(ARGV, 1, 2)
if redis.call('HEXISTS', P .. 'workflow:' .. name, version) == 0 then return 0 end
redis.call('HSET', P .. 'workflows', name, version)
return 1

-- The leader lease: mine if it is free or mine already. ARGV[2] is 0 to give it back.
local me, ttl = ARGV[1], ARGV[2]
local key = P .. 'leader'
local holder = redis.call('GET', key)
if holder and holder ~= me then return 0 end
if ttl == '0' then redis.call('DEL', key) else redis.call('SET', key, me, 'PX', ttl) end
return 1

-- What a worker holds now.
local worker, epoch, residency = unpack(ARGV, 1, 3)
local key = P .. 'worker:' .. worker
local at = redis.call('HMGET', key, 'epoch', 'state')
if at[1] ~= epoch then return { 'superseded', 'taken over' } end
if at[2] == 'down' then return { 'superseded', 'down' } end
redis.call('HSET', key, 'residency', residency)
feed('residency', 'worker', worker, 'residency', residency)
return { 'ok' }

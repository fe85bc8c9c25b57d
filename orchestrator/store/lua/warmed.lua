-- A warm-up is over, and left this in its worker's memory.
local worker, epoch, id, warmed, residency = unpack(ARGV, 1, 5)
local key = P .. 'worker:' .. worker
local at = redis.call('HMGET', key, 'epoch', 'state')
if at[1] ~= epoch then return { 'superseded', 'taken over' } end
if at[2] == 'down' then return { 'superseded', 'down' } end
if redis.call('HGET', key .. ':warmup', 'id') == id then redis.call('DEL', key .. ':warmup') end
redis.call('HSET', key, 'residency', residency)
feed('warmed', 'worker', worker, 'warmed', warmed, 'residency', residency)
return { 'ok' }

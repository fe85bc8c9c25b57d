-- An agent still has its worker.
local worker, epoch = unpack(ARGV, 1, 2)
local at = redis.call('HMGET', P .. 'worker:' .. worker, 'epoch', 'state', 'catalog', 'models')
if at[1] ~= epoch or at[2] == 'down' then return { 'superseded', at[2] or 'gone' } end
redis.call('ZADD', P .. 'workers', ms(now_ms() + WORKER_LEASE), worker)
settle(worker, busy_since(worker, now_ms()))
if at[3] then redis.call('PEXPIRE', P .. 'catalog:' .. at[3], CATALOG_TTL) end
if at[4] then redis.call('PEXPIRE', P .. 'models:' .. at[4], CATALOG_TTL) end
return duties(worker)

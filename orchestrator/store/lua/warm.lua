-- A worker with nothing to do is told to warm up, if it is still as the dispatcher saw it.
local worker, epoch, id, document, ttl = unpack(ARGV, 1, 5)
local key = P .. 'worker:' .. worker
local at = redis.call('HMGET', key, 'epoch', 'state')
if at[1] ~= epoch or at[2] ~= 'ready' then return 0 end
local lease = redis.call('ZSCORE', P .. 'workers', worker)
if not lease or tonumber(lease) <= now_ms() then return 0 end
if redis.call('ZCARD', key .. ':runs') > 0 or redis.call('EXISTS', key .. ':warmup') == 1 then return 0 end
redis.call('HSET', key .. ':warmup', 'id', id, 'document', document)
redis.call('PEXPIRE', key .. ':warmup', ttl)
mail(worker, 'warm', id)
return 1

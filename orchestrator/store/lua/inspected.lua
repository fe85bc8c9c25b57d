-- A worker's ComfyUI answers and was looked at: ready, unless an operator drained it.
local worker, epoch, info, catalog, object_info, models, contents, lock = unpack(ARGV, 1, 8)
local key = P .. 'worker:' .. worker
local at = redis.call('HMGET', key, 'epoch', 'drained')
if at[1] ~= epoch then return { 'superseded', 'taken over' } end
redis.call('SET', P .. 'catalog:' .. catalog, object_info, 'PX', CATALOG_TTL)
redis.call('SET', P .. 'models:' .. models, contents, 'PX', CATALOG_TTL)
redis.call('HSET', key, 'info', info, 'catalog', catalog, 'models', models, 'lock', lock)
if not worker_move(worker, 'answer', '') then return { 'superseded', 'down' } end
if at[2] == '1' then worker_move(worker, 'drain', 'drained by an operator') end
feed('worker', 'worker', worker)
return { 'ok' }

-- More is known of what a worker's model files are.
local worker, epoch, models, contents = unpack(ARGV, 1, 4)
local key = P .. 'worker:' .. worker
if redis.call('HGET', key, 'epoch') ~= epoch then return { 'superseded', 'taken over' } end
redis.call('SET', P .. 'models:' .. models, contents, 'PX', CATALOG_TTL)
redis.call('HSET', key, 'models', models)
feed('worker', 'worker', worker)
return { 'ok' }

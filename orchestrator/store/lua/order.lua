-- A run and its job, in one look.
local run = ARGV[1]
local key = P .. 'run:' .. run
local job = redis.call('HGET', key, 'job')
if not job then return { 'unknown' } end
return {
  'ok',
  redis.call('HMGET', key, 'patch', unpack(RUN_FIELDS)),
  redis.call('HMGET', P .. 'job:' .. job, 'spec', 'created', 'graph', 'extra_data', 'shown', 'sealed'),
}

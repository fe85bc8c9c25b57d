-- A run and its job, in one look. ARGV from 2 on: the fields wanted of the run.
local run = ARGV[1]
local key = P .. 'run:' .. run
local job = redis.call('HGET', key, 'job')
if not job then return { 'unknown' } end
return {
  'ok',
  redis.call('HMGET', key, unpack(ARGV, 2)),
  redis.call('HMGET', P .. 'job:' .. job, 'spec', 'created', 'graph', 'extra_data', 'shown', 'sealed'),
}

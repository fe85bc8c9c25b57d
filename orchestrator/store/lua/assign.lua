-- A queued run goes to a worker, if both are still as the dispatcher saw them.
local run, attempt, worker, reasons = unpack(ARGV, 1, 4)
local key = P .. 'run:' .. run
local at = redis.call('HMGET', key, 'state', 'attempt', 'pool', 'priority')
if at[1] ~= 'queued' or at[2] ~= attempt then return 0 end
local now = now_ms()
local lease = redis.call('ZSCORE', P .. 'workers', worker)
if redis.call('HGET', P .. 'worker:' .. worker, 'state') ~= 'ready' or not lease or tonumber(lease) <= now then
  return 0
end
local lock = redis.call('HGET', P .. 'worker:' .. worker, 'lock') or ''
redis.call('HSET', key, 'state', RUN['queued assign'], 'worker', worker, 'assigned', ms(now), 'reasons', reasons,
  'lock', lock)
dequeue(run, at[3], at[4])
local seq = feed('assigned', 'run', run, 'worker', worker)
redis.call('ZADD', P .. 'worker:' .. worker .. ':runs', seq, run)
mail(worker, 'assign', run)
return 1

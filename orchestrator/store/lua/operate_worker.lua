-- An operator drains or resumes a worker.
local worker, event, note = unpack(ARGV, 1, 3)
local key = P .. 'worker:' .. worker
if redis.call('EXISTS', key) == 0 then return { 'unknown' } end
redis.call('HSET', key, 'drained', event == 'drain' and '1' or '0')
worker_move(worker, event, note)
return { 'ok' }

-- An operator drains, resumes or recycles a worker. What its agent has to do about it, its heartbeat tells.
local worker, event, note = unpack(ARGV, 1, 3)
local key = P .. 'worker:' .. worker
local state = redis.call('HGET', key, 'state')
if not state then return { 'unknown' } end
if not WORKER[state .. ' ' .. event] then return { 'refused', state } end
if event ~= 'recycle' then redis.call('HSET', key, 'drained', event == 'drain' and '1' or '0') end
worker_move(worker, event, note)
return { 'ok' }

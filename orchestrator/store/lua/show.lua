-- Outputs that a run has made while it goes on. ARGV from 5 on: each that nobody has seen yet, as JSON.
local run, attempt, worker, shown = unpack(ARGV, 1, 4)
local it, state = held(run, attempt, worker)
if not it or state ~= 'running' then return { 'superseded', state } end
if redis.call('HGET', P .. 'job:' .. it.job, 'status') ~= 'running' then return { 'ok' } end -- it is being stopped
redis.call('HSET', P .. 'job:' .. it.job, 'shown', shown)
for i = 5, #ARGV do tell(it.job, 'output', ARGV[i]) end
return { 'ok' }

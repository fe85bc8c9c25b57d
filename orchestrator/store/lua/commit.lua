-- The one way a result becomes visible. ARGV from 10 on: each output as JSON, for the watchers.
local run, attempt, worker, outputs, execute_ms, load_s, cost, residency, data = unpack(ARGV, 1, 9)
local it, state = held(run, attempt, worker)
if not it then return { 'superseded', state } end
if state == 'succeeded' then return { 'ok' } end -- told twice: the first answer was lost
local now = now_ms()
if not RUN[state .. ' commit'] then return { 'superseded', state } end
if stop_if_unwanted(run, it.job, now) then return { 'superseded', 'canceled' } end

local started = tonumber(it.started or now - execute_ms)
local key = P .. 'run:' .. run
redis.call('HSET', key, 'started', ms(started), 'executed', ms(started + execute_ms), 'load_s', load_s)
if cost ~= '' then redis.call('HSET', key, 'cost', cost) end
redis.call('HSET', P .. 'worker:' .. worker, 'residency', residency)
redis.call('HSET', P .. 'job:' .. it.job, 'outputs', outputs)
redis.call('HSETNX', P .. 'job:' .. it.job, 'started', ms(started))
for i = 10, #ARGV do tell(it.job, 'output', ARGV[i]) end
run_end(run, 'commit', now, '', data)
job_move(it.job, 'succeed', now)
return { 'ok' }

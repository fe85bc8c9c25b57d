-- An assigned run executes.
local run, attempt, worker, since_staged = unpack(ARGV, 1, 4)
local it, state = held(run, attempt, worker)
if not it then return { 'superseded', state } end
if state == 'running' then return { 'ok' } end
local to = RUN[state .. ' start']
if not to then return { 'superseded', state } end
local now = now_ms()
redis.call('HSET', P .. 'run:' .. run, 'state', to, 'started', ms(now), 'staged', ms(now - since_staged))
job_move(it.job, 'start', now)
feed('started', 'run', run, 'worker', worker)
return { 'ok' }

-- A run fails for good, and its job with it. A queued run (worker '') is refused: nobody can do it.
local run, attempt, worker, outcome, err = unpack(ARGV, 1, 5)
local it, state = held(run, attempt, worker)
if not it or not RUN[state .. ' fail'] then return { 'superseded', state } end
local now = now_ms()
if stop_if_unwanted(run, it.job, now) then return { 'superseded', 'canceled' } end
redis.call('HSET', P .. 'job:' .. it.job, 'error', err)
run_end(run, 'fail', now, outcome, '{}')
job_move(it.job, 'fail', now)
return { 'ok' }

-- A run fails for good, and its job with it, or, where the job has a gate, its candidate. A queued run (worker '') is refused: nobody can do it.
local run, attempt, worker, outcome, err = unpack(ARGV, 1, 5)
local it, state = held(run, attempt, worker)
if not it or not RUN[state .. ' fail'] then return { 'superseded', state } end
local now = now_ms()
if stop_if_unwanted(run, it.job, now) then return { 'superseded', 'canceled' } end
run_end(run, 'fail', now, outcome, '{}')
give_up(it.job, now, err)
return { 'ok' }

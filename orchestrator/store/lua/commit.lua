-- The one way a result becomes visible: at once, or, where the job has a gate, once that says so (see conclude.lua).
-- ARGV from 12 on: each output as JSON, for the watchers.
local run, attempt, worker, outputs, execute_ms, load_s, residency, data, scores, scoring_s, nodes =
  unpack(ARGV, 1, 11)
local it, state = held(run, attempt, worker)
if not it then return { 'superseded', state } end
if state == 'succeeded' then return { 'ok' } end -- told twice: the first answer was lost
local now = now_ms()
if not RUN[state .. ' commit'] then return { 'superseded', state } end
if stop_if_unwanted(run, it.job, now) then return { 'superseded', 'canceled' } end

local started = tonumber(it.started or now - execute_ms)
local executed = math.min(started + execute_ms, now) -- that it began may have been told late
local key = P .. 'run:' .. run
redis.call('HSET', key, 'started', ms(started), 'executed', ms(executed), 'load_s', load_s)
local gate = redis.call('HGET', P .. 'job:' .. it.job, 'first')
local again = gate and tonumber(redis.call('HGET', key, 'slot')) >= tonumber(gate)
local parts = again and {} or { { 'load', load_s * 1000 }, { 'score', scoring_s * 1000 } }
rebook(run, 'execute') -- what its worker went down with, if it did
local entry = redis.call('HGET', key, 'entry')
sample(entry, worker, execute_ms, load_s, nodes)
charge(run, entry, worker, executed - execute_ms, executed, again and 'rerun' or 'execute', parts, gate)
redis.call('HSET', P .. 'worker:' .. worker, 'residency', residency)
redis.call('HSETNX', P .. 'job:' .. it.job, 'started', ms(started))
run_end(run, 'commit', now, '', data)
if redis.call('HEXISTS', P .. 'job:' .. it.job, 'slots') == 1 then
  redis.call('HSET', key, 'outputs', outputs, 'scores', scores, 'scoring_s', scoring_s)
  job_move(it.job, 'start', now) -- a short run may end before its start was told
  candidate_ended(it.job, now)
  return { 'ok' }
end
redis.call('HSET', P .. 'job:' .. it.job, 'outputs', outputs)
for i = 12, #ARGV do tell(it.job, 'output', ARGV[i]) end
job_move(it.job, 'succeed', now)
return { 'ok' }

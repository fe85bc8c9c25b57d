-- What the gate says of a job, if the job still stands as it was judged: `ended` candidates had come to their end.
local job, ended, verdict, judgement = unpack(ARGV, 1, 4)
local key = P .. 'job:' .. job
local at = redis.call('HMGET', key, 'status', 'ended', 'runs')
if not at[1] or JOB_ENDS[at[1]] or at[1] == 'canceling' or (at[2] or '0') ~= ended then
  return { 'superseded', at[1] or 'gone' }
end
-- What the first candidates cost that nobody gets. (That of the others is known as reruns, delivered or not.)
local function discard()
  local chosen, first = {}, tonumber(redis.call('HGET', key, 'first'))
  for _, slot in ipairs(cjson.decode(judgement).chosen) do chosen[slot] = true end
  for run in string.gmatch(at[3], '%S+') do
    local was = redis.call('HMGET', P .. 'run:' .. run, 'state', 'slot')
    local slot = tonumber(was[2])
    if was[1] == 'succeeded' and slot < first and not chosen[slot] then rebook(run, 'discarded') end
  end
end

local now = now_ms()
redis.call('HSET', key, 'quality', judgement)
redis.call('ZREM', P .. 'unjudged', job)
redis.call('ZREM', P .. 'reviews', job)
tell(job, 'quality', judgement)
if verdict == 'accept' then -- ARGV[6] on: each output as JSON, for the watchers
  redis.call('HSET', key, 'outputs', ARGV[5])
  for i = 6, #ARGV do tell(job, 'output', ARGV[i]) end
  discard()
  job_move(job, 'succeed', now)
  stop_runs(job, now, 'enough candidates are good')
elseif verdict == 'rerun' then
  add_candidates(job, string.match(at[3], '%S+'), now, 5)
elseif verdict == 'review' then
  redis.call('ZADD', P .. 'reviews', ms(now + ARGV[5]), job)
elseif verdict == 'fail' then
  redis.call('HSET', key, 'error', ARGV[5])
  discard()
  job_move(job, 'fail', now)
end
return { 'ok' }

-- A job's deadline has passed.
local job = ARGV[1]
local now = now_ms()
local due = redis.call('ZSCORE', P .. 'deadlines', job)
if not due or tonumber(due) > now then return 0 end
local status = redis.call('EXISTS', P .. 'job:' .. job) == 1 and job_move(job, 'expire', now)
if not status then
  redis.call('ZREM', P .. 'deadlines', job)
  return 0
end
if status == 'expired' then -- and not canceled, which needs no explanation
  redis.call('HSET', P .. 'job:' .. job, 'error',
    '{"code":"deadline_passed","message":"the job was not done by its deadline_s: allow more time, or add workers"}')
end
stop_runs(job, now, 'the deadline passed')
return 1

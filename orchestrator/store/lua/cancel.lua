-- Somebody asks to stop a job: at once if it waits, else its worker is told.
local job = ARGV[1]
if redis.call('EXISTS', P .. 'job:' .. job) == 0 then return { 'unknown' } end
local now = now_ms()
if job_move(job, 'cancel', now) ~= 'canceling' then return { 'ended' } end
local run = last_run(job)
local at = redis.call('HMGET', P .. 'run:' .. run, 'state', 'worker')
if at[1] == 'queued' then
  run_end(run, 'cancel', now, 'the job was canceled', '{}')
  job_move(job, 'stop', now)
else
  mail(at[2], 'cancel', run)
end
return { 'ok' }

-- Somebody asks to stop a job: at once if it waits, else its workers are told.
local job = ARGV[1]
if redis.call('EXISTS', P .. 'job:' .. job) == 0 then return { 'unknown' } end
local now = now_ms()
if job_move(job, 'cancel', now) ~= 'canceling' then return { 'ended' } end
if stop_runs(job, now, 'the job was canceled') == 0 then job_move(job, 'stop', now) end
return { 'ok' }

-- How far a running run is; kept with the job, which never goes back.
local run, attempt, worker, value, progress = unpack(ARGV, 1, 5)
local it, state = held(run, attempt, worker)
if not it or state ~= 'running' then return { 'superseded', state } end
local key = P .. 'job:' .. it.job
local before = redis.call('HGET', key, 'progress_value')
if before and tonumber(before) > tonumber(value) then return { 'ok' } end
redis.call('HSET', key, 'progress', progress, 'progress_value', value)
tell(it.job, 'progress', progress)
return { 'ok' }

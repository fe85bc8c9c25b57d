-- How far a running run is; kept with the job, which never goes back.
local run, attempt, worker, value, progress = unpack(ARGV, 1, 5)
local it, state = held(run, attempt, worker)
if not it or state ~= 'running' then return { 'superseded', state } end
local key = P .. 'job:' .. it.job
-- Of a job with candidates, what is done is shared among them.
local of = redis.call('HMGET', key, 'slots', 'ended')
if of[1] and of[1] ~= '1' then
  value = ((of[2] or 0) + value) / of[1]
  local told = cjson.decode(progress)
  told.value = value
  progress = cjson.encode(told)
end
local before = redis.call('HGET', key, 'progress_value')
if before and tonumber(before) > tonumber(value) then return { 'ok' } end
redis.call('HSET', key, 'progress', progress, 'progress_value', value)
tell(it.job, 'progress', progress)
return { 'ok' }

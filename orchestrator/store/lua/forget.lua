-- An ended job goes, with all that it has here.
local job = ARGV[1]
local key = P .. 'job:' .. job
local at = redis.call('HMGET', key, 'status', 'runs', 'spec', 'client', 'peer')
if not at[1] or not JOB_ENDS[at[1]] then return 0 end
for run in string.gmatch(at[2], '%S+') do redis.call('DEL', P .. 'run:' .. run) end
local workflow = cjson.decode(at[3]).workflow
if type(workflow) == 'string' then redis.call('ZREM', P .. 'jobs:workflow:' .. workflow, job) end
redis.call('ZREM', P .. 'jobs', job)
redis.call('ZREM', P .. 'jobs:status:' .. at[1], job)
redis.call('ZREM', P .. 'ended', job)
if at[4] then
  redis.call('ZREM', P .. 'jobs:client:' .. at[4], job)
  redis.call('HDEL', P .. 'client:' .. at[4], job)
end
if at[5] then
  redis.call('ZREM', P .. 'jobs:peer:' .. at[5], job)
  redis.call('ZREM', P .. 'jobs:everyone', job)
end
redis.call('DEL', key, key .. ':events', key .. ':comfy:events')
return 1

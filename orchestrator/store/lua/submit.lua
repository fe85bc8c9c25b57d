-- One commit for job + run + idempotency + queue.
local job, run, spec, graph, entry, pool, priority, workflow, active, key, fingerprint, deadline_in, retries =
  unpack(ARGV, 1, 13)

if key ~= '' then
  local seen = redis.call('GET', P .. 'idem:' .. key)
  if seen then
    local print, made = string.match(seen, '^(%S+) (%S+)$')
    if print ~= fingerprint then return { 'reused', made } end
    return { 'duplicate', made }
  end
end
if redis.call('EXISTS', P .. 'job:' .. job) == 1 then return { 'exists', job } end
if active ~= '' and redis.call('HGET', P .. 'workflows', workflow) ~= active then return { 'moved' } end
local depth = tonumber(redis.call('GET', P .. 'queued:total') or '0')
if depth >= MAX_QUEUED then return { 'full', depth } end

local now = ms(now_ms())
redis.call('HSET', P .. 'job:' .. job, 'spec', spec, 'graph', graph, 'status', 'queued', 'created', now,
  'runs', run, 'retries', retries, 'lost', 0)
redis.call('HSET', P .. 'run:' .. run, 'job', job, 'slot', 0, 'attempt', 1, 'state', 'queued', 'queued', now,
  'arrived', now, 'entry', entry, 'pool', pool, 'priority', priority, 'avoid', '')
redis.call('ZADD', P .. 'jobs', now, job)
redis.call('ZADD', P .. 'jobs:status:queued', now, job)
if workflow ~= '' then redis.call('ZADD', P .. 'jobs:workflow:' .. workflow, now, job) end
if deadline_in ~= '' then redis.call('ZADD', P .. 'deadlines', now + deadline_in, job) end
if key ~= '' then redis.call('SET', P .. 'idem:' .. key, fingerprint .. ' ' .. job, 'PX', IDEMPOTENCY_TTL) end
tell(job, 'status', '{"status":"queued"}')
enqueue(run, job, 1, pool, priority, now, entry, '', 0)
return { 'ok', job }

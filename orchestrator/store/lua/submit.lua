-- One commit for job + runs + idempotency + queue. `gated` is '' without a gate; ARGV from 15 on: see add_candidates.
local job, run, spec, graph, entry, pool, priority, workflow, active, key, fingerprint, deadline_in, retries, gated =
  unpack(ARGV, 1, 14)

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
if depth + (#ARGV - 14) / 2 >= MAX_QUEUED then return { 'full', depth } end

local now = ms(now_ms())
redis.call('HSET', P .. 'job:' .. job, 'spec', spec, 'graph', graph, 'status', 'queued', 'created', now,
  'runs', run, 'retries', retries)
redis.call('ZADD', P .. 'jobs', now, job)
redis.call('ZADD', P .. 'jobs:status:queued', now, job)
if workflow ~= '' then redis.call('ZADD', P .. 'jobs:workflow:' .. workflow, now, job) end
if deadline_in ~= '' then redis.call('ZADD', P .. 'deadlines', now + deadline_in, job) end
if key ~= '' then redis.call('SET', P .. 'idem:' .. key, fingerprint .. ' ' .. job, 'PX', IDEMPOTENCY_TTL) end
tell(job, 'status', '{"status":"queued"}')
new_run(run, job, 0, 1, now, now, entry, pool, priority, '', 0, '')
if gated ~= '' then
  redis.call('HSET', P .. 'job:' .. job, 'slots', 1)
  add_candidates(job, run, now, 15)
end
return { 'ok', job, now }

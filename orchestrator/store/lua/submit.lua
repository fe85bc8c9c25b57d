-- One commit for job + runs + idempotency + queue. `gated` is '' without a gate, `peer` for a job without an origin;
-- ARGV from 20 on: see add_candidates.
local job, run, spec, graph, entry, pool, priority, workflow, active, key, fingerprint, deadline_in, retries, gated,
  extra, posted, peer, client, sealed = unpack(ARGV, 1, 19)

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
if depth + (#ARGV - 19) / 2 >= MAX_QUEUED then return { 'full', depth } end

local now = ms(now_ms())
redis.call('HSET', P .. 'job:' .. job, 'spec', spec, 'graph', graph, 'status', 'queued', 'created', now,
  'runs', run, 'retries', retries)
redis.call('ZADD', P .. 'jobs', now, job)
redis.call('ZADD', P .. 'jobs:status:queued', now, job)
if workflow ~= '' then
  redis.call('HSET', P .. 'job:' .. job, 'workflow', workflow)
  redis.call('ZADD', P .. 'jobs:workflow:' .. workflow, now, job)
end
if deadline_in ~= '' then redis.call('ZADD', P .. 'deadlines', now + deadline_in, job) end
if extra ~= '' then redis.call('HSET', P .. 'job:' .. job, 'extra_data', extra) end
if sealed ~= '' then redis.call('HSET', P .. 'job:' .. job, 'sealed', sealed) end
if peer ~= '' then
  redis.call('HSET', P .. 'job:' .. job, 'posted', posted, 'peer', peer)
  own('peer:' .. peer, job, now)
  own('everyone', job, now)
end
if client ~= '' then
  redis.call('HSET', P .. 'job:' .. job, 'client', client)
  own('client:' .. client, job, now)
  redis.call('HSET', P .. 'client:' .. client, job, '0-0')
  redis.call('PEXPIRE', P .. 'client:' .. client, EVENTS_TTL)
  redis.call('PUBLISH', P .. 'watch:client:' .. client, ' status {}')
end
if key ~= '' then redis.call('SET', P .. 'idem:' .. key, fingerprint .. ' ' .. job, 'PX', IDEMPOTENCY_TTL) end
tell(job, 'status', '{"status":"queued"}')
if client ~= '' then tell(job .. ':comfy', 'status', '{"status":"queued"}') end
new_run(run, job, 0, 1, now, now, entry, pool, priority, '', 0, '')
if gated ~= '' then
  redis.call('HSET', P .. 'job:' .. job, 'slots', 1)
  add_candidates(job, run, now, 20)
  redis.call('HSET', P .. 'job:' .. job, 'first', redis.call('HGET', P .. 'job:' .. job, 'slots'))
end
return { 'ok', job, now }

-- A run ends as lost (costs a retry) or returned (costs none), and the next attempt is queued in its old place.
local run, attempt, worker, next_run, event, outcome, err, vram = unpack(ARGV, 1, 8)
local it, state = held(run, attempt, worker)
if not it then return { 'superseded', state } end
-- Whatever was given back after it had begun is lost, not returned.
if event == 'return' and state == 'running' then event = 'lose' end
if not RUN[state .. ' ' .. event] then return { 'superseded', state } end
local now = now_ms()
if stop_if_unwanted(run, it.job, now) then return { 'superseded', 'canceled' } end

local job = P .. 'job:' .. it.job
run_end(run, event, now, outcome, '{}')
local avoid = redis.call('HGET', P .. 'run:' .. run, 'avoid')
local was = redis.call('HMGET', P .. 'run:' .. run, 'slot', 'arrived', 'entry', 'pool', 'priority', 'vram', 'patch')
if event == 'lose' then
  if redis.call('HINCRBY', job, 'lost:' .. was[1], 1) > tonumber(redis.call('HGET', job, 'retries')) then
    give_up(it.job, now, err)
    return { 'failed' }
  end
  avoid = avoid == '' and worker or avoid .. ' ' .. worker
end
vram = ms(math.max(tonumber(was[6] or 0), tonumber(vram or 0))) -- that were too few
redis.call('HSET', job, 'runs', redis.call('HGET', job, 'runs') .. ' ' .. next_run)
new_run(next_run, it.job, was[1], ms(attempt + 1), now, was[2], was[3], was[4], was[5], avoid, vram, was[7] or '')
return { 'queued', next_run }

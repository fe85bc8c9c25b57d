-- A worker whose lease ran out goes down. Answers the runs that it still has: the caller requeues them and asks again.
local worker = ARGV[1]
local lease = redis.call('ZSCORE', P .. 'workers', worker)
local now = now_ms()
if not lease or tonumber(lease) > now then return {} end
local key = P .. 'worker:' .. worker
if redis.call('HGET', key, 'state') ~= 'down' then worker_move(worker, 'lose', 'its agent was not heard from') end
local runs = {}
for _, run in ipairs(redis.call('ZRANGE', P .. 'worker:' .. worker .. ':runs', 0, -1)) do
  runs[#runs + 1] = run
  runs[#runs + 1] = redis.call('HGET', P .. 'run:' .. run, 'attempt') or '0'
end
if #runs == 0 and tonumber(lease) < now - FORGET_WORKER then
  redis.call('ZREM', P .. 'workers', worker)
  redis.call('DEL', key, key .. ':events', key .. ':warmup')
  feed('worker', 'worker', worker)
end
return runs

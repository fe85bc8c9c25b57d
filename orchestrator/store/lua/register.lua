-- An agent takes a worker over.
local worker, info, agent, pool, gpu, rate = unpack(ARGV, 1, 6)
local key = P .. 'worker:' .. worker
settle(worker, busy_since(worker, now_ms())) -- at the rate that it had
redis.call('HSET', key, 'info', info, 'agent', agent, 'pool', pool, 'gpu', gpu, 'rate', rate)
redis.call('HINCRBY', key, 'epoch', 1)
redis.call('DEL', key .. ':warmup')
redis.call('ZADD', P .. 'workers', ms(now_ms() + WORKER_LEASE), worker)
worker_move(worker, 'register', '')
local answer = duties(worker)
answer[5] = redis.call('HGET', key, 'residency')
return answer

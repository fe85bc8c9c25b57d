-- An agent takes a worker over.
local worker, info, agent = unpack(ARGV, 1, 3)
local key = P .. 'worker:' .. worker
redis.call('HSET', key, 'info', info, 'agent', agent)
redis.call('HINCRBY', key, 'epoch', 1)
redis.call('DEL', key .. ':warmup')
redis.call('ZADD', P .. 'workers', ms(now_ms() + WORKER_LEASE), worker)
worker_move(worker, 'register', '')
local answer = duties(worker)
answer[5] = redis.call('HGET', key, 'residency')
return answer

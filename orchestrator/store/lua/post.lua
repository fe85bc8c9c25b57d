-- Mail for a worker's agent, from an operator.
local worker, kind = unpack(ARGV, 1, 2)
if redis.call('EXISTS', P .. 'worker:' .. worker) == 0 then return { 'unknown' } end
mail(worker, kind, '')
return { 'ok' }

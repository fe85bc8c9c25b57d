-- Mail for a worker's agent that is about no run. ARGV: worker, kind, files (JSON, or empty)
local worker, kind, files = unpack(ARGV, 1, 3)
if redis.call('EXISTS', P .. 'worker:' .. worker) == 0 then return { 'unknown' } end
mail(worker, kind, '', files)
return { 'ok' }

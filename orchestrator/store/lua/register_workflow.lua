-- New content becomes the next version, and active; equal content is the version that has it.
local name, digest, document = unpack(ARGV, 1, 3)
local key = P .. 'workflow:' .. name
local known = redis.call('HGET', key .. ':digests', digest)
if known then return known end
local version = ms(redis.call('HLEN', key) + 1)
redis.call('HSET', key, version, document)
redis.call('HSET', key .. ':digests', digest, version)
redis.call('HSET', P .. 'workflows', name, version)
return version

// Package redis keeps records in Redis 6 or later, or what speaks its protocol,
// for a fleet of brokers. It is no store for an issuer.
//
// Redis answers before a write is on its disk, and a replica that takes over
// may lack what its primary answered last: with "appendfsync always" and no
// fail-over an answered write is durable, else the last second may be lost. A
// record that went back in time is a record at another version, so whoever
// writes over it is told.
package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/jetonhq/jeton/store"
)

// Store is a [store.Store], a [store.Watcher] and a [store.Clock] in Redis. With the prefix p it
// keeps
//
//	{p}:r:KEY    hash        v version, d due or empty, b value
//	{p}:keys     sorted set  KEY, all scores 0: in byte order
//	{p}:due      sorted set  16 hex digits of the due time, then KEY
//	{p}:format   string      1
//
// The braces put them all in one slot of a cluster. Nothing expires.
type Store struct {
	client rueidis.Client
	server string // for errors
	names  names
	feed   store.Feed
}

// names are the keys in Redis.
type names struct{ record, keys, due, format string }

func namesOf(prefix string) names {
	prefix = "{" + prefix + "}:"
	return names{prefix + "r:", prefix + "keys", prefix + "due", prefix + "format"}
}

// Close ends watching and closes the connections. Operations fail from then on.
func (s *Store) Close() error {
	s.feed.Close()
	s.client.Close()
	return nil
}

// Watch implements [store.Watcher]. Whoever changes a record, be it by hand,
// Redis tells this process at once. Where it will not tell (its CLIENT TRACKING
// is not allowed, or the connection is broken), watchers are signalled every
// few seconds and look for themselves.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	changed, err := s.feed.Watch(ctx, prefix)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	return changed, nil
}

// wrap names the server. Where the context ended, that is the error.
func (s *Store) wrap(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if errors.Is(err, rueidis.ErrClosing) {
		err = store.ErrClosed
	}
	return fmt.Errorf("redis: %s: %w", s.server, err)
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, s.wrap(ctx, err)
	}
	fields, err := s.client.Do(ctx, s.client.B().Hmget().Key(s.names.record+key).Field("v", "d", "b").Build()).ToArray()
	if err != nil {
		return store.Record{}, s.wrap(ctx, err)
	}
	if len(fields) == 3 && fields[0].IsNil() {
		return store.Record{}, store.ErrNotFound
	}
	r, err := record(key, fields)
	if err != nil {
		return store.Record{}, s.wrap(ctx, err)
	}
	return r, nil
}

// record reads version, due and value.
func record(key string, fields []rueidis.RedisMessage) (store.Record, error) {
	var text [3]string
	for i := range text {
		var err error
		if len(fields) != len(text) {
			return store.Record{}, fmt.Errorf("%q is no record", key)
		} else if text[i], err = fields[i].ToString(); err != nil {
			return store.Record{}, fmt.Errorf("%q is no record: %w", key, err)
		}
	}
	due, err := parseDue(text[1])
	if err != nil {
		return store.Record{}, fmt.Errorf("%q is no record: %w", key, err)
	}
	return store.Record{Key: key, Version: text[0], Due: due, Value: []byte(text[2])}, nil
}

// formatDue writes microseconds since 1970 so that the order of bytes is that
// of time. Scores would not do: they are floating-point numbers, which tell
// microseconds apart until the year 2255.
func formatDue(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return sortable(t.UnixMicro())
}

func sortable(micros int64) string { return fmt.Sprintf("%016x", uint64(micros)^1<<63) }

func parseDue(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return time.Time{}, errors.New("its due time cannot be read")
	}
	return time.UnixMicro(int64(n ^ 1<<63)).UTC(), nil
}

// putScript writes if the version is the expected one, which is empty for no record.
// Record and indexes change in one step.
var putScript = rueidis.NewLuaScript(`
local old = redis.call('HMGET', KEYS[1], 'v', 'd')
if (old[1] or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[3], 'd', ARGV[4], 'b', ARGV[5])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if old[2] and old[2] ~= '' then redis.call('ZREM', KEYS[3], old[2] .. ARGV[1]) end
if ARGV[4] ~= '' then redis.call('ZADD', KEYS[3], 0, ARGV[4] .. ARGV[1]) end
return 1`)

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, s.wrap(ctx, err)
	}
	// A counter would give versions twice after FLUSHALL, and after a restart
	// from an old snapshot; 128 random bits are never the same.
	next := rand.Text()
	r.Due, r.Value = store.RoundDue(r.Due), append([]byte{}, r.Value...)
	done, err := putScript.Exec(ctx, s.client, []string{s.names.record + r.Key, s.names.keys, s.names.due},
		[]string{r.Key, r.Version, next, formatDue(r.Due), string(r.Value)}).AsInt64()
	if err != nil {
		return store.Record{}, s.wrap(ctx, err)
	}
	if done == 0 {
		return store.Record{}, store.ErrConflict
	}
	r.Version = next
	return r, nil
}

// deleteScript answers 1, or -1 if there is no record, or 0 if it is at another
// version.
var deleteScript = rueidis.NewLuaScript(`
local old = redis.call('HMGET', KEYS[1], 'v', 'd')
if not old[1] then return -1 end
if old[1] ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if old[2] and old[2] ~= '' then redis.call('ZREM', KEYS[3], old[2] .. ARGV[1]) end
return 1`)

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, r store.Record) error {
	if err := ctx.Err(); err != nil {
		return s.wrap(ctx, err)
	}
	done, err := deleteScript.Exec(ctx, s.client, []string{s.names.record + r.Key, s.names.keys, s.names.due},
		[]string{r.Key, r.Version}).AsInt64()
	switch {
	case err != nil:
		return s.wrap(ctx, err)
	case done < 0:
		return store.ErrNotFound
	case done == 0:
		return store.ErrConflict
	}
	return nil
}

// nowScript asks the node that has the records.
var nowScript = rueidis.NewLuaScript(`return redis.call('TIME')`)

// Now implements [store.Clock].
func (s *Store) Now(ctx context.Context) (time.Time, time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, 0, s.wrap(ctx, err)
	}
	parts, err := nowScript.Exec(ctx, s.client, []string{s.names.format}, nil).AsIntSlice()
	if err == nil && len(parts) != 2 {
		err = errors.New("an answer that cannot be read")
	}
	if err != nil {
		return time.Time{}, 0, s.wrap(ctx, err)
	}
	return time.Unix(parts[0], parts[1]*1000), time.Microsecond, nil // seconds and microseconds
}

// findScript walks an index from ARGV[1] to ARGV[2] and answers with up to ARGV[3]
// records under the prefix ARGV[4]. In an entry, the key begins at ARGV[5]. What
// the index has and Redis threw out for want of memory is passed over.
var findScript = rueidis.NewLuaScript(`
local found, at, limit, page = {}, 0, tonumber(ARGV[3]), 100
while limit > 0 do
	local entries = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', at, page)
	for _, entry in ipairs(entries) do
		local key = string.sub(entry, ARGV[5])
		if string.sub(key, 1, #ARGV[4]) == ARGV[4] then
			local r = redis.call('HMGET', KEYS[1] .. key, 'v', 'd', 'b')
			if r[1] then
				found[#found + 1] = {key, r}
				limit = limit - 1
				if limit == 0 then break end
			end
		end
	end
	if #entries < page then break end
	at = at + page
end
return found`)

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	from := "[" + prefix
	if after != "" && after >= prefix {
		from = "(" + after
	}
	to := "+"
	if end := store.PrefixEnd(prefix); end != "" {
		to = "(" + end
	}
	return s.find(ctx, s.names.keys, from, to, limit, prefix, 1)
}

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, prefix string, t time.Time, limit int) ([]store.Record, error) {
	to := "+"
	if micros := t.UnixMicro(); micros+1 > micros {
		to = "(" + sortable(micros+1)
	}
	return s.find(ctx, s.names.due, "-", to, limit, prefix, len(sortable(0))+1)
}

func (s *Store) find(ctx context.Context, index, from, to string, limit int, prefix string, keyAt int) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.wrap(ctx, err)
	}
	found, err := findScript.Exec(ctx, s.client, []string{s.names.record, index},
		[]string{from, to, strconv.Itoa(limit), prefix, strconv.Itoa(keyAt)}).ToArray()
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	var list []store.Record
	for _, entry := range found {
		pair, err := entry.ToArray()
		if err != nil || len(pair) != 2 {
			return nil, s.wrap(ctx, errors.New("an answer that cannot be read"))
		}
		key, err := pair[0].ToString()
		if err != nil {
			return nil, s.wrap(ctx, err)
		}
		fields, err := pair[1].ToArray()
		if err != nil {
			return nil, s.wrap(ctx, err)
		}
		r, err := record(key, fields)
		if err != nil {
			return nil, s.wrap(ctx, err)
		}
		list = append(list, r)
	}
	return list, nil
}

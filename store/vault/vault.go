// Package vault keeps records in the key-value engine, version 2, of HashiCorp
// Vault or OpenBao, for a fleet of brokers. It is no store for an issuer, and
// cannot say when a record changes. A write is on the server's disks when its
// method returns.
//
// Get costs one request, Put and Delete two. List costs one for each folder
// under its prefix, one for each record that it returns and up to as many again;
// Due one for each folder and each record under its prefix, due or not. What was
// deleted costs as much as a record.
package vault

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/vaultkv"
)

// Store is a [store.Store] and a [store.Clock] in Vault. With the prefix p it keeps
//
//	p/~records/KEY  version, due (microseconds since 1970, or empty) and value (base64)
//	                or deleted
//	p/~format       format: 1
//
// which no prefix below another one can meet, as prefixes have no tilde.
//
// The server counts the writes to a secret, and a write can ask that the count
// be one that was read. The count is no version of a record: it begins again
// when all that is known of a secret is deleted. So a version is 128 random bits
// beside the value, and a write reads version and count together, compares the
// version, and has the server compare the count: nobody came between.
//
// A deletion has to be such a write too, as the server's own compares nothing.
// What it leaves stays. To remove it later would compare nothing either, so that
// it could take along a record that was made meanwhile; and the count would begin
// again, so that a write could win that read long ago and then stood still, as
// on a machine that was suspended. No time is long enough for that. What stays is
// bounded by the keys there are, and brokers use those of what they delete again.
type Store struct {
	kv    *vaultkv.Client
	names names
}

// names are paths in the engine.
type names struct{ record, format string }

func (s *Store) path(key string) string { return s.names.record + "/" + escape(key) }

func (s *Store) wrap(err error) error { return fmt.Errorf("vault: %s: %w", s.kv.Server(), err) }

// read returns the record under key, the zero one if there is none, and how
// often it was written.
func (s *Store) read(ctx context.Context, key string) (r store.Record, count int, err error) {
	data, count, err := s.kv.Read(ctx, s.path(key))
	if err != nil || data == nil || data["deleted"] != "" {
		return store.Record{}, count, err
	}
	r = store.Record{Key: key, Version: data["version"]}
	if r.Value, err = base64.StdEncoding.DecodeString(data["value"]); err != nil || r.Version == "" {
		return store.Record{}, 0, s.wrap(fmt.Errorf("%q is no record", key))
	}
	if due := data["due"]; due != "" {
		micros, err := strconv.ParseInt(due, 10, 64)
		if err != nil {
			return store.Record{}, 0, s.wrap(fmt.Errorf("%q is no record", key))
		}
		r.Due = time.UnixMicro(micros).UTC()
	}
	return r, count, nil
}

// swap writes data over the record unless refuse, which is told the version that
// it is at, or an empty one, has an error.
func (s *Store) swap(ctx context.Context, key string, data map[string]string, refuse func(version string) error) error {
	for range 3 { // the second look tells who came between; a third is for a server that is behind
		now, count, err := s.read(ctx, key)
		if err == nil {
			err = refuse(now.Version)
		}
		if err != nil {
			return err
		}
		if _, err = s.kv.Write(ctx, s.path(key), data, count); !errors.Is(err, vaultkv.ErrConflict) {
			return err
		}
	}
	return store.ErrConflict
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	r, _, err := s.read(ctx, key)
	if err == nil && r.Version == "" {
		err = store.ErrNotFound
	}
	return r, err
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) (store.Record, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	was := r.Version
	r.Version, r.Due, r.Value = hex.EncodeToString(random[:]), store.RoundDue(r.Due), append([]byte{}, r.Value...)
	data := map[string]string{"version": r.Version, "due": "", "value": base64.StdEncoding.EncodeToString(r.Value)}
	if !r.Due.IsZero() {
		data["due"] = strconv.FormatInt(r.Due.UnixMicro(), 10)
	}
	err := s.swap(ctx, r.Key, data, func(version string) error {
		if version != was {
			return store.ErrConflict
		}
		return nil
	})
	if err != nil {
		return store.Record{}, err
	}
	return r, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, r store.Record) error {
	return s.swap(ctx, r.Key, map[string]string{"deleted": "true"}, func(version string) error {
		switch version {
		case "":
			return store.ErrNotFound
		case r.Version:
			return nil
		}
		return store.ErrConflict
	})
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) (list []store.Record, err error) {
	if limit < 1 {
		return nil, ctx.Err()
	}
	err = s.walk(ctx, prefix[:strings.LastIndex(prefix, "/")+1], prefix, after, func(r store.Record) bool {
		list = append(list, r)
		return len(list) < limit
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return list, nil
}

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, prefix string, t time.Time, limit int) (list []store.Record, err error) {
	if limit < 1 {
		return nil, ctx.Err()
	}
	err = s.walk(ctx, prefix[:strings.LastIndex(prefix, "/")+1], prefix, "", func(r store.Record) bool {
		if !r.Due.IsZero() && !r.Due.After(t) {
			list = append(list, r)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	// The keys came in order, so a stable sort breaks ties by key.
	slices.SortStableFunc(list, func(a, b store.Record) int { return a.Due.Compare(b.Due) })
	return list[:min(len(list), limit)], nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// walk calls visit for the records in a folder, which is empty or the part of
// their keys up to a slash, and in those below it, in byte order of their keys:
// those that begin with prefix and sort after the key after. It ends with
// errEnough where visit returns false.
func (s *Store) walk(ctx context.Context, folder, prefix, after string, visit func(store.Record) bool) error {
	path := s.names.record
	if folder != "" {
		path += "/" + escape(strings.TrimSuffix(folder, "/"))
	}
	keys, err := s.kv.List(ctx, path)
	if err != nil {
		return err
	}
	for i, name := range keys {
		segment, ok := unescape(strings.TrimSuffix(name, "/"))
		if !ok {
			return s.wrap(fmt.Errorf("%q is the name of no record", name))
		}
		if keys[i] = folder + segment; strings.HasSuffix(name, "/") {
			keys[i] += "/"
		}
	}
	// All keys in a folder begin with its own, and no other one does.
	slices.Sort(keys)
	keys = slices.DeleteFunc(keys, func(key string) bool {
		return !strings.HasPrefix(key, prefix) || key <= after && after != "" && !(isFolder(key, folder) && strings.HasPrefix(after, key))
	})
	for abreast := 1; len(keys) > 0; abreast = min(2*abreast, mostAbreast) {
		if isFolder(keys[0], folder) {
			if err := s.walk(ctx, keys[0], prefix, after, visit); err != nil {
				return err
			}
			keys = keys[1:]
			continue
		}
		n := 0
		for n < min(abreast, len(keys)) && !isFolder(keys[n], folder) {
			n++
		}
		if err := s.visit(ctx, keys[:n], visit); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// isFolder reports whether a key in a folder is that of another one.
func isFolder(key, folder string) bool {
	return len(key) > len(folder) && strings.HasSuffix(key, "/")
}

// mostAbreast is how many records are read at once. The first is read alone, as
// few may be wanted.
const mostAbreast = 16

// visit reads records at once and calls visit for them in order. It ends with
// errEnough where that returns false.
func (s *Store) visit(ctx context.Context, keys []string, visit func(store.Record) bool) error {
	var reading sync.WaitGroup
	records, errs := make([]store.Record, len(keys)), make([]error, len(keys))
	for i, key := range keys {
		reading.Go(func() { records[i], _, errs[i] = s.read(ctx, key) })
	}
	reading.Wait()
	for i, r := range records {
		if errs[i] != nil {
			return errs[i]
		}
		if r.Version != "" && !visit(r) {
			return errEnough
		}
	}
	return nil
}

// Now implements [store.Clock], by the Date of an answer.
func (s *Store) Now(ctx context.Context) (time.Time, time.Duration, error) {
	header, err := s.kv.Header(ctx)
	if err != nil {
		return time.Time{}, 0, err
	}
	now, within, err := store.Date(header)
	if err != nil {
		return time.Time{}, 0, s.wrap(err)
	}
	return now, within, nil
}

// Package etcd keeps records in etcd 3.4 or later, for a fleet of brokers. It is
// no store for an issuer. A write is on the disks of most members when its
// method returns.
//
// Versions are revisions of the cluster, which go back when a snapshot is
// restored: restore with --bump-revision, or with all brokers stopped.
package etcd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// Store is a [store.Store], a [store.Watcher] and a [store.Clock] in etcd. With the
// prefix p it keeps
//
//	p:r:KEY      0, or 1 and the due time in 8 bytes, then the value
//	p:d:DUE|KEY  nothing; DUE is 16 hex digits, and there is no bar
//	p:format     1
//
// The version of a record is its revision and, behind a dot, DUE if it has one,
// so that a write knows without a read which index entry goes.
type Store struct {
	client *clientv3.Client
	web    *http.Client // for what etcd says over plain HTTP
	server string       // for errors
	names  names
	feed   store.Feed
}

// names are the beginnings of keys in etcd.
type names struct{ record, due, format string }

func namesOf(prefix string) names { return names{prefix + ":r:", prefix + ":d:", prefix + ":format"} }

// Close ends watching and closes the connections. Operations fail from then on.
func (s *Store) Close() error {
	s.feed.Close()
	s.web.CloseIdleConnections()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return s.wrap(context.Background(), err)
	}
	return nil
}

// wrap names the server. Where the context of the caller ended, that is the
// error.
func (s *Store) wrap(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("etcd: %s: %w", s.server, err)
}

// do bounds f, as a host that is gone gives no answer, and wraps its error.
func (s *Store) do(ctx context.Context, f func(ctx context.Context) error) error {
	if ctx.Err() != nil {
		return s.wrap(ctx, ctx.Err())
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := f(limited)
	if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return err
	}
	return s.wrap(ctx, err)
}

// formatDue writes microseconds since 1970 so that the order of bytes is that
// of time.
func formatDue(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return sortable(t.UnixMicro())
}

func sortable(micros int64) string { return fmt.Sprintf("%016x", uint64(micros)^1<<63) }

// parseVersion reads a version in the one form in which it is given. The
// revision is 0, at which no record is, if it is none.
func parseVersion(v string) (revision int64, due string) {
	text, due, dot := strings.Cut(v, ".")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != text || dot != (len(due) == len(sortable(0))) {
		return 0, ""
	}
	return n, due
}

func formatVersion(revision int64, due string) string {
	v := strconv.FormatInt(revision, 10)
	if due != "" {
		v += "." + due
	}
	return v
}

// encode joins due time and value.
func encode(r store.Record) string {
	if r.Due.IsZero() {
		return "\x00" + string(r.Value)
	}
	return string(binary.BigEndian.AppendUint64([]byte{1}, uint64(r.Due.UnixMicro()))) + string(r.Value)
}

// record is the inverse of encode.
func (s *Store) record(kv *mvccpb.KeyValue) (store.Record, error) {
	r := store.Record{Key: strings.TrimPrefix(string(kv.Key), s.names.record)}
	switch {
	case len(kv.Value) >= 1 && kv.Value[0] == 0:
		r.Value = kv.Value[1:]
	case len(kv.Value) >= 9 && kv.Value[0] == 1:
		r.Due = time.UnixMicro(int64(binary.BigEndian.Uint64(kv.Value[1:]))).UTC()
		r.Value = kv.Value[9:]
	default:
		return store.Record{}, fmt.Errorf("%q is no record", r.Key)
	}
	r.Version = formatVersion(kv.ModRevision, formatDue(r.Due))
	return r, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (r store.Record, err error) {
	err = s.do(ctx, func(ctx context.Context) error {
		found, err := s.client.Get(ctx, s.names.record+key)
		if err != nil {
			return err
		}
		if len(found.Kvs) == 0 {
			return store.ErrNotFound
		}
		r, err = s.record(found.Kvs[0])
		return err
	})
	return r, err
}

// at returns the conditions that a record is at a version, or is not there for
// the revision 0, and what takes it out of the index.
func (s *Store) at(key string, revision int64, due string) ([]clientv3.Cmp, []clientv3.Op) {
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(s.names.record+key), "=", revision)}
	if due == "" {
		return conditions, nil
	}
	entry := s.names.due + due + key
	return append(conditions, clientv3.Compare(clientv3.CreateRevision(entry), ">", 0)), []clientv3.Op{clientv3.OpDelete(entry)}
}

// Put implements [store.Store]. Record and index change in one transaction.
func (s *Store) Put(ctx context.Context, r store.Record) (store.Record, error) {
	r.Value = append([]byte{}, r.Value...)
	r.Due = store.RoundDue(r.Due)
	due := formatDue(r.Due)
	revision, was := parseVersion(r.Version)
	err := s.do(ctx, func(ctx context.Context) error {
		if revision == 0 && r.Version != "" {
			return store.ErrConflict
		}
		conditions, ops := s.at(r.Key, revision, was)
		if due == was {
			ops = nil // the entry stays
		} else if due != "" {
			ops = append(ops, clientv3.OpPut(s.names.due+due+r.Key, ""))
		}
		ops = append(ops, clientv3.OpPut(s.names.record+r.Key, encode(r)))
		done, err := s.client.Txn(ctx).If(conditions...).Then(ops...).Commit()
		if err != nil {
			return err
		}
		if !done.Succeeded {
			return store.ErrConflict
		}
		r.Version = formatVersion(done.Header.Revision, due)
		return nil
	})
	if err != nil {
		return store.Record{}, err
	}
	return r, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, r store.Record) error {
	// What is no version reads as the revision 0. Where there is no record that
	// condition holds, and deletes nothing.
	revision, due := parseVersion(r.Version)
	conditions, ops := s.at(r.Key, revision, due)
	name := s.names.record + r.Key
	return s.do(ctx, func(ctx context.Context) error {
		done, err := s.client.Txn(ctx).If(conditions...).Then(append(ops, clientv3.OpDelete(name))...).
			Else(clientv3.OpGet(name, clientv3.WithCountOnly())).Commit()
		if err != nil {
			return err
		}
		last := done.Responses[len(done.Responses)-1]
		switch {
		case done.Succeeded && last.GetResponseDeleteRange().Deleted > 0:
			return nil
		case !done.Succeeded && last.GetResponseRange().Count > 0:
			return store.ErrConflict
		}
		return store.ErrNotFound
	})
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) (list []store.Record, err error) {
	from := s.names.record + prefix
	if after != "" && after >= prefix {
		from = s.names.record + after + "\x00"
	}
	to := store.PrefixEnd(s.names.record + prefix) // not empty: the name has more than 0xff in it
	err = s.do(ctx, func(ctx context.Context) error {
		if limit < 1 || from >= to {
			return nil
		}
		found, err := s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithLimit(int64(limit)))
		if err != nil {
			return err
		}
		list, err = s.records(found.Kvs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (s *Store) records(kvs []*mvccpb.KeyValue) (list []store.Record, err error) {
	for _, kv := range kvs {
		r, err := s.record(kv)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// page is how many index entries are read at once, and how many records by one
// transaction: etcd takes 128 at most.
const page = 100

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, prefix string, t time.Time, limit int) (list []store.Record, err error) {
	from, to := s.names.due, store.PrefixEnd(s.names.due)
	if micros := t.UnixMicro(); micros+1 > micros {
		to = s.names.due + sortable(micros+1)
	}
	err = s.do(ctx, func(ctx context.Context) error {
		var revision int64 // of the first page; what follows is read as of then
		for len(list) < limit {
			entries, err := s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithLimit(page),
				clientv3.WithKeysOnly(), clientv3.WithRev(revision))
			if err != nil {
				return err
			}
			if revision == 0 {
				revision = entries.Header.Revision
			}
			found, err := s.indexed(ctx, entries.Kvs, prefix, revision, limit-len(list))
			if err != nil {
				return err
			}
			list = append(list, found...)
			if !entries.More {
				return nil
			}
			from = string(entries.Kvs[len(entries.Kvs)-1].Key) + "\x00"
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// indexed reads, up to limit, the records under a prefix to which entries point.
func (s *Store) indexed(ctx context.Context, entries []*mvccpb.KeyValue, prefix string, revision int64, limit int) ([]store.Record, error) {
	var gets []clientv3.Op
	for _, entry := range entries {
		key := string(entry.Key[len(s.names.due)+len(sortable(0)):])
		if strings.HasPrefix(key, prefix) && len(gets) < limit {
			gets = append(gets, clientv3.OpGet(s.names.record+key, clientv3.WithRev(revision)))
		}
	}
	if len(gets) == 0 {
		return nil, nil
	}
	found, err := s.client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, err
	}
	var kvs []*mvccpb.KeyValue
	for _, one := range found.Responses {
		kvs = append(kvs, one.GetResponseRange().Kvs...)
	}
	return s.records(kvs)
}

// Now implements [store.Clock]. etcd tells no time by its own protocol; but the
// port of that answers plain HTTP too, and who answers it writes the Date. It
// is the clock of the first member that answers; etcd itself asks for members
// whose clocks agree.
func (s *Store) Now(ctx context.Context) (now time.Time, within time.Duration, err error) {
	err = s.do(ctx, func(ctx context.Context) error {
		var errs []error
		for _, member := range s.client.Endpoints() {
			now, within, err = s.date(ctx, member)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return now, within, err
}

func (s *Store) date(ctx context.Context, member string) (time.Time, time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, member+"/version", nil)
	if err != nil {
		return time.Time{}, 0, err
	}
	answer, err := s.web.Do(r)
	if err != nil {
		return time.Time{}, 0, jeton.WithoutURL(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 4<<10)) // so that the connection is of use again
	return store.Date(answer.Header)
}

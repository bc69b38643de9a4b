// Package kubernetes keeps records in Secrets of a Kubernetes namespace, for a
// fleet of brokers. It is no store for an issuer. A write is in the cluster's
// etcd when its method returns.
//
// List and Due read all records in the folder of their prefix, of which four
// levels count.
//
// Versions are revisions of the cluster, which go back when a snapshot of its
// etcd is restored: restore with --bump-revision, or with all brokers stopped.
package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton/store"
)

// Store is a [store.Store], a [store.Watcher] and a [store.Clock] in Kubernetes. With
// the prefix p it keeps Secrets named
//
//	p-DIGEST  labels jeton-store: p, jeton-1 to jeton-4: the folders of the key;
//	          data: key, value, due (microseconds since 1970, or empty), write
//	p-format  data: format: 1
//
// Digests are SHA-256 in hex, since a key has signs that names and labels must
// not have. The version of a record is its uid, a dot and its resourceVersion;
// write is random, since what changes nothing would be no write to the server.
type Store struct {
	api    *api
	prefix string
	feed   store.Feed
}

// An object is a Secret.
type object struct {
	APIVersion string            `json:"apiVersion,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	Metadata   metadata          `json:"metadata"`
	Data       map[string][]byte `json:"data,omitempty"` // base64 on the wire
}

type metadata struct {
	Name            string            `json:"name,omitempty"`
	UID             string            `json:"uid,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Continue        string            `json:"continue,omitempty"` // of a list
	Labels          map[string]string `json:"labels,omitempty"`
}

// most is how many bytes the data of a Secret may have.
const most = 1 << 20

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (s *Store) name(key string) string { return s.prefix + "-" + digest(key) }

// labels tell the folders that a key is in, each up to a slash. A label has room
// for half a digest, which is enough: what it selects is looked at again.
func (s *Store) labels(key string) map[string]string {
	labels := map[string]string{"jeton-store": s.prefix}
	for level, end := 1, 0; level <= 4; level++ {
		slash := strings.Index(key[end:], "/")
		if slash < 0 {
			break
		}
		end += slash + 1
		labels[fmt.Sprint("jeton-", level)] = digest(key[:end])[:32]
	}
	return labels
}

// selector selects the records in the folder of a prefix among all Secrets of
// the namespace.
func (s *Store) selector(prefix string) url.Values {
	var list []string
	for name, value := range s.labels(prefix) {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return url.Values{"labelSelector": {strings.Join(list, ",")}}
}

var validVersion = regexp.MustCompile(`^([0-9A-Za-z-]+)\.([1-9][0-9]*)$`)

// parseVersion reads a version. Empty ones and the resourceVersion 0 would ask
// the server for nothing.
func parseVersion(v string) (uid, revision string, ok bool) {
	m := validVersion.FindStringSubmatch(v)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// record reads what object writes.
func (s *Store) record(o object) (store.Record, error) {
	r := store.Record{Key: string(o.Data["key"]), Version: o.Metadata.UID + "." + o.Metadata.ResourceVersion, Value: o.Data["value"]}
	due := string(o.Data["due"])
	micros, err := strconv.ParseInt(due, 10, 64)
	_, _, versioned := parseVersion(r.Version)
	if o.Metadata.Name != s.name(r.Key) || !versioned || due != "" && err != nil {
		return store.Record{}, s.wrap(fmt.Errorf("the Secret %q is no record", o.Metadata.Name))
	}
	if due != "" {
		r.Due = time.UnixMicro(micros).UTC()
	}
	return r, nil
}

// object returns the Secret for a record that was at a version.
func (s *Store) object(r store.Record, uid, revision string) (object, error) {
	write := make([]byte, 16)
	_, _ = rand.Read(write) // never fails
	o := object{
		APIVersion: "v1", Kind: "Secret",
		Metadata: metadata{Name: s.name(r.Key), UID: uid, ResourceVersion: revision, Labels: s.labels(r.Key)},
		Data:     map[string][]byte{"key": []byte(r.Key), "value": append([]byte{}, r.Value...), "due": {}, "write": write},
	}
	if due := store.RoundDue(r.Due); !due.IsZero() {
		o.Data["due"] = strconv.AppendInt(nil, due.UnixMicro(), 10)
	}
	size := 0
	for _, value := range o.Data {
		size += len(value)
	}
	if size > most {
		return o, s.wrap(fmt.Errorf("a record of %d bytes is too large: a Secret has 1 MiB", size))
	}
	return o, nil
}

// wrap names the server.
func (s *Store) wrap(err error) error { return fmt.Errorf("kubernetes: %s: %w", s.api, err) }

// judge wraps an error, but for those whose status means something to the
// operation.
func (s *Store) judge(err error, means map[int]error) error {
	if e, ok := errors.AsType[*refusal](err); ok && means[e.status] != nil {
		return means[e.status]
	}
	if err != nil {
		return s.wrap(err)
	}
	return nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	var o object
	err := s.api.do(ctx, http.MethodGet, s.name(key), nil, nil, &o)
	if err != nil {
		return store.Record{}, s.judge(err, map[int]error{http.StatusNotFound: store.ErrNotFound})
	}
	return s.record(o)
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) (store.Record, error) {
	uid, revision, ok := parseVersion(r.Version)
	if !ok && r.Version != "" {
		return store.Record{}, store.ErrConflict
	}
	o, err := s.object(r, uid, revision)
	if err != nil {
		return store.Record{}, err
	}
	var done object
	if r.Version == "" { // there a 404 is of the namespace
		err = s.judge(s.api.do(ctx, http.MethodPost, "", nil, o, &done), map[int]error{http.StatusConflict: store.ErrConflict})
	} else {
		err = s.judge(s.api.do(ctx, http.MethodPut, o.Metadata.Name, nil, o, &done),
			map[int]error{http.StatusConflict: store.ErrConflict, http.StatusNotFound: store.ErrConflict})
	}
	if err != nil {
		return store.Record{}, err
	}
	return s.record(done)
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, r store.Record) error {
	uid, revision, ok := parseVersion(r.Version)
	if !ok {
		_, err := s.Get(ctx, r.Key)
		if err == nil {
			err = store.ErrConflict
		}
		return err
	}
	type at struct {
		UID             string `json:"uid"`
		ResourceVersion string `json:"resourceVersion"`
	}
	err := s.api.do(ctx, http.MethodDelete, s.name(r.Key), nil, struct {
		APIVersion    string `json:"apiVersion"`
		Kind          string `json:"kind"`
		Preconditions at     `json:"preconditions"`
	}{"v1", "DeleteOptions", at{uid, revision}}, nil)
	return s.judge(err, map[int]error{http.StatusConflict: store.ErrConflict, http.StatusNotFound: store.ErrNotFound})
}

// page is how many Secrets are read at once.
const page = 100

// all returns the records under prefix that are wanted, in byte order of their
// keys.
func (s *Store) all(ctx context.Context, prefix string, wanted func(store.Record) bool) (list []store.Record, err error) {
	query := s.selector(prefix)
	query.Set("limit", strconv.Itoa(page))
	for restarts := 0; ; {
		var found struct {
			Metadata metadata
			Items    []object
		}
		err := s.api.do(ctx, http.MethodGet, "", query, nil, &found)
		if e, ok := errors.AsType[*refusal](err); ok && e.status == http.StatusGone && restarts < 3 {
			restarts++ // the pages before are too old for another one
			list = nil
			query.Del("continue")
			continue
		}
		if err != nil {
			return nil, s.wrap(err)
		}
		for _, o := range found.Items {
			r, err := s.record(o)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(r.Key, prefix) && wanted(r) {
				list = append(list, r)
			}
		}
		if found.Metadata.Continue == "" {
			break
		}
		query.Set("continue", found.Metadata.Continue)
	}
	slices.SortFunc(list, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	return list, nil
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if limit < 1 {
		return nil, ctx.Err()
	}
	list, err := s.all(ctx, prefix, func(r store.Record) bool { return after == "" || r.Key > after })
	return list[:min(len(list), limit)], err
}

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, prefix string, t time.Time, limit int) ([]store.Record, error) {
	if limit < 1 {
		return nil, ctx.Err()
	}
	list, err := s.all(ctx, prefix, func(r store.Record) bool { return !r.Due.IsZero() && !r.Due.After(t) })
	// The keys are in order, so a stable sort breaks ties by key.
	slices.SortStableFunc(list, func(a, b store.Record) int { return a.Due.Compare(b.Due) })
	return list[:min(len(list), limit)], err
}

// Now implements [store.Clock], by the Date of an answer.
func (s *Store) Now(ctx context.Context) (now time.Time, within time.Duration, err error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := s.api.send(limited, http.MethodGet, s.prefix+"-format", nil, nil)
	if err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection is of use again
		_ = answer.Body.Close()
		now, within, err = store.Date(answer.Header)
	}
	if err != nil {
		return time.Time{}, 0, s.wrap(ended(ctx, err))
	}
	return now, within, nil
}

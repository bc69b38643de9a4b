package broker

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/jetonhq/jeton/store"
)

// many is from how many records on it is better to list them all than to get
// one by one, though a store may hold others too.
const many = 64

// page is how many records are listed at once.
const page = 500

// each calls f with every record under a prefix.
func (b *Broker) each(ctx context.Context, prefix string, f func(store.Record)) error {
	for after := ""; ; {
		list, err := b.Store.List(ctx, prefix, after, page)
		if err != nil {
			b.metrics.store.WithLabelValues("read").Inc()
			return err
		}
		for _, r := range list {
			f(r)
		}
		if len(list) < page {
			return nil
		}
		after = list[len(list)-1].Key
	}
}

// readAll takes the records of many keepers over as they are in the store.
func (b *Broker) readAll(ctx context.Context, keepers map[string]*keeper) error {
	if err := b.readClock(ctx); err != nil {
		return err
	}
	err := b.each(ctx, "broker/", func(at store.Record) {
		k := keepers[at.Key]
		if k == nil {
			return
		}
		r, err := decode(at)
		r.mend(b.now())
		if err != nil || k.lost(r, at) {
			_ = k.read(ctx) // which says what is wrong, or mends it
			return
		}
		k.publish(r)
	})
	if err != nil {
		return err
	}
	for _, k := range keepers {
		if k.view.Load().Salt == nil { // there is no record
			k.publish(newRecord())
		}
	}
	return nil
}

// newRecord returns the record of a credential that has none.
func newRecord() record {
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // it never fails
	return record{V: 1, Salt: salt}
}

// A pace bounds how many records a second are read because they may have
// changed: a store that cannot say which did says so of all. Its zero value is
// ready.
type pace struct {
	mu   sync.Mutex
	next time.Time // when the next read may be
}

const (
	paceEvery = 500 * time.Microsecond // between two reads, on the average
	paceBurst = time.Second            // worth of reads may come at once
)

// wait returns how long the next read is to wait.
func (p *pace) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if earliest := now.Add(-paceBurst); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(paceEvery)
	return max(p.next.Sub(now), 0)
}

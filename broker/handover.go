package broker

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// A vendor with active: 1 ends a token the moment it makes the next one. No
// call may be on its way with the old one then, at any broker. So every swap of
// such a token is a hand-over:
//
//	leader      record: lease, intent "handover" -> [all present have drained] -> record: intent "login" -> vendor -> record: token
//	each other  sees the intent: new calls wait -> [running calls have ended] -> presence: drained -> sees the token: calls go on
//
// A broker through which calls go has a presence, a record of its own, so that
// the leader knows whom to wait for. It is written before the first call leaves
// and removed when none came for a while. In between it costs nothing: a broker
// writes again only for a hand-over.
//
// Nothing is left to luck in when a presence is written. The leader writes its
// intent and then lists presences; a broker writes its presence and then reads
// the record. Whichever comes second sees the other.
//
// The record alone says whether calls wait. If the leader dies the old token is
// still good: who finds its lease dead takes lease and intent out of the record,
// so that a leader which was only slow cannot write that it sends, and does not.
// A broker that cannot reach the store any more lets its calls go on after the
// same time: it can neither take part nor be waited for, and some calls of it
// may then meet an ended token.
//
// A refresh ends the token before it as a login does, and is a hand-over too.
type presence struct {
	V       int    `json:"v"` // 1
	Broker  string `json:"broker"`
	Fence   uint64 `json:"fence"`             // of the hand-over that it saw last
	Drained bool   `json:"drained,omitempty"` // and its calls have ended
}

// presences returns the prefix of the keys of a credential's presences:
// presence/<dialect>/<digest of the identity>/<the first number that is free>.
// Keys are used again, as there are stores in which a removed record leaves a
// trace.
func (k *keeper) presences() string {
	return "presence/" + strings.TrimPrefix(k.key, "broker/") + "/"
}

const (
	unusedFor   = 5 * time.Minute        // after the last call a presence is removed
	sayFor      = 5 * time.Second        // a presence may take to be written; a first call does not wait for longer
	farewell    = 300 * time.Millisecond // a broker that stops stays present for calls that run
	mostPresent = 10_000                 // presences of one credential
)

// handover is the kind of an intent that says: calls are let end, and then
// something leaves that ends the token.
const handover = "handover"

// handingOver reports whether calls are to wait though the token is good.
func (k *keeper) handingOver(r *record) bool {
	return k.account.dialect().Active > 0 && r.Intent != nil && r.Intent.Kind == handover
}

// ending reports whether an exchange was sent that ends the token.
func (k *keeper) ending(r *record) bool {
	return k.account.dialect().Active > 0 && r.Intent != nil && r.Intent.Kind != handover
}

// handOver lets the calls end that use the token, everywhere, if the exchange
// that is to leave now ends it. It notes that the exchange leaves.
func (l *login) handOver(ctx context.Context, kind string) error {
	if l.d.Active == 0 {
		return nil
	}
	if v := l.k.view.Load(); v.handover {
		defer l.span.spent("jeton.handover_ms", time.Now())
		draining, cancel := context.WithTimeout(ctx, l.k.b.Drain)
		defer cancel()
		defer context.AfterFunc(l.k.b.running, cancel)()
		l.k.awaitOthers(draining)
		select {
		case <-l.k.gate.empty():
		case <-draining.Done():
		}
	}
	if l.k.b.running.Err() != nil {
		return errStopping
	}
	if err := l.write(ctx, func(r *record) { r.Intent = &intent{Kind: kind, Since: r.Generation} }); err != nil {
		return notSent{err}
	}
	return nil
}

// awaitOthers waits until every other broker that is present has drained, as
// long as ctx allows. One that has not even said that it is there by then is
// dead, and the next hand-over does not wait for it.
func (k *keeper) awaitOthers(ctx context.Context) {
	fence := k.leads.Load()
	var first map[string]string // :: key -> version, of those who were present when it began
	var missing []store.Record
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, followEvery) {
		list, err := k.b.Store.List(ctx, k.presences(), "", mostPresent)
		if err == nil {
			missing = nil
			for _, at := range list {
				var p presence
				if json.Unmarshal(at.Value, &p) == nil && p.Broker != k.b.id && !(p.Drained && p.Fence == fence) {
					missing = append(missing, at)
				}
			}
			if len(missing) == 0 {
				return
			}
			if first == nil {
				first = map[string]string{}
				for _, at := range missing {
					first[at.Key] = at.Version
				}
			}
		}
		if !sleep(ctx, wait) {
			break
		}
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return
	}
	gone, cancel := context.WithTimeout(k.b.sending, sayFor)
	defer cancel()
	for _, at := range missing {
		silent := first[at.Key] == at.Version
		k.b.Logger.Warn("a hand-over went on without a broker whose calls have not ended", "account", k.account.Name, "silent", silent)
		if silent {
			_ = k.b.Store.Delete(gone, at)
		}
	}
}

// A member is this broker's part in the hand-overs of a credential, while calls
// go through it. Its fields are for its own goroutine.
type member struct {
	k     *keeper
	ready chan struct{} // closed when calls may begin
	gone  chan struct{} // closed when it follows the record no more

	at      store.Record // its presence, as the store has it; no version: not there
	slot    int          // the number in its key
	rev     uint64       // of the record for which it looked whether its presence is there
	seen    uint64       // of the last hand-over that it looked at while calls ran
	said    uint64       // of the last hand-over that it said so of
	drained uint64       // of the last hand-over that it said to be drained for
	entered uint64       // calls that ever entered, when it looked last
	used    time.Time    // when calls entered last
}

// attend returns this broker's part in hand-overs, and takes it up first if
// there was none. It is nil when the broker has stopped. The caller is in the
// gate, so that the part is not given up now.
func (k *keeper) attend(ctx context.Context) (*member, error) {
	k.mu.Lock()
	m := k.member
	if m == nil {
		m = &member{k: k, ready: make(chan struct{}), gone: make(chan struct{}), used: time.Now()}
		if !k.b.begin(m.run) {
			k.mu.Unlock()
			return nil, nil
		}
		k.member = m
	}
	k.mu.Unlock()
	select {
	case <-m.ready:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run takes part until no more calls come, or the broker stops.
func (m *member) run() {
	defer close(m.gone)
	k := m.k
	ctx, cancel := context.WithCancel(k.b.sending)
	defer cancel()
	var changed <-chan struct{}
	if w, ok := k.b.Store.(store.Watcher); ok {
		changed, _ = w.Watch(ctx, k.key)
	}
	m.appear(ctx)
	close(m.ready)
	stopping, until := k.b.running.Done(), time.Time{}
	for {
		next := m.look(ctx, changed == nil)
		if m.leaves(until) {
			break
		}
		var empty <-chan struct{} // only if it is not
		if running, _ := k.gate.count(); running > 0 && (k.view.Load().handover || stopping == nil) {
			empty = k.gate.empty()
		}
		if stopping == nil {
			next = min(next, time.Until(until))
		}
		t := time.NewTimer(next)
		select {
		case <-t.C:
		case <-empty:
		case _, ok := <-changed:
			if !ok {
				changed = nil
			}
		case <-stopping:
			stopping, until = nil, time.Now().Add(farewell)
		}
		t.Stop()
	}
	if m.at.Version != "" {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		_ = k.b.Store.Delete(leaving, m.at) // or the next leader waits for it once
	}
}

// appear writes the presence and then reads the record, in this order. Where
// the store does not answer, calls go on all the same.
func (m *member) appear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sayFor)
	defer cancel()
	err := m.say(ctx, presence{})
	if err == nil {
		err = m.k.read(ctx)
	}
	if err != nil {
		m.k.b.Logger.Warn("calls go on unknown to other brokers, whose logins may end the token", "account", m.k.account.Name, "error", err)
	}
}

// say writes the presence. One that was removed is made anew, under a key that
// no other broker has.
func (m *member) say(ctx context.Context, p presence) error {
	p.V, p.Broker = 1, m.k.b.id
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	for {
		m.at.Key, m.at.Value = m.k.presences()+strconv.Itoa(m.slot), value
		next, err := m.k.b.Store.Put(ctx, m.at)
		if err == nil {
			m.at = next
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		// Another broker has the key, a leader has removed the presence, or an
		// earlier write went in though its answer was lost.
		mine, err := m.find(ctx)
		if err != nil {
			return err
		}
		if !mine && m.at.Version != "" {
			m.at.Version = ""
			m.slot++
		}
	}
}

// find reads what stands under the key, and reports whether it is the presence
// of this broker.
func (m *member) find(ctx context.Context) (mine bool, err error) {
	at, err := m.k.b.Store.Get(ctx, m.at.Key)
	if errors.Is(err, store.ErrNotFound) {
		m.at.Version = ""
		return false, nil
	}
	var p presence
	if err == nil {
		m.at, mine = at, json.Unmarshal(at.Value, &p) == nil && p.Broker == m.k.b.id
	}
	return mine, err
}

// look reads the record, does what it asks of this broker, and returns when to
// look again.
func (m *member) look(ctx context.Context, polls bool) time.Duration {
	k := m.k
	tick := min(time.Second, k.b.Drain/4)
	ctx, cancel := context.WithTimeout(ctx, sayFor)
	defer cancel()
	r, at, err := k.load(ctx)
	if err == nil {
		k.publish(r)
	}
	v := k.view.Load()
	leads := k.leads.Load()
	switch {
	case err != nil:
		if v.handover && leads == 0 && time.Since(v.seen) >= k.b.Lease {
			k.reopen(v)
		}
		return tick
	case leads != 0 && leads == r.Fence:
	case !k.handingOver(&r):
		if r.Lease == nil && m.rev != r.Rev && m.stay(ctx) == nil {
			m.rev = r.Rev
		}
	case time.Since(v.seen) >= k.b.Lease:
		m.release(ctx, r, at)
		return followEvery
	default:
		if v.handover && v.Fence == r.Fence { // else what was read is overtaken
			m.drain(ctx, r.Fence)
		}
		if polls {
			return followEvery
		}
		return tick
	}
	if polls || m.at.Version == "" {
		return tick
	}
	return unusedFor / 5
}

// stay writes the presence if it is not there: the first attempt may not have
// worked, a leader may have taken this broker for dead while it could not reach
// the store, and a store may lose what it had.
func (m *member) stay(ctx context.Context) error {
	if m.at.Version != "" {
		if mine, err := m.find(ctx); err != nil || mine {
			return err
		}
		m.at.Version = ""
	}
	return m.say(ctx, presence{})
}

// drain says that the calls have ended once they have, and that it is there if
// they take their time.
func (m *member) drain(ctx context.Context, fence uint64) {
	running, _ := m.k.gate.count()
	switch {
	case m.drained == fence:
	case running == 0:
		if m.say(ctx, presence{Fence: fence, Drained: true}) == nil {
			m.drained = fence
		}
	case m.seen == fence && m.said != fence:
		if m.say(ctx, presence{Fence: fence}) == nil {
			m.said = fence
		}
	}
	m.seen = fence
}

// reopen lets calls go on by this broker's own decision.
func (k *keeper) reopen(v *view) {
	next := k.shown(v.record)
	next.handover, next.seen = false, v.seen
	if k.replace(v, next) {
		k.b.Logger.Warn("the store cannot be reached; calls go on with the token that there was", "account", k.account.Name)
	}
}

// release ends a hand-over whose leader is dead.
func (m *member) release(ctx context.Context, r record, at store.Record) {
	r.Lease, r.Intent = nil, nil
	if _, err := m.k.save(ctx, r, at); err == nil {
		m.k.b.Logger.Warn("the broker that began a hand-over is gone; calls go on", "account", m.k.account.Name)
	}
}

// leaves gives the part up, and reports true, if no call came for long enough.
// A broker that stops, which has a time until which it may stay, waits for the
// calls that run and no longer.
func (m *member) leaves(until time.Time) bool {
	k := m.k
	k.mu.Lock()
	defer k.mu.Unlock()
	running, entered := k.gate.count()
	now := time.Now()
	if entered != m.entered {
		m.entered, m.used = entered, now
	}
	idle := running == 0 && now.Sub(m.used) >= unusedFor
	if !until.IsZero() {
		idle = running == 0 && !k.view.Load().handover || !now.Before(until)
	}
	if idle {
		k.member = nil
	}
	return idle
}

// enter lets a call in with a token that no login ends before the call leaves,
// as far as brokers can know. The caller calls leave once, when the call has
// ended. A token is waited for outside the gate: the login that brings it waits
// for those inside.
func (k *keeper) enter(ctx context.Context, account string) (t *jeton.Token, leave func(), err error) {
	if k.account.dialect().Active == 0 {
		t, err = k.b.Token(ctx, account, 0)
		return t, func() {}, err
	}
	for {
		k.gate.enter()
		m, err := k.attend(ctx)
		v := k.view.Load()
		if err == nil && !v.handover {
			if t := k.ready(0); t != nil {
				return t, sync.OnceFunc(k.gate.leave), nil
			}
		}
		k.gate.leave()
		switch {
		case err != nil:
			return nil, nil, err
		case !v.handover:
			_, err = k.b.Token(ctx, account, 0)
		case m == nil:
			err = errClosed
		default:
			select {
			case <-v.replaced:
			case <-m.gone:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

package broker

import (
	"context"
	"time"

	"github.com/jetonhq/jeton"
)

// What is checked, and within which bounds.
//
// Logins. Let a token be fresh until its renewal may begin: its lifetime less
// 5 minutes or a tenth, and a tenth of that for the jitter. A broker that gets
// a token (by a login or a refresh) while the one before it was fresh, must
// have taken its lease after one of these befell that one: its answer was lost
// (with a 5xx too), its broker died or was parted from the store before it was
// saved, somebody reported it, or it had to be taken for ended because of such
// an overlap. Each token excuses one successor, so that for each lifetime
//
//	tokens <= 1 + lost answers + brokers lost before the save + reports + overlaps ended
//
// and without faults exactly 1. A password change, a 429, a 5xx and a latch
// excuse nothing: they bring no token.
//
// Leases. One is taken over only after the record stood unchanged for the
// lease time, and never from a broker that lives and reaches the store.
//
// Limits. The vendor's own count, in its own sliding window, is never exceeded.
// After a Retry-After that is in the record, or that the same attempt got,
// nobody sends anything before it is over. A wrong credential whose refusal is
// in the record is not sent again, until an operator releases the account or
// the credential that was right is refused: then the vendor's has changed, and
// what it said of others before is void.
//
// Record. Generation and fence never go back; a generation names one token.
//
// Readers. None gets an expired token, but for as long as its broker may be wrong
// about the time: half of what it took to read the store's clock. Where the
// vendor does not say when a token expires, one is told by a report. None gets a token that the vendor
// ended, but (1) one that it ended of itself and nobody reported, (2) one that
// a login ended which arrived when its broker had lost the lease, and (3) for the time
// that news take (reach) after the record left it, or after the broker reaches
// the store again. None gets an error while the record has a good token, for
// longer than that time, or while its own broker served it before. None waits
// for longer than Wait.
//
// End. Within plan.bound after the faults every broker serves the one token
// that the record has, and it is good at the vendor, or a reader's report makes
// it so. The exception is a token
// that a report brought and that was revoked again: it lives until it is
// renewed, because a second report says "permission" (section 6 of the design).

// reach is the time that news take from the record to a broker that can reach
// it: a signal, a read, and a look of one that follows.
func (w *world) reach() time.Duration {
	d := 6*w.latency + followEvery + 100*time.Millisecond
	if len(w.skews) > 0 {
		d += time.Second + 2*w.latency // to read the clock, which is not tried again at once
	}
	if w.polls {
		d += pollEvery
	}
	return d
}

func later(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// wrote sees every write to the record. The caller holds mu.
func (w *world) wrote(n *node, after []byte) {
	now, old, r := time.Now(), w.record, observe(after)
	if r.Fence < old.Fence || r.Generation < old.Generation {
		w.violate("broker %d takes the record from generation %d, fence %d back to %d, %d", n.id, old.Generation, old.Fence, r.Generation, r.Fence)
	}
	if r.Token != nil {
		if had := w.generations[r.Generation]; had != "" && had != r.Token.Access {
			w.violate("broker %d makes generation %d name %s and %s", n.id, r.Generation, had, r.Token.Access)
		}
		w.generations[r.Generation] = r.Token.Access
	}
	if r.Lease != nil && (old.Lease == nil || old.Fence != r.Fence || old.Lease.Holder != r.Lease.Holder) {
		w.takes(n, old, r)
	}
	if l := n.lease; r.Lease == nil && l != nil && l.fence == r.Fence && l.saved.IsZero() {
		l.saved = now
		if r.Generation > old.Generation {
			w.forgets()
			if l.secret != "" {
				w.taken = l.secret
			}
		}
	}
	if old.Taken != "" && r.Taken == "" { // the one that was right is refused, which the record knows only now
		w.epoch++
		for _, o := range w.refused {
			if o.lease == n.lease && o.secret == w.taken {
				o.epoch = w.epoch
			}
		}
		w.taken = ""
	}
	var vouch *minted
	if r.Token != nil && !r.Ended && (w.d.Active == 0 || r.Intent == nil || r.Intent.Kind != "login") {
		vouch = w.tokens[r.Token.Access]
	}
	if vouch != w.vouch {
		if w.vouch != nil {
			w.vouch.vouchedUntil = now
		}
		w.vouch, w.since = vouch, now
	}
	w.record, w.written = r, now
	w.log("record by %d: generation %d fence %d lease %v intent %v ended %v latch %v failures %d", n.id, r.Generation, r.Fence,
		r.Lease != nil, r.Intent != nil, r.Ended, r.Latch != nil, r.Failures)
}

// forgets drops the waits that a success has made void. The caller holds mu.
func (w *world) forgets() {
	var left []*exchange
	for _, o := range w.waits {
		if o.lease == nil || o.lease.saved.IsZero() {
			left = append(left, o)
		}
	}
	w.waits = left
}

// takes sees a lease taken. The caller holds mu.
func (w *world) takes(n *node, old, r record) {
	now := time.Now()
	if old.Lease != nil {
		if stood := now.Sub(w.written); stood < w.lease {
			w.violate("broker %d takes over a lease that was renewed %v ago", n.id, stood)
		}
		for _, h := range w.nodes {
			if h.lease != nil && h.lease.fence == old.Fence && h.lease.saved.IsZero() && !h.lease.unheard && !h.dead && h.trouble(now).Before(w.written.Add(-time.Second)) {
				w.violate("broker %d takes over the lease of broker %d, which lives", n.id, h.id)
			}
		}
	}
	n.lease = &leased{node: n, fence: r.Fence, at: now, over: old, unsure: n.b.unsure()}
	if old.Lease != nil {
		w.takenOver = now
	}
	w.leaseBegins(n)
}

// knows reports whether what came of an exchange was in the record when a
// later lease was taken.
func (o *exchange) knows(l *leased) bool {
	return o.lease != nil && l != nil && !o.lease.saved.IsZero() && !o.lease.saved.After(l.at)
}

// sends sees a request leave. The caller holds mu.
func (w *world) sends(x *exchange) {
	if x.lease == nil {
		w.violate("broker %d sends without a lease", x.node.id)
		x.lease = &leased{node: x.node, at: x.sent}
	}
	for _, o := range w.waits {
		if until := o.delivered.Add(o.wait); !o.delivered.IsZero() && x.sent.Before(until) && (o.knows(x.lease) || o.lease == x.lease) {
			w.violate("broker %d sends %v before the end of Retry-After", x.node.id, until.Sub(x.sent))
		}
	}
}

// refuses sees a wrong credential refused. The caller holds mu.
func (w *world) refuses(x *exchange) {
	x.epoch = w.epoch
	for _, o := range w.refused {
		if o.secret == x.secret && o.epoch == w.epoch && !o.delivered.IsZero() && o.knows(x.lease) {
			w.violate("broker %d presents %s, which was refused to broker %d", x.node.id, x.secret, o.node.id)
		}
	}
	w.refused = append(w.refused, x)
}

// mintsAgain sees a token made, before it is in the book. The caller holds mu.
func (w *world) mintsAgain(x *exchange) {
	if len(w.mints) == 0 {
		return
	}
	p, l, now := w.mints[len(w.mints)-1], x.lease, time.Now()
	if !l.at.Add(l.unsure).Before(p.due) {
		return // its time had come
	}
	saved := p.x.knows(l)
	first := p.x.lease
	if l.at.Before(first.at) {
		first, saved = l, false // the late one is this
	}
	switch {
	case p.x.lost:
	case !saved && (first.node.dead || !first.node.trouble(x.sent).Before(first.at)):
	case !p.reported.IsZero() && !p.reported.After(l.at):
		young := !w.silent || now.Sub(p.at) < 5*time.Minute
		if l.over.Reported != 0 && l.over.Reported == l.over.Generation && w.generations[l.over.Reported] == p.access && young {
			w.violate("broker %d logs in for a report of %s, which a report had brought", x.node.id, p.access)
		}
	case w.d.Active > 0 && l.over.Ended:
	default:
		w.violate("broker %d gets a token by a %s, %v before broker %d's %s may be renewed", x.node.id, x.kind, p.due.Sub(l.at), p.x.node.id, p.access)
	}
}

// waited sees a reader served or sent away. The caller holds mu.
func (w *world) waited(n *node, began time.Time) {
	if took := time.Since(began); took > n.b.Wait+time.Second {
		w.violate("a reader of broker %d waited for %v", n.id, took)
	}
}

// sawToken sees what a reader got. It says whether the vendor's API refuses
// that token, and whether it does so for another reason.
func (w *world) sawToken(n *node, began time.Time, t *jeton.Token, err error) (refused, picky bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if n.dead {
		return false, false
	}
	w.waited(n, began)
	if err != nil {
		w.log("reader of %d: %v", n.id, err)
		v := w.vouch
		if v == nil || !v.good(now) || !now.Add(n.b.unsure()).Before(v.until) {
			return false, false
		}
		if began.Sub(later(w.since, n.trouble(now), n.started)) > w.reach() {
			w.violate("a reader of broker %d gets no %s, which the record has: %v", n.id, v.access, err)
		} else if n.served == v && n.servedAt.After(w.since) && v.reported.IsZero() {
			w.violate("a reader of broker %d gets no %s any more: %v", n.id, v.access, err)
		}
		return false, false
	}
	m := w.sees(n, t, now)
	if m == nil {
		return false, false
	}
	refused = !m.good(now) && w.odds(n.name("reports"), 90)
	if f := w.active("picky", n.slot); f != nil && f.n == 0 {
		f.n, picky = 1, true
	}
	if refused || picky {
		w.log("reader of %d reports %s, generation %d", n.id, m.access, t.Generation)
		for _, m := range []*minted{m, w.vouch} {
			if m != nil && m.reported.IsZero() && (m != w.vouch || w.record.Generation == t.Generation) {
				m.reported = now
			}
		}
	}
	return refused, picky
}

// sawReport sees what a reader got for a report.
func (w *world) sawReport(n *node, began time.Time, t *jeton.Token, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n.dead {
		return
	}
	w.waited(n, began)
	if err == nil {
		w.sees(n, t, time.Now())
	}
}

// sees looks at a token that was given out. The caller holds mu.
func (w *world) sees(n *node, t *jeton.Token, now time.Time) *minted {
	m := w.tokens[t.AccessToken.Reveal()]
	if m == nil {
		w.violate("broker %d serves a token that the vendor never made", n.id)
		return nil
	}
	n.served, n.servedAt = m, now
	if late := now.Sub(m.expiry); late >= n.b.unsure() && late >= 0 && !w.silent {
		w.violate("broker %d serves %s, which expired %v ago", n.id, m.access, now.Sub(m.expiry))
	} else if !m.endedAt.IsZero() && late < 0 {
		w.ended(n, m, now)
	}
	return m
}

// ended judges a reader's getting a token that the vendor has ended. The
// caller holds mu.
func (w *world) ended(n *node, m *minted, now time.Time) {
	if m == w.vouch {
		if by := m.endedBy; by != nil && (by.lease.fence >= w.record.Fence || m.endedAt.Before(w.takenOver)) {
			w.violate("broker %d serves %s, which %s ended %v ago with no word in the record", n.id, m.access, by.minted.access, now.Sub(m.endedAt))
		}
		return
	}
	left := later(m.vouchedUntil, n.trouble(now), n.started, m.x.delivered)
	if late := now.Sub(left); late > w.reach() {
		w.violate("broker %d serves %s, ended %v ago, %v after it could know", n.id, m.access, now.Sub(m.endedAt), late)
	}
}

// healthy demands of every broker that it serves the token of the record, and
// that the token is good.
func (w *world) healthy(when string, renewed bool) {
	w.mu.Lock()
	all := append([]*node(nil), w.slots...)
	w.mu.Unlock()
	for _, n := range all {
		wrong := ""
		for range 60 {
			if wrong = w.ill(n, renewed); wrong == "" {
				break
			}
			time.Sleep(time.Second)
		}
		if wrong != "" {
			w.mu.Lock()
			w.violate("%s broker %d %s", when, n.id, wrong)
			w.mu.Unlock()
		}
	}
}

func (w *world) ill(n *node, renewed bool) string {
	began := time.Now()
	token, err := n.b.Token(context.Background(), "a", 0)
	if refused, _ := w.sawToken(n, began, token, err); refused { // as any reader does
		began = time.Now()
		token, err = n.b.Report(context.Background(), "a", token.Generation)
		w.sawReport(n, began, token, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		return "serves nothing: " + err.Error()
	}
	m := w.sees(n, token, time.Now())
	switch {
	case m == nil || m != w.vouch:
		return "serves another token than the record has"
	case !m.good(time.Now()) && (renewed || w.record.Reported != w.record.Generation):
		return "serves a token that is not good"
	}
	return ""
}

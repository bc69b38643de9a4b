package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// vendorState is the vendor, who is the other side of the dialect, and its book
// of what was asked of it.
type vendorState struct {
	secrets   []string // :: slot -> the password that it knows
	passwords int      // that there were
	epoch     int      // counts an operator's releases, and refusals of the password that was taken last
	taken     string   // the password that logged in last, if that is in the record

	tokens  map[string]*minted // :: access token -> itself
	spent   map[string]*minted // :: refresh token -> what it came with
	mints   []*minted          // in order
	logins  []time.Time        // attempts, for the limits
	refused []*exchange        // with wrong credentials
	waits   []*exchange        // answered with Retry-After
}

// A minted is a token as the vendor knows it.
type minted struct {
	n       int
	access  string
	refresh string
	used    bool // the refresh token is spent
	x       *exchange
	at      time.Time
	expiry  time.Time
	until   time.Time // its expiry as a broker reckons it: from when it asked

	endedAt time.Time // before its expiry; zero: it was not
	endedBy *exchange // nil: revoked

	due      time.Time // when its renewal may begin at the earliest
	reported time.Time // when somebody reported it first

	vouchedUntil time.Time // when the record had it last
}

func (m *minted) good(now time.Time) bool { return now.Before(m.expiry) && m.endedAt.IsZero() }

// An exchange is one request to the token endpoint.
type exchange struct {
	node    *node
	lease   *leased // under which it was sent
	kind    dialect.Kind
	secret  string
	epoch   int // of the refusal
	sent    time.Time
	unsure  time.Duration // how wrong the broker may be of the time then
	outcome string
	wait    time.Duration // Retry-After
	minted  *minted

	delivered time.Time // zero: not, or not yet
	lost      bool      // it never will be
}

var errLost = errors.New("connection reset")

// roundTrip carries a request to the vendor, who executes what has arrived
// whether or not somebody still waits for the answer.
func (n *node) roundTrip(r *http.Request) (*http.Response, error) {
	w := n.w
	if r.URL.Path == callPath {
		return n.called(r)
	}
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	if strings.HasPrefix(r.URL.Path, asideOrigin.Path+"/") {
		w.mu.Unlock()
		return n.aside(r, body)
	}
	if n.cut || w.dies(n, "send") {
		w.mu.Unlock()
		return nil, errLost
	}
	if w.active("dial", n.slot) != nil {
		w.mu.Unlock()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route")}
	}
	x := &exchange{node: n, lease: n.lease, sent: time.Now(), unsure: n.b.unsure(), outcome: "on its way"}
	w.sends(x)
	way, back := w.within("way", 5*time.Millisecond, 200*time.Millisecond), w.within("back", 5*time.Millisecond, 200*time.Millisecond)
	if w.active("slow", -1) != nil {
		way, back = w.within("slow way", 0, 15*time.Second), w.within("slow back", 0, 25*time.Second)
	}
	w.mu.Unlock()

	answered := make(chan *http.Response, 1)
	go func() {
		time.Sleep(way)
		w.mu.Lock()
		answer := w.arrives(x, r, body)
		if w.dies(n, "executed") || w.loses() {
			answer = nil
		}
		w.mu.Unlock()
		time.Sleep(back)
		answered <- answer
	}()
	select {
	case answer := <-answered:
		w.mu.Lock()
		defer w.mu.Unlock()
		if answer == nil || n.cut || w.dies(n, "answered") {
			x.lost = true
			return nil, errLost
		}
		x.delivered = time.Now()
		if w.mutant != nil && w.mutant.deaf {
			answer.Header.Del("Retry-After")
		}
		return answer, nil
	case <-r.Context().Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		x.lost = true
		return nil, r.Context().Err()
	}
}

// asideOrigin is where the brokers' other account logs in, as the same user.
var asideOrigin = &url.URL{Scheme: vendorOrigin.Scheme, Host: vendorOrigin.Host, Path: "/aside"}

// aside logs another account in, of which nothing is watched but that it takes
// from the same limits.
func (n *node) aside(r *http.Request, body []byte) (*http.Response, error) {
	w := n.w
	draw := func() time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.within(n.name("aside"), 5*time.Millisecond, 200*time.Millisecond)
	}
	time.Sleep(draw())
	to := httptest.NewRecorder()
	w.mu.Lock()
	r = r.Clone(context.Background())
	r.URL.Path = strings.TrimPrefix(r.URL.Path, asideOrigin.Path)
	how, vars, err := received(w.d.ReadRequest(r, body))
	if err != nil {
		w.violate("the vendor does not understand a request: %v", err)
	} else if how.Kind == dialect.KindLogin && !n.cut && w.tooMany() {
		w.violate("broker %d exceeds the vendor's login limit of %v with another account", n.id, w.d.Rate)
	}
	cut := n.cut
	w.mu.Unlock()
	if cut || err != nil {
		return nil, errLost
	}
	if how.Kind == dialect.KindLogin && vars[w.secretName()] != w.right() {
		w.d.WriteTokenError(to, "v", jeton.Refuse(jeton.InvalidClient, ""))
	} else if err := w.d.WriteResponse(to, how, jeton.Vars{"access_token": "aside", "refresh_token": "none", "token_type": "Bearer",
		"expires_in": strconv.Itoa(int(max(w.lifetime/3, 6*w.rate.Per) / time.Second)), "user_id": "u", "scope": "admin"}); err != nil {
		return nil, err
	}
	time.Sleep(draw())
	return to.Result(), nil
}

// right returns the password that the vendor takes.
func (w *world) right() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.password
}

// loses reports whether the answer to what was just executed gets lost.
func (w *world) loses() bool {
	f := w.active("lose", -1)
	if f == nil || f.n == 0 {
		return false
	}
	f.n--
	return true
}

// arrives is the token endpoint.
func (w *world) arrives(x *exchange, r *http.Request, body []byte) *http.Response {
	to := httptest.NewRecorder()
	if r.Body != nil {
		r = r.Clone(r.Context())
	}
	how, vars, err := received(w.d.ReadRequest(r, body))
	if err != nil {
		w.violate("the vendor does not understand a request: %v", err)
		w.d.WriteTokenError(to, "v", err)
		return to.Result()
	}
	x.kind, x.secret = how.Kind, vars[w.secretName()]
	w.decide(to, x, how, vars)
	w.log("%s of %d: %s", x.kind, x.node.id, x.outcome)
	return to.Result()
}

func (w *world) decide(to http.ResponseWriter, x *exchange, how *dialect.Exchange, vars jeton.Vars) {
	if x.kind == dialect.KindLogin && w.tooMany() {
		x.outcome = "over the limit"
		w.violate("broker %d exceeds the vendor's login limit of %v", x.node.id, w.d.Rate)
		w.retryAfter(to, x, 429, 60)
		return
	}
	if f := w.active("429", -1); f != nil {
		x.outcome = "429"
		w.retryAfter(to, x, 429, f.n)
		return
	}
	broken := w.active("5xx", -1)
	if broken != nil && broken.text == "before" {
		x.outcome = "5xx"
		w.retryAfter(to, x, broken.n, 0)
		return
	}
	if x.kind == dialect.KindRefresh {
		from := w.spent[vars["refresh_token"]]
		if from != nil && from.used {
			w.violate("broker %d presents %s again", x.node.id, from.refresh)
		}
		if from == nil || from.used || how.Wears() && (w.tokens[vars["access_token"]] != from || !from.good(time.Now())) {
			x.outcome = "refresh token refused"
			w.d.WriteTokenError(to, "v", jeton.Refuse(jeton.InvalidGrant, ""))
			return
		}
		from.used = true
	} else if x.secret != w.password {
		x.outcome = "refused " + x.secret
		w.refuses(x)
		code := jeton.InvalidGrant
		if how.Basic() || w.secretName() == "client_secret" {
			code = jeton.InvalidClient
		}
		w.d.WriteTokenError(to, "v", jeton.Refuse(code, ""))
		return
	}
	x.lease.secret = x.secret // empty: it was a refresh
	m := w.mint(x)
	if broken != nil {
		x.outcome += ", answered with 5xx"
		x.lost = true // what was made, not what was said
		w.retryAfter(to, x, broken.n, 0)
		return
	}
	answer := jeton.Vars{"access_token": m.access, "refresh_token": m.refresh, "token_type": "Bearer",
		"expires_in": strconv.Itoa(int(w.lifetime / time.Second)), "user_id": "u", "scope": "admin"}
	if w.d.Standard && !w.rotates {
		delete(answer, "refresh_token")
	}
	if w.silent {
		delete(answer, "expires_in")
	}
	if err := w.d.WriteResponse(to, how, answer); err != nil {
		w.violate("the vendor cannot answer: %v", err)
	}
}

func (w *world) retryAfter(to http.ResponseWriter, x *exchange, status, seconds int) {
	if seconds > 0 {
		x.wait = time.Duration(seconds) * time.Second
		to.Header().Set("Retry-After", strconv.Itoa(seconds))
		w.waits = append(w.waits, x)
	}
	to.WriteHeader(status)
}

// tooMany counts a login and reports whether it is one too many in the
// vendor's own sliding window.
func (w *world) tooMany() bool {
	now := time.Now()
	w.logins = append(w.logins, now)
	for _, rate := range w.d.Rate {
		used := 0
		for _, at := range w.logins {
			if now.Sub(at) < rate.Per {
				used++
			}
		}
		if used > rate.Count {
			return true
		}
	}
	return false
}

func (w *world) mint(x *exchange) *minted {
	now, n := time.Now(), len(w.mints)+1
	m := &minted{n: n, access: fmt.Sprintf("token-%d", n), refresh: fmt.Sprintf("refresh-%d", n), x: x, at: now,
		expiry: now.Add(w.lifetime)}
	m.until = x.sent.Add(w.lifetime - 2*x.unsure) // so much behind it may be, and allow for that once more
	// The margin, its tenth for the jitter, and what rounding takes.
	early := min(5*time.Minute, w.lifetime/10)
	m.due = m.until.Add(-early - early/10 - time.Millisecond)
	if half := now.Add(m.until.Sub(now) / 2); w.minTTL && half.Before(m.due) {
		m.due = half // a reader may want a new one from then on
	}
	if w.silent {
		const ages = 1000 * time.Hour
		m.until, m.due = now.Add(ages), now.Add(ages)
	}
	x.minted, x.outcome = m, m.access
	w.mintsAgain(x)
	if w.d.Active > 0 {
		for _, old := range w.mints {
			if old.good(now) {
				old.endedAt, old.endedBy = now, x
			}
		}
	}
	w.mints = append(w.mints, m)
	w.tokens[m.access] = m
	w.spent[m.refresh] = m
	return m
}

// revoke ends every token ahead of its time.
func (w *world) revoke() {
	w.log("all tokens are revoked")
	now := time.Now()
	for _, m := range w.mints {
		if m.good(now) {
			m.endedAt = now
		}
	}
}

// forgetRefusals begins anew, as an operator's release does.
func (w *world) forgetRefusals() { w.waits = slices.Clip(w.waits[:0]) }

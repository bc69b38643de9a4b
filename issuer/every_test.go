package issuer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/directory"
	front "github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A vendor is a realm of any dialect behind a real listener, with a guard and an
// API behind it: what a client of the vendor sees.
type vendor struct {
	*bench
	d      *dialect.Dialect
	origin *url.URL
	served *httptest.Server // nil: it is called without a network
	direct http.Handler
	faults *storetest.Faults
	reads  *counted
	people int // for whom an account was invented
}

// vend opens a vendor. With TLS its clients may show a certificate.
func vend(t testing.TB, d *dialect.Dialect, withTLS bool, adjust func(*Config)) *vendor {
	t.Helper()
	served := httptest.NewUnstartedServer(nil)
	scheme := "http"
	if withTLS {
		scheme = "https"
	}
	v := newVendor(t, d, &url.URL{Scheme: scheme, Host: served.Listener.Addr().String(), Path: "/v"}, adjust)
	v.served, served.Config.Handler = served, v.direct
	if withTLS {
		served.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		served.StartTLS()
	} else {
		served.Start()
	}
	t.Cleanup(served.Close)
	return v
}

// counted counts how often a store is read.
type counted struct {
	store.Store
	n atomic.Int64
}

func (c *counted) Get(ctx context.Context, key string) (store.Record, error) {
	c.n.Add(1)
	return c.Store.Get(ctx, key)
}

func (c *counted) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	c.n.Add(1)
	return c.Store.List(ctx, prefix, after, limit)
}

// vendHere opens a vendor without a network, for tests in virtual time.
func vendHere(t testing.TB, d *dialect.Dialect) *vendor {
	t.Helper()
	return newVendor(t, d, &url.URL{Scheme: "https", Host: "vendor.test", Path: "/v"}, nil)
}

func newVendor(t testing.TB, d *dialect.Dialect, origin *url.URL, adjust func(*Config)) *vendor {
	t.Helper()
	v := &vendor{d: d, origin: origin, faults: new(storetest.Faults)}
	b := &bench{t: t, log: audit.NewMemory(), lines: new(lines)}
	v.reads = &counted{Store: storetest.Faulty(store.NewMemory(), v.faults)}
	b.store = store.Like(v.reads, v.reads.Store)
	c := Config{Name: "vendor", Dialect: d, Store: b.store, Audit: b.log, URL: v.origin.String(), Logger: slog.New(slog.NewTextHandler(b.lines, nil))}
	if adjust != nil {
		adjust(&c)
	}
	var err error
	if b.Realm, err = OpenRealm(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	v.bench = b
	b.directory.Passwords = &directory.PasswordHasher{Memory: 8, Time: 1}
	b.run()
	<-b.Ready()
	server := NewServer(b.store, c.Logger)
	if err := server.Mount("/v", b.Realm, v.api()); err != nil {
		t.Fatal(err)
	}
	v.direct = server
	return v
}

// RoundTrip carries a request to a vendor without a network.
func (v *vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.URL.Scheme, in.URL.Host, in.Host, in.RemoteAddr = "", "", r.URL.Host, "192.0.2.1:1234"
	if from := in.Header.Get("X-From"); from != "" {
		in.RemoteAddr = from
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	v.direct.ServeHTTP(w, in)
	return w.Result(), nil
}

// api is the vendor's API, behind a guard. It says whose call it was.
func (v *vendor) api() http.Handler {
	route, err := front.ParseRoute("* /{rest...} -> token")
	if err != nil {
		v.t.Fatal(err)
	}
	g := &front.Guard{Dialect: v.d, Verifier: v.Realm, Routes: []front.Route{route}, Permissions: dialect.Permissions{}}
	return g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Reached", "yes")
		_, _ = io.WriteString(w, r.Header.Get(front.HeaderSubject)+" "+string(body))
	}))
}

// down makes every use of the store fail from now on.
func (v *vendor) down() { v.faults.Set(storetest.Down) }

// client returns a client of the vendor that shows a certificate, if not nil.
func (v *vendor) client(cert *tls.Certificate) *http.Client {
	if v.served == nil {
		return &http.Client{Transport: v}
	}
	transport := &http.Transport{}
	if v.served.TLS != nil {
		roots := x509.NewCertPool()
		roots.AddCert(v.served.Certificate())
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		if cert != nil {
			transport.TLSClientConfig.Certificates = []tls.Certificate{*cert}
		}
	}
	v.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// exchange makes one exchange as a client does, and adds what the answer bound.
// Change, if not nil, changes the request before it is sent.
func (v *vendor) exchange(x *dialect.Exchange, vars jeton.Vars, change func(*http.Request)) (jeton.Vars, error) {
	v.t.Helper()
	r, err := v.d.WriteRequest(v.t.Context(), x, v.origin, vars)
	if err != nil {
		v.t.Fatal(err)
	}
	cert, err := v.d.Certificate(x, vars)
	if err != nil {
		v.t.Fatal(err)
	}
	if isCall := x.Kind != dialect.KindStep && x.Kind != dialect.KindLogin && x.Kind != dialect.KindRefresh; isCall && !x.Has("access_token") {
		own := r.Header.Get("Authorization")
		must(v.t, v.d.WriteCall(r, vars))
		if own != "" {
			r.Header.Set("Authorization", own)
		}
		if cert == nil {
			cert, err = v.d.CallCertificate(vars)
			must(v.t, err)
		}
	}
	if change != nil {
		change(r)
	}
	answer, err := v.client(cert).Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	got, err := v.d.ReadResponse(x, answer.StatusCode, answer.Header, body, time.Now())
	if err != nil {
		return nil, err
	}
	all := vars.Clone()
	maps.Copy(all, got)
	return all, nil
}

// enter logs in, with all steps, and returns the account with what the answers
// bound. A token that the client makes itself is made.
func (v *vendor) enter(account jeton.Vars) (jeton.Vars, error) {
	v.t.Helper()
	vars, err := account.Clone(), error(nil)
	if v.d.Minted() {
		token, err := v.d.Mint(vars, time.Now())
		if err != nil {
			v.t.Fatal(err)
		}
		vars["access_token"] = token.AccessToken.Reveal()
	}
	for _, x := range v.d.Sequence() {
		if vars, err = v.exchange(x, vars, nil); err != nil {
			return nil, err
		}
	}
	return vars, nil
}

// must enter.
func (v *vendor) entered(account jeton.Vars) jeton.Vars {
	v.t.Helper()
	vars, err := v.enter(account)
	if err != nil {
		v.t.Fatalf("login: %v\n%s", err, v.lines)
	}
	return vars
}

// call calls the API and returns the status and whose call it was.
func (v *vendor) call(vars jeton.Vars, change func(*http.Request)) (int, string) {
	v.t.Helper()
	base, err := v.d.CallURL(v.origin, vars)
	if err != nil {
		v.t.Fatal(err)
	}
	const sent = `{"a":"b"}`
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, strings.TrimSuffix(base.String(), "/")+"/things", strings.NewReader(sent))
	if err != nil {
		v.t.Fatal(err)
	}
	if err := v.d.WriteCall(r, vars); err != nil {
		v.t.Fatal(err)
	}
	if v.d.Signs() {
		if err := v.d.SignCall(r, []byte(sent), vars, time.Now()); err != nil {
			v.t.Fatal(err)
		}
	}
	if change != nil {
		change(r)
	}
	cert, err := v.d.CallCertificate(vars)
	if err != nil {
		v.t.Fatal(err)
	}
	answer, err := v.client(cert).Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if answer.Header.Get("X-Reached") == "" && answer.StatusCode == http.StatusOK {
		return http.StatusUnauthorized, string(body) // some vendors answer 200, whatever it is
	}
	if answer.StatusCode == http.StatusOK && !strings.HasSuffix(string(body), " "+sent) {
		v.t.Fatal("the API did not get the body that was sent")
	}
	subject, _, _ := strings.Cut(string(body), " ")
	return answer.StatusCode, subject
}

// good calls the API and ends the test if it refuses.
func (v *vendor) mustCall(vars jeton.Vars) string {
	v.t.Helper()
	status, subject := v.call(vars, nil)
	if status != http.StatusOK {
		v.t.Fatalf("the API answered %d %s\n%s", status, subject, v.lines)
	}
	return subject
}

// invented returns an account for a dialect: a value for each variable that it
// takes.
func (v *vendor) invented(tag string) jeton.Vars {
	kinds, account := v.d.Kinds(), jeton.Vars{}
	certificates, _ := law.Keys("certificate")
	keys, _ := law.Keys("key")
	own := v.people % 2 // two clients have two
	v.people++
	for _, name := range slices.Concat(v.d.LoginVars(), v.d.CallVars()) {
		if slices.ContainsFunc(v.d.Vars, func(d dialect.Var) bool { return d.Name == name && (d.Default != "" || d.Optional) }) {
			continue
		}
		switch kinds[name] {
		case "certificate":
			account[name] = certificates[own]
		case "key":
			account[name] = keys[own]
		default:
			account[name] = v.value(kinds[name], name+"-of-"+tag)
		}
	}
	delete(account, "scope")
	return account
}

func (v *vendor) value(kind, otherwise string) string {
	if key := law.Key(kind); kind != "" && key != "" {
		return key
	}
	switch kind {
	case "seconds", "minutes", "hours":
		return "3600"
	case "instant", "day":
		return "2026-01-02T00:00:00Z"
	case "url":
		return v.origin.String()
	case "hex":
		return hex.EncodeToString([]byte(otherwise))
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(otherwise))
	}
	return otherwise
}

// open gives somebody a way in with an account: a client with it, or what the
// directory checks by itself.
func (v *vendor) admit(account jeton.Vars) string {
	v.t.Helper()
	ctx := v.t.Context()
	if v.accounts != nil {
		c, _, err := v.directory.AddClient(ctx, "test", directory.Client{Name: "client", Scope: v.d.Scope.Default}, jeton.Secret{})
		must(v.t, err)
		must(v.t, v.directory.SetAccount(ctx, "test", "", c.ID, account))
		return c.ID
	}
	tenant, subject := "", ""
	if v.d.Login.Has("tenant_id") {
		tenant = account["tenant_id"]
		_, err := v.directory.AddTenant(ctx, "test", directory.Tenant{ID: tenant})
		must(v.t, err)
	}
	if id := account["client_id"]; id != "" {
		v.addClient(directory.Client{ID: id, Tenant: tenant, Name: "client", Scope: v.d.Scope.Default}, account["client_secret"])
		subject = id
	}
	if name := account["username"]; name != "" {
		scope := slices.Concat(v.d.Scope.Default, v.d.Scope.Order)
		u := v.addUser(tenant, name, account["password"], scope.String())
		if subject = u.ID; account["api_key"] != "" {
			v.addKey(directory.APIKey{Tenant: tenant, Name: "key", Owner: u.ID}, account["api_key"])
		}
	}
	return subject
}

// The file that lets the broker log in to a vendor also lets the issuer be that
// vendor: whatever dialect there is, who has an account logs in, calls and
// refreshes; and who has another secret does not.
func TestEvery(t *testing.T) {
	for _, name := range dialects.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := dialects.Load(name)
			if err != nil {
				t.Fatal(err)
			}
			testEvery(t, d)
		})
	}
}

// A token is bound to the API key of its login only where calls wear that.
func TestKeyAtTheLoginOnly(t *testing.T) {
	d, err := dialect.Parse("test.yaml", []byte(`dialect: x
token: {POST: https://a.test/token, headers: {x-api-key: $api_key}, json: {user: $username, password: $password}, returns: {token: $access_token}}
call: https://a.test
`))
	must(t, err)
	testEvery(t, d)
}

func testEvery(t *testing.T, d *dialect.Dialect) {
	v := vend(t, d, slices.Contains(slices.Collect(maps.Values(d.Kinds())), "certificate"), nil)
	account := v.invented("a")
	subject := v.admit(account)
	vars := v.entered(account)
	if got := v.mustCall(vars); got != subject {
		t.Errorf("the call is %s's, want %s", got, subject)
	}
	for _, wrong := range v.wrongs(account) {
		if v.enters(wrong) {
			t.Error("somebody else is let in")
		}
	}
	for _, x := range []*dialect.Exchange{d.Verify, d.Introspect} {
		if x == nil || d.Signs() {
			continue
		}
		if _, err := v.exchange(x, vars, nil); err != nil {
			t.Errorf("%s: %v\n%s", x.Kind, err, v.lines)
		}
		if _, err := v.exchange(x, v.stranger(vars), nil); err == nil && x.Answers() {
			t.Errorf("%s: a token that is none is good", x.Kind)
		}
	}
	if x := d.RefreshWith(d.NewToken(vars, time.Now()), time.Now()); x != nil {
		vars = v.refreshed(x, vars)
	}
	if d.Revoke == nil || d.Signs() {
		return
	}
	if _, err := v.exchange(d.Revoke, v.stranger(vars), nil); err != nil && !jeton.Refused(err) {
		t.Error(err)
	}
	v.mustCall(vars)
	if _, err := v.exchange(d.Revoke, vars, nil); err != nil {
		t.Fatalf("revoke: %v\n%s", err, v.lines)
	}
	if status, _ := v.call(vars, nil); status == http.StatusOK {
		t.Error("the token that was revoked is good")
	}
}

// stranger returns the variables with a token that is none.
func (v *vendor) stranger(vars jeton.Vars) jeton.Vars {
	vars = vars.Clone()
	vars["access_token"] = "none"
	return vars
}

func (v *vendor) refreshed(x *dialect.Exchange, vars jeton.Vars) jeton.Vars {
	v.t.Helper()
	next, err := v.exchange(x, vars, nil)
	if err != nil {
		v.t.Fatalf("refresh: %v\n%s", err, v.lines)
	}
	if next["access_token"] == vars["access_token"] {
		v.t.Error("the refresh gave the same token")
	}
	v.mustCall(next)
	return next
}

// enters reports whether somebody logs in and a call is good.
func (v *vendor) enters(account jeton.Vars) bool {
	v.t.Helper()
	vars, err := v.enter(account)
	if err != nil {
		if !jeton.Refused(err) || strings.Contains(v.lines.String(), "level=ERROR") {
			v.t.Fatalf("%v\n%s", err, v.lines)
		}
		return false
	}
	status, _ := v.call(vars, nil)
	return status == http.StatusOK
}

// wrongs returns accounts that differ in one variable each.
func (v *vendor) wrongs(account jeton.Vars) []jeton.Vars {
	var list []jeton.Vars
	for name, text := range account {
		if v.d.LeadsTo(name) != "" || !v.travels(name) {
			continue
		}
		wrong := account.Clone()
		switch kind := v.d.Kinds()[name]; kind {
		case "", "words":
			wrong[name] = text + "x"
		case "key", "certificate", "signing certificate", "url":
			continue
		default:
			pair, ok := law.Keys(kind)
			if !ok {
				continue
			}
			wrong[name] = pair[1]
			for other, kind := range v.d.Kinds() {
				if kind == "signing certificate" && wrong[other] != "" {
					certificates, _ := law.Keys(kind)
					wrong[other] = certificates[1] // else nobody could send it
				}
			}
		}
		list = append(list, wrong)
	}
	return list
}

// travels reports whether a variable is presented, or proves something; one that
// only says where the vendor stands is not seen by it.
func (v *vendor) travels(name string) bool {
	shapes := []dialect.Shape{v.d.CallShape()}
	if v.d.Minted() {
		shapes = append(shapes, v.d.MintShape())
	}
	for _, x := range v.d.Sequence() {
		shapes = append(shapes, v.d.Shape(x))
	}
	return slices.ContainsFunc(shapes, func(s dialect.Shape) bool {
		return slices.Contains(s.Travels, name) || slices.Contains(s.Secrets, name)
	})
}

package console

import (
	"bytes"
	"context"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A bench is a console on the workbench: over realms of every dialect, with a
// store and a log that fail on demand.
type bench struct {
	*Console
	t      testing.TB
	memory *store.Memory
	faults *storetest.Faults
	log    *brittleLog
	lines  *lockedBuffer // what the logger wrote
	realms map[string]*issuer.Realm
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A brittleLog refuses to write while broken.
type brittleLog struct {
	audit.Log
	broken bool
}

func (l *brittleLog) Append(ctx context.Context, e audit.Entry) error {
	if l.broken {
		return storetest.ErrFault
	}
	return l.Log.Append(ctx, e)
}

// open returns a bench whose realms stand at base/<dialect>.
func open(t testing.TB, base string) *bench {
	t.Helper()
	b := &bench{t: t, memory: store.NewMemory(), faults: new(storetest.Faults), lines: new(lockedBuffer), realms: map[string]*issuer.Realm{}}
	b.log = &brittleLog{Log: audit.NewMemory()}
	st := storetest.Faulty(b.memory, b.faults)
	logger := slog.New(slog.NewTextHandler(b.lines, nil))
	config := Config{Store: st, Audit: b.log, URL: base + "/console/", Logger: logger}
	// One of each kind that the console shows in another way.
	for _, name := range []string{"altrata", "alvys", "iadvize", "oauth2", "okta", "web1on1"} {
		d, err := dialects.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		realm, err := issuer.OpenRealm(t.Context(), issuer.Config{Name: name, Dialect: d, Store: st, Audit: b.log,
			URL: base + "/" + name, Password: true, Rate: map[string]dialect.Rate{}, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		realm.Directory().Passwords = &directory.PasswordHasher{Memory: 8, Time: 1}
		b.realms[name] = realm
		config.Realms = append(config.Realms, realm)
	}
	for _, tenant := range []string{"acme", "globex"} {
		if _, err := b.realms["alvys"].Directory().AddTenant(t.Context(), "test", directory.Tenant{ID: tenant}); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if b.Console, err = New(config); err != nil {
		t.Fatal(err)
	}
	return b
}

// serve serves the console, the realms and, behind each, an API that answers
// whoever wears a good token.
func serve(t testing.TB) *bench {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b := open(t, server.URL)
	front := issuer.NewServer(b.memory, slog.New(slog.DiscardHandler))
	for name, realm := range b.realms {
		api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			vars, err := realm.Dialect().ReadCall(r)
			if err == nil {
				_, err = realm.Verify(r.Context(), jeton.NewSecret(vars["access_token"]))
			}
			if err != nil {
				realm.Dialect().WriteCallError(w, name, err)
				return
			}
			_, _ = io.WriteString(w, r.URL.Path)
		})
		if err := front.Mount("/"+name, realm, api); err != nil {
			t.Fatal(err)
		}
	}
	mux.Handle("/console/", b)
	mux.Handle("/", front)
	return b
}

// A browser sends requests to the console and keeps its cookie.
type browser struct {
	t      testing.TB
	h      http.Handler
	host   string
	cookie string
	csrf   string // of the page that was seen last
}

// A reply is what the browser got.
type reply struct {
	status int
	header http.Header
	body   string
	cookie *http.Cookie
}

type tweak func(*http.Request)

func header(name, value string) tweak {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func (b *bench) browser() *browser {
	return &browser{t: b.t, h: b.Console, host: b.url.Host}
}

// signedIn returns a browser that has signed in.
func (b *bench) signedIn() *browser {
	b.t.Helper()
	w := b.browser()
	want(b.t, w.signIn(b.link()), http.StatusSeeOther)
	want(b.t, w.get("/console/"), http.StatusOK)
	return w
}

func (b *bench) link() string {
	b.t.Helper()
	link, err := b.NewLink(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return link
}

func (w *browser) signIn(link string) reply {
	w.t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(http.MethodPost, "/console/sign-in", u.Query())
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (w *browser) send(method, path string, form url.Values, tweaks ...tweak) reply {
	w.t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(w.t.Context(), method, path, body)
	r.Host, r.RemoteAddr = w.host, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), 1234).String()
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if w.cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: w.cookie})
	}
	for _, tweak := range tweaks {
		tweak(r)
	}
	recorder := httptest.NewRecorder()
	w.h.ServeHTTP(recorder, r)
	got := reply{status: recorder.Code, header: recorder.Header(), body: recorder.Body.String()}
	for _, c := range recorder.Result().Cookies() {
		got.cookie, w.cookie = c, c.Value
	}
	if m := csrfField.FindStringSubmatch(got.body); m != nil {
		w.csrf = m[1]
	}
	return got
}

func (w *browser) get(path string, tweaks ...tweak) reply {
	w.t.Helper()
	return w.send(http.MethodGet, path, nil, tweaks...)
}

// post sends name, value, name, value ... with the hidden fields that the form
// at the same address has.
func (w *browser) post(path string, pairs ...string) reply {
	w.t.Helper()
	form := url.Values{}
	page := w.get(path)
	want(w.t, page, http.StatusOK)
	for _, m := range hidden.FindAllStringSubmatch(page.body, -1) {
		form.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return w.send(http.MethodPost, path, form)
}

var (
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	shownX = regexp.MustCompile(`<code class="whole secret">([^<]*)</code>`)
	curlX  = regexp.MustCompile(`<code id="curl">([^<]*)</code>`)
	hrefX  = regexp.MustCompile(`href="([^"]*)"`)
)

// secret returns the secret that a page shows, and the command.
func (r reply) secret(t testing.TB) (secret, curl string) {
	t.Helper()
	want(t, r, http.StatusOK)
	m := shownX.FindStringSubmatch(r.body)
	if m == nil {
		t.Fatalf("the page shows no secret:\n%s", r.body)
	}
	if c := curlX.FindStringSubmatch(r.body); c != nil {
		curl = html.UnescapeString(c[1])
	}
	return html.UnescapeString(m[1]), curl
}

// follow returns the address of the link that contains all the texts.
func (r reply) follow(t testing.TB, texts ...string) string {
	t.Helper()
next:
	for _, m := range hrefX.FindAllStringSubmatch(r.body, -1) {
		to := html.UnescapeString(m[1])
		for _, text := range texts {
			if !strings.Contains(to, text) {
				continue next
			}
		}
		return to
	}
	t.Fatalf("no link to %q in\n%s", texts, r.body)
	return ""
}

func want(t testing.TB, r reply, status int, texts ...string) {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d; %s\n%s", r.status, status, r.header, r.body)
	}
	for _, text := range texts {
		if !strings.Contains(r.body, html.EscapeString(text)) {
			t.Fatalf("the page lacks %q:\n%s", text, r.body)
		}
	}
}

// entries returns the audit entries about an action, the newest first.
func (b *bench) entries(action string) []audit.Entry {
	b.t.Helper()
	list, err := b.log.List(b.t.Context(), audit.Query{Action: action, Limit: 1000})
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

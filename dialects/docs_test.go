package dialects_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
)

// The reference of the language is executed. A yaml block is a dialect, or, if a
// text block with a message stands behind it, one that is refused with that
// message. The http blocks behind a dialect are messages of it. Lines that begin
// with # say what a message is, and come first:
//
//	# login                 which exchange: as in a transcript, or call,
//	                        claims, read (by a server only), also (another way
//	                        to wear the token), refused, refused call
//	# vars: name=value ...  what a request is filled with; values in quotes if
//	                        they have blanks, and @rsa, @ec, @cert for keys
//	# binds: name=value     what reading the answer below binds
//	# expires: 1h           when a token of that answer ends
//	# refused: code         the answer is how a server refuses with that code
//
// In a message ... is any text, and {{name}} is any text that is the same
// wherever it stands.

// TestReference holds every example of the reference.
func TestReference(t *testing.T) {
	page := newPage(t)
	if len(page.dialects) < 30 {
		t.Errorf("the reference shows only %d dialects", len(page.dialects))
	}
	for _, shown := range page.dialects {
		t.Run(fmt.Sprintf("line %d", shown.line), func(t *testing.T) {
			d, err := dialect.Extend("my.yaml", []byte(shown.text), shipped)
			if shown.refused != "" {
				if err == nil || err.Error() != shown.refused {
					t.Errorf("got  %v\nwant %s", err, shown.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range shown.messages {
				page.keys.example(t, d, m)
			}
		})
	}
}

func shipped(name string) (string, []byte, error) {
	src, err := dialects.Source(name)
	if err != nil {
		err = errors.New(strings.TrimPrefix(err.Error(), "dialects: ")) // as the command says it
	}
	return name + ".yaml", src, err
}

// TestReferenceIsComplete: every key of the language stands in a dialect that
// the reference shows, and every error in its text.
func TestReferenceIsComplete(t *testing.T) {
	page := newPage(t)
	used := map[string]bool{}
	for _, shown := range page.dialects {
		if shown.refused != "" {
			continue
		}
		for _, found := range regexp.MustCompile(`(?:^|[\s{,\[])([A-Za-z_0-9]+):(?:\s|$)`).FindAllStringSubmatch(strings.ReplaceAll(shown.text, "{", "{ "), -1) {
			used[found[1]] = true
		}
	}
	for _, key := range schemaKeys(t) {
		code := slices.Contains(codes, jeton.Code(key)) && strings.Contains(page.text, "`"+key+"`")
		if !used[key] && !code {
			t.Errorf("no example of the reference uses %s", key)
		}
	}
}

var codes = []jeton.Code{jeton.InvalidRequest, jeton.InvalidClient, jeton.InvalidGrant, jeton.UnauthorizedClient, jeton.UnsupportedGrantType,
	jeton.InvalidScope, jeton.InvalidTarget, jeton.InvalidToken, jeton.InsufficientScope, jeton.SlowDown, jeton.Unavailable, jeton.ServerError}

// schemaKeys returns the keys that the language has by itself: those of the file,
// of exchanges, of calls and of what stands in them.
func schemaKeys(t *testing.T) []string {
	t.Helper()
	src, err := os.ReadFile("../schema/dialect.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(src, &doc); err != nil {
		t.Fatal(err)
	}
	var keys []string
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, kid := range v {
				visit(kid)
			}
		case map[string]any:
			if properties, ok := v["properties"].(map[string]any); ok {
				for key := range properties {
					keys = append(keys, key)
				}
			}
			for _, kid := range v {
				visit(kid)
			}
		}
	}
	visit(doc)
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if len(keys) < 60 {
		t.Fatalf("the schema has only %d keys: %v", len(keys), keys)
	}
	return keys
}

// TestReferenceOfFunctions executes the rows of the tables of functions: what is
// called, the variable, and what stands on the wire. Without a variable the
// arguments are fixed text.
func TestReferenceOfFunctions(t *testing.T) {
	page := newPage(t)
	rows := regexp.MustCompile("(?m)^\\| `(\\$[^`]+)` \\| (?:`([^`]*)`)? ?\\| `([^`]+)` \\|").FindAllStringSubmatch(page.text, -1)
	seen := map[string]bool{}
	for _, row := range rows {
		call, variable, wire := row[1], row[2], row[3]
		for _, name := range regexp.MustCompile(`\$(\w+)\(`).FindAllStringSubmatch(call, -1) {
			seen[name[1]] = true
		}
		d, err := dialect.Parse("my.yaml", fmt.Appendf(nil, "dialect: x\nhosts: [x.example]\ntoken:\n  POST: https://x.example/t\n  text: '%s'\n  returns: $access_token\n", call))
		if err != nil {
			t.Errorf("%s: %v", call, err)
			continue
		}
		vars := jeton.Vars{}
		if variable != "" {
			vars["x"] = page.keys.value(variable)
		}
		r, err := d.WriteRequest(t.Context(), d.Login, nil, vars)
		if err != nil {
			t.Errorf("%s: %v", call, err)
			continue
		}
		body, _ := io.ReadAll(r.Body)
		if !matches(wire, string(body)) {
			t.Errorf("%s is %s on the wire, not %s", call, body, wire)
		}
		m, err := d.ReadRequest(r, body)
		if err == nil {
			err = m.Prove(vars, time.Now())
		}
		if err != nil {
			t.Errorf("%s is not read back: %v", call, err)
		} else if got, ok := m.Vars["x"]; ok && got != vars["x"] {
			t.Errorf("%s is read back as %q", call, got)
		}
	}
	for _, name := range dialect.Functions() {
		if !seen[name] {
			t.Errorf("no row of the reference shows $%s", name)
		}
	}
}

// A page is the reference taken apart.
type page struct {
	text     string
	dialects []*shownDialect
	keys     keys
}

type shownDialect struct {
	line          int
	text, refused string
	messages      []string
}

func newPage(t *testing.T) *page {
	t.Helper()
	src, err := os.ReadFile("../docs/dialects.md")
	if err != nil {
		t.Fatal(err)
	}
	p := &page{text: string(src), keys: newKeys(t)}
	line := 1
	for i, block := range strings.Split(p.text, "\n```") {
		at := line + 1
		line += strings.Count(block, "\n") + 1
		kind, text, ok := strings.Cut(block, "\n")
		if i%2 == 0 || !ok {
			continue
		}
		last := len(p.dialects) - 1
		switch {
		case kind == "yaml":
			p.dialects = append(p.dialects, &shownDialect{line: at, text: text + "\n"})
		case kind == "http" && last >= 0:
			p.dialects[last].messages = append(p.dialects[last].messages, text)
		case kind == "text" && last >= 0 && strings.HasPrefix(text, "my.yaml:"):
			p.dialects[last].refused = text
		}
	}
	return p
}

func (k keys) value(text string) string {
	if key, ok := k.texts[text]; ok {
		return key
	}
	return text
}

// An example is an http block taken apart.
type example struct {
	what            string // of message: login, call ...
	vars, binds     jeton.Vars
	expires, code   string
	request, answer string
}

func (k keys) parse(t *testing.T, block string) example {
	t.Helper()
	e := example{vars: jeton.Vars{}}
	var rest []string
	for _, line := range strings.Split(block, "\n") {
		about, ok := strings.CutPrefix(line, "# ")
		name, text, colon := strings.Cut(about, ": ")
		switch {
		case !ok:
			rest = append(rest, line)
		case colon && name == "vars":
			k.assign(t, e.vars, text)
		case colon && name == "binds":
			if e.binds == nil {
				e.binds = jeton.Vars{}
			}
			k.assign(t, e.binds, text)
		case about == "binds: nothing" || about == "binds:":
			e.binds = jeton.Vars{}
		case colon && name == "expires":
			e.expires = text
		case colon && name == "refused":
			e.code = text
		case e.what == "":
			e.what = about
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	text := "\n" + strings.TrimSpace(strings.Join(rest, "\n"))
	e.request, e.answer, _ = strings.Cut(text, "\nHTTP/1.1 ")
	if e.answer != "" {
		e.answer = "HTTP/1.1 " + e.answer
	}
	e.request = strings.TrimSpace(e.request)
	return e
}

var assignment = regexp.MustCompile(`([a-z][a-z0-9_]*)=("[^"]*"|\S+)`)

func (k keys) assign(t *testing.T, vars jeton.Vars, text string) {
	t.Helper()
	if left := strings.TrimSpace(assignment.ReplaceAllString(text, "")); left != "" && left != "nothing" {
		t.Fatalf("%q is no name=value", left)
	}
	for _, found := range assignment.FindAllStringSubmatch(text, -1) {
		vars[found[1]] = k.value(strings.Trim(found[2], `"`))
	}
}

// moment is when the answers of the reference are read.
var moment = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func (k keys) example(t *testing.T, d *dialect.Dialect, block string) {
	t.Helper()
	e := k.parse(t, block)
	var x *dialect.Exchange
	switch e.what {
	case "call":
		k.call(t, d, e)
	case "also":
		r, _ := request(t, e.request)
		got, err := d.ReadCall(r)
		compare(t, "the call is read as", e.vars, got, err)
	case "claims":
		got := d.Claims(e.vars)
		var want map[string]any
		if err := json.Unmarshal([]byte(e.request), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the claims are not those shown:\n%s", diff)
		}
	case "read":
		r, body := request(t, e.request)
		m, err := d.ReadRequest(r, body)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "the request is read as", e.vars, m.Vars, nil)
	case "refused", "refused call":
		k.refused(t, d, e)
	default:
		x = find(t, d, e.what)
	}
	if x == nil {
		return
	}
	if e.request != "" {
		k.request(t, d, x, e)
	}
	if e.answer != "" {
		k.answer(t, d, x, e)
	}
}

// request holds that the request is written byte for byte, and read back.
func (k keys) request(t *testing.T, d *dialect.Dialect, x *dialect.Exchange, e example) {
	t.Helper()
	r, err := d.WriteRequest(context.Background(), x, nil, e.vars)
	if err != nil {
		t.Fatal(err)
	}
	if asCall := x.Kind == dialect.KindVerify || x.Kind == dialect.KindIntrospect || x.Kind == dialect.KindRevoke; asCall && !x.Basic() && !x.Wears() {
		if err := d.WriteCall(r, e.vars); err != nil {
			t.Fatal(err)
		}
	}
	body, _ := io.ReadAll(r.Body)
	sameWire(t, e.request, r, string(body))
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{k.certificate}}
	m, err := d.ReadRequest(r, body)
	if err != nil {
		t.Fatalf("the request is not read back: %v", err)
	}
	for _, other := range append([]*dialect.Received{m}, m.Others...) {
		if other.Exchange == x {
			m = other
		}
	}
	if m.Exchange != x {
		t.Errorf("the request is read as a %s", m.Exchange.Kind)
	}
	for name, got := range m.Vars {
		if want, ok := e.vars[name]; ok && got != want {
			t.Errorf("$%s is read back as %q, want %q", name, got, want)
		}
	}
	for _, name := range x.Holes() {
		if e.vars[name] != m.Vars[name] && e.vars[name] != "" {
			t.Errorf("$%s is not read back", name)
		}
	}
	if err := m.Prove(e.vars, time.Now()); err != nil {
		t.Errorf("the request is not proven: %v", errors.Unwrap(err))
	}
}

// answer holds what reading the answer binds, and that a server with just that
// writes the answer.
func (k keys) answer(t *testing.T, d *dialect.Dialect, x *dialect.Exchange, e example) {
	t.Helper()
	status, header, body := parseAnswer(t, e.answer)
	got, err := d.ReadResponse(x, status, header, []byte(body), moment)
	if e.code != "" {
		if refusal, ok := errors.AsType[*jeton.Error](err); !ok || string(refusal.Code) != e.code {
			t.Errorf("the answer is read as %v, want %s", err, e.code)
		}
		return
	}
	compare(t, "the answer binds", e.binds, got, err)
	if e.expires != "" {
		token := d.NewToken(got, moment)
		if after := token.Expiry.Sub(moment); after.String() != duration(t, e.expires).String() {
			t.Errorf("the token ends after %s, want %s", after, e.expires)
		}
	}
	w := httptest.NewRecorder()
	if err := d.WriteResponse(w, x, got); err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, e.answer, w)
}

func (k keys) refused(t *testing.T, d *dialect.Dialect, e example) {
	t.Helper()
	w := httptest.NewRecorder()
	err := jeton.Refuse(jeton.Code(e.code), "")
	if e.what == "refused call" {
		d.WriteCallError(w, "realm", err)
	} else {
		d.WriteTokenError(w, "realm", err)
	}
	sameAnswer(t, e.answer, w)
}

// call holds how a call wears the token, is signed, or has a token of its own.
func (k keys) call(t *testing.T, d *dialect.Dialect, e example) {
	t.Helper()
	shown, _ := request(t, e.request)
	base, err := d.CallURL(nil, e.vars)
	if err != nil {
		t.Fatal(err)
	}
	if base.Host != shown.URL.Host || !strings.HasPrefix(shown.URL.Path, base.Path) {
		t.Errorf("calls go to %s, the one that is shown to %s", base, shown.URL)
	}
	r := httptest.NewRequest(shown.Method, "https://"+shown.URL.Host+shown.URL.EscapedPath(), nil)
	r.URL.RawQuery = d.Call.StripQuery(shown.URL.RawQuery)
	r.Header = http.Header{}
	if d.Minted() {
		token, err := d.Mint(e.vars, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		e.vars["access_token"] = token.AccessToken.Reveal()
	}
	if d.Signs() {
		err = d.SignCall(r, nil, e.vars, time.Now())
	} else {
		err = d.WriteCall(r, e.vars)
	}
	if err != nil {
		t.Fatal(err)
	}
	sameWire(t, e.request, r, "")
	if d.Signs() {
		m, err := d.ReadSignedCall(r, nil)
		if err == nil {
			err = m.Prove(e.vars, time.Now())
		}
		if err != nil {
			t.Errorf("the signature is not proven: %v", err)
		}
		return
	}
	got, err := d.ReadCall(r)
	if err != nil {
		t.Fatalf("the call is not read: %v", err)
	}
	for name, text := range got {
		if e.vars[name] != text {
			t.Errorf("$%s is read as %q", name, text)
		}
	}
	if d.Minted() {
		m, err := d.Open(jeton.NewSecret(got["access_token"]))
		if err == nil {
			err = m.Prove(e.vars, time.Now())
		}
		if err != nil {
			t.Errorf("the token is not proven: %v", err)
		}
	}
}

func request(t *testing.T, text string) (*http.Request, []byte) {
	t.Helper()
	return transcript{request: text}.parse(t)
}

func compare(t *testing.T, what string, want, got jeton.Vars, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 && len(got) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

// sameWire compares the line, the headers and the body that are shown.
func sameWire(t *testing.T, shown string, r *http.Request, body string) {
	t.Helper()
	head, wantBody, _ := strings.Cut(shown, "\n\n")
	lines := strings.Split(head, "\n")
	got := []string{r.Method + " " + r.URL.String()}
	for _, line := range lines[1:] {
		name, _, _ := strings.Cut(line, ":")
		got = append(got, name+": "+strings.Join(r.Header.Values(name), " AND "))
	}
	want := strings.Join(lines, "\n") + "\n\n" + wantBody
	all := strings.Join(got, "\n") + "\n\n" + body
	if !matches(want, all) {
		t.Errorf("the request that is shown is not the one that is written:\n%s\n--- is written as\n%s", want, all)
	}
	if r.Header.Get("Authorization") != "" && !strings.Contains(shown, "\nAuthorization:") {
		t.Errorf("the Authorization header is not shown")
	}
}

func sameAnswer(t *testing.T, shown string, w *httptest.ResponseRecorder) {
	t.Helper()
	head, wantBody, _ := strings.Cut(shown, "\n\n")
	lines := strings.Split(head, "\n")
	got := []string{"HTTP/1.1 " + strconv.Itoa(w.Code) + " " + http.StatusText(w.Code)}
	for _, line := range lines[1:] {
		name, _, _ := strings.Cut(line, ":")
		i := 0
		for _, before := range lines[1:slices.Index(lines, line)] {
			if strings.HasPrefix(before, name+":") {
				i++
			}
		}
		text := ""
		if values := w.Header().Values(name); i < len(values) {
			text = values[i]
		}
		got = append(got, name+": "+text)
	}
	want := strings.Join(lines, "\n") + "\n\n" + wantBody
	all := strings.Join(got, "\n") + "\n\n" + w.Body.String()
	if !matches(want, all) {
		t.Errorf("the answer that is shown is not the one that a server writes:\n%s\n--- is written as\n%s", want, all)
	}
}

var wild = regexp.MustCompile(`\\\.\\\.\\\.|\\\{\\\{([a-z0-9_]+)\\\}\\\}`)

// matches compares text with a pattern in which ... and {{name}} are any text.
func matches(pattern, text string) bool {
	var names []string
	expression := wild.ReplaceAllStringFunc(regexp.QuoteMeta(pattern), func(s string) string {
		names = append(names, wild.FindStringSubmatch(s)[1])
		return `([^\n]+?)`
	})
	found := regexp.MustCompile(`\A` + expression + `\z`).FindStringSubmatch(text)
	if found == nil {
		return false
	}
	stands := map[string]string{}
	for i, name := range names {
		if before, ok := stands[name]; name != "" && ok && before != found[i+1] {
			return false
		}
		stands[name] = found[i+1]
	}
	return true
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

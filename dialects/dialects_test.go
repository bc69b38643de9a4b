package dialects_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
	"github.com/jetonhq/jeton/dialects"
)

// TestTranscripts holds every dialect against its vendor's own page, in both
// directions: a law alone also holds for a dialect that is wrong in the same
// way on both sides.
func TestTranscripts(t *testing.T) {
	own := newKeys(t)
	for _, name := range dialects.Names() {
		d, err := dialects.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		src, err := os.ReadFile("testdata/" + name + ".txtar")
		if err != nil {
			t.Fatalf("a dialect without a transcript: %v", err)
		}
		t.Run(name, func(t *testing.T) { own.transcripts(t, d, src) })
	}
}

// transcripts holds a dialect against a transcript.
func (k keys) transcripts(t *testing.T, d *dialect.Dialect, src []byte) {
	files := map[string]string{}
	var exchanges []string
	for _, f := range txtar.Parse(src).Files {
		exchange, part, _ := strings.Cut(f.Name, ": ")
		if part == "request" {
			exchanges = append(exchanges, exchange)
		}
		files[f.Name] = string(f.Data)
	}
	if len(exchanges) == 0 {
		t.Error("the transcript has no request")
	}
	for _, exchange := range exchanges {
		t.Run(exchange, func(t *testing.T) {
			c := transcript{
				d: d, vars: k.vars(files[exchange+": vars"]), answer: k.vars(files[exchange+": answer vars"]),
				request: files[exchange+": request"], wire: files[exchange+": answer"], certificate: k.certificate,
			}
			if exchange == "call" {
				c.checkCall(t)
				return
			}
			c.x = find(t, d, exchange)
			c.check(t)
		})
	}
}

func find(t *testing.T, d *dialect.Dialect, name string) *dialect.Exchange {
	t.Helper()
	kind, which, _ := strings.Cut(name, " ")
	var x *dialect.Exchange
	switch kind {
	case "login":
		list := d.Sequence()
		if n, err := strconv.Atoi(which); err == nil && n >= 1 && n <= len(list) {
			x = list[n-1]
		} else if which == "" {
			x = d.Login
		}
	case "verify":
		x = d.Verify
	case "revoke":
		x = d.Revoke
	case "introspect":
		x = d.Introspect
	case "accept":
		x = d.Accept[0]
	case "refresh":
		for _, r := range d.Refresh {
			if r.When == which {
				x = r
			}
		}
	}
	if x == nil || x.Method == "" {
		t.Fatalf("the dialect has no exchange %s", name)
	}
	return x
}

// keys are made for a run: no transcript has a private key.
type keys struct {
	texts       map[string]string // :: "@rsa" -> PEM; @rsa is the key of @cert
	certificate *x509.Certificate
}

func newKeys(t *testing.T) keys {
	t.Helper()
	k := keys{texts: map[string]string{
		"@hmac": "an invented secret of forty-eight characters long",
		"@rsa":  law.Key("RS256"), "@ec": law.Key("ES256"), "@ed25519": law.Key("EdDSA"), "@cert": law.Key("signing certificate"),
	}}
	block, _ := pem.Decode([]byte(k.texts["@cert"]))
	var err error
	if k.certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k keys) vars(text string) jeton.Vars {
	v := jeton.Vars{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			if key, ok := k.texts[value]; ok {
				value = key
			}
			v[name] = value
		}
	}
	return v
}

type transcript struct {
	d             *dialect.Dialect
	x             *dialect.Exchange
	vars, answer  jeton.Vars
	request, wire string
	certificate   *x509.Certificate
}

func (c transcript) check(t *testing.T) {
	c.makeLets(t)
	documented, body := c.parse(t)
	origin := &url.URL{Scheme: "https", Host: documented.URL.Host}
	if _, err := c.d.WriteRequest(context.Background(), c.x, nil, c.vars); err == nil {
		origin = nil // the dialect knows its own hosts
	}
	written, err := c.d.WriteRequest(context.Background(), c.x, origin, c.vars)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(written.Body)
	if documented.Header.Get("Accept") == "" {
		written.Header.Del("Accept")
	}
	if diff := cmp.Diff(summary(documented, body), summary(written, b)); diff != "" {
		t.Errorf("the request that is written is not the documented one:\n%s", diff)
	}
	c.checkRead(t, documented, body)
	if c.wire != "" {
		c.checkAnswer(t)
	}
}

// makeLets puts what the client makes where the page has {{name}}, or
// {{base64(name)}}: it is another text each time.
func (c *transcript) makeLets(t *testing.T) {
	t.Helper()
	for _, found := range regexp.MustCompile(`\{\{(base64\()?([a-z0-9_]+)\)?\}\}`).FindAllStringSubmatch(c.request, -1) {
		name := found[2]
		text := c.vars[name]
		if text == "" {
			text = c.made(t, name)
			c.vars[name] = text
		}
		if found[1] != "" {
			text = base64.StdEncoding.EncodeToString([]byte(text))
		}
		if strings.Contains(c.request, "x-www-form-urlencoded") {
			text = url.QueryEscape(text)
		}
		c.request = strings.ReplaceAll(c.request, found[0], text)
	}
}

// made returns what a client makes as a let, as a server reads it.
func (c *transcript) made(t *testing.T, name string) string {
	t.Helper()
	if c.x == nil {
		token, err := c.d.Mint(c.vars, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return token.AccessToken.Reveal()
	}
	r, err := c.d.WriteRequest(context.Background(), c.x, nil, c.vars)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	m, err := c.d.ReadRequest(r, body)
	if err != nil {
		t.Fatal(err)
	}
	if m.Vars[name] == "" {
		t.Fatalf("the request holds no {{%s}}", name)
	}
	return m.Vars[name]
}

func (c transcript) checkRead(t *testing.T, documented *http.Request, body []byte) {
	documented.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.certificate}}
	m, err := c.d.ReadRequest(documented, body)
	if err != nil {
		t.Fatalf("the documented request is not understood: %v", err)
	}
	for _, other := range append([]*dialect.Received{m}, m.Others...) {
		if other.Exchange == c.x || other.Exchange.Kind == c.x.Kind && len(m.Others) == 0 {
			m = other
		}
	}
	if m.Exchange.Kind != c.x.Kind {
		t.Errorf("the documented request is read as a %s", m.Exchange.Kind)
	}
	for _, hole := range c.x.Holes() {
		if want := c.vars[hole]; want != m.Vars[hole] {
			t.Errorf("$%s is read as %q, want %q", hole, m.Vars[hole], want)
		}
	}
	for name, got := range m.Vars {
		if want, ok := c.vars[name]; ok && got != want {
			t.Errorf("$%s is read as %q, want %q", name, got, want)
		}
	}
	if err := m.Prove(c.vars, time.Now()); err != nil {
		t.Errorf("the documented request is not proven: %v", errors.Unwrap(err))
	}
}

func (c transcript) checkAnswer(t *testing.T) {
	status, header, body := parseAnswer(t, c.wire)
	w := httptest.NewRecorder()
	if err := c.d.WriteResponse(w, c.x, c.answer); err != nil {
		t.Fatal(err)
	}
	if w.Code != status {
		t.Errorf("the status that is written is %d, the documented one %d", w.Code, status)
	}
	for name, want := range header {
		got := w.Header()[name]
		if name == "Set-Cookie" { // attributes are each vendor's own
			got, want = names(got), names(want)
		}
		if diff := cmp.Diff(want, got); diff != "" && name != "Content-Type" {
			t.Errorf("the header %s that is written is not the documented one:\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(content(t, body), content(t, w.Body.String())); diff != "" {
		t.Errorf("the answer that is written is not the documented one:\n%s", diff)
	}
	got, err := c.d.ReadResponse(c.x, status, header, []byte(body), time.Now())
	if err != nil {
		t.Fatalf("the documented answer is not understood: %v", err)
	}
	if diff := cmp.Diff(c.answer, got); diff != "" {
		t.Errorf("the documented answer is read as:\n%s", diff)
	}
}

// names cuts the attributes off cookies.
func names(cookies []string) []string {
	var list []string
	for _, c := range cookies {
		pair, _, _ := strings.Cut(c, ";")
		list = append(list, pair)
	}
	return list
}

// parseAnswer reads a body, or an answer as it goes over the wire.
func parseAnswer(t *testing.T, text string) (status int, header http.Header, body string) {
	t.Helper()
	text = strings.TrimSuffix(text, "\n")
	if !strings.HasPrefix(text, "HTTP/") {
		return http.StatusOK, http.Header{}, text
	}
	head, body, _ := strings.Cut(text, "\n\n")
	first, lines, _ := strings.Cut(head, "\n")
	fields := strings.Fields(first)
	status, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return status, parseHeader(t, lines), body
}

func parseHeader(t *testing.T, lines string) http.Header {
	t.Helper()
	if strings.TrimSpace(lines) == "" {
		return http.Header{}
	}
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimSpace(lines) + "\r\n\r\n"))).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	return http.Header(h)
}

// content is a body as two readers compare it: JSON by its values, XML without
// the blanks between elements, and text as it is.
func content(t *testing.T, body string) any {
	t.Helper()
	switch {
	case json.Valid([]byte(body)):
		return document(t, body)
	case strings.HasPrefix(strings.TrimSpace(body), "<"):
		body = regexp.MustCompile(`<\?xml[^>]*>`).ReplaceAllString(body, "")
		return strings.TrimSpace(regexp.MustCompile(`>\s+<`).ReplaceAllString(body, "><"))
	}
	return body
}

// checkCall holds how a call wears the token against the page.
func (c transcript) checkCall(t *testing.T) {
	c.makeLets(t)
	documented, _ := c.parse(t)
	if base, err := c.d.CallURL(nil, c.vars); err == nil {
		if base.Host != documented.URL.Host || !strings.HasPrefix(documented.URL.Path, base.Path) {
			t.Errorf("calls go to %s, the documented one to %s", base, documented.URL)
		}
	} else if c.d.Led() {
		t.Error(err)
	}
	written := &http.Request{Method: documented.Method, Header: http.Header{}}
	u := *documented.URL
	u.RawQuery = c.d.Call.StripQuery(u.RawQuery)
	written.URL = &u
	if err := c.d.WriteCall(written, c.vars); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(summary(documented, nil), summary(written, nil)); diff != "" {
		t.Errorf("the call that is written is not the documented one:\n%s", diff)
	}
	got, err := c.d.ReadCall(documented)
	if err != nil {
		t.Fatalf("the documented call is not understood: %v", err)
	}
	for name, text := range got {
		if c.vars[name] != text {
			t.Errorf("$%s is read as %q, want %q", name, text, c.vars[name])
		}
	}
	if c.d.Minted() {
		m, err := c.d.Open(jeton.NewSecret(got["access_token"]))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Prove(c.vars, time.Now()); err != nil {
			t.Errorf("the token is not proven: %v", errors.Unwrap(err))
		}
	}
}

func (c transcript) parse(t *testing.T) (*http.Request, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(c.request, "\n\n")
	first, headers, _ := strings.Cut(head, "\n")
	method, target, _ := strings.Cut(first, " ")
	body = strings.TrimSuffix(body, "\n")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header = parseHeader(t, headers)
	return r, []byte(body)
}

// summary is what of a request the vendor looks at.
func summary(r *http.Request, body []byte) map[string]any {
	s := map[string]any{
		"method": r.Method, "host": r.URL.Host, "path": r.URL.EscapedPath(), "query": r.URL.Query(), "headers": r.Header,
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if form, err := url.ParseQuery(string(body)); err == nil && kind == "application/x-www-form-urlencoded" {
		s["form"] = form
	} else if len(body) > 0 && json.Valid(body) {
		var doc any
		_ = json.Unmarshal(body, &doc)
		s["json"] = doc
	} else if len(body) > 0 {
		s["text"] = regexp.MustCompile(`>\s+<`).ReplaceAllString(strings.TrimSpace(string(body)), "><")
	}
	if len(r.Header) == 0 {
		s["headers"] = http.Header{}
	}
	return s
}

func document(t *testing.T, text string) any {
	t.Helper()
	var doc any
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return doc
}

// TestSizes keeps the files as short as the vendors' pages: without comments,
// permission tables and what is said for people, a file fits a screen.
func TestSizes(t *testing.T) {
	for _, name := range dialects.Names() {
		src, err := dialects.Source(name)
		if err != nil {
			t.Fatal(err)
		}
		n, about := 0, false
		for line := range strings.Lines(string(src)) {
			if line[0] != ' ' && line[0] != '-' {
				about = strings.HasPrefix(line, "params:") || strings.HasPrefix(line, "permissions:") || strings.HasPrefix(line, "source:")
			}
			if !about && strings.TrimSpace(line) != "" && strings.TrimSpace(line)[0] != '#' {
				n++
			}
		}
		if n > 35 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}

// TestAbout: every file says for people what it is, where that stands, and what
// an account has to give.
func TestAbout(t *testing.T) {
	for _, name := range dialects.Names() {
		d, err := dialects.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if d.Name != name {
			t.Errorf("%s.yaml is the dialect %s", name, d.Name)
		}
		if d.Title == "" || len(d.Source) == 0 {
			t.Errorf("%s has no title or no source", name)
		}
		for _, wanted := range append(d.LoginVars(), d.CallVars()...) {
			if d.Params[wanted] == "" {
				t.Errorf("%s: params does not say what %s is", name, wanted)
			}
		}
	}
}

// TestLimits: who states a limit of logins has it in the file, as the page has it.
func TestLimits(t *testing.T) {
	for name, stated := range map[string]map[string]dialect.Rate{
		"ebay":           {"client_id": {Count: 1000, Per: 24 * time.Hour}},
		"iadvize":        {"username": {Count: 10, Per: time.Minute}, "ip": {Count: 100, Per: time.Minute}},
		"personio":       {"client_id": {Count: 150, Per: time.Minute}},
		"ringcentral":    {"assertion": {Count: 5, Per: time.Minute}},
		"salesforce":     {"client_id": {Count: 3600, Per: time.Hour}},
		"salesforce-jwt": {"username": {Count: 3600, Per: time.Hour}},
	} {
		d, err := dialects.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stated, d.Rate); diff != "" {
			t.Errorf("%s (-the page, +the file):\n%s", name, diff)
		}
	}
}

// TestGuide holds the examples of the guide for those who add a vendor, as the
// files of vendors are held.
func TestGuide(t *testing.T) {
	own := newKeys(t)
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) < 2 {
		t.Fatalf("the guide shows only %d dialects", len(blocks))
	}
	for _, block := range blocks {
		src, rest, _ := strings.Cut(block, "```")
		_, rest, found := strings.Cut(rest, "```txtar\n")
		transcript, _, closed := strings.Cut(rest, "```")
		d, err := dialect.Parse("README.md", []byte(src))
		if err != nil || !found || !closed {
			t.Errorf("no dialect with a transcript: %v\n%s", err, src)
			continue
		}
		t.Run(d.Name, func(t *testing.T) { own.transcripts(t, d, []byte(transcript)) })
	}
}

func TestUnknownNameIsSuggested(t *testing.T) {
	_, err := dialects.Load("iadvise")
	if err == nil || !strings.Contains(err.Error(), "did you mean iadvize?") {
		t.Errorf("got %v", err)
	}
}
